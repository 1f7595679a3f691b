"""Documents of traces and the scenes around them, as a lab makes them: what the pictures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

Doc = dict[str, Any]

LAB = "lnt-face"
POD2, NODE1, VPC, NODE2, POD3 = f"{LAB}-pod2", f"{LAB}-node1", f"{LAB}-vpc", f"{LAB}-node2", f"{LAB}-pod3"
NAT, IGW, INTERNET = f"{LAB}-nat.0a1", f"{LAB}-igw", f"{LAB}-internet"
ENIS = {"node1": ("eni-0000aaaaaaaaaaaa1", "eni-0000aaaaaaaaaaaa2"), "node2": ("eni-0000bbbbbbbbbbbb1", "eni-0000bbbbbbbbbbbb2")}
PORT = {eni: f"p{eni[-13:]}" for enis in ENIS.values() for eni in enis}
NAT_ID, NAT_PORT = "nat-0a1", "nnat-0a1"
HOST_LINK = {"pod1": "enice0906292e2", "pod2": "enibd2348b4f67", "pod3": "eni49778cadcf1"}


def a_frame(src: str, dst: str, macs: tuple[str, str] = ("02:00:00:00:00:01", "02:00:00:00:00:02"), ttl: int = 64, **more: Any) -> Doc:
    frame = {
        "srcMac": macs[0], "dstMac": macs[1], "src": src, "dst": dst, "protocol": "icmp", "srcPort": 0, "dstPort": 0, "ttl": ttl,
        "length": 44, "mark": None,
    }
    return {**frame, **more}


def a_decision(**more: Any) -> Doc:
    decision: Doc = {
        "rule": None, "table": None, "route": "", "neighbour": "", "netfilter": [], "nat": "", "check": "", "confirmed": None, "rules": [],
        "routes": [], "kernel": None, "matched": [], "conntrack": None, "mark": {"in": None, "out": None}, "rpFilter": None,
        "ttl": {"in": None, "out": None}, "mtu": None, "fabric": [],
    }
    return {**decision, **more}


def a_trace(hops: Sequence[tuple[str, str, str, str, Doc | None, Doc | None]], source: str = "default/pod2", target: str = "default/pod3",
            **more: Any) -> Doc:
    """`hops` are (namespace, owner, link, direction, frame, decision)."""
    document: Doc = {
        "apiVersion": "labnet/v1", "kind": "Trace", "from": source, "to": target,
        "probe": {"protocol": "icmp", "src": "10.10.0.9", "dst": "10.10.0.7", "srcPort": 0, "dstPort": 0, "ident": 7, "ttl": 64, "length": 44},
        "delivered": True, "drop": None, "lost": 0, "notes": [], "answer": "arrived", "answerDrop": None, "findings": [], "back": None,
        "symmetric": None,
        "hops": [
            {
                "n": n, "netns": netns, "owner": owner, "link": link, "direction": direction,
                "time_ns": 1_000 * n if frame else None, "frame": frame, "decision": decision,
            }
            for n, (netns, owner, link, direction, frame, decision) in enumerate(hops, 1)
        ],
    }
    return {**document, **more}


def across_nodes() -> Doc:
    """pod2 on node1's eth1 to pod3 on node2's eth0: eight hops, delivered."""
    end = ("10.10.0.9", "10.10.0.7")
    policy = a_decision(
        table=2, route="default via 10.10.0.1 dev eth1", neighbour="10.10.0.1 dev eth1 lladdr 0e:00:00:00:00:01 (by ARP)", confirmed=True,
        rule={"priority": 1536, "text": "from 10.10.0.9 lookup 2"},
        rules=[
            {"priority": 0, "text": "from all lookup local", "won": False, "reason": "table local has no route"},
            {"priority": 1536, "text": "from 10.10.0.9 lookup 2", "won": True, "reason": ""},
        ],
        routes=[{"table": 2, "text": "default via 10.10.0.1 dev eth1", "won": True, "reason": ""}],
        kernel={"agrees": True, "table": 2, "route": "default via 10.10.0.1 dev eth1", "error": 0, "mark": 0, "iif": HOST_LINK["pod2"]},
    )
    fabric = a_decision(table=254, route="10.10.0.7 dev p scope link", fabric=[
        {
            "kind": "security-group", "id": "sg-1", "way": "egress", "verdict": "passes", "rule": "sgr-1", "target": "",
            "text": "a rule allows ICMP",
        },
    ])
    down = a_decision(table=254, route="10.10.0.7 dev eni49778cadcf1", rule={"priority": 512, "text": "from all to 10.10.0.7 lookup main"})
    return a_trace([
        (POD2, "pod2", "eth0", "out", a_frame(*end), a_decision(table=254, route="default via 169.254.1.1 dev eth0")),
        (NODE1, "node1", HOST_LINK["pod2"], "in", a_frame(*end), policy),
        (NODE1, "node1", "eth1", "out", a_frame(*end, ("02:00:00:00:00:03", "0e:00:00:00:00:01"), ttl=63), None),
        (VPC, "vpc", PORT[ENIS["node1"][1]], "in", a_frame(*end, ("02:00:00:00:00:03", "0e:00:00:00:00:01"), ttl=63), fabric),
        (VPC, "vpc", PORT[ENIS["node2"][0]], "out", a_frame(*end, ("02:00:00:00:00:03", "02:00:00:00:00:05"), ttl=63), None),
        (NODE2, "node2", "eth0", "in", a_frame(*end, ("02:00:00:00:00:03", "02:00:00:00:00:05"), ttl=63), down),
        (NODE2, "node2", HOST_LINK["pod3"], "out", a_frame(*end, ("02:00:00:00:00:06", "02:00:00:00:00:07"), ttl=62), None),
        (POD3, "pod3", "eth0", "in", a_frame(*end, ("02:00:00:00:00:06", "02:00:00:00:00:07"), ttl=62), a_decision(table=255)),
    ])


def dropped() -> Doc:
    """The same way, but it ends on node2: rp_filter."""
    document = across_nodes()
    document["hops"] = document["hops"][:6]
    document["hops"][5]["decision"] |= {"check": "rp-filter"}
    return document | {
        "delivered": False, "answer": "",
        "drop": {
            "hop": 6, "check": "rp-filter", "text": "the way back to 10.10.0.9 leads by eth1", "counter": "IPReversePathFilter",
            "state": ["net.ipv4.conf.eth0.rp_filter = 1"],
            "counterfactual": {"change": "rp_filter=2 on eth0", "verdict": "would pass with rp_filter=2 on eth0", "tried": 3},
        },
        "findings": [{"kind": "explain", "hop": 6, "text": "by the desired state it is reachable"}],
    }


def both_ways() -> Doc:
    document = across_nodes()
    back = across_nodes()
    hops = [deepcopy(hop) | {"n": n, "direction": {"in": "out", "out": "in"}[hop["direction"]]}
            for n, hop in enumerate(reversed(back["hops"]), 1)]
    for hop in hops:
        hop["frame"] |= {"src": "10.10.0.7", "dst": "10.10.0.9"}
    return document | {
        "back": back | {"from": "default/pod3", "to": "default/pod2", "hops": hops},
        "symmetric": {"verdict": True, "text": "", "there": "", "back": ""},
    }


def by_nat_gateway() -> Doc:
    """pod2 to the Internet: the NAT gateway is a router on a stick, so the packet comes to the VPC's router twice."""
    out, natted, public = ("10.10.0.9", "8.8.8.8"), ("10.10.64.4", "8.8.8.8"), ("203.0.113.1", "8.8.8.8")
    snat = a_decision(nat="SNAT 10.10.0.9 → 10.10.64.4")
    document = a_trace([
        (POD2, "pod2", "eth0", "out", a_frame(*out), None),
        (NODE1, "node1", HOST_LINK["pod2"], "in", a_frame(*out), a_decision(table=2, route="default via 10.10.0.1 dev eth1")),
        (NODE1, "node1", "eth1", "out", a_frame(*out, ttl=63), None),
        (VPC, "vpc", PORT[ENIS["node1"][1]], "in", a_frame(*out, ttl=63), None),
        (VPC, "vpc", NAT_PORT, "out", a_frame(*out, ttl=63), None),
        (NAT, "nat-a", "vpc", "in", a_frame(*out, ttl=63), snat),
        (NAT, "nat-a", "vpc", "out", a_frame(*natted, ttl=62), None),
        (VPC, "vpc", NAT_PORT, "in", a_frame(*natted, ttl=62), None),
        (VPC, "vpc", "igw", "out", a_frame(*natted, ttl=62), None),
        (IGW, "igw", "vpc", "in", a_frame(*natted, ttl=62), a_decision(nat="SNAT 10.10.64.4 → 203.0.113.1")),
        (IGW, "igw", "wan", "out", a_frame(*public, ttl=62), None),
        (INTERNET, "internet", "i0", "in", a_frame(*public, ttl=62), None),
    ], target="internet")
    document["probe"] |= {"dst": "8.8.8.8"}
    return document


