"""What would have let a dropped packet pass: only what was walked is claimed, the smallest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import builders_cloud as clouds
import builders_trace as labs
import pytest

from labnet.model.cloud import CloudState
from labnet.model.netstate import IptPolicy, IptRule, LinkUp, Neigh, NftTable, Route, Rule
from labnet.model.packet import Drop, Path, Probe
from labnet.trace.cloud_changes import cloud_changes
from labnet.trace.predict import predict
from labnet.trace.remedy import with_remedy
from labnet.trace.render.json import render_json
from labnet.trace.render.text import render_text

TO_C = Probe("icmp", "10.10.2.6", "10.10.5.5", ident=7)
TO_THE_INTERNET = replace(TO_C, src="10.10.1.5", dst="8.8.8.8")


def told(lab: labs.WalkLab, source: str = labs.POD_B, probe: Probe = TO_C, cloud: CloudState | None = None) -> Path:
    world = lab.world()
    path = predict(world, source, probe)
    assert path.drop is not None
    return with_remedy(world, source, path, (lambda seen: cloud_changes(cloud, seen)) if cloud is not None else None)


def remedy(path: Path) -> str:
    assert path.drop is not None and path.drop.counterfactual is not None and path.drop.counterfactual.tried > 0
    return path.drop.counterfactual.change


def no_rule(lab: labs.WalkLab) -> None:
    lab.remove(labs.NODE_1, Rule(1536, 2, src="10.10.2.6/32"))


def strict(lab: labs.WalkLab) -> None:
    lab.add(labs.NODE_2, Route("10.10.2.6/32", labs.VETH_C, scope="link"))
    lab.set_sysctl(labs.NODE_2, "net/ipv4/conf/eth0/rp_filter", "1")


def no_forwarding(lab: labs.WalkLab) -> None:
    lab.set_sysctl(labs.NODE_2, "net/ipv4/ip_forward", "0")


def iptables_drop(lab: labs.WalkLab) -> None:
    lab.add(labs.NODE_2, IptRule("filter", "FORWARD", "-p udp -j DROP"), IptRule("filter", "FORWARD", "-p icmp -j DROP"))


def nft_drop(lab: labs.WalkLab) -> None:
    body = "\n  chain f { type filter hook forward priority filter; policy accept; ip daddr 10.10.5.5 drop }\n"
    lab.add(labs.NODE_2, NftTable("inet", "user", body))


def blackhole(lab: labs.WalkLab) -> None:
    lab.add(labs.NODE_1, Route("10.10.5.5/32", table=2, type="blackhole"))


def wrong_neighbour(lab: labs.WalkLab) -> None:
    lab.add(labs.NODE_2, Neigh(labs.VETH_C, "10.10.5.5", "02:de:ad:be:ef:00"))


def no_route_to_the_pod(lab: labs.WalkLab) -> None:
    lab.remove(labs.NODE_2, Route("10.10.5.5/32", labs.VETH_C, scope="link"))


def iptables_policy(lab: labs.WalkLab) -> None:
    lab.add(labs.NODE_2, IptPolicy("filter", "FORWARD", "DROP"))


def pod_down(lab: labs.WalkLab) -> None:
    lab.remove(labs.POD_C, LinkUp("eth0"))


@pytest.mark.parametrize(
    ("broken", "check", "change"),
    [
        (no_rule, "source-dest-check", "a rule on node1: from 10.10.2.6 lookup 2"),
        (strict, "rp-filter", "rp_filter=2 on eth0 of node2"),
        (no_forwarding, "forwarding-off", "net.ipv4.ip_forward=1 on node2"),
        (iptables_drop, "netfilter", "this rule gone from filter FORWARD of node2: -p icmp -j DROP"),
        (nft_drop, "netfilter", "the nft table inet user gone from node2"),
        (iptables_policy, "netfilter", "the policy of filter FORWARD of node2 ACCEPT"),
        (pod_down, "neighbour", "eth0 of pod-c up"),
        (blackhole, "blackhole", "the route gone on node1: blackhole 10.10.5.5 table 2"),
        (wrong_neighbour, "neighbour", f"the neighbour 10.10.5.5 on {labs.VETH_C} of node2 at aa:00:00:00:00:0c (it is at 02:de:ad:be:ef:00)"),
        (no_route_to_the_pod, "neighbour", f"a route on node2: 10.10.5.5 dev {labs.VETH_C} scope link"),
    ],
)
def test_the_change_that_lets_it_pass(broken: Callable[[labs.WalkLab], None], check: str, change: str) -> None:
    lab = labs.a_walk_lab()
    assert predict(lab.world(), labs.POD_B, TO_C).delivered
    broken(lab)
    path = told(lab)
    assert path.drop is not None and (path.drop.check, remedy(path)) == (check, change)
    assert path.drop.counterfactual is not None and path.drop.counterfactual.verdict == f"would pass with {change}"


def test_ttl_and_length_are_changes_of_the_packet() -> None:
    lab = labs.a_walk_lab()
    assert remedy(told(lab, probe=replace(TO_C, ttl=2))) == "a TTL of 64"
    assert remedy(told(lab, labs.POD_A, replace(TO_THE_INTERNET, length=2000))) == "an MTU of 1500 at the sender: packets of 1500 bytes"


def group_cloud(direction: str) -> CloudState:
    cloud = clouds.with_group(labs.a_lab_cloud(), "sg-closed", ingress=(clouds.ALL_IN,), egress=(clouds.ALL_OUT,))
    group = replace(cloud.security_groups["sg-closed"], **{direction: ()})  # type: ignore[arg-type]
    cloud = replace(cloud, security_groups={**cloud.security_groups, "sg-closed": group})
    return clouds.changed(cloud, "eni-node1-1" if direction == "egress" else "eni-node2-0", security_groups=("sg-closed",))


@pytest.mark.parametrize(
    ("direction", "change"),
    [
        ("egress", "an outbound rule of sg-closed: tcp 80 to 10.10.5.5"), ("ingress", "an inbound rule of sg-closed: tcp 80 from 10.10.2.6"),
    ],
)
def test_a_rule_of_a_group_is_tried_on_a_plan_of_the_cloud(direction: str, change: str) -> None:
    cloud = group_cloud(direction)
    path = told(labs.a_walk_lab(cloud=cloud), probe=Probe("tcp", "10.10.2.6", "10.10.5.5", 33_000, 80, ident=9), cloud=cloud)
    assert path.drop is not None and (path.drop.check, remedy(path)) == (f"security-group-{direction}", change)


def test_the_source_check_of_the_eni_is_tried_where_no_rule_helps() -> None:
    cloud = labs.a_lab_cloud()
    path = told(labs.a_walk_lab(cloud=cloud), labs.NODE_2, Probe("icmp", "10.77.0.1", "10.10.1.5", ident=7), cloud)
    assert path.drop is not None and path.drop.check == "source-dest-check"
    assert remedy(path) == "the source/destination check of eni-node2-0 off"


def test_an_elastic_ip_is_tried_at_the_internet_gateway() -> None:
    cloud = labs.a_lab_cloud()
    lab = labs.a_walk_lab(cloud=cloud)
    path = told(lab, labs.NODE_2, Probe("icmp", "10.10.0.30", "8.8.8.8", ident=7), cloud)
    assert path.drop is not None and (path.drop.check, remedy(path)) == ("no-route", "an Elastic IP for 10.10.0.30")


def test_two_causes_have_no_single_change() -> None:
    lab = labs.a_walk_lab()
    no_forwarding(lab)
    iptables_drop(lab)
    path = told(lab)
    assert remedy(path) == "" and path.drop is not None and path.drop.counterfactual is not None
    assert path.drop.counterfactual.verdict == f"no single change of the {path.drop.counterfactual.tried} that were tried lets it pass"


def test_what_was_not_predicted_has_no_counterfactual() -> None:
    lab = labs.a_walk_lab()
    world = lab.world()
    path = replace(predict(world, labs.POD_B, TO_C), delivered=False, drop=Drop(3, "acl", "counted"))
    kept = with_remedy(world, labs.POD_B, path)
    assert kept.drop is not None and kept.drop.counterfactual is None


def test_the_state_that_caused_it_is_told() -> None:
    lab = labs.a_walk_lab()
    strict(lab)
    path = told(lab)
    assert path.drop is not None and "net.ipv4.conf.eth0.rp_filter = 1" in path.drop.state
    assert path.drop.state[0].startswith("node2 (") and any("rule 512" in line for line in path.drop.state)
    document = render_json(path)["drop"]
    assert document["counterfactual"]["change"] == "rp_filter=2 on eth0 of node2" and document["state"] == list(path.drop.state)
    assert render_text(path).splitlines()[-1] == "would pass with rp_filter=2 on eth0 of node2"


def test_the_world_itself_is_not_changed() -> None:
    lab = labs.a_walk_lab()
    no_rule(lab)
    world = lab.world()
    before = predict(world, labs.POD_B, TO_C)
    with_remedy(world, labs.POD_B, before)
    assert predict(world, labs.POD_B, TO_C) == before
