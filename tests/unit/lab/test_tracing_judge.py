"""A trace beside `explain`: the VPC's checks at their hops, and every disagreement as a finding."""

from __future__ import annotations

from dataclasses import replace

import builders_cloud as clouds
import builders_trace as labs
import pytest

from labnet.explain.verdict import Component, Explanation
from labnet.lab.tracing_judge import disagreement, judged
from labnet.model.cloud import CloudState
from labnet.model.drops import DropCheck
from labnet.model.packet import Drop, FabricCheck, Path, Probe
from labnet.trace.predict import predict

TO_C = Probe("tcp", "10.10.2.6", "10.10.5.5", 33_000, 80, ident=7)
ARRIVED = replace(Path("a", "b", TO_C, True), answer="arrived")


def explained(*components: Component) -> Explanation:
    return Explanation("a", "b", "tcp", 80, components)


def part(kind: str, ok: bool, way: str = "there") -> Component:
    return Component(way, kind, f"{kind}-1", ok, "reason")  # type: ignore[arg-type]


def dropped(check: DropCheck) -> Path:
    return Path("a", "b", TO_C, False, drop=Drop(3, check, "text"))


REACHABLE = explained(part("node", True))


@pytest.mark.parametrize(
    ("path", "said", "words"),
    [
        (ARRIVED, REACHABLE, ""),
        (dropped("rp-filter"), REACHABLE, "reachable, yet it was dropped: rp-filter"),
        (dropped("not-listening"), REACHABLE, ""),
        (ARRIVED, explained(part("network-acl", False)), "stopped by network-acl network-acl-1: reason; yet it arrived"),
        (ARRIVED, explained(part("network-acl", False, "back")), "its answer is stopped by network-acl network-acl-1: reason; yet"),
        (replace(ARRIVED, answer="lost"), REACHABLE, "the answer comes back, yet it was lost"),
        (replace(ARRIVED, answer="lost"), explained(part("network-acl", False, "back")), ""),
        (dropped("acl"), explained(part("network-acl", False)), ""),
        (dropped("source-dest-check"), explained(part("eni", False)), ""),
        (dropped("acl"), explained(part("security-group", False)), "another check: acl"),
        (dropped("no-route"), explained(part("network-acl", False)), ""),
        (dropped("no-route"), explained(part("network-acl", False, "back")), "another check: no-route"),
        (dropped("netfilter"), explained(part("node", False)), ""),
        (dropped("acl"), explained(part("network-acl", False, "back")), "another check: acl"),
    ],
)
def test_disagreements(path: Path, said: Explanation, words: str) -> None:
    found = disagreement(path, said)
    assert (found is None) == (not words), found
    assert found is None or (words in found.text and found.kind == "explain")


def checks(cloud: CloudState, probe: Probe = TO_C, source: str = labs.POD_B) -> dict[str, list[FabricCheck]]:
    lab = labs.a_walk_lab(cloud=cloud)
    path = judged(predict(lab.world(), source, probe), cloud, None, lab.roles)
    return {hop.owner: list(hop.decision.fabric) for hop in path.hops if hop.decision is not None and hop.decision.fabric}


def test_the_checks_of_a_subnet_stand_where_the_packet_comes_into_the_vpc() -> None:
    said = checks(labs.a_lab_cloud())
    assert [(one.kind, one.id, one.way, one.verdict) for one in said["vpc"]] == [
        ("source-dest-check", "eni-node1-1", "egress", "passes"), ("security-group", "sg-open-vpc-1", "egress", "passes"),
        ("security-group", "sg-open-vpc-1", "ingress", "passes"), ("source-dest-check", "eni-node2-0", "ingress", "passes"),
    ]


def test_the_rule_of_a_group_and_the_route_are_named() -> None:
    rule = replace(clouds.tcp(80), id="sgr-0001")
    cloud = clouds.with_group(labs.a_lab_cloud(), "sg-web", ingress=(rule,), egress=(clouds.ALL_OUT,))
    said = checks(clouds.changed(cloud, "eni-node2-0", security_groups=("sg-web",)))["vpc"]
    assert ("security-group", "sg-web", "sgr-0001") in [(one.kind, one.id, one.rule) for one in said]
    out = checks(labs.a_lab_cloud(), Probe("tcp", "10.10.1.5", "8.8.8.8", 33_000, 80, ident=7), labs.POD_A)
    routes = [(one.id, one.rule, one.target) for one in out["vpc"] if one.kind == "route-table"]
    assert len(routes) == 1 and routes[0][1] == "0.0.0.0/0" and routes[0][2].startswith("igw-")
    assert [(one.kind, one.target) for one in out["igw"]] == [("gateway", f"10.10.0.10 → {labs.PUBLIC_1}")]


def test_what_stops_it_is_the_last_check() -> None:
    cloud = clouds.with_group(labs.a_lab_cloud(), "sg-shut", ingress=(), egress=(clouds.ALL_OUT,))
    said = checks(clouds.changed(cloud, "eni-node2-0", security_groups=("sg-shut",)))["vpc"]
    assert (said[-1].kind, said[-1].way, said[-1].verdict) == ("security-group", "ingress", "stops")


def test_the_checks_are_those_of_the_frame_not_of_the_plan() -> None:
    """Sent by the wrong ENI, it is that ENI's source check that is told."""
    lab = labs.a_walk_lab(cloud=labs.a_lab_cloud())
    lab.remove(labs.NODE_1, labs.Rule(1536, 2, src="10.10.2.6/32"))
    path = judged(predict(lab.world(), labs.POD_B, TO_C), labs.a_lab_cloud(), None, lab.roles)
    said = next(hop.decision.fabric for hop in path.hops if hop.owner == "vpc" and hop.decision is not None)
    assert [(one.kind, one.id, one.verdict) for one in said] == [("source-dest-check", "eni-node1-0", "stops")]
