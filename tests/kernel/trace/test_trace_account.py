"""Real packets: the kernel's own account of rules and flows, identity through NAT both ways, and changes that really help."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import builders_cloud as clouds
import builders_trace as labs
import pytest

from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import IptRule, KernelObject, NftTable, Route, Rule
from labnet.model.packet import Decision, FlowTuple, Hop, Path
from labnet.ports import PacketSign
from labnet.trace.render.text import render_text
from labnet.trace.run import Patience, TraceRequest, TraceResult, trace

pytestmark = pytest.mark.kernel

NAMES = iter(range(1_000))
PATIENCE = Patience(arrival_s=3.0, answer_s=0.3)
EVERYTHING = ("nft -s list ruleset", "iptables-nft-save", "iptables-legacy-save", "cat /proc/sys/net/netfilter/nf_log/2")


@pytest.fixture(scope="module")
def lab() -> Iterator[labs.WalkLab]:
    name = f"lnt-ta{os.getpid()}-{next(NAMES)}"
    kernel = LinuxKernel()
    made = labs.WalkLab(kernel, name)
    try:
        yield labs.a_walk_lab("1.23", lab=made, cloud=labs.a_lab_cloud(name))
    finally:
        kernel.remove_netns(list(made.roles))
        kernel.close()


def go(lab: labs.WalkLab, source: str, target: str, target_netns: str = "", **fields: object) -> TraceResult:
    request = TraceRequest(
        lab.at(source), source.removeprefix(f"{labs.LAB}-"), target, target, target_netns=lab.at(target_netns) if target_netns else "",
    )
    return trace(lab.kernel, lab.world, replace(request, **fields), PATIENCE)  # type: ignore[arg-type]


@contextmanager
def with_objects(lab: labs.WalkLab, netns: str, *objects: KernelObject) -> Iterator[None]:
    lab.add(netns, *objects)
    try:
        yield
    finally:
        lab.remove(netns, *objects)


def filters(lab: labs.WalkLab, netns: str) -> list[str]:
    """What users see of a namespace's packet filter, without counts."""
    said = [lab.kernel.run(lab.at(netns), command.split()).stdout for command in EVERYTHING]
    return [line.split(" [")[0] for text in said for line in text.splitlines() if not line.startswith("#")]


def at(path: Path, owner: str) -> Decision:
    """The decision of a node for what came in."""
    found = next(hop.decision for hop in path.hops if hop.owner == owner and hop.decision is not None and hop.decision.matched)
    assert found is not None
    return found


def hop_out(path: Path, owner: str) -> Hop:
    return next(hop for hop in path.hops if hop.owner == owner and hop.direction == "out")


# ---- rules ----


@pytest.mark.parametrize("protocol", ["icmp", "tcp", "udp"])
def test_every_rule_that_is_foreseen_is_named_by_the_kernel_and_no_other(lab: labs.WalkLab, protocol: str) -> None:
    path = go(lab, labs.POD_B, "8.8.8.8", labs.INTERNET, protocol=protocol).path
    matched = [rule for hop in path.hops if hop.decision is not None for rule in hop.decision.matched]
    assert {rule.backend for rule in matched} >= {"nft"} and len(matched) > 10
    assert [rule for rule in matched if rule.traced is not True] == [] and path.findings == ()
    assert {rule.family for rule in matched} >= {"ip", "netdev"}


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_both_back_ends_of_iptables_are_followed_and_nothing_stays(lab: labs.WalkLab, backend: str) -> None:
    rules = [IptRule("filter", "FORWARD", spec, backend=backend) for spec in ("-p udp -j ACCEPT", "-p icmp -j ACCEPT")]  # type: ignore[arg-type]
    with with_objects(lab, labs.NODE_2, *rules):
        before = [filters(lab, netns) for netns in (labs.NODE_1, labs.NODE_2, labs.VPC)]
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
        assert [filters(lab, netns) for netns in (labs.NODE_1, labs.NODE_2, labs.VPC)] == before
    said = [rule for rule in at(path, "node2").matched if rule.chain == "FORWARD"]
    assert [(rule.number, rule.verdict, rule.traced) for rule in said] == [(2, "ACCEPT", True)], render_text(path, verbose=True)
    assert said[0].backend == ("legacy" if backend == "legacy" else "iptables-nft")
    assert path.findings == ()


