"""Virtual private gateways, customer gateways, VPN connections, propagated routes: AWS's rules and codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from builders_ec2 import Cloud

from labnet.ec2.cloud import execute
from labnet.ec2.coverage import coverage
from labnet.ec2.rules.request import Context
from labnet.ec2.rules.vpn_gateways import SHOWN_AFTER_END_S
from labnet.errors import Ec2Error
from labnet.model.cloud_vpn import Site, SiteHost

OFFICE = "192.168.0.0/16"
OFFICE_SITE = Site("office", (OFFICE, "192.168.7.0/24"), (SiteHost("db", "192.168.10.20"),), "192.0.2.201", "dxcon-1")


class Net:
    """A VPC, its main table, a gateway that is attached, the office's device."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc("10.10.0.0/16", "a")
        self.table = self.call("DescribeRouteTables")["RouteTables"][0]["RouteTableId"]
        self.vgw = str(self.call("CreateVpnGateway", Type="ipsec.1")["VpnGateway"]["VpnGatewayId"])
        self.attach()
        self.device = self.customer("192.0.2.201")

    def call(self, action: str, **params: Any) -> dict[str, Any]:
        return self.cloud.call(action, **params)

    def refused(self, code: str, action: str, **params: Any) -> str:
        return self.cloud.refused(code, action, **params)

    def attach(self) -> None:
        answer = self.call("AttachVpnGateway", VpnGatewayId=self.vgw, VpcId=self.vpc)
        assert answer == {"VpcAttachment": {"VpcId": self.vpc, "State": "attaching"}}

    def detach(self) -> None:
        self.call("DetachVpnGateway", VpnGatewayId=self.vgw, VpcId=self.vpc)

    def customer(self, address: str, asn: int = 65_000) -> str:
        made = self.call("CreateCustomerGateway", Type="ipsec.1", IpAddress=address, BgpAsn=asn)["CustomerGateway"]
        assert (made["State"], made["IpAddress"], made["BgpAsn"]) == ("available", address, str(asn))
        return str(made["CustomerGatewayId"])

    def vpn(self, *routes: str, static: bool = True, device: str = "", **options: Any) -> str:
        made = self.call(
            "CreateVpnConnection", Type="ipsec.1", VpnGatewayId=self.vgw, CustomerGatewayId=device or self.device,
            Options={"StaticRoutesOnly": static, **options},
        )["VpnConnection"]
        for cidr in routes:
            self.call("CreateVpnConnectionRoute", VpnConnectionId=made["VpnConnectionId"], DestinationCidrBlock=cidr)
        return str(made["VpnConnectionId"])

    def shown(self, vpn: str) -> dict[str, Any]:
        (found,) = self.call("DescribeVpnConnections", VpnConnectionIds=[vpn])["VpnConnections"]
        return dict(found)

    def propagate(self) -> None:
        self.call("EnableVgwRoutePropagation", GatewayId=self.vgw, RouteTableId=self.table)

    def routes(self) -> list[tuple[str, str, str, str]]:
        (table,) = self.call("DescribeRouteTables", RouteTableIds=[self.table])["RouteTables"]
        return [(one["DestinationCidrBlock"], one["GatewayId"], one["Origin"], one["State"]) for one in table["Routes"][1:]]


@pytest.fixture
def net() -> Net:
    return Net()


