from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from labnet.errors import ScenarioError
from labnet.lab import scenario_file, scenario_schema, scenario_schema_vpc, scenario_source
from labnet.lab.scenario_schema_base import Mapping
from labnet.model.scenario import Ec2Check, KernelCheck, PacketCheck

MINIMAL = "apiVersion: labnet/v1\nkind: Lab\nmetadata: {name: tiny}\nvpc: {cidr: 10.0.0.0/16}\n"


def test_a_built_in_by_its_name(types) -> None:
    scenario = scenario_file.load("eks-2node", types=types)
    assert (scenario.name, scenario.source) == ("eks-2node", "eks-2node")


def test_a_path_and_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("\ufeff" + MINIMAL)
    assert scenario_file.load(str(path), types={}).source == str(path)
    assert scenario_file.load("-", stdin=io.StringIO(MINIMAL), types={}).source == "-"


def test_a_built_in_name_wins_over_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types) -> None:
    monkeypatch.chdir(tmp_path)
    Path("eks-2node").write_text(MINIMAL)
    Path("mine").write_text(MINIMAL)
    assert scenario_file.load("eks-2node", types=types).name == "eks-2node"
    assert scenario_file.load("./eks-2node", types={}).name == "tiny"
    assert scenario_file.load("mine", types={}).name == "tiny"


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("eks-2nodes", "there is no scenario 'eks-2nodes'", "eks-2node"), ("zzz", "no scenario", "built in: eks-2node, eks-current"),
        ("./no.yaml", "no such file", ""),
    ],
)
def test_what_is_not_there(source: str, message: str, hint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(source)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    (tmp_path / "big.yaml").write_bytes(b"#" * (scenario_source.MAX_BYTES + 1))
    for name, message in (("latin.yaml", "UTF-8"), ("big.yaml", "larger than"), (".", "cannot be read")):
        with pytest.raises(ScenarioError, match=message):
            scenario_file.load(str(tmp_path / name) + ("/" if name == "." else ""))


def test_messages_about_standard_input_say_so() -> None:
    with pytest.raises(ScenarioError, match=r"<stdin>:5: nods"):
        scenario_file.load("-", stdin=io.StringIO(MINIMAL + "nods: 1\n"), types={})


# ---- the built-in ones ----------------------------------------------------------------------------------------------------


def test_the_built_in_ones_are_listed() -> None:
    assert [item.name for item in scenario_file.built_ins()] == [
        "eks-2node", "eks-current", "eks-custom-networking", "eks-exclude-snat", "eks-exhausted-subnet", "eks-external-snat",
        "eks-fragmented-subnet",
        "eks-prefix-delegation", "eks-warm-targets", "vpc-hybrid", "vpc-nacl", "vpc-nat-gateway", "vpc-peering", "vpc-public-private",
        "vpc-two-zones",
    ]
    assert all(item.description for item in scenario_file.built_ins())


def test_eks_2node_is_the_deck(types) -> None:
    scenario = scenario_file.load("eks-2node", types=types)
    vpc = scenario.vpcs[0]
    assert (vpc.cidrs, vpc.internet_gateway) == (("10.10.0.0/16",), True)
    assert [(item.name, item.cidr, item.availability_zone, item.map_public_ip_on_launch) for item in vpc.subnets] == [
        ("public-a", "10.10.0.0/19", "us-west-2a", True), ("public-b", "10.10.32.0/19", "us-west-2b", True),
    ]
    assert [(node.name, node.instance_type, node.subnet) for node in scenario.nodes] == [
        ("node1", "t3.nano", "public-a"), ("node2", "t3.nano", "public-a"),
    ]
    assert (scenario.cni.kind, scenario.cni.dialect, scenario.cni.env) == ("vpc", "1.6", {"WARM_ENI_TARGET": "1"})
    assert [(pod.name, pod.node) for pod in scenario.pods] == [("pod1", "node1"), ("pod2", "node1"), ("pod3", "node2")]


def test_eks_2node_promises_what_must_be_seen(types) -> None:
    checks = scenario_file.load("eks-2node", types=types).checks
    assert PacketCheck("pod2", "pod3") in checks
    assert PacketCheck("pod1", "pod2") in checks
    assert PacketCheck("pod1", "8.8.8.8", source="${node1.publicIp}") in checks
    assert any(isinstance(check, Ec2Check) and (check.node, check.enis) == ("node1", 2) for check in checks)
    kernel = {check.command: check for check in checks if isinstance(check, KernelCheck)}
    assert (kernel["ip", "rule"].equals or "").splitlines() == [
        "0: from all lookup local", "512: from all to ${pod1} lookup main", "512: from all to ${pod2} lookup main",
        "1024: from all fwmark 0x80/0x80 lookup main", "1536: from ${pod2} to 10.10.0.0/16 lookup 2",
        "32766: from all lookup main", "32767: from all lookup default",
    ]
    assert kernel["ip", "route", "show", "table", "2"].equals == "default via 10.10.0.1 dev eth1\n10.10.0.1 dev eth1 scope link\n"


def test_eks_current_needs_a_second_eni(types) -> None:
    scenario = scenario_file.load("eks-current", types=types)
    assert (scenario.cni.dialect, {node.instance_type for node in scenario.nodes}) == ("1.23", {"m5.large"})
    assert sum(pod.node == "node1" for pod in scenario.pods) > types["m5.large"].ipv4_per_eni - 1
    assert scenario.vpcs == scenario_file.load("eks-2node", types=types).vpcs
    assert scenario.checks


# ---- the schema -----------------------------------------------------------------------------------------------------------


def structs() -> list[type[msgspec.Struct]]:
    words = {**vars(scenario_schema), **vars(scenario_schema_vpc)}.values()
    return [item for item in words if isinstance(item, type) and issubclass(item, Mapping) and item is not Mapping]


def test_the_schema_has_every_key_of_every_struct_and_no_other() -> None:
    definitions = scenario_schema.schema()["$defs"]
    assert set(definitions) == {cls.__name__ for cls in structs()}
    for cls in structs():
        fields = msgspec.structs.fields(cls)
        made = definitions[cls.__name__]
        assert set(made["properties"]) == {item.encode_name for item in fields}
        assert made.get("required", []) == [item.encode_name for item in fields if item.required]
        assert made["additionalProperties"] is False
        assert made["description"]


def test_every_key_of_the_format_is_taken_or_comes_later() -> None:
    sections = {
        "": "apiVersion kind metadata vpc vpcs onPremises prefixLists nodes cni pods objects ec2 zoneLinks kubelet time seed pending checks",
        "vpcs[]": "name cidr cidrs dns subnets internetGateway natGateways routeTables securityGroups networkAcls peerings "
        "vpnGateway",
        "vpcs[].subnets[]": "name cidr availabilityZone mapPublicIpOnLaunch routeTable networkAcl cidrReservations networkInterfaces",
        "nodes[]": "name count instanceType subnet securityGroups labels iptables sysctls publicIp annotations taints sourceDestCheck",
        "cni": "kind dialect env conflist",
        "pods[]": "name namespace node labels annotations hostNetwork containers",
    }
    owners = {"": "Document", "vpcs[]": "Vpc", "vpcs[].subnets[]": "Subnet", "nodes[]": "Node", "cni": "Cni", "pods[]": "Pod"}
    definitions = scenario_schema.schema()["$defs"]
    for where, words in sections.items():
        later = {pattern.rpartition(".")[2] for pattern in scenario_schema.LATER if pattern.rpartition(".")[0] == where}
        assert set(definitions[owners[where]]["properties"]) | later == set(words.split())
        assert not set(definitions[owners[where]]["properties"]) & later


def test_each_built_in_fits_the_schema() -> None:
    schema = scenario_schema.schema()
    for item in scenario_file.built_ins():
        assert misfits(yaml.safe_load(item.path.read_text()), schema, schema["$defs"]) == []


def test_the_small_validator_of_these_tests_finds_misfits() -> None:
    schema = scenario_schema.schema()
    good: dict[str, Any] = {"apiVersion": "labnet/v1", "kind": "Lab", "metadata": {"name": "x"}}
    assert misfits(good, schema, schema["$defs"]) == []
    assert misfits(good | {"nods": 1}, schema, schema["$defs"])
    assert misfits(good | {"kind": "Pod"}, schema, schema["$defs"])
    assert misfits(good | {"pods": [{"nam": "x"}]}, schema, schema["$defs"])
    assert misfits(good | {"cni": {"dialect": "1.7"}}, schema, schema["$defs"])
    assert misfits(good | {"cni": {"dialect": 1.6, "env": {"A": 1}}}, schema, schema["$defs"]) == []


_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
}