def test_a_rule_that_the_walk_cannot_judge_is_told_by_the_kernel(lab: labs.WalkLab) -> None:
    with with_objects(lab, labs.NODE_2, IptRule("filter", "FORWARD", "-m length --length 1:9000 -j ACCEPT", backend="nft")):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    assert path.delivered and [one.kind for one in path.findings] == ["netfilter"]
    assert "filter FORWARD, rule 1: -m length --length 1:9000 -j ACCEPT" in path.findings[0].text


def test_a_drop_that_the_walk_cannot_judge_is_named_by_the_kernel(lab: labs.WalkLab) -> None:
    with with_objects(lab, labs.NODE_2, IptRule("filter", "FORWARD", "-m length --length 1:9000 -j DROP", backend="nft")):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    assert path.drop is not None and path.drop.check == "netfilter", render_text(path)
    assert "who dropped it in node2: filter FORWARD, rule 1: -m length --length 1:9000 -j DROP" in path.drop.text
    assert path.hops[-1].owner == "node2" and path.drop.hop == len(path.hops)


def test_a_policy_that_drops_is_named_by_the_kernel(lab: labs.WalkLab) -> None:
    with with_objects(lab, labs.NODE_2, IptRule("filter", "FORWARD", "-p udp -j ACCEPT", backend="nft")):
        lab.kernel.run(lab.at(labs.NODE_2), ["iptables-nft", "-P", "FORWARD", "DROP"])
        try:
            path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
        finally:
            lab.kernel.run(lab.at(labs.NODE_2), ["iptables-nft", "-P", "FORWARD", "ACCEPT"])
    assert path.drop is not None and path.drop.check == "netfilter", render_text(path)
    assert path.drop.text.endswith("filter FORWARD: its policy is DROP")
    assert not [one for one in path.findings if one.kind == "netfilter"]


def test_a_drop_by_a_users_own_table_is_confirmed(lab: labs.WalkLab) -> None:
    body = "\n  chain f {\n    type filter hook forward priority filter; policy accept;\n    ip daddr 10.10.5.5 drop\n  }\n"
    with with_objects(lab, labs.NODE_2, NftTable("inet", "user", body)):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    assert path.drop is not None and path.drop.check == "netfilter" and path.drop.counterfactual is not None
    last = at(path, "node2").matched[-1]
    assert (last.table, last.chain, last.traced) == ("user", "f", True)
    assert path.drop.counterfactual.change == "the nft table inet user gone from node2"


def test_a_trace_that_breaks_off_leaves_no_table(lab: labs.WalkLab) -> None:
    before = filters(lab, labs.NODE_1)
    with pytest.raises(RuntimeError), lab.kernel.follow_rules({lab.at(labs.NODE_1): ["eth0"]}, PacketSign(1, 1, 1, 4)):
        assert "labnet_trace" in lab.kernel.run(lab.at(labs.NODE_1), ["nft", "list", "tables"]).stdout
        raise RuntimeError
    assert filters(lab, labs.NODE_1) == before


