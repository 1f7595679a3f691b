"""The node's state when the daemon starts again: with other settings, after other daemons, after other people's hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from builders_node_state import ETH1, VPC, WorkedNode

from labnet.errors import IpamError, KernelError
from labnet.ipamd.settings import Settings
from labnet.kernel.door import LinuxKernel
from labnet.kernel.slices import SliceBook
from labnet.model.netstate import Backend, Change, LinkUp, Slice, Sysctl

pytestmark = pytest.mark.kernel
NodeOf = Callable[[Backend], WorkedNode]
DEFAULT = Settings()
EXTERNAL = Settings(external_snat=True)
EXCLUDING = Settings(exclude_snat_cidrs=("192.168.0.0/16", "172.20.0.0/14"))
OF_1_6 = Settings(dialect="1.6", randomize_snat="hashrandom")

both = pytest.mark.parametrize("backend", ["nft", "legacy"])


def filters(node: WorkedNode) -> str:
    """Both back ends' tables and those of nftables, as they are saved."""
    parts = [node.save("nat"), node.save("mangle")]
    if "table ip aws-cni" in node.nft_tables():
        parts.append(node.say("nft", "list", "table", "ip", "aws-cni"))
    return "\n".join(parts)


def iptables(node: WorkedNode, *words: str) -> None:
    node.say(f"iptables-{node.backend}", *words)


# ---- again, and with other settings ---------------------------------------------------------------------------------------


