"""The deck's cluster, as a stranger sees it: literal listings, real packets, each hop with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel


def listing(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_every_pod_runs_where_the_deck_has_it(deck: Labs) -> None:
    status = deck.status()
    assert [(pod["name"], pod["node"], pod["device"], pod["table"], pod["phase"]) for pod in status["pods"]] == [
        ("pod1", "node1", "eth0", 254, "Running"), ("pod2", "node1", "eth1", 2, "Running"), ("pod3", "node2", "eth0", 254, "Running"),
    ]
    assert [eni["deviceIndex"] for eni in deck.node("node1")["enis"]] == [0, 1]
    assert status["state"] == "running"


def test_ip_rule_of_node1_literally(deck: Labs) -> None:
    pod1, pod2 = deck.pod("pod1")["ip"], deck.pod("pod2")["ip"]
    assert deck.inside("node1", "ip", "rule") == (
        "0:\tfrom all lookup local\n"
        f"512:\tfrom all to {pod1} lookup main\n"
        f"512:\tfrom all to {pod2} lookup main\n"
        "1024:\tfrom all fwmark 0x80/0x80 lookup main\n"
        f"1536:\tfrom {pod2} to 10.10.0.0/16 lookup 2\n"
        "32766:\tfrom all lookup main\n"
        "32767:\tfrom all lookup default\n"
    )


def test_table_2_of_node1_literally(deck: Labs) -> None:
    assert listing(deck.inside("node1", "ip", "route", "show", "table", "2")) == [
        "default via 10.10.0.1 dev eth1", "10.10.0.1 dev eth1 scope link",
    ]


def test_main_table_of_node1(deck: Labs) -> None:
    node, pod1, pod2 = deck.node("node1")["ip"], deck.pod("pod1"), deck.pod("pod2")
    assert sorted(listing(deck.inside("node1", "ip", "route"))) == sorted([
        "default via 10.10.0.1 dev eth0", f"10.10.0.0/19 dev eth0 proto kernel scope link src {node}",
        f"{pod1['ip']} dev {pod1['hostLink']} scope link", f"{pod2['ip']} dev {pod2['hostLink']} scope link",
        "169.254.169.254 dev eth0 scope link",
    ])


def test_nat_and_mangle_of_node1_literally(deck: Labs) -> None:
    node = deck.node("node1")["ip"]

    def rules(table: str) -> list[str]:
        lines = listing(deck.inside("node1", "iptables-save", "-t", table))
        return [line for line in lines if line.startswith("-A") or line.startswith(":AWS")]

    assert rules("nat") == [
        ":AWS-SNAT-CHAIN-0 - [0:0]", ":AWS-SNAT-CHAIN-1 - [0:0]",
        '-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0',
        '-A AWS-SNAT-CHAIN-0 ! -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-1',
        f'-A AWS-SNAT-CHAIN-1 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {node} --random',
    ]
    assert rules("mangle") == [
        '-A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK '
        "--set-xmark 0x80/0x80",
        '-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80',
    ]


def test_inside_a_pod(deck: Labs) -> None:
    assert listing(deck.inside("pod2", "ip", "route")) == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    assert "169.254.1.1 dev eth0 lladdr" in deck.inside("pod2", "ip", "neigh")
    assert "PERMANENT" in deck.inside("pod2", "ip", "neigh")
    assert f"inet {deck.pod('pod2')['ip']}/32 scope global eth0" in deck.inside("pod2", "ip", "addr", "show", "eth0")


def test_the_trace_shows_the_decks_walk(deck: Labs) -> None:
    done = deck.run("--lab", deck.name, "trace", "pod2", "pod3", "-o", "json")
    trace = json.loads(done.stdout)
    assert trace["delivered"] is True
    hops = trace["hops"]
    node1, pod2 = deck.node("node1"), deck.pod("pod2")
    eth1 = next(eni for eni in node1["enis"] if eni["deviceIndex"] == 1)
    where = [(hop["owner"], hop["link"], hop["direction"]) for hop in hops]
    assert where[:3] == [("pod2", "eth0", "out"), ("node1", pod2["hostLink"], "in"), ("node1", "eth1", "out")]
    assert where[-1] == ("pod3", "eth0", "in")
    veth = json.loads(deck.inside("node1", "ip", "-j", "link", "show", pod2["hostLink"]))[0]["address"]
    assert hops[0]["frame"]["dstMac"] == veth, "to the MAC of the veth's other end"
    assert hops[2]["frame"]["srcMac"] == eth1["mac"]
    assert hops[2]["frame"]["dstMac"] == "0e:00:00:00:00:01", "the VPC's router"
    decision = hops[1]["decision"]
    assert decision["rule"]["priority"] == 1536
    assert decision["table"] == 2
    on_node2 = next(hop for hop in hops if hop["owner"] == "node2" and hop["direction"] == "in")
    assert on_node2["decision"]["rule"]["priority"] == 512


def test_the_trace_as_text_names_rule_and_table(deck: Labs) -> None:
    text = deck.run("--lab", deck.name, "trace", "pod2", "pod3").stdout
    assert "1536" in text
    assert "lookup 2" in text
    assert "delivered" in text


def test_pods_of_one_node_stay_on_it(deck: Labs) -> None:
    trace = json.loads(deck.run("--lab", deck.name, "trace", "pod1", "pod2", "-o", "json").stdout)
    assert {hop["owner"] for hop in trace["hops"]} == {"pod1", "node1", "pod2"}


def test_the_internet_sees_the_public_address_of_the_node(deck: Labs) -> None:
    public = deck.node("node1")["publicIp"]
    for pod in ("pod1", "pod2"):
        said = deck.run("--lab", deck.name, "exec", pod, "--", "python3", "-c", (
            "import socket; s = socket.create_connection(('8.8.8.8', 80), 5); s.settimeout(5); "
            "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(b''.join(iter(lambda: s.recv(4096), b'')).split(b'\\r\\n\\r\\n')[1].decode())"
        )).stdout
        assert json.loads(said)["you"] == public


def test_the_scenarios_own_checks_hold(deck: Labs) -> None:
    done = deck.run("--lab", deck.name, "check", "-o", "json")
    assert json.loads(done.stdout)["failed"] == 0


def test_without_its_rule_the_vpc_drops_the_packet_and_says_so(labs: Labs) -> None:
    labs.up()
    pod2 = labs.pod("pod2")["ip"]
    labs.inside("node1", "ip", "rule", "del", "from", pod2, "to", "10.10.0.0/16", "priority", "1536")
    done = labs.run("--lab", labs.name, "trace", "pod2", "pod3", ok=3)
    assert "source-dest-check" in done.stdout
    found = json.loads(labs.run("--lab", labs.name, "trace", "pod2", "pod3", "-o", "json", ok=3).stdout)
    assert found["drop"]["check"] == "source-dest-check"
    assert "source/dest check" in found["drop"]["counter"]
    plan = labs.run("--lab", labs.name, "plan").stdout
    assert f"from {pod2} to 10.10.0.0/16 lookup 2" in plan, "drift is shown"
    labs.run("--lab", labs.name, "repair")
    labs.run("--lab", labs.name, "trace", "pod2", "pod3")


def test_a_capture_file_has_an_interface_block_each(deck: Labs, tmp_path: Path) -> None:
    from scapy.utils import RawPcapNgReader

    deck.run("--lab", deck.name, "trace", "pod2", "pod3", "--pcap", str(tmp_path / "walk.pcapng"))
    with RawPcapNgReader(str(tmp_path / "walk.pcapng")) as reader:
        packets = list(reader)
        names = {interface[2].get("name") for interface in reader.interfaces}
    assert len(packets) >= 6
    assert {f"{deck.name}-pod2/eth0".encode(), f"{deck.name}-node1/eth1".encode()} <= {
        name.encode() if isinstance(name, str) else name for name in names
    }


def test_imds_from_node_and_pod_and_the_hop_limit(deck: Labs) -> None:
    ask = (
        "import socket, sys\n"
        "s = socket.create_connection(('169.254.169.254', 80), 3); s.settimeout(1.5)\n"
        "s.sendall(sys.argv[1].encode().decode('unicode_escape').encode())\n"
        "try: print(s.recv(9000).decode())\n"
        "except TimeoutError: print('silence')\n"
    )
    put = r"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
    get = r"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n"
    node1 = deck.node("node1")["instanceId"]
    assert "200 OK" in deck.inside("node1", "python3", "-c", ask, put)
    assert "silence" in deck.inside("pod1", "python3", "-c", ask, put), "hop limit 1: the token's answer dies on the node"
    assert node1 in deck.inside("node1", "python3", "-c", ask, get)
    assert node1 in deck.inside("pod1", "python3", "-c", ask, get), "IMDSv1 works from the pod"
