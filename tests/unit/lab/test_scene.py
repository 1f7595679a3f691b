"""The Scene document: what stands around a path."""

from __future__ import annotations

from dataclasses import replace

from builders_faces import a_scene
from builders_trace import IGW, LAB, VPC, a_lab_cloud

from labnet.lab.scene import scene
from labnet.model.cloud_vpc import Peering, PeeringSide, RouteAssociation, RouteTable


def test_vpcs_subnets_and_gateways_with_the_names_of_their_namespaces() -> None:
    cloud = a_lab_cloud()
    document = scene(cloud, a_scene(), {"02:00:00:00:00:03": "node1 eth1"})
    vpc = next(iter(cloud.vpcs.values()))
    assert document["kind"] == "Scene" and document["internet"] == f"{LAB}-internet"
    assert document["vpcs"] == [{"id": vpc.id, "name": vpc.name, "cidrs": list(vpc.cidrs), "netns": VPC, "igw": IGW}]
    assert [subnet["cidr"] for subnet in document["subnets"]] == [subnet.cidr for subnet in cloud.subnets.values()]
    assert document["macs"] == {"02:00:00:00:00:03": "node1 eth1"}
    assert [node["name"] for node in document["nodes"]] == ["node1", "node2"]


def test_a_subnet_names_its_own_route_table_else_the_main_one() -> None:
    cloud = a_lab_cloud()
    vpc, first = next(iter(cloud.vpcs)), next(iter(cloud.subnets))
    main = RouteTable("rtb-main", vpc, associations=(RouteAssociation("a"),), tags={"Name": "main"})
    own = RouteTable("rtb-own", vpc, associations=(RouteAssociation("b", first),))
    other = replace(cloud.subnets[first], id="subnet-other")
    cloud = replace(cloud, route_tables={"rtb-main": main, "rtb-own": own}, subnets={**cloud.subnets, "subnet-other": other})
    tables = {subnet["id"]: subnet["routeTable"] for subnet in scene(cloud, a_scene(), {})["subnets"]}
    assert (tables[first], tables["subnet-other"]) == ("rtb-own", "main")


def test_only_an_active_peering_connection_is_there_and_by_the_name_of_its_link() -> None:
    sides = (PeeringSide("vpc-a", "1", "r"), PeeringSide("vpc-b", "1", "r"))
    active = Peering("pcx-00112233445566778", *sides, state="active", tags={"Name": "to-b"})
    cloud = replace(a_lab_cloud(), peerings={"1": active, "2": replace(active, id="pcx-2", state="deleted")})
    assert scene(cloud, a_scene(), {})["peerings"] == [
        {"id": active.id, "name": "to-b", "port": f"x{active.id[-13:]}", "vpcs": ["vpc-a", "vpc-b"]},
    ]


def test_every_address_has_an_owner_and_none_is_empty() -> None:
    status = a_scene()
    status["pods"].append(status["pods"][0] | {"name": "host", "namespace": "kube-system", "ip": "10.10.0.4"})
    status["pods"].append(status["pods"][0] | {"name": "dns", "namespace": "kube-system", "ip": "10.10.0.77"})
    owners = scene(a_lab_cloud(), status, {})["addresses"]
    assert owners["10.10.0.4"] == "node1 eth0"  # a pod on the host network has its node's
    assert (owners["10.10.0.9"], owners["10.10.0.77"]) == ("pod2", "kube-system/dns")
    assert (owners["10.10.64.4"], owners["203.0.113.1"]) == ("nat-a", "nat-a, public")
    assert "" not in owners