def a_scene() -> Doc:
    """Two nodes with two ENIs each, three pods, a NAT gateway in a subnet of its own, an internet gateway."""
    return {
        "apiVersion": "labnet/v1", "kind": "Scene", "lab": LAB, "scenario": "eks-2node", "internet": INTERNET, "peerings": [],
        "vpcs": [{"id": "vpc-1", "name": "vpc", "cidrs": ["10.10.0.0/16"], "netns": VPC, "igw": IGW}],
        "subnets": [
            {"id": "subnet-1", "name": "private-a", "vpc": "vpc-1", "cidr": "10.10.0.0/19", "availabilityZone": "a", "routeTable": "private"},
            {"id": "subnet-2", "name": "public-a", "vpc": "vpc-1", "cidr": "10.10.64.0/24", "availabilityZone": "a", "routeTable": "public"},
        ],
        "nodes": [_node("node1", "10.10.0.4", "10.10.0.8"), _node("node2", "10.10.0.6", "10.10.0.10")],
        "pods": [
            _pod("pod1", "node1", "10.10.0.5", "eth0"), _pod("pod2", "node1", "10.10.0.9", "eth1"), _pod("pod3", "node2", "10.10.0.7", "eth0"),
        ],
        "natGateways": [{"name": "nat-a", "id": NAT_ID, "subnet": "public-a", "ip": "10.10.64.4", "publicIp": "203.0.113.1", "netns": NAT}],
        "macs": {"02:00:00:00:00:03": "node1 eth1", "0e:00:00:00:00:01": "VPC router"}, "addresses": {"10.10.0.9": "pod2", "10.10.0.7": "pod3"},
    }