def test_a_trace_whose_process_dies_leaves_no_table(lab: labs.WalkLab) -> None:
    """Its sockets end with it; the kernel takes the table of a socket away."""
    netns = lab.at(labs.NODE_1)
    program = (
        "import os, sys; from labnet.kernel.door import LinuxKernel; from labnet.ports import PacketSign; kernel = LinuxKernel();"
        "kernel.learn({sys.argv[1]: int(sys.argv[2])});"
        "kept = kernel.follow_rules({sys.argv[1]: ['eth0']}, PacketSign(1, 1, 1, 4)).__enter__();"
        "print(kernel.run(sys.argv[1], ['nft', 'list', 'tables']).stdout, flush=True); os._exit(9)"
    )
    kernel = lab.kernel
    assert isinstance(kernel, LinuxKernel)
    command = [sys.executable, "-c", program, netns, str(kernel.inode(netns))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9 and "ip labnet_trace" in done.stdout and "netdev labnet_trace" in done.stdout, done.stderr
    assert _eventually(lambda: "labnet_trace" not in kernel.run(netns, ["nft", "list", "tables"]).stdout)


def test_the_table_of_a_trace_is_no_drift(lab: labs.WalkLab) -> None:
    before = lab.kernel.observe(lab.at(labs.NODE_1))
    with lab.kernel.follow_rules({lab.at(labs.NODE_1): []}, PacketSign(1, 1, 1, 4)):
        assert lab.kernel.observe(lab.at(labs.NODE_1)).all(NftTable) == before.all(NftTable)


# ---- lookups ----


def test_the_kernels_lookup_names_table_and_route(lab: labs.WalkLab) -> None:
    path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    said = at(path, "node1")
    assert said.kernel is not None and (said.kernel.agrees, said.kernel.table, said.kernel.iif) == (True, 2, labs.VETH_B)
    assert said.kernel.route == said.route == "default via 10.10.0.1 dev eth1"
    answer = lab.kernel.route_get(lab.at(labs.NODE_1), "10.10.5.5", "10.10.2.6", labs.VETH_B, matched=True)
    assert answer.route is not None and (answer.route.dst, answer.table) == ("default", 2)


@contextmanager
def with_rule(lab: labs.WalkLab, netns: str, *words: str) -> Iterator[None]:
    """A policy rule as somebody adds it by hand."""
    lab.kernel.run(lab.at(netns), ["ip", "rule", "add", "prio", "100", *words])
    try:
        yield
    finally:
        lab.kernel.run(lab.at(netns), ["ip", "rule", "del", "prio", "100"])


def test_a_rule_that_ends_the_packet_is_named(lab: labs.WalkLab) -> None:
    with with_rule(lab, labs.NODE_1, "to", "10.10.5.5", "unreachable"):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    assert path.drop is not None and path.drop.check == "no-route" and path.findings == ()
    assert path.drop.text == "a policy rule of node1 ends it: 100: from all to 10.10.5.5 unreachable"
    assert path.drop.counterfactual is not None
    assert path.drop.counterfactual.change == "the rule gone on node1: 100: from all to 10.10.5.5 unreachable"


def test_a_suppressed_default_route_is_passed_over_as_the_kernel_does(lab: labs.WalkLab) -> None:
    with with_rule(lab, labs.NODE_1, "from", "10.10.2.6", "lookup", "main", "suppress_prefixlength", "19"):
        path = go(lab, labs.POD_B, "8.8.8.8", labs.INTERNET).path
        near = go(lab, labs.POD_B, "10.10.1.5", labs.POD_A).path
    assert path.delivered and near.delivered and path.findings == () == near.findings
    tried = {rule.priority: rule.reason for rule in at(path, "node1").rules}
    assert tried[100].startswith("suppressed: default via 10.10.0.1 dev eth0")


def test_a_rule_that_the_walk_does_not_know_is_a_finding(lab: labs.WalkLab) -> None:
    """Groups of links are not read: the kernel passes the route over and goes on with rule 1536, the walk takes it."""
    with with_rule(lab, labs.NODE_1, "to", "10.10.5.5", "lookup", "main", "suppress_ifgroup", "0"):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    assert "lookup" in [one.kind for one in path.findings]
    assert any("cannot tell what this policy rule does" in note for note in path.notes)
    said = at(path, "node1").kernel
    assert said is not None and (said.agrees, said.table) == (False, 2)


@pytest.mark.parametrize("words", [
    ("to", "10.10.5.5", "goto", "32766"), ("ipproto", "udp", "lookup", "main"), ("ipproto", "udp", "dport", "7", "lookup", "main"),
    ("not", "to", "10.9.9.9", "lookup", "main"), ("uidrange", "0-0", "lookup", "main"),
])  # fmt: skip
def test_rules_with_rare_conditions_are_walked_as_the_kernel_does(lab: labs.WalkLab, words: tuple[str, ...]) -> None:
    with with_rule(lab, labs.NODE_1, *words):
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C, protocol="udp").path
    assert "lookup" not in [one.kind for one in path.findings], path.findings
    said = at(path, "node1").kernel
    assert said is not None and (said.agrees, said.table) == (True, 254)
    assert path.drop is not None and path.drop.check == "source-dest-check"


