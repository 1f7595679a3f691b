"""Virtual private gateways on the in-memory kernel: increments end where whole plans end, failures leave nothing, networks stay."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, with_node, with_subnet, with_table, with_vpc
from builders_vpn import OFFICE_VPN, VGW, propagating, with_interface, with_site, with_vgw, with_vpn
from test_fabric_reconcile import Lab

from labnet.errors import KernelError
from labnet.fabric.plan import plan_all
from labnet.fabric.reconcile import Fabric
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import CloudState
from labnet.model.names import tunnel_link
from labnet.model.netstate import Link, Route, merged

OFFICE, PLANT = "192.168.0.0/16", "172.20.0.0/16"
SECOND, SECOND_VPN = "vgw-00000000000000002", "vpn-0000000000office2"


def sites() -> CloudState:
    cloud = with_site(CloudState("lnt-cloud"), "office", OFFICE, "192.168.10.20", "192.168.10.21")
    return with_site(cloud, "plant", PLANT, "172.20.0.5", device="192.0.2.202")


def whole() -> CloudState:
    """Two VPCs of one block, both connected with the office, the first one with the plant too."""
    cloud = with_node(replace(a_cloud(), sites=sites().sites), "red", "10.10.0.10")
    cloud = with_vpc(cloud, "vpc-2", "10.10.0.0/16", igw=False, name="blue")
    cloud = with_node(with_subnet(cloud, "subnet-z", "vpc-2", "10.10.0.0/24"), "blue", "10.10.0.20", subnet="subnet-z")
    cloud = with_vpn(with_vgw(cloud), "office", OFFICE)
    cloud = with_interface(cloud, "plant")
    cloud = with_vpn(with_vgw(cloud, "vpc-2", SECOND), "office", OFFICE, key=SECOND_VPN, gateway=SECOND, inside="169.254.78.0/30")
    return with_table(propagating(cloud, "rtb-vpc-1", VGW), "rtb-vpc-2", "vpc-2", {OFFICE: SECOND}, main=True)


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.cloud = sites()
    made.fabric.begin(made.cloud)
    return made


def moved(cloud: CloudState, gateway: str, vpc_id: str | None) -> CloudState:
    return replace(cloud, vpn_gateways={**cloud.vpn_gateways, gateway: replace(cloud.vpn_gateways[gateway], vpc_id=vpc_id)})


def test_every_step_ends_where_the_whole_plan_ends(lab: Lab) -> None:
    assert set(lab.kernel.known) == {"lnt-cloud-onprem", "lnt-cloud-onprem.plant"}, "they are there before any VPC"
    full = whole()
    grown = replace(full, vpcs={**full.vpcs, "vpc-1": replace(full.vpcs["vpc-1"], cidrs=("10.10.0.0/16", "100.64.0.0/16"))})
    fewer = replace(full, vpn_connections={SECOND_VPN: full.vpn_connections[SECOND_VPN]})
    longer = with_vpn(full, "office", OFFICE, "192.168.10.0/24", "10.99.0.0/16")
    gone = replace(full, virtual_interfaces={})
    for cloud in (full, moved(full, VGW, None), full, grown, fewer, full, longer, gone, moved(full, SECOND, None), full, sites(), full):
        lab.go(cloud)
        lab.check()


def test_a_network_prefers_the_first_of_two_vpcs_with_one_block(lab: Lab) -> None:
    full = whole()

    def way() -> str | None:
        (route,) = (one for one in lab.kernel.observe("lnt-cloud-onprem").all(Route) if one.dst == "10.10.0.0/16")
        return route.dev

    lab.go(full)
    assert way() == tunnel_link(OFFICE_VPN)
    lab.go(moved(full, VGW, None))
    assert way() == tunnel_link(SECOND_VPN)
    lab.go(full)
    assert way() == tunnel_link(OFFICE_VPN)


def detached() -> CloudState:
    return moved(whole(), VGW, None)


@pytest.mark.parametrize(("after", "refused"), [(whole, 1), (sites, 1), (sites, 2), (detached, 1), (detached, 2)])
def test_a_failure_leaves_everything_as_before(lab: Lab, monkeypatch: pytest.MonkeyPatch, after, refused: int) -> None:
    lab.go(whole() if after is not whole else sites())
    real, calls = lab.kernel.apply, []

    def refuse(*args: Iterable[object]) -> object:
        calls.append(args)
        if len(calls) == refused:
            raise KernelError("apply", "lnt-cloud-vgw", "test", errno.EPERM)
        return real(*args)

    monkeypatch.setattr(lab.kernel, "apply", refuse)
    with pytest.raises(KernelError):
        lab.go(after())
    lab.check()
    monkeypatch.undo()
    lab.go(after())
    lab.check()


def test_taking_over_touches_nothing(lab: Lab) -> None:
    lab.go(whole())
    book = SliceBook(lab.kernel)
    fabric = Fabric("lnt-cloud", lab.kernel, book)
    fabric.assume(lab.cloud)
    for netns in fabric.namespaces(lab.cloud):
        assert book.slices(netns) == lab.book.slices(netns)
        assert list(book.drift(netns)) == []


def test_every_key_of_a_namespace_is_claimed_by_one_slice() -> None:
    for netns, slices in plan_all(whole()).items():
        assert len(merged(slices).objects) == sum(len(part.objects) for part in slices), netns


def test_a_tunnel_is_as_wide_at_both_ends() -> None:
    plans = plan_all(with_interface(whole(), "plant", mtu=8500))
    for netns, link, mtu in (("onprem", OFFICE_VPN, 1446), ("onprem.plant", "dxvif-00000000000000001", 8500)):
        ends = [
            one.mtu_bytes for place in (f"lnt-cloud-{netns}", "lnt-cloud-vgw") for one in merged(plans[place]).all(Link)
            if one.name == tunnel_link(link)
        ]
        assert ends == [mtu, mtu]