def test_a_gateway_is_made_attached_detached_deleted_and_forgotten(net: Net) -> None:
    (shown,) = net.call("DescribeVpnGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [net.vpc]}])["VpnGateways"]
    assert shown["VpcAttachments"] == [{"VpcId": net.vpc, "State": "attached"}]
    assert (shown["State"], shown["Type"], shown["AmazonSideAsn"]) == ("available", "ipsec.1", 64_512)
    net.attach()
    net.refused("IncorrectState", "DeleteVpnGateway", VpnGatewayId=net.vgw)
    net.refused("DependencyViolation", "DeleteVpc", VpcId=net.vpc)
    net.detach()
    net.refused("InvalidVpnGatewayAttachment.NotFound", "DetachVpnGateway", VpnGatewayId=net.vgw, VpcId=net.vpc)
    net.call("DeleteVpnGateway", VpnGatewayId=net.vgw)
    (shown,) = net.call("DescribeVpnGateways", VpnGatewayIds=[net.vgw])["VpnGateways"]
    assert shown["State"] == "deleted"
    for action in ("AttachVpnGateway", "DetachVpnGateway"):
        net.refused("InvalidVpnGatewayID.NotFound", action, VpnGatewayId=net.vgw, VpcId=net.vpc)
    net.cloud.now_s += SHOWN_AFTER_END_S
    assert net.call("DescribeVpnGateways")["VpnGateways"] == []


def test_one_gateway_a_vpc_and_one_vpc_a_gateway(net: Net) -> None:
    other = str(net.call("CreateVpnGateway", Type="ipsec.1", AmazonSideAsn=65_001)["VpnGateway"]["VpnGatewayId"])
    net.refused("InvalidParameterValue", "AttachVpnGateway", VpnGatewayId=other, VpcId=net.vpc)
    second = net.cloud.vpc("10.20.0.0/16", "b")
    net.refused("VpnGatewayAttachmentLimitExceeded", "AttachVpnGateway", VpnGatewayId=net.vgw, VpcId=second)
    for _ in range(3):
        net.call("CreateVpnGateway", Type="ipsec.1")
    net.refused("VpnGatewayLimitExceeded", "CreateVpnGateway", Type="ipsec.1")
    for wrong in ({"Type": "ipsec.2"}, {"Type": "ipsec.1", "AmazonSideAsn": 1234}, {"Type": "ipsec.1", "AvailabilityZone": "us-west-2z"}):
        net.refused("InvalidParameterValue", "CreateVpnGateway", **wrong)


def test_customer_gateways(net: Net) -> None:
    assert net.customer("192.0.2.201") == net.device, "the same again is the same"
    net.refused("InvalidCustomerGateway.DuplicateIpAddress", "CreateCustomerGateway", Type="ipsec.1", IpAddress="192.0.2.201", BgpAsn=65_001)
    net.refused("MissingParameter", "CreateCustomerGateway", Type="ipsec.1")
    net.refused("InvalidParameterValue", "CreateCustomerGateway", Type="ipsec.1", IpAddress="192.0.2")
    net.refused("InvalidCustomerGatewayId.Malformed", "DeleteCustomerGateway", CustomerGatewayId="nonsense")
    net.refused("InvalidCustomerGatewayID.NotFound", "DeleteCustomerGateway", CustomerGatewayId="cgw-00000000000000001")
    vpn = net.vpn()
    net.refused("IncorrectState", "DeleteCustomerGateway", CustomerGatewayId=net.device)
    net.call("DeleteVpnConnection", VpnConnectionId=vpn)
    net.call("DeleteCustomerGateway", CustomerGatewayId=net.device)
    (shown,) = net.call("DescribeCustomerGateways", Filters=[{"Name": "ip-address", "Values": ["192.0.2.201"]}])["CustomerGateways"]
    assert shown["State"] == "deleted"
    assert net.customer("192.0.2.201") != net.device


def test_a_connection_its_tunnels_and_its_routes(net: Net) -> None:
    vpn = net.vpn(OFFICE)
    shown = net.shown(vpn)
    assert (shown["State"], shown["Category"], shown["Options"]["StaticRoutesOnly"]) == ("available", "VPN", True)
    assert shown["Routes"] == [{"DestinationCidrBlock": OFFICE, "Source": "Static", "State": "available"}]
    tunnels = shown["Options"]["TunnelOptions"]
    assert len({one["TunnelInsideCidr"] for one in tunnels}) == 2 == len({one["OutsideIpAddress"] for one in tunnels})
    assert all(one["TunnelInsideCidr"].startswith("169.254.") and 8 <= len(one["PreSharedKey"]) <= 64 for one in tunnels)
    document = fromstring(shown["CustomerGatewayConfiguration"])
    assert [one.text for one in document.iter("network_cidr")] == [one["TunnelInsideCidr"] for one in tunnels]
    assert net.vpn() == vpn, "the same again is the same"
    net.call("CreateVpnConnectionRoute", VpnConnectionId=vpn, DestinationCidrBlock=OFFICE)
    assert len(net.shown(vpn)["Routes"]) == 1
    net.call("DeleteVpnConnectionRoute", VpnConnectionId=vpn, DestinationCidrBlock=OFFICE)
    net.refused("InvalidRoute.NotFound", "DeleteVpnConnectionRoute", VpnConnectionId=vpn, DestinationCidrBlock=OFFICE)
    assert net.shown(vpn)["Routes"] == []
    net.refused("IncorrectState", "DeleteVpnGateway", VpnGatewayId=net.vgw)
    net.detach()
    net.refused("IncorrectState", "DeleteVpnGateway", VpnGatewayId=net.vgw)
    net.call("DeleteVpnConnection", VpnConnectionId=vpn)
    assert net.shown(vpn)["State"] == "deleted"
    net.refused("InvalidVpnConnectionID.NotFound", "DeleteVpnConnection", VpnConnectionId=vpn)
    net.call("DeleteVpnGateway", VpnGatewayId=net.vgw)


def test_what_tunnels_take(net: Net) -> None:
    wanted = [{"TunnelInsideCidr": "169.254.10.0/30", "PreSharedKey": "good.key_1"}]
    (first, _second) = net.shown(net.vpn(TunnelOptions=wanted))["Options"]["TunnelOptions"]
    assert (first["TunnelInsideCidr"], first["PreSharedKey"]) == ("169.254.10.0/30", "good.key_1")
    other = net.customer("192.0.2.202")
    for wrong in (
        {"TunnelInsideCidr": "169.254.10.0/30"}, {"TunnelInsideCidr": "169.254.5.0/30"}, {"TunnelInsideCidr": "10.0.0.0/30"},
        {"TunnelInsideCidr": "169.254.11.0/29"}, {"PreSharedKey": "short"}, {"PreSharedKey": "0startszero"}, {"PreSharedKey": "with blank!"},
    ):
        net.refused(
            "InvalidParameterValue", "CreateVpnConnection", Type="ipsec.1", VpnGatewayId=net.vgw, CustomerGatewayId=other,
            Options={"TunnelOptions": [wrong]},
        )
    net.refused(
        "UnknownParameter", "CreateVpnConnection", Type="ipsec.1", VpnGatewayId=net.vgw, CustomerGatewayId=other,
        Options={"TunnelOptions": [{"StartupAction": "start"}]},
    )


def test_a_tunnel_is_up_where_somebody_is_at_both_ends(net: Net) -> None:
    vpn = net.vpn(OFFICE)

    def status() -> set[str]:
        return {one["Status"] for one in net.shown(vpn)["VgwTelemetry"]}

    assert status() == {"DOWN"}, "no network has that device"
    net.cloud.state = replace(net.cloud.state, sites={"office": OFFICE_SITE})
    assert status() == {"UP"}
    net.detach()
    assert status() == {"DOWN"}


def test_routes_to_the_gateway(net: Net) -> None:
    net.call("CreateRoute", RouteTableId=net.table, DestinationCidrBlock=OFFICE, GatewayId=net.vgw)
    assert net.routes() == [(OFFICE, net.vgw, "CreateRoute", "active")]
    net.detach()
    assert net.routes() == [(OFFICE, net.vgw, "CreateRoute", "blackhole")]
    net.refused("InvalidParameterValue", "CreateRoute", RouteTableId=net.table, DestinationCidrBlock="10.0.0.0/8", GatewayId=net.vgw)
    net.attach()
    assert net.routes()[0][3] == "active"
    inside = {"RouteTableId": net.table, "DestinationCidrBlock": "10.10.0.0/24", "GatewayId": net.vgw}
    assert "only an interface" in net.refused("InvalidParameterValue", "CreateRoute", **inside)
    net.refused(
        "InvalidGatewayID.NotFound", "CreateRoute", RouteTableId=net.table, DestinationCidrBlock="1.0.0.0/8", GatewayId="vgw-00000000000000001"
    )
    net.detach()
    net.call("DeleteVpnGateway", VpnGatewayId=net.vgw)
    assert net.routes()[0][3] == "blackhole"


def test_propagated_routes_and_what_goes_before_them(net: Net) -> None:
    vpn = net.vpn(OFFICE, "172.16.0.0/12")
    net.propagate()
    net.propagate()
    origin = "EnableVgwRoutePropagation"
    assert net.routes() == [(OFFICE, net.vgw, origin, "active"), ("172.16.0.0/12", net.vgw, origin, "active")]
    (table,) = net.call("DescribeRouteTables", Filters=[{"Name": "route.origin", "Values": [origin]}])["RouteTables"]
    assert table["PropagatingVgws"] == [{"GatewayId": net.vgw}]
    for inside in ("10.10.0.0/16", "10.10.4.0/24"):
        net.call("CreateVpnConnectionRoute", VpnConnectionId=vpn, DestinationCidrBlock=inside)
    assert len(net.routes()) == 2, "the local route goes before a propagated one, however specific"
    gateway = net.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    net.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=net.vpc)
    net.call("CreateRoute", RouteTableId=net.table, DestinationCidrBlock=OFFICE, GatewayId=gateway)
    assert net.routes()[0] == (OFFICE, gateway, "CreateRoute", "active"), "a static route goes before a propagated one"
    assert net.routes()[1:] == [("172.16.0.0/12", net.vgw, origin, "active")]
    net.refused("InvalidRoute.NotFound", "DeleteRoute", RouteTableId=net.table, DestinationCidrBlock="172.16.0.0/12")
    net.call("DeleteRoute", RouteTableId=net.table, DestinationCidrBlock=OFFICE)
    assert net.routes()[0][1] == net.vgw
    net.detach()
    assert net.routes() == []
    net.attach()
    assert len(net.routes()) == 2
    net.call("DisableVgwRoutePropagation", GatewayId=net.vgw, RouteTableId=net.table)
    assert net.routes() == []