# ---- flows and identity ----


def test_a_flow_is_told_with_both_tuples_behind_a_nodes_masquerade(lab: labs.WalkLab) -> None:
    path = go(lab, labs.POD_B, "8.8.8.8", labs.INTERNET, protocol="icmp").path
    said = at(path, "node1").conntrack
    assert said is not None and said.before is None and said.after is not None
    assert (said.after.original.src, said.after.original.dst) == ("10.10.2.6", "8.8.8.8")
    assert (said.after.reply.src, said.after.reply.dst) == ("8.8.8.8", "10.10.0.10") and "[SNAT]" in said.after.text
    assert said.after.mark == 0x80
    gateway = at(path, "igw").conntrack
    assert gateway is not None and gateway.after is not None and gateway.after.reply.dst == labs.PUBLIC_1


def test_a_flow_that_is_known_already_is_told_before(lab: labs.WalkLab) -> None:
    first = go(lab, labs.POD_A, "10.10.5.5", labs.POD_C, protocol="icmp", ident=0x0707_0707).path
    again = go(lab, labs.POD_A, "10.10.5.5", labs.POD_C, protocol="icmp", ident=0x0707_0707).path
    said = at(first, "node2").conntrack, at(again, "node2").conntrack
    assert said[0] is not None and said[1] is not None
    assert said[0].before is None and said[1].before is not None and said[1].before.original == FlowTuple("10.10.1.5", "10.10.5.5", 0x0707)


def listening(lab: labs.WalkLab, netns: str, kind: int, address: str, port: int) -> socket.socket:
    made = lab.kernel.open_socket(lab.at(netns), socket.AF_INET, kind)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def test_a_syn_is_followed_through_two_translations_and_its_answer_back(lab: labs.WalkLab) -> None:
    with listening(lab, labs.INTERNET, socket.SOCK_STREAM, "8.8.8.8", 8_080):
        path = go(lab, labs.POD_B, "8.8.8.8", labs.INTERNET, protocol="tcp", port=8_080).path
    assert path.delivered and path.answer == "arrived", render_text(path)
    last = path.hops[-1].frame
    assert last is not None and last.src == labs.PUBLIC_1 and [hop.owner for hop in path.hops][-1] == "internet"
    assert path.symmetry is not None and path.symmetry.symmetric, path.symmetry


def test_a_syn_is_followed_through_a_hand_made_dnat(lab: labs.WalkLab) -> None:
    rule = IptRule("nat", "PREROUTING", "-d 10.10.0.30/32 -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.10.5.5:81", backend="nft")
    with with_objects(lab, labs.NODE_2, rule):
        with listening(lab, labs.POD_C, socket.SOCK_STREAM, "0.0.0.0", 81):
            path = go(lab, labs.POD_A, "10.10.0.30", labs.NODE_2, protocol="tcp", port=30_080).path
        refused = go(lab, labs.POD_A, "10.10.0.30", labs.NODE_2, protocol="tcp", port=30_080).path
    assert path.delivered and path.answer == "arrived" and path.hops[-1].owner == "pod-c", render_text(path)
    assert at(path, "node2").nat == "DNAT 10.10.0.30:30080 → 10.10.5.5:81"
    assert path.symmetry is not None and path.symmetry.symmetric
    assert refused.drop is not None and refused.drop.check == "not-listening" and refused.hops[-1].owner == "pod-c"
    flow = at(path, "node2").conntrack
    assert flow is not None and flow.after is not None and "[DNAT]" in flow.after.text


