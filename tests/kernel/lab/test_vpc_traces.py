"""A trace through NAT gateways and peerings: every hop told as it was seen, and a route that leads nowhere by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.session import Session

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel


def trace(labs: Labs, source: str, target: str, *, ok: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(labs.run("--lab", labs.name, "trace", source, target, "-o", "json", ok=ok).stdout)
    return found


def way(document: dict[str, Any]) -> list[str]:
    """The owners of the namespaces on the way, each once in a row."""
    owners = [hop["owner"] for hop in document["hops"]]
    return [owner for n, owner in enumerate(owners) if n == 0 or owners[n - 1] != owner]


def client(labs: Labs) -> Any:
    out = json.loads(labs.run("--lab", labs.name, "env", "-o", "json").stdout)
    env = out.get("env", out)
    return Session().create_client(
        "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def test_through_a_nat_gateway_until_it_is_deleted(labs: Labs) -> None:
    labs.up("vpc-nat-gateway")
    out = trace(labs, "app-a", "8.8.8.8")
    assert way(out) == ["app-a", "vpc", "nat-a", "vpc", "igw", "internet"] and out["delivered"]
    assert not [note for note in out.get("notes", []) if "predicted" in note or "cannot tell" in note or "agree" in note]
    public, private = (labs.status()["natGateways"][0][key] for key in ("publicIp", "ip"))
    told = [hop["decision"]["nat"] for hop in out["hops"] if hop.get("decision") and hop["decision"].get("nat")]
    assert [text.split(" → ")[1] for text in told] == [private, public]
    ec2 = client(labs)
    ec2.delete_nat_gateway(NatGatewayId=labs.status()["natGateways"][0]["id"])
    gone = trace(labs, "app-a", "8.8.8.8", ok=3)
    assert (gone["drop"]["check"], way(gone)) == ("blackhole", ["app-a", "vpc"])
    table = next(one for one in ec2.describe_route_tables()["RouteTables"] if {"Key": "Name", "Value": "private-a"} in one["Tags"])
    ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
    assert trace(labs, "app-a", "8.8.8.8", ok=3)["drop"]["check"] == "no-route"


def test_over_a_peering(labs: Labs) -> None:
    labs.up("vpc-peering")
    out = trace(labs, "l1", "m1")
    assert way(out) == ["l1", "vpc", "vpc.middle", "m1"] and out["delivered"]
    assert not [note for note in out.get("notes", []) if "predicted" in note or "cannot tell" in note or "agree" in note]
    assert {hop["frame"]["ttl"] for hop in out["hops"]} == {64}
    stopped = trace(labs, "l1", "r1", ok=3)
    assert (way(stopped)[-1], stopped["drop"]["check"]) == ("vpc.middle", "no-route")
