"""The worked example of the VPC CNI's kernel state, byte for byte as the programs print it, for both back ends and both dialects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from builders_node_state import PRIMARY, WorkedNode

from labnet.ipamd.settings import Dialect, Settings
from labnet.model.netstate import Backend

pytestmark = pytest.mark.kernel
NodeOf = Callable[[Backend], WorkedNode]
BACKENDS: tuple[Backend, ...] = ("legacy", "nft")

MANGLE = """\
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A PREROUTING -i vlan+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
COMMIT
"""
POLICIES = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
"""
DEFAULT_LEGACY = POLICIES + """\
:AWS-CONNMARK-CHAIN-0 - [0:0]
:AWS-SNAT-CHAIN-0 - [0:0]
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-CONNMARK-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
-A AWS-SNAT-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.10.0.10 --random-fully
COMMIT
"""
DEFAULT_NFT = POLICIES + """\
:AWS-SNAT-CHAIN-0 - [0:0]
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.10.0.10 --random-fully
COMMIT
"""
MARKS = """\
table ip aws-cni {
	chain nat-prerouting {
		type nat hook prerouting priority dstnat + 10; policy accept;
		fib daddr type local return
		iifname "eni*" counter packets 0 bytes 0 jump snat-mark
		counter packets 0 bytes 0 meta mark set ct mark & 0x00000080
	}
	chain snat-mark {
		counter packets 0 bytes 0 ip daddr 10.10.0.0/16 return
		counter packets 0 bytes 0 ct mark set ct mark | 0x00000080
	}
}
"""
EXCLUDED_LEGACY = """\
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-CONNMARK-CHAIN-0 -d 172.20.0.0/14 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -d 192.168.0.0/16 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -d 100.64.0.0/16 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
-A AWS-SNAT-CHAIN-0 -d 172.20.0.0/14 -m comment --comment "AWS SNAT CHAIN EXCLUSION" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 192.168.0.0/16 -m comment --comment "AWS SNAT CHAIN EXCLUSION" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 100.64.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.10.0.10 --random-fully
""".splitlines()
TWO_VPC_BLOCKS = ("10.10.0.0/16", "100.64.0.0/16")
EXCLUDED = "192.168.0.0/16,172.20.0.0/14"

OF_1_6 = """\
:AWS-SNAT-CHAIN-0 - [0:0]
:AWS-SNAT-CHAIN-1 - [0:0]
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 ! -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-1
-A AWS-SNAT-CHAIN-1 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.10.0.10 --random
-A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
""".splitlines()