@both
def test_a_second_start_touches_nothing(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(EXCLUDING, (*VPC, "100.64.0.0/16"))
    before, told = filters(node), list[Change]()
    handles = node.say("nft", "-a", "list", "ruleset")
    node.book.on_change = lambda _netns, _slice, change: told.append(change)
    node.start(EXCLUDING, (*VPC, "100.64.0.0/16"))
    assert (told, filters(node), node.say("nft", "-a", "list", "ruleset")) == ([], before, handles)
    node.attach()
    assert told == []


@both
def test_a_new_process_finds_all_in_place(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(EXCLUDING)
    before, rules = filters(node), node.ip("rule")
    node.new_process().start().attach()
    assert (filters(node), node.ip("rule"), node.drift()) == (before, rules, [])


@both
def test_a_block_that_is_no_longer_excluded_goes(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole(EXCLUDING)
    node.start(replace(EXCLUDING, exclude_snat_cidrs=("172.20.0.0/14",)))
    assert "192.168.0.0/16" not in filters(node)
    assert filters(node).count("172.20.0.0/14") == 2, "in the SNAT chain and in the one of marks"


@both
def test_another_veth_prefix_is_another_match(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).start()
    node.start(Settings(veth_prefix="veth"))
    text = filters(node)
    assert "eni+" not in text and "eni*" not in text
    assert '-A PREROUTING -i veth+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80' in text
    twin = node_of(backend).start(Settings(veth_prefix="veth"))
    assert text == filters(twin), "in the same order, above all: the mark is set before it is copied"


@both
@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "new process"])
def test_external_snat_on_and_off_again(node_of: NodeOf, backend: Backend, fresh: bool) -> None:
    node = node_of(backend).whole()
    before = filters(node)
    if fresh:
        node.new_process()
    node.start(EXTERNAL)
    assert node.rules("nat") == [":AWS-SNAT-CHAIN-0 - [0:0]"]
    assert "table ip aws-cni" not in node.nft_tables()
    assert node.drift() == []
    node.start(DEFAULT)
    assert filters(node) == before


@both
def test_a_block_that_the_vpc_gets_while_the_daemon_runs(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole()
    node.look_again((*VPC, "100.64.0.0/16"))
    returns = [line.split()[3] for line in node.rules("nat") if line.startswith("-A AWS-SNAT-CHAIN-0 -d")]
    assert returns == ["100.64.0.0/16", "10.10.0.0/16"]
    assert filters(node) == filters(node_of(backend).start(cidrs=(*VPC, "100.64.0.0/16")))
    iptables(node, "-t", "nat", "-F", "AWS-SNAT-CHAIN-0")
    node.look_again((*VPC, "100.64.0.0/16"))
    assert "-j SNAT" not in node.save("nat"), "the same blocks: the running daemon does not look; its start does"
    node.start(cidrs=(*VPC, "100.64.0.0/16"))
    assert "-j SNAT" in node.save("nat")


@both
def test_another_mark_and_no_node_ports(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).whole()
    node.start(Settings(connmark=0x100, node_port_support=False))
    assert "0x80" not in filters(node) + "\n".join(node.ip("rule"))
    assert "1024:\tfrom all fwmark 0x100/0x100 lookup main" in node.ip("rule")
    assert len([line for line in node.rules("mangle") if line.startswith("-A")]) == 1


# ---- after another daemon -------------------------------------------------------------------------------------------------


@both
def test_numbered_chains_of_release_1_6_go(node_of: NodeOf, backend: Backend) -> None:
    old = replace(OF_1_6, exclude_snat_cidrs=("192.168.0.0/16",))
    node = node_of(backend).start(old)
    assert ":AWS-SNAT-CHAIN-2 - [0:0]" in node.rules("nat")
    iptables(node, "-t", "nat", "-N", "AWS-CONNMARK-CHAIN-3")
    iptables(node, "-t", "nat", "-A", "POSTROUTING", "-s", "10.9.9.9", "-j", "AWS-SNAT-CHAIN-1")
    node.new_process().start(DEFAULT)
    assert sorted(node.rules("nat")) == sorted(node_of(backend).start().rules("nat"))
    assert node.drift() == []


@both
def test_what_the_current_release_leaves_for_1_6(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend).start(EXCLUDING)
    node.new_process().start(OF_1_6)
    snat = [line for line in node.rules("nat") if "SNAT" in line]
    assert snat == node_of(backend).start(OF_1_6).rules("nat")
    assert len(node.rules("mangle")) == 2, "the rule for vlan+ bears the same comment"
    assert ("table ip aws-cni" in node.nft_tables()) is (backend == "nft"), "release 1.6 knows nothing of the table"


def test_from_nft_to_legacy_the_table_goes(node_of: NodeOf) -> None:
    for fresh in (False, True):
        node = node_of("nft").start()
        if fresh:
            node.new_process()
        node.start(backend="legacy")
        assert "table ip aws-cni" not in node.nft_tables()
        assert "-A PREROUTING -i eni+" in node.save("nat")
        snat = [line for line in node.rules("nat", "nft") if "SNAT" in line]
        assert bool(snat) is fresh, "what another daemon made with the other program stays: the VPC CNI does not see it"


@pytest.mark.parametrize("twin", ["nft", "legacy"])
def test_with_nft_the_chain_of_marks_goes(node_of: NodeOf, twin: Backend) -> None:
    """The mark as chain is what releases before 1.23 left with either program."""
    node = node_of("nft")
    restore = "-m comment --comment {} -j CONNMARK --restore-mark --mask 0x80"
    for words in (
        "-N AWS-CONNMARK-CHAIN-0", "-A AWS-CONNMARK-CHAIN-0 -m comment --comment {} -j CONNMARK --set-xmark 0x80/0x80",
        "-A PREROUTING -i eni+ -m comment --comment {} -j AWS-CONNMARK-CHAIN-0", f"-A PREROUTING {restore}",
    ):  # fmt: skip
        comment = "AWS, outbound connections" if "eni+" in words else "AWS, CONNMARK"
        node.say(f"iptables-{twin}", "-t", "nat", *(word.format(comment) for word in words.split()))
    node.start()
    assert "CONNMARK" not in node.save("nat", twin)
    assert "table ip aws-cni" in node.nft_tables()


def test_with_legacy_the_jump_of_old_releases_goes(node_of: NodeOf) -> None:
    node = node_of("legacy").start()
    before = filters(node)
    words = "-t nat -I PREROUTING -i eni+ -m comment --comment {} -m state --state NEW -j AWS-CONNMARK-CHAIN-0"
    iptables(node, *(word.format("AWS, outbound connections") for word in words.split()))
    node.new_process().start()
    assert filters(node) == before


# ---- after other people's hands -------------------------------------------------------------------------------------------

MISORDERED = """
table ip aws-cni {
	chain nat-prerouting {
		type nat hook prerouting priority dstnat + 10; policy accept;
		counter meta mark set ct mark & 0x00000080
		iifname "eni*" counter jump snat-mark
		fib daddr type local return
	}
	chain snat-mark {
		counter ip daddr 10.10.0.0/16 return
		counter ct mark set ct mark | 0x00000080
	}
}
"""


@pytest.mark.parametrize("how", ["start of a new process", "start", "repair"])
def test_a_misordered_base_chain_is_rebuilt(node_of: NodeOf, how: str) -> None:
    node = node_of("nft").start()
    before = filters(node)
    node.say("nft", "delete table ip aws-cni")
    node.say("nft", "-f", "-", stdin=MISORDERED)
    assert node.drift() != []
    recover(node, how)
    assert filters(node) == before


@pytest.mark.parametrize("how", ["start of a new process", "start", "repair"])
def test_a_stale_block_among_the_marks_goes(node_of: NodeOf, how: str) -> None:
    node = node_of("nft").start()
    before = filters(node)
    node.say("nft", "insert rule ip aws-cni snat-mark counter ip daddr 172.31.0.0/16 return")
    assert node.drift() != []
    recover(node, how)
    assert filters(node) == before


@both
@pytest.mark.parametrize("how", ["start of a new process", "start", "repair"])
@pytest.mark.parametrize("damage", [
    "-t nat -F AWS-SNAT-CHAIN-0", "-t nat -I AWS-SNAT-CHAIN-0 -d 8.8.8.8/32 -j RETURN", "-t mangle -D PREROUTING 1",
    "-t mangle -D PREROUTING 2", "-t mangle -F PREROUTING", "-t nat -F POSTROUTING", "-t nat -F PREROUTING",
])  # fmt: skip
def test_damage_is_mended_in_the_same_order(node_of: NodeOf, backend: Backend, how: str, damage: str) -> None:
    """Also where the first of several rules is gone: a new one is appended, so all that follow come after it again."""
    node = node_of(backend).start()
    before = filters(node)
    iptables(node, *damage.split())
    recover(node, how)
    assert filters(node) == before
    assert node.drift() == []


def test_a_mark_that_is_copied_before_it_is_set_is_drift(node_of: NodeOf) -> None:
    node = node_of("legacy").start()
    before = filters(node)
    jump = [word.strip('"') for word in before.split("-A PREROUTING ")[1].split("\n")[0].replace("AWS, outbound connections", "AWS,_").split()]
    words = [word.replace("AWS,_", "AWS, outbound connections") for word in jump]
    iptables(node, "-t", "nat", "-D", "PREROUTING", *words)
    iptables(node, "-t", "nat", "-A", "PREROUTING", *words)
    assert filters(node) != before
    assert len(node.drift()) == 2, "the copy goes and comes again"
    recover(node, "repair")
    assert filters(node) == before


def recover(node: WorkedNode, how: str) -> None:
    if how == "repair":
        node.book.repair(node.netns)
    else:
        (node.new_process() if how == "start of a new process" else node).start()


@both
def test_other_peoples_rules_stay_where_they_are(node_of: NodeOf, backend: Backend) -> None:
    node = node_of(backend)
    theirs = ("-t nat -N KUBE-POSTROUTING", "-t nat -A POSTROUTING -j KUBE-POSTROUTING", "-t mangle -A PREROUTING -i eni+ -j ACCEPT",
              "-t nat -N AWS-SNAT-CHAIN-OF-MINE", "-t filter -A FORWARD -s 10.9.9.9 -j DROP")  # fmt: skip
    for words in theirs:
        iptables(node, *words.split())
    node.start().new_process().start(EXTERNAL).start(DEFAULT)
    assert [line for line in node.rules("nat") if "POSTROUTING" in line] == [
        "-A POSTROUTING -j KUBE-POSTROUTING", '-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0',
    ]
    assert node.rules("mangle")[0] == "-A PREROUTING -i eni+ -j ACCEPT"
    assert ":AWS-SNAT-CHAIN-OF-MINE - [0:0]" in node.save("nat")
    assert "10.9.9.9" in node.save("filter")


# ---- policy rules ---------------------------------------------------------------------------------------------------------


def services(node: WorkedNode) -> list[str]:
    return [line for line in node.ip("rule") if line.startswith("1535:")]


@pytest.mark.parametrize("fresh", [False, True])
def test_rules_for_external_services_are_made_anew(node_of: NodeOf, fresh: bool) -> None:
    node = node_of("nft").start(Settings(external_service_cidrs=("10.10.99.0/24", "52.94.0.0/22")))
    assert services(node) == ["1535:\tfrom all to 10.10.99.0/24 lookup main", "1535:\tfrom all to 52.94.0.0/22 lookup main"]
    node.ip("rule", "add", "to", "10.99.0.0/16", "lookup", "main", "priority", "1535")
    if fresh:
        node.new_process()
    node.start(Settings(external_service_cidrs=("52.94.0.0/22",)))
    assert services(node) == ["1535:\tfrom all to 52.94.0.0/22 lookup main"]
    node.start(DEFAULT)
    assert services(node) == []


def test_rule_1024_goes_with_its_reasons(node_of: NodeOf) -> None:
    node = node_of("nft").start()
    other = "1024:\tfrom all fwmark 0x4000/0xc000 lookup main"
    node.ip("rule", "add", "fwmark", "0x4000/0xc000", "lookup", "main", "priority", "1024")
    node.new_process().start(Settings(external_snat=True, node_port_support=False))
    assert [line for line in node.ip("rule") if line.startswith("1024:")] == [other]
    node.start(Settings(external_snat=True))
    assert "1024:\tfrom all fwmark 0x80/0x80 lookup main" in node.ip("rule")


# ---- sysctls --------------------------------------------------------------------------------------------------------------


def test_early_demux_follows_its_variable(node_of: NodeOf) -> None:
    node = node_of("nft")
    for settings, value in ((Settings(early_demux=False), "0"), (DEFAULT, "1"), (OF_1_6, "1")):
        node.start(settings)
        assert node.say("sysctl", "-n", "net.ipv4.tcp_early_demux").strip() == value
    node.say("sysctl", "-q", "-w", "net.ipv4.tcp_early_demux=0")
    node.start(OF_1_6)
    assert node.say("sysctl", "-n", "net.ipv4.tcp_early_demux").strip() == "0", "release 1.6 does not ask"


def test_loose_mode_on_the_first_link_alone(node_of: NodeOf) -> None:
    node = node_of("nft").whole(Settings(node_port_support=False, external_snat=True))
    found = [node.say("sysctl", "-n", f"net.ipv4.conf.{link}.rp_filter").strip() for link in ("eth0", "eth1", "eni2f5353dd8c5")]
    assert found == ["2", "1", "1"]


# ---- a secondary ENI ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("past", ["addresses", "its own, by DHCP", "routes alone"])
def test_an_eni_with_a_past_is_set_up_as_a_new_one(node_of: NodeOf, past: str) -> None:
    twin = node_of("nft").start().attach()
    wanted = eni_state(twin)
    node = node_of("nft").start()
    for words in PASTS[past]:
        node.ip(*words.split())
    node.attach()
    assert eni_state(node) == wanted
    assert node.drift() == []
    for words in ("route del default table 2", "addr add 10.10.0.98/19 dev eth1", "rule del priority 32765"):
        node.ip(*words.split())
    node.attach()
    assert eni_state(node) == wanted, "so it is when the daemon starts again"
    assert node.drift() == []


PASTS = {
    "addresses": (
        "link set eth1 mtu 1500 up", "addr add 192.168.5.5/24 dev eth1", "addr add 10.10.0.99/19 dev eth1", "addr add 10.10.2.6/32 dev eth1",
        "route add 10.10.0.1/32 dev eth0 table 2", "route add default via 10.10.0.1 dev eth0 table 2", "route add 10.50.0.0/16 dev eth1",
        "rule add from 10.10.0.20 lookup 2 priority 32765",
    ),
    "its own, by DHCP": ("link set eth1 up", "addr add 10.10.0.20/19 brd 10.10.31.255 dev eth1"),
    "routes alone": (
        "route add 10.10.0.1/32 dev eth0 table 2", "route add default via 10.10.0.1 dev eth0 table 2",
        "rule add from 10.10.0.20 lookup 2 priority 32765",
    ),
}  # fmt: skip


def eni_state(node: WorkedNode) -> list[list[str]]:
    asked = ("-4 -o addr show eth1", "route show table 2", "rule", "route show table main")
    listings = [[" ".join(line.split()) for line in node.ip(*words.split())] for words in asked]
    return [*listings, [" ".join(node.ip("-o", "link", "show", "eth1")[0].split()[2:5])]]


def test_the_mtu_of_links_is_the_variable(node_of: NodeOf) -> None:
    node = node_of("nft").start(Settings(eni_mtu_bytes=1300)).attach()
    assert [node.ip("-o", "link", "show", link)[0].split()[4] for link in ("eth0", "eth1")] == ["1300", "1300"]
    assert node.drift() == []


def test_main_has_no_route_over_eth1(node_of: NodeOf) -> None:
    node = node_of("nft").start().attach()
    assert not any("eth1" in line for line in node.ip("route"))
    assert any("10.10.0.0/19 dev eth0 proto kernel" in line for line in node.ip("route"))


def test_a_link_that_comes_late_is_waited_for(node_of: NodeOf) -> None:
    node = node_of("nft").start()
    seen: list[frozenset[str]] = [frozenset({"lo", "eth0"})]

    def links() -> frozenset[str]:
        return seen.pop() if seen else node.kernel.links(node.netns)

    node.attach(links=links)
    assert node.clock.now_s() == 3.0, "found at the second listing, 3 s after the first"
    assert node.ip("route", "show", "table", "2")


def test_a_link_that_never_comes(node_of: NodeOf) -> None:
    node = node_of("nft").start()
    with pytest.raises(IpamError, match="setupENINetwork: failed to find the link which uses MAC address 02:00:00:00:01:01"):
        node.attach(links=lambda: frozenset({"eth0"}))
    assert node.clock.now_s() == 12.0, "five listings"
    assert node.ip("route", "show", "table", "all", "dev", "eth1") == []


def test_the_first_eni_is_refused(node_of: NodeOf) -> None:
    node = node_of("nft").start()
    with pytest.raises(IpamError, match="primary"):
        node.attach(replace(ETH1, device_index=0))


def test_table_numbers_follow_the_device_index(node_of: NodeOf) -> None:
    """Detached and attached again the index, and so the table, is the same: rules of earlier pods find it."""
    node = node_of("nft").whole()
    node.kernel.apply([(node.netns, (Change("remove", LinkUp("eth1")),))])
    node.book.assume(node.netns, Slice("ipamd:eni-1"))  # gone unasked: nobody's any more, its rules stay
    assert [line for line in node.ip("rule") if line.endswith("lookup 2")] == [
        "1536:\tfrom 10.10.2.6 lookup 2", "32765:\tfrom 10.10.0.20 lookup 2",
    ]
    node.attach(replace(ETH1, id="eni-2", primary_ip="10.10.0.21"))
    assert node.ip("route", "show", "table", "2") == ["default via 10.10.0.1 dev eth1", "10.10.0.1 dev eth1 scope link"]
    assert [line for line in node.ip("rule") if line.startswith("32765")] == [
        "32765:\tfrom 10.10.0.20 lookup 2", "32765:\tfrom 10.10.0.21 lookup 2",
    ]


# ---- a sysctl that a kernel may not have ----------------------------------------------------------------------------------


def test_an_optional_sysctl_may_be_missing_and_may_not_be_wrong(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    kernel.create_netns([name("s")])
    book = SliceBook(kernel)
    book.set([(name("s"), Slice("x", (Sysctl("net/ipv6/conf/nolink/accept_ra", "0", optional=True),)))])
    assert book.drift(name("s")) == ()
    for bad in (Sysctl("net/ipv6/conf/nolink/forwarding", "0"), Sysctl("net/ipv4/ip_forward", "many", optional=True)):
        with pytest.raises(KernelError):
            book.set([(name("s"), Slice("y", (bad,)))])