def test_propagation_needs_an_attached_gateway_and_ends_with_it(net: Net) -> None:
    net.propagate()
    net.detach()
    net.refused("Gateway.NotAttached", "EnableVgwRoutePropagation", GatewayId=net.vgw, RouteTableId=net.table)
    net.refused("InvalidVpnGatewayID.NotFound", "EnableVgwRoutePropagation", GatewayId="vgw-00000000000000001", RouteTableId=net.table)
    net.refused("InvalidRouteTableID.NotFound", "EnableVgwRoutePropagation", GatewayId=net.vgw, RouteTableId="rtb-00000000000000001")
    net.call("DeleteVpnGateway", VpnGatewayId=net.vgw)
    (table,) = net.call("DescribeRouteTables", RouteTableIds=[net.table])["RouteTables"]
    assert table["PropagatingVgws"] == []


def test_a_connection_without_static_routes_learns_what_the_network_announces(net: Net) -> None:
    vpn = net.vpn(static=False)
    net.refused("InvalidVpnConnection.InvalidType", "CreateVpnConnectionRoute", VpnConnectionId=vpn, DestinationCidrBlock=OFFICE)
    net.propagate()
    assert net.routes() == []
    net.cloud.state = replace(net.cloud.state, sites={"office": OFFICE_SITE})
    assert [one[0] for one in net.routes()] == list(OFFICE_SITE.cidrs)
    net.refused("InvalidAction", "CreatePrivateVirtualInterface", connectionId="dxcon-1")