def settings(dialect: Dialect = "1.23", **env: str) -> Settings:
    names = {
        "exclude": "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "external": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "ports": "AWS_VPC_CNI_NODE_PORT_SUPPORT",
        "randomize": "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    }  # fmt: skip
    return Settings.from_env({names[key]: value for key, value in env.items()}, dialect)


def marks(node: WorkedNode) -> str:
    """`nft list table ip aws-cni` without the empty line that nft prints between two chains."""
    return node.say("nft", "list", "table", "ip", "aws-cni").replace("\n\n", "\n")


# ---- dialect 1.23 ---------------------------------------------------------------------------------------------------------


def test_default_with_the_legacy_back_end(node_of: NodeOf) -> None:
    node = node_of("legacy").whole()
    assert node.save("nat") == DEFAULT_LEGACY
    assert node.save("mangle") == MANGLE
    assert node.nft_tables() == []


def test_default_with_the_nft_back_end(node_of: NodeOf) -> None:
    node = node_of("nft").whole()
    assert node.save("nat") == DEFAULT_NFT
    assert node.save("mangle") == MANGLE
    assert marks(node) == MARKS
    assert node.say("cat", "/proc/net/ip_tables_names") == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_external_snat_leaves_an_empty_chain_and_no_mark(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings(external="true"))
    assert node.save("nat") == POLICIES + ":AWS-SNAT-CHAIN-0 - [0:0]\nCOMMIT\n"
    assert node.save("mangle") == MANGLE
    assert "table ip aws-cni" not in node.nft_tables()


@pytest.mark.parametrize("backend", BACKENDS)
def test_excluded_blocks_come_reversed_and_on_top(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings(exclude=EXCLUDED), TWO_VPC_BLOCKS)
    rules = [line for line in node.rules("nat") if not line.startswith(":")]
    assert rules == (EXCLUDED_LEGACY if backend == "legacy" else EXCLUDED_LEGACY[2:3] + EXCLUDED_LEGACY[8:])
    assert node.save("mangle") == MANGLE
    if backend == "nft":
        lines = [line.strip() for line in marks(node).splitlines() if "ip daddr" in line]
        blocks = ("172.20.0.0/14", "192.168.0.0/16", "100.64.0.0/16", "10.10.0.0/16")
        assert lines == [f"counter packets 0 bytes 0 ip daddr {block} return" for block in blocks]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("env", [{}, {"exclude": EXCLUDED}, {"external": "true"}], ids=["default", "exclude", "external"])
def test_policy_rules_do_not_depend_on_snat(node_of: NodeOf, backend: Backend, env: dict[str, str]) -> None:
    node = node_of(backend).whole(settings(**env))
    assert node.say("ip", "rule") == (
        "0:\tfrom all lookup local\n"
        "512:\tfrom all to 10.10.1.5 lookup main\n"
        "512:\tfrom all to 10.10.2.6 lookup main\n"
        "1024:\tfrom all fwmark 0x80/0x80 lookup main\n"
        "1536:\tfrom 10.10.2.6 lookup 2\n"
        "32765:\tfrom 10.10.0.20 lookup 2\n"
        "32766:\tfrom all lookup main\n"
        "32767:\tfrom all lookup default\n"
    )


def test_routes_of_the_node(node_of: NodeOf) -> None:
    node = node_of("nft").whole()
    assert node.say("ip", "route", "show", "table", "main") == (
        "default via 10.10.0.1 dev eth0 \n"
        "10.10.0.0/19 dev eth0 proto kernel scope link src 10.10.0.10 \n"
        "10.10.1.5 dev eni5e1c4d6c68c scope link \n"
        "10.10.2.6 dev eni2f5353dd8c5 scope link \n"
        "169.254.169.254 dev eth0 scope link \n"
    )
    assert node.say("ip", "route", "show", "table", "2") == "default via 10.10.0.1 dev eth1 \n10.10.0.1 dev eth1 scope link \n"
    local = node.ip("route", "show", "table", "local")
    assert [line for line in local if "eth1" in line] == [
        "local 10.10.0.20 dev eth1 proto kernel scope host src 10.10.0.20",
        "broadcast 10.10.31.255 dev eth1 proto kernel scope link src 10.10.0.20",
    ]


def test_links_of_the_node(node_of: NodeOf) -> None:
    node = node_of("nft").whole()
    eth1 = node.ip("-4", "addr", "show", "eth1")
    assert "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001" in eth1[0] and "state UP group default qlen 1000" in eth1[0]
    assert eth1[1:2] == ["    inet 10.10.0.20/19 brd 10.10.31.255 scope global eth1"]
    veth = node.ip("addr", "show", "eni2f5353dd8c5")
    assert veth[0].split(": ", 2)[2] == "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc noqueue state UP group default"
    assert [line.split()[0] for line in veth[1:] if "valid_lft" not in line] == ["link/ether", "inet6"], "no IPv4 address"
    assert {line.split()[1] for line in node.ip("-4", "-o", "addr")} == {"lo", "eth0", "eth1"}, "no pod's address anywhere on the node"


def test_inside_the_pod(node_of: NodeOf) -> None:
    node = node_of("nft").whole()
    veth = node.ip("link", "show", "eni2f5353dd8c5")[1].split()[1]
    assert node.say("ip", "route", target="pod-b") == "default via 169.254.1.1 dev eth0 \n169.254.1.1 dev eth0 scope link \n"
    assert node.say("ip", "neigh", target="pod-b") == f"169.254.1.1 dev eth0 lladdr {veth} PERMANENT \n"
    assert node.ip("rule", target="pod-b") == ["0:\tfrom all lookup local", "32766:\tfrom all lookup main", "32767:\tfrom all lookup default"]
    eth0 = node.ip("-4", "addr", "show", "eth0", target="pod-b")
    shown = "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc noqueue state UP group default"
    assert eth0[0].split(": ", 2)[2].split("  link-netns")[0] == shown
    assert eth0[1] == "    inet 10.10.2.6/32 scope global eth0"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("ports", "external", "rule_1024", "mangle", "snat"), [
    ("true", "false", True, (0, 1, 2), True), ("true", "true", True, (0, 1, 2), False),
    ("false", "false", True, (1,), True), ("false", "true", False, (), False),
])  # fmt: skip
def test_the_settings_matrix(
    node_of: NodeOf, backend: Backend, ports: str, external: str, rule_1024: bool, mangle: tuple[int, ...], snat: bool
) -> None:
    node = node_of(backend).whole(settings(ports=ports, external=external))
    three = [line for line in MANGLE.splitlines() if line.startswith("-A")]
    assert node.rules("mangle") == [three[place] for place in mangle]
    assert any(line.startswith("1024:") for line in node.ip("rule")) is rule_1024
    nat = node.rules("nat")
    assert nat[:1] == ([":AWS-CONNMARK-CHAIN-0 - [0:0]"] if snat and backend == "legacy" else [":AWS-SNAT-CHAIN-0 - [0:0]"])
    assert any("-j SNAT" in line for line in nat) is any("POSTROUTING" in line for line in nat) is snat
    assert any("CONNMARK" in line for line in nat) is (snat and backend == "legacy")
    assert ("table ip aws-cni" in node.nft_tables()) is (snat and backend == "nft")
    assert node.say("sysctl", "-n", "net.ipv4.conf.eth0.rp_filter") == "2\n", "whatever the settings"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("way", "flag"), [("prng", "--random-fully"), ("hashrandom", "--random"), ("none", "")])