def misfits(value: Any, schema: dict[str, Any], definitions: dict[str, Any], at: str = "$") -> list[str]:
    """The part of JSON Schema that our schema uses."""
    if "$ref" in schema:
        return misfits(value, definitions[schema["$ref"].rpartition("/")[2]], definitions, at)
    if "anyOf" in schema:
        tries = [misfits(value, option, definitions, at) for option in schema["anyOf"]]
        return [] if [] in tries else tries[0]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{at}: {value!r} not in {schema['enum']}"]
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    fits = any(isinstance(value, _TYPES[name]) and (name in ("boolean",) or not isinstance(value, bool)) for name in wanted)
    if wanted and not fits:
        return [f"{at}: {value!r} is no {wanted}"]
    if isinstance(value, list):
        return [text for n, item in enumerate(value) for text in misfits(item, schema.get("items", {}), definitions, f"{at}[{n}]")]
    if not isinstance(value, dict):
        return []
    found = [f"{at}: {key} is missing" for key in schema.get("required", []) if key not in value]
    for key, item in value.items():
        known = schema.get("properties", {}).get(key, schema.get("additionalProperties", False))
        found += [f"{at}.{key}: unknown"] if known is False else misfits(item, known, definitions, f"{at}.{key}")
    return found


def test_the_scenario_is_frozen(types) -> None:
    scenario = scenario_file.load("eks-2node", types=types)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenario.name = "other"  # type: ignore[misc]