def test_direct_connect_announces_too(net: Net) -> None:
    net.cloud.state = replace(net.cloud.state, sites={"office": OFFICE_SITE})
    new = {"virtualInterfaceName": "line", "virtualGatewayId": net.vgw, "vlan": 101, "asn": 65_000}

    def line(verb: str, **params: Any) -> dict[str, Any]:  # no action of EC2, so botocore's model of EC2 has nothing to say
        net.cloud.state, answer = execute(net.cloud.state, f"directconnect:{verb}", params, Context(0.0, {}))
        return answer

    made = line("CreatePrivateVirtualInterface", connectionId="dxcon-1", newPrivateVirtualInterface=new)
    net.propagate()
    assert [one[0] for one in net.routes()] == list(OFFICE_SITE.cidrs)
    with pytest.raises(Ec2Error, match="MTU 9001 is not one of 1500, 8500"):
        line("CreatePrivateVirtualInterface", connectionId="dxcon-1", newPrivateVirtualInterface={**new, "mtu": 9001})
    line("DeleteVirtualInterface", virtualInterfaceId=made["virtualInterfaceId"])
    assert net.routes() == []


def test_they_have_tags_and_dry_runs(net: Net) -> None:
    for resource in (net.vgw, net.device, net.vpn()):
        net.call("CreateTags", Resources=[resource], Tags=[{"Key": "Name", "Value": "x"}])
    kinds = {one["ResourceType"] for one in net.call("DescribeTags", Filters=[{"Name": "value", "Values": ["x"]}])["Tags"]}
    assert kinds == {"vpn-gateway", "customer-gateway", "vpn-connection"}
    net.refused("DryRunOperation", "DetachVpnGateway", VpnGatewayId=net.vgw, VpcId=net.vpc, DryRun=True)


def test_coverage_says_that_they_act() -> None:
    rows = {row["action"]: row["kind"] for row in coverage(known=[])["actions"]}
    for verb in ("CreateVpnGateway", "AttachVpnGateway", "CreateVpnConnection", "CreateVpnConnectionRoute", "EnableVgwRoutePropagation"):
        assert rows[verb] == "acts"
    assert rows["DescribeVpnConnections"] == "reads"
    assert not any(action.startswith("directconnect") for action in rows)
