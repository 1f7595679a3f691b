"""Networks outside of AWS in a scenario: what is refused, where and how it could be right, and what EC2 is asked for."""

from __future__ import annotations

import asyncio

import pytest

from labnet.ec2 import limits
from labnet.ec2.rules.routes import all_routes
from labnet.ec2.service import Ec2Service
from labnet.errors import UsageError
from labnet.lab.cloud_setup import make_vpcs
from labnet.lab.lifecycle import planned_namespaces
from labnet.lab.sites_setup import sites_of
from labnet.lab.world import refuse_other_changes
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

SUBNET = "subnets: [{name: a, cidr: 10.0.0.0/24}]"


def lab(*sites: str, rest: str = "", gateway: bool = True) -> str:
    return f"vpc: {{cidr: 10.0.0.0/16, {SUBNET}, vpnGateway: {str(gateway).lower()}{rest}}}\nonPremises: [{', '.join(sites)}]"


OFFICE = "{name: office, cidr: 192.168.0.0/16}"


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        (lab(OFFICE, gateway=False), "onPremises[0]", "no VPN gateway", "vpnGateway: true"),
        (lab("{name: office}"), "onPremises[0]", "has no block", "cidr: 192.168.0.0/16"),
        (lab("{name: office, cidr: 192.168.0.0/16, cidrs: [172.16.0.0/12]}"), "onPremises[0].cidrs", "beside 'cidr'", "below 'cidrs'"),
        (lab("{name: office, cidr: 192.168.0.1/16}"), "onPremises[0].cidr", "host bits", "192.168.0.0/16"),
        (lab("{name: office, cidr: 10.0.64.0/20}"), "onPremises[0].cidr", "overlaps 10.0.0.0/16 of VPC vpc", "another block"),
        (lab("{name: office, cidr: 10.0.0.0/8}"), "onPremises[0].cidr", "overlaps 10.0.0.0/16 of VPC vpc", "another block"),
        (lab("{name: office, cidr: 169.254.10.0/24}"), "onPremises[0].cidr", "link-local", "private block"),
        (lab("{name: office, cidrs: [192.168.0.0/16, 192.168.4.0/24]}"), "onPremises[0].cidrs[1]", "another block of this", "not overlap"),
        (lab(OFFICE, "{name: plant, cidr: 192.168.7.0/24}"), "onPremises[1].cidr", "of office, behind the same", "another block"),
        (lab("{name: office, cidr: 192.168.0.0/16, vpc: blue}"), "onPremises[0].vpc", "no VPC 'blue'", "vpc"),
        (lab("{name: Office, cidr: 192.168.0.0/16}"), "onPremises[0].name", "no name for a network", "lower-case"),
        (
            lab("{name: office, cidr: 192.168.0.0/16, hosts: [{name: db, address: 192.169.0.1}]}"), "onPremises[0].hosts[0].address",
            "outside the network", "192.168.0.0/16",
        ),
        (
            lab("{name: office, cidr: 192.168.0.0/16, hosts: [{name: db, address: 192.168.0.1}, {name: x, address: 192.168.0.1}]}"),
            "onPremises[0].hosts[1].address", "another host's", "of its own",
        ),
        (
            lab("{name: office, cidr: 192.168.0.0/16, hosts: [{name: db, address: 192.168.0}]}"), "onPremises[0].hosts[0].address",
            "no IPv4 address", "192.168.10.20",
        ),
        (lab("{name: office, cidr: 192.168.0.0/16, mtu: 1500}"), "onPremises[0].mtu", "VPN tunnel", "576 to 1446"),
        (lab("{name: o, cidr: 192.168.0.0/16, connection: direct-connect, mtu: 9001}"), "onPremises[0].mtu", "9001", "1500 or 8500"),
        (lab("{name: o, cidr: 192.168.0.0/16, connection: vpn2}"), "onPremises[0].connection", "vpn2", "vpn"),
        (lab(OFFICE, OFFICE.replace("192", "193")), "onPremises[1].name", "a second network", "another name"),
        (lab(OFFICE) + "\nnodes: [{name: office, instanceType: t3.nano, subnet: a}]", "nodes[0].name", "name of network office", "hosts share"),
        (lab("{name: vgw, cidr: 192.168.0.0/16}"), "onPremises[0].name", "the lab's own vgw", "taken"),
        (
            lab(rest=", routeTables: [{name: t, propagate: true}]", gateway=False), "vpc.routeTables[0].propagate", "nobody to learn from",
            "vpnGateway: true",
        ),
        (
            lab(rest=", routeTables: [{name: t, routes: [{destination: 10.0.0.0/24, target: vpnGateway}]}]"),
            "vpc.routeTables[0].routes[0].target", "cannot be the way", "a node",
        ),
        (
            lab(rest=", routeTables: [{name: t, routes: [{destination: 192.168.0.0/16, target: vpnGateway}]}]", gateway=False),
            "vpc.routeTables[0].routes[0].target", "nothing in this VPC", "",
        ),
        (lab(OFFICE) + "\nchecks: [{from: ofice, to: db}]", "checks[0].from", "no node or pod 'ofice'", "office"),
    ],
)
def test_what_is_refused(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(text)
    assert field in [problem.field for problem in found], [problem.text for problem in found]
    first = next(problem for problem in found if problem.field == field)
    assert message in first.message and hint in first.hint and first.hint


WHOLE = """
vpcs:
  - name: red
    cidr: 10.0.0.0/16
    vpnGateway: true
    subnets: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.1.0/24, routeTable: learns}]
    routeTables:
      - {name: main, main: true, routes: [{destination: 192.168.0.0/16, target: vpnGateway}]}
      - {name: learns, propagate: true}
  - name: blue
    cidr: 10.1.0.0/16
    vpnGateway: true
    subnets: [{name: c, cidr: 10.1.0.0/24}]
onPremises:
  - {name: onprem, cidr: 192.168.0.0/16, hosts: [{name: db, address: 192.168.10.20}], mtu: 1400}
  - {name: plant, cidrs: [172.20.0.0/16, 172.21.0.0/16], connection: direct-connect, vpc: blue, mtu: 8500}
checks:
  - {from: db, to: onprem}
  - {from: plant, to: 10.0.0.9, expect: dropped, dropAt: vgw.blue}
"""


def test_what_ec2_is_asked_for(read) -> None:
    scenario = read(WHOLE)
    sites = sites_of(scenario, "x")
    service = Ec2Service(CloudState(lab="x", sites=sites), limits.load(), LabClock(0.0))
    ids = asyncio.run(make_vpcs(service.client("labnet"), scenario, sites))
    state = service.state
    red, blue = (next(one for one in state.vpn_gateways.values() if one.vpc_id == ids.vpcs[name]) for name in ("red", "blue"))
    (vpn,) = state.vpn_connections.values()
    assert (vpn.vpn_gateway_id, vpn.static_routes_only, vpn.routes) == (red.id, True, ("192.168.0.0/16",))
    assert state.customer_gateways[vpn.customer_gateway_id].ip_address == sites["onprem"].gateway_ip
    (line,) = state.virtual_interfaces.values()
    assert (line.vpn_gateway_id, line.mtu_bytes, line.connection_id) == (blue.id, 8500, sites["plant"].connection_id)
    found = {
        (table.tags.get("Name", "own"), ids_name): [(one.destination, one.target, one.propagated) for one in all_routes(state, table)[1:]]
        for table in state.route_tables.values() for ids_name, key in ids.vpcs.items() if key == table.vpc_id
    }
    assert found == {
        ("main", "red"): [("192.168.0.0/16", red.id, False)], ("learns", "red"): [("192.168.0.0/16", red.id, True)],
        ("own", "blue"): [("172.20.0.0/16", blue.id, True), ("172.21.0.0/16", blue.id, True)],
    }
    assert sites["onprem"].vpn_mtu_bytes == 1400
    assert sites["plant"].hosts[0].address == "172.20.0.1", "without hosts there is one, with the first address"
    wanted = {"x-vgw", "x-vgw.blue", "x-onprem", "x-onprem.plant"}
    assert wanted <= set(planned_namespaces(scenario, "x"))


def test_a_running_lab_keeps_its_networks(read) -> None:
    before, after = read(WHOLE), read(WHOLE.replace("192.168.10.20", "192.168.10.21"))
    refuse_other_changes(before, before, before.cni.env)
    with pytest.raises(UsageError, match="differs from the scenario in: onPremises"):
        refuse_other_changes(before, after, before.cni.env)
