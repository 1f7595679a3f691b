"""Verdicts of `explain` on ways through virtual private gateways, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders_cloud import a_cloud, tcp, with_group, with_node, with_table
from builders_vpn import OFFICE_VPN, VGW, propagating, with_interface, with_site, with_vgw, with_vpn
from test_explain_verdicts import judged, stop

from labnet.explain import codes
from labnet.explain.explain import End
from labnet.model.cloud import CloudState

OFFICE = "192.168.0.0/16"
DB = End("db", "192.168.10.20", site="office")


@pytest.fixture
def office() -> CloudState:
    """A node, and an office behind a VPN to which a static route leads."""
    cloud = with_node(with_site(a_cloud(), "office", OFFICE, DB.address), "a", "10.10.0.10")
    return with_table(with_vpn(with_vgw(cloud), "office", OFFICE), "rtb-vpc-1", "vpc-1", {OFFICE: VGW}, main=True)


def test_there_and_back_component_by_component(office: CloudState) -> None:
    found = judged(office, "a", DB)
    assert found.reachable
    assert [(one.way, one.kind) for one in found.components] == [
        ("there", "node"), ("there", "eni"), ("there", "security-group"), ("there", "route-table"), ("there", "vpn-gateway"),
        ("there", "network"), ("back", "network"), ("back", "vpn-gateway"), ("back", "security-group"), ("back", "eni"), ("back", "node"),
    ]
    gateway = next(one for one in found.components if one.kind == "vpn-gateway")
    assert (gateway.id, gateway.reason, gateway.packet) == (VGW, f"{OFFICE} → {OFFICE_VPN}", "10.10.0.10 → 192.168.10.20")
    assert judged(office, DB, "a").reachable
    assert judged(propagating(with_table(office, "rtb-vpc-1", "vpc-1", {}, main=True), "rtb-vpc-1", VGW), "a", DB).reachable


def test_what_stops_it_on_the_way_there(office: CloudState) -> None:
    nothing = with_table(office, "rtb-vpc-1", "vpc-1", {}, main=True)
    assert stop(judged(nothing, "a", DB)) == ("there", "route-table", codes.NO_ROUTE_TO_DESTINATION)
    assert stop(judged(with_vgw(office, None), "a", DB)) == ("there", "route-table", codes.BAD_STATE_ROUTE)
    assert stop(judged(replace(office, vpn_connections={}), "a", DB)) == ("there", "vpn-gateway", codes.NO_ROUTE_TO_DESTINATION)
    moved = {key: replace(one, ip_address="192.0.2.9") for key, one in office.customer_gateways.items()}
    assert stop(judged(replace(office, customer_gateways=moved), "a", DB)) == ("there", "vpn-gateway", codes.BAD_STATE_VPN)
    assert stop(judged(office, "a", "192.168.10.99")) == ("there", "network", codes.NO_POSSIBLE_DESTINATION)


def test_what_stops_it_from_outside(office: CloudState) -> None:
    assert stop(judged(office, DB, "8.8.8.8")) == ("there", "network", codes.NO_ROUTE_TO_DESTINATION)
    assert stop(judged(office, DB, "10.10.0.99")) == ("there", "vpc", codes.NO_POSSIBLE_DESTINATION)
    assert stop(judged(with_table(office, "rtb-vpc-1", "vpc-1", {}, main=True), DB, "a"))[:2] == ("back", "route-table")
    spoofing = End("db", "10.10.0.77", site="office")
    assert stop(judged(office, spoofing, "a")) == ("there", "vpn-gateway", codes.GATEWAY_REJECTS_SPOOFED_TRAFFIC)
    closed = with_node(with_group(office, "sg-web", ingress=(tcp(443, cidr="192.168.99.0/24"),)), "w", "10.10.0.11", groups=("sg-web",))
    assert stop(judged(closed, DB, "w")) == ("there", "security-group", codes.ENI_SG_RULES_MISMATCH)


def test_the_longest_prefix_then_the_line(office: CloudState) -> None:
    both = with_interface(office, "office")
    assert f"→ {next(iter(both.virtual_interfaces))}" in next(
        one.reason for one in judged(both, "a", DB).components if one.kind == "vpn-gateway"
    )
    longer = with_vpn(both, "office", "192.168.10.0/24")
    assert f"→ {OFFICE_VPN}" in next(one.reason for one in judged(longer, "a", DB).components if one.kind == "vpn-gateway")
