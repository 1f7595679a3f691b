"""A scenario's network ACLs as EC2 calls: made, filled, and put in the place of the default one on the subnets that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.model.scenario import NetworkAclEntrySpec, VpcSpec
from labnet.ports import Ec2Api

ICMP, WITH_PORTS = ("icmp", "1"), ("tcp", "6", "udp", "17")
LAST_PORT = 65_535


async def make_acls(api: Ec2Api, vpc_id: str, vpc: VpcSpec, subnets: Mapping[str, str]) -> None:
    """Create the ACLs of a VPC and associate its subnets; `subnets` are ids by name. Errors: Ec2Error."""
    made: dict[str, str] = {}
    for acl in vpc.network_acls:
        tags = [{"ResourceType": "network-acl", "Tags": [{"Key": "Name", "Value": acl.name}]}]
        answer = await api.call("CreateNetworkAcl", {"VpcId": vpc_id, "TagSpecifications": tags})
        made[acl.name] = str(answer["NetworkAcl"]["NetworkAclId"])
        for egress, entries in ((False, acl.ingress), (True, acl.egress)):
            for entry in entries:
                await api.call("CreateNetworkAclEntry", {"NetworkAclId": made[acl.name], "Egress": egress, **_entry(entry)})
    wanted = {subnets[subnet.name]: made[subnet.network_acl] for subnet in vpc.subnets if subnet.network_acl in made}
    if not wanted:
        return
    found = await api.call("DescribeNetworkAcls", {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]})
    for item in found["NetworkAcls"]:
        for one in item["Associations"]:
            if one["SubnetId"] in wanted:
                params = {"AssociationId": one["NetworkAclAssociationId"], "NetworkAclId": wanted[one["SubnetId"]]}
                await api.call("ReplaceNetworkAclAssociation", params)


def _entry(entry: NetworkAclEntrySpec) -> dict[str, Any]:
    out: dict[str, Any] = {
        "RuleNumber": entry.number, "RuleAction": entry.action, "Protocol": entry.protocol, "CidrBlock": entry.cidr,
    }
    first, last = entry.from_port, entry.to_port
    if entry.protocol in ICMP:
        out["IcmpTypeCode"] = {"Type": -1 if first is None else first, "Code": -1 if last is None else last}
    elif entry.protocol in WITH_PORTS:
        low, high = (0, LAST_PORT) if first is None else (first, first if last is None else last)
        out["PortRange"] = {"From": low, "To": high}
    return out
