"""What the node has of a pod, checked as the VPC CNI's own integration tests check it; and that the check can fail."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders_paths import SCENARIO, bring_up, leaves, pings
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel
PODS = ("pod-a", "pod-b", "pod-c", "pod-d")
LIMIT_S = 60


@pytest.fixture(scope="module", params=["1.23", "1.6"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    user = Labs(tmp_path_factory.mktemp("h"))
    try:
        bring_up(user, request.param)
        user.dialect = request.param  # type: ignore[attr-defined]
        yield user
    finally:
        user.close()


class Wrong(Exception):
    """The node is not as it should be."""


def listed(labs: Labs, node: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(labs.inside(node, "ip", "-j", *words) or "[]")
    return found


def veth_of(namespace: str, pod: str) -> str:
    return "eni" + hashlib.sha1(f"{namespace}.{pod}".encode()).hexdigest()[:11]


def check_set_up(labs: Labs, node: str, namespace: str, pod: str, address: str, rules_from: int) -> None:
    """The upstream checker's demands: an UP veth, one rule to the pod, its rules from it with their table, one route by the veth."""
    veth = veth_of(namespace, pod)
    links = [link for link in listed(labs, node, "link") if link["ifname"] == veth]
    if len(links) != 1 or "UP" not in links[0]["flags"]:
        raise Wrong(f"{veth} is not up")
    rules = listed(labs, node, "rule")
    to_pod = [rule for rule in rules if rule.get("dst") == address]
    if [rule["table"] for rule in to_pod] != ["main"]:
        raise Wrong(f"rules to {address}: {to_pod}")
    routes = [route for route in listed(labs, node, "route", "show", "table", "main") if route["dst"] == address]
    if [route["dev"] for route in routes] != [veth]:
        raise Wrong(f"routes to {address}: {routes}")
    from_pod = [rule for rule in rules if rule.get("src") == address]
    if len(from_pod) != rules_from:
        raise Wrong(f"rules from {address}: {from_pod}")
    for rule in from_pod:
        table = listed(labs, node, "route", "show", "table", rule["table"])
        if [route["dst"] for route in table] != ["default", table[0].get("gateway")] or len({route["dev"] for route in table}) != 1:
            raise Wrong(f"table {rule['table']}: {table}")


def check_torn_down(labs: Labs, node: str, namespace: str, pod: str, address: str) -> None:
    """Nothing is left of it."""
    veth = veth_of(namespace, pod)
    if any(link["ifname"] == veth for link in listed(labs, node, "link")):
        raise Wrong(f"{veth} is there")
    if any(address in (rule.get("dst"), rule.get("src")) for rule in listed(labs, node, "rule")):
        raise Wrong(f"a rule names {address}")
    if any(route["dst"] == address for route in listed(labs, node, "route", "show", "table", "all")):
        raise Wrong(f"a route leads to {address}")


def of(labs: Labs, pod: str) -> tuple[str, str, int]:
    found = labs.pod(pod)
    return found["node"], found["ip"], 0 if found["device"] == "eth0" else 1


def test_every_pod_has_its_veth_rules_and_route(lab: Labs) -> None:
    for pod in PODS:
        node, address, rules_from = of(lab, pod)
        check_set_up(lab, node, "default", pod, address, rules_from)


def test_the_checker_refuses_what_is_wrong(lab: Labs) -> None:
    node, address, rules_from = of(lab, "pod-b")
    with pytest.raises(Wrong, match="rules to"):
        check_set_up(lab, node, "default", "pod-b", "10.10.31.250", rules_from)
    with pytest.raises(Wrong, match="is not up"):
        check_set_up(lab, node, "kube-system", "pod-b", address, rules_from)
    with pytest.raises(Wrong, match="rules from"):
        check_set_up(lab, node, "default", "pod-b", address, 0)
    with pytest.raises(Wrong, match="is there"):
        check_torn_down(lab, node, "default", "pod-b", address)


def test_the_node_does_not_answer_for_pods(lab: Labs) -> None:
    """No pod's address is the node's own, nothing answers ARP by proxy: the VPC alone knows where a pod is."""
    assert lab.inside("node1", "sysctl", "-n", "net.ipv4.conf.eth0.proxy_arp", "net.ipv4.conf.eth1.proxy_arp").split() == ["0", "0"]
    held = {address["local"] for link in listed(lab, "node1", "addr") for address in link["addr_info"]}
    assert not held & {of(lab, pod)[1] for pod in PODS}


def test_without_its_rules_a_pods_packet_leaves_by_the_wrong_eni_and_the_vpc_drops_it(lab: Labs) -> None:
    node, address, _rules = of(lab, "pod-b")
    target = of(lab, "pod-c")[1]
    assert leaves(lab, "pod-b", target) == {("eth1", address)}
    for rule in [rule for rule in listed(lab, node, "rule") if rule.get("src") == address]:
        lab.inside(node, "ip", "rule", "del", "priority", str(rule["priority"]), "from", address)
    assert leaves(lab, "pod-b", target) == {("eth0", address)}
    assert not pings(lab, "pod-b", target)
    lab.run("--lab", lab.name, "repair")
    assert pings(lab, "pod-b", target)


def test_a_pod_of_eth1_asks_the_router_even_for_a_neighbour(lab: Labs) -> None:
    """Table 2 has no connected route; a pod of eth0 is sent straight to the neighbour's ENI."""
    target = of(lab, "pod-c")[1]
    router, neighbour = "10.10.0.1", {eni["mac"] for eni in lab.node("node2")["enis"]}
    seen = {}
    for pod, link in (("pod-a", "eth0"), ("pod-b", "eth1")):
        assert pings(lab, pod, target)
        known = listed(lab, "node1", "neigh", "show", "dev", link)
        seen[pod] = next(entry["lladdr"] for entry in known if entry["dst"] == (target if pod == "pod-a" else router))
    assert seen["pod-a"] in neighbour
    assert seen["pod-b"] not in neighbour


def test_a_deleted_pod_leaves_nothing(lab: Labs) -> None:
    node, address, _rules = of(lab, "pod-b")
    text = lab.run("--lab", lab.name, "status", "-o", "json").stdout
    assert "pod-b" in text
    without = [pod for pod in PODS if pod != "pod-b"]
    up_without(lab, without)
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            check_torn_down(lab, node, "default", "pod-b", address)
            break
        except Wrong:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    for pod in without:
        check_set_up(lab, of(lab, pod)[0], "default", pod, of(lab, pod)[1], of(lab, pod)[2])


def up_without(labs: Labs, pods: list[str]) -> None:
    """The same lab with fewer pods."""
    text = SCENARIO.format(dialect=labs.dialect, backend="nft", env="{}")  # type: ignore[attr-defined]
    kept = "".join(f"  - {{name: {pod}, node: {'node1' if pod in ('pod-a', 'pod-b') else 'node2'}}}\n" for pod in pods)
    labs.up("-", stdin=text[: text.index("  - {name: pod-a")] + kept)