@pytest.mark.parametrize("blocks", [("10.10.0.0/16",), TWO_VPC_BLOCKS])
def test_the_chain_as_iptables_lists_it(node_of: NodeOf, backend: Backend, way: str, flag: str, blocks: tuple[str, ...]) -> None:
    node = node_of(backend).start(settings(randomize=way), blocks)
    listed = node.say(f"iptables-{backend}", "-t", "nat", "-S", "AWS-SNAT-CHAIN-0").splitlines()
    assert len(listed) == len(blocks) + 2, "the chain, a line a block, SNAT"
    assert listed[0] == "-N AWS-SNAT-CHAIN-0"
    assert listed[-1].split("--to-source 10.10.0.10")[1].strip() == flag


# ---- dialect 1.6 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_decks_node(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings("1.6"))
    assert node.rules("nat") + node.rules("mangle") == OF_1_6
    assert "table ip aws-cni" not in node.nft_tables()
    rules = node.ip("rule")
    assert rules[3:5] == ["1024:\tfrom all fwmark 0x80/0x80 lookup main", "1536:\tfrom 10.10.2.6 to 10.10.0.0/16 lookup 2"]
    assert not any(line.startswith("32765:") for line in rules)
    assert node.say("ip", "route", "show", "table", "2") == "default via 10.10.0.1 dev eth1 \n10.10.0.1 dev eth1 scope link \n"
    assert node.ip("-4", "addr", "show", "eth1")[1] == "    inet 10.10.0.20/19 brd 10.10.31.255 scope global eth1"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_decks_node_with_an_excluded_block(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings("1.6", exclude="192.168.0.0/16"))
    assert [line for line in node.rules("nat") if line.startswith("-A AWS")] == [
        OF_1_6[3],
        '-A AWS-SNAT-CHAIN-1 ! -d 192.168.0.0/16 -m comment --comment "AWS SNAT CHAIN EXCLUSION" -j AWS-SNAT-CHAIN-2',
        OF_1_6[4].replace("CHAIN-1", "CHAIN-2"),
    ]
    assert [line for line in node.ip("rule") if line.startswith("1536")] == [
        "1536:\tfrom 10.10.2.6 to 10.10.0.0/16 lookup 2", "1536:\tfrom 10.10.2.6 to 192.168.0.0/16 lookup 2",
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_decks_node_with_external_snat(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings("1.6", external="true"))
    assert node.rules("nat") == [":AWS-SNAT-CHAIN-0 - [0:0]", ":AWS-SNAT-CHAIN-1 - [0:0]"]
    assert node.rules("mangle") == OF_1_6[5:]
    assert [line for line in node.ip("rule") if line.startswith("1536")] == ["1536:\tfrom 10.10.2.6 lookup 2"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_decks_node_without_node_ports(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(settings("1.6", ports="false"))
    assert node.rules("mangle") == []
    assert not any(line.startswith("1024:") for line in node.ip("rule"))
    assert node.say("sysctl", "-n", "net.ipv4.conf.eth0.rp_filter") == "1\n", "as the image has it"
    assert f"--to-source {PRIMARY}" in node.save("nat")