def _node(name: str, *addresses: str) -> Doc:
    enis = [
        {
            "id": ENIS[name][index], "deviceIndex": index, "name": f"eth{index}", "mac": "02:00:00:00:00:03", "subnet": "private-a",
            "ip": address, "table": 254 if index == 0 else index + 1, "prefixes": [], "addresses": {},
        }
        for index, address in enumerate(addresses)
    ]
    return {"name": name, "instanceType": "t3.nano", "netns": f"{LAB}-{name}", "ip": addresses[0], "publicIp": "", "enis": enis}


def _pod(name: str, node: str, address: str, device: str) -> Doc:
    return {
        "namespace": "default", "name": name, "node": node, "phase": "Running", "reason": "", "ip": address, "eni": "", "device": device,
        "table": 254, "hostLink": HOST_LINK[name], "netns": f"{LAB}-{name}",
    }


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&;#end\u0000\u2028%%{x}"


def hostile() -> tuple[Doc, Doc]:
    """A dropped trace and its scene with markup in every text that can hold some."""
    document, scene = dropped(), a_scene()
    document["from"] = document["to"] = document["drop"]["text"] = document["drop"]["counter"] = HOSTILE
    document["drop"]["state"] = [HOSTILE]
    document["drop"]["counterfactual"] = {"change": HOSTILE, "verdict": HOSTILE, "tried": 1}
    document["notes"], document["findings"] = [HOSTILE], [{"kind": "seen", "hop": 1, "text": HOSTILE}]
    for hop in document["hops"]:
        hop["owner"] = HOSTILE
        hop["decision"] = (hop["decision"] or a_decision()) | {
            "neighbour": HOSTILE, "nat": HOSTILE, "netfilter": [HOSTILE], "route": HOSTILE, "check": HOSTILE,
        }
    for thing in (*scene["nodes"], *scene["pods"], *scene["subnets"], *scene["vpcs"]):
        thing["name"] = HOSTILE
    scene["lab"] = scene["scenario"] = HOSTILE
    return document, scene
