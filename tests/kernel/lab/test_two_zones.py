"""The scenario vpc-two-zones as users see it: a zone fails, packets between zones are lost, `trace` and `explain` name it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

A, B = "us-west-2a", "us-west-2b"
INTERNET = "8.8.8.8"


def asked(labs: Labs, *words: str, ok: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(labs.run("--lab", labs.name, *words, "-o", "json", ok=ok).stdout)
    return found


def test_a_zone_fails_and_only_who_depends_on_it_is_cut_off(labs: Labs) -> None:
    labs.up("vpc-two-zones")
    for node in ("app-b", "thrifty-b"):
        assert asked(labs, "trace", node, INTERNET)["delivered"]
    said = labs.run("--lab", labs.name, "fault", "zone", A)
    assert A in said.stderr + said.stdout and "labnet fault clear" in said.stderr + said.stdout
    own = asked(labs, "trace", "app-b", INTERNET)
    assert own["delivered"], "its NAT gateway is in its own zone"
    shared = asked(labs, "trace", "thrifty-b", INTERNET, ok=3)
    assert (shared["drop"]["check"], shared["hops"][-1]["owner"]) == ("zone-failure", "vpc")
    assert A in shared["drop"]["text"] and not [note for note in shared.get("notes", []) if "predicted" in note]
    assert asked(labs, "trace", "app-a", "app-b", ok=3)["drop"]["check"] == "zone-failure"
    assert asked(labs, "explain", "app-b", INTERNET)["reachable"]
    why = asked(labs, "explain", "thrifty-b", INTERNET, ok=3)
    assert (why["explanation"]["kind"], why["explanation"]["id"]) == ("zone", A)
    assert asked(labs, "explain", "app-a", "app-b", ok=3)["explanation"]["id"] == A
    listed = asked(labs, "fault", "list")
    assert [one["id"] for one in listed["zones"]] == [A, f"{A}:{B}"]
    assert A in labs.run("--lab", labs.name, "fault", "list").stdout
    labs.run("--lab", labs.name, "fault", "clear", A)
    for node in ("app-a", "app-b", "thrifty-b"):
        assert asked(labs, "trace", node, INTERNET)["delivered"], node
    labs.run("--lab", labs.name, "check")
    reasons = [json.loads(line)["reason"] for line in labs.run("--lab", labs.name, "events", "-o", "json").stdout.splitlines()]
    assert reasons.count("ZoneFailed") == 1 and reasons.count("ZoneBack") == 1


def test_nothing_is_launched_in_a_failed_zone(labs: Labs) -> None:
    labs.up("vpc-two-zones")
    env = asked(labs, "env")
    env = env.get("env", env)
    ec2 = Session().create_client(
        "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    subnets = {one["CidrBlock"]: one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}
    labs.run("--lab", labs.name, "fault", "zone", A)
    launch = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    with pytest.raises(ClientError) as refused:
        ec2.run_instances(SubnetId=subnets["10.10.10.0/24"], **launch)
    assert refused.value.response["Error"]["Code"] == "InsufficientInstanceCapacity" and A in str(refused.value)
    ec2.run_instances(SubnetId=subnets["10.10.11.0/24"], **launch)
    labs.run("--lab", labs.name, "fault", "clear", "--all")
    ec2.run_instances(SubnetId=subnets["10.10.10.0/24"], **launch)


def test_loss_between_zones_is_named(labs: Labs) -> None:
    labs.up("vpc-two-zones")
    labs.run("--lab", labs.name, "fault", "link", "--between", B, A, "--loss", "100%")
    lost = asked(labs, "trace", "app-a", "app-b", ok=3)
    assert lost["drop"]["check"] == "zone-loss" and A in lost["drop"]["text"] and B in lost["drop"]["text"]
    assert asked(labs, "explain", "app-a", "app-b", ok=3)["explanation"]["kind"] == "zone"
    assert asked(labs, "trace", "app-a", INTERNET)["delivered"], "nothing crosses to the other zone"
    assert asked(labs, "trace", "thrifty-b", INTERNET, ok=3)["drop"]["check"] == "zone-loss"
    labs.run("--lab", labs.name, "fault", "link", "--loss", "0.0001%")
    labs.run("--lab", labs.name, "fault", "clear", f"{A}:{B}")
    rare = asked(labs, "trace", "app-a", "app-b")
    assert rare["delivered"] and [note for note in rare["notes"] if "chance decides" in note]
    assert not [note for note in rare["notes"] if "cannot tell" in note]
    parts = asked(labs, "explain", "app-a", "app-b")["components"]
    assert next(one["reason"] for one in parts if one["kind"] == "zone").startswith("0.0001 %")


def test_what_cannot_be_is_refused_by_name(labs: Labs) -> None:
    labs.up("vpc-two-zones")

    def refused(*words: str, code: int) -> str:
        return labs.run("--lab", labs.name, "fault", *words, ok=code).stderr

    assert "us-west-2z" in refused("zone", "us-west-2z", code=5)
    assert "us-west-2a, us-west-2b" in refused("link", "--between", A, "eu-west-1a", "--loss", "1", code=5)
    assert "no pair" in refused("link", "--between", A, A, "--loss", "1", code=2)
    assert "150" in refused("link", "--loss", "150%", code=2)
    assert "lots" in refused("link", "--loss", "lots", code=2)
    assert "labnet fault list" in refused("clear", "us-west-2c", code=5)