def answered(lab: labs.WalkLab, netns: str, port: int) -> Callable[[], None]:
    """A server that answers one datagram with words of its own; what ends it."""
    server = listening(lab, netns, socket.SOCK_DGRAM, "0.0.0.0", port)
    server.settimeout(10)

    def serve() -> None:
        try:
            _, asker = server.recvfrom(2_000)
            server.sendto(b"nothing of what was asked", asker)
        except OSError:
            pass

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> None:
        thread.join(timeout=15)
        server.close()

    return end


def test_an_answer_without_anything_of_the_probe_is_known(lab: labs.WalkLab) -> None:
    end = answered(lab, labs.POD_C, 5_353)
    try:
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C, protocol="udp", port=5_353).path
    finally:
        end()
    assert path.delivered and path.answer == "arrived", render_text(path)


def test_an_answer_by_another_eni_is_not_symmetric() -> None:
    """Without rule 1536 node1 answers for pod-b by eth0, whose source check is off; the question came by eth1."""
    name = f"lnt-ta{os.getpid()}-{next(NAMES)}"
    kernel = LinuxKernel()
    made = labs.WalkLab(kernel, name)
    try:
        lab = labs.a_walk_lab("1.23", lab=made, cloud=clouds.changed(labs.a_lab_cloud(name), "eni-node1-0", source_dest_check=False))
        lab.set_sysctl(labs.NODE_1, "net/ipv4/conf/eth1/rp_filter", "2")
        lab.remove(labs.NODE_1, *(rule for rule in kernel.observe(lab.at(labs.NODE_1)).all(Rule) if rule.priority == 1536))
        for _ in range(3):
            path = go(lab, labs.POD_C, "10.10.2.6", labs.POD_B).path
            if path.answer == "arrived":
                break
    finally:
        kernel.remove_netns(list(made.roles))
        kernel.close()
    assert path.delivered and path.answer == "arrived", render_text(path)
    assert path.symmetry is not None and not path.symmetry.symmetric
    assert path.symmetry.text == "node1: the way there was by eth1, the way back is by eth0"


# ---- what helps ----


def test_the_change_that_is_told_really_helps(lab: labs.WalkLab) -> None:
    rules = [rule for rule in lab.kernel.observe(lab.at(labs.NODE_1)).all(Rule) if rule.priority == 1536]
    lab.remove(labs.NODE_1, *rules)
    try:
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
        assert path.drop is not None and path.drop.counterfactual is not None
        assert path.drop.counterfactual.change == "a rule on node1: from 10.10.2.6 lookup 2"
        with with_objects(lab, labs.NODE_1, Rule(511, 2, src="10.10.2.6/32")):
            assert go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path.delivered
    finally:
        lab.add(labs.NODE_1, *rules)


def test_a_strict_reverse_path_is_helped_by_the_loose_one(lab: labs.WalkLab) -> None:
    route = Route("10.10.2.6/32", labs.VETH_C, scope="link")
    lab.set_sysctl(labs.NODE_2, "net/ipv4/conf/eth0/rp_filter", "1")
    try:
        with with_objects(lab, labs.NODE_2, route):
            path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
            assert path.drop is not None and path.drop.check == "rp-filter" and path.drop.counterfactual is not None, render_text(path)
            assert path.drop.counterfactual.change == "rp_filter=2 on eth0 of node2"
            assert "net.ipv4.conf.eth0.rp_filter = 1" in path.drop.state
            lab.set_sysctl(labs.NODE_2, "net/ipv4/conf/eth0/rp_filter", "2")
            assert _eventually(lambda: go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path.hops[-1].owner == "pod-c")
    finally:
        lab.set_sysctl(labs.NODE_2, "net/ipv4/conf/eth0/rp_filter", "2")


def _eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(3):
        if holds():
            return True
        time.sleep(0.5)
    return False
