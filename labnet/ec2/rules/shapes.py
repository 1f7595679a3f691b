"""Objects in the API's shapes: boto3's member names and types (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from labnet.ec2.rules.connection_tracking import tracking_shape
from labnet.ec2.rules.pool import free_count
from labnet.ec2.rules.request import tag_list
from labnet.model.cloud import (
    CloudState,
    Eni,
    Instance,
    InstanceType,
    InternetGateway,
    MetadataOptions,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)

ARCHITECTURE = "x86_64"
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def time_of(now_s: float) -> datetime:
    """A moment as the API has it."""
    return datetime.fromtimestamp(int(now_s), UTC)


def private_domain(state: CloudState) -> str:
    """The domain of private host names. Source: docs/sources.md#dns"""
    return "ec2.internal" if state.region == "us-east-1" else f"{state.region}.compute.internal"


def public_domain(state: CloudState) -> str:
    """The domain of public host names. Source: docs/sources.md#dns"""
    return "compute-1.amazonaws.com" if state.region == "us-east-1" else f"{state.region}.compute.amazonaws.com"


def private_dns(state: CloudState, address: str) -> str:
    """The private host name of an address."""
    return f"ip-{address.replace('.', '-')}.{private_domain(state)}"


def public_dns(state: CloudState, address: str) -> str:
    """The public host name of an address."""
    return f"ec2-{address.replace('.', '-')}.{public_domain(state)}"


def shown_public_dns(state: CloudState, vpc_id: str, address: str) -> str:
    """The public host name that an address of a VPC's ENI has: none while `enableDnsHostnames` is off there."""
    vpc = state.vpcs.get(vpc_id)
    return public_dns(state, address) if vpc is not None and vpc.dns_hostnames else ""


def vpc_shape(state: CloudState, vpc: Vpc) -> dict[str, Any]:
    """`Vpc`."""
    blocks = [
        {"AssociationId": vpc.cidr_ids[cidr], "CidrBlock": cidr, "CidrBlockState": {"State": "associated"}} for cidr in vpc.cidrs
    ]
    return {
        "VpcId": vpc.id, "CidrBlock": vpc.cidrs[0], "State": "available", "IsDefault": False, "InstanceTenancy": "default",
        "OwnerId": state.account_id, "DhcpOptionsId": vpc.dhcp_options_id, "CidrBlockAssociationSet": blocks, "Tags": tag_list(vpc.tags),
    }


def subnet_shape(state: CloudState, subnet: Subnet) -> dict[str, Any]:
    """`Subnet`."""
    return {
        "SubnetId": subnet.id, "VpcId": subnet.vpc_id, "CidrBlock": subnet.cidr, "AvailabilityZone": subnet.availability_zone,
        "AvailabilityZoneId": zone_id(subnet.availability_zone), "AvailableIpAddressCount": free_count(state, subnet),
        "MapPublicIpOnLaunch": subnet.map_public_ip_on_launch, "State": "available", "DefaultForAz": False,
        "AssignIpv6AddressOnCreation": False, "OwnerId": state.account_id, "Tags": tag_list(subnet.tags),
        "SubnetArn": subnet_arn(state, subnet),
    }


def subnet_arn(state: CloudState, subnet: Subnet) -> str:
    """The ARN of a subnet."""
    return f"arn:aws:ec2:{state.region}:{state.account_id}:subnet/{subnet.id}"


def zone_id(zone: str) -> str:
    """The id of a zone: us-west-2a → usw2-az1."""
    parts = zone[:-1].split("-")
    if len(parts) != 3:
        return zone
    way = {"northeast": "ne", "southeast": "se"}.get(parts[1], parts[1][:1])
    return f"{parts[0]}{way}{parts[2]}-az{ord(zone[-1]) - ord('a') + 1}"


def gateway_shape(state: CloudState, gateway: InternetGateway) -> dict[str, Any]:
    """`InternetGateway`."""
    attached = [{"State": "available", "VpcId": gateway.vpc_id}] if gateway.vpc_id else []
    return {"InternetGatewayId": gateway.id, "OwnerId": state.account_id, "Attachments": attached, "Tags": tag_list(gateway.tags)}


def group_arn(state: CloudState, group: SecurityGroup) -> str:
    """The ARN of a security group."""
    return f"arn:aws:ec2:{state.region}:{state.account_id}:security-group/{group.id}"


def group_shape(state: CloudState, group: SecurityGroup) -> dict[str, Any]:
    """`SecurityGroup`."""
    return {
        "GroupId": group.id, "GroupName": group.name, "Description": group.description, "VpcId": group.vpc_id,
        "OwnerId": state.account_id, "IpPermissions": permissions(state, group.ingress),
        "IpPermissionsEgress": permissions(state, group.egress), "Tags": tag_list(group.tags), "SecurityGroupArn": group_arn(state, group),
    }


def port_shape(rule: SecurityGroupRule) -> dict[str, int]:
    """The members FromPort and ToPort of a rule: -1 for all of ICMP, none where ports mean nothing."""
    if rule.from_port is None or rule.to_port is None:
        return {"FromPort": -1, "ToPort": -1} if rule.protocol == "icmp" else {}
    return {"FromPort": rule.from_port, "ToPort": rule.to_port}


def permissions(state: CloudState, rules: tuple[SecurityGroupRule, ...]) -> list[dict[str, Any]]:
    """`IpPermission` items: rules of one protocol and ports together."""
    grouped: dict[tuple[str, int | None, int | None], dict[str, Any]] = {}
    fresh: dict[str, Any]
    for rule in rules:
        key = (rule.protocol, rule.from_port, rule.to_port)
        fresh = {"IpProtocol": rule.protocol, **port_shape(rule), "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": []}
        item = grouped.setdefault(key, fresh)
        said = {"Description": rule.description} if rule.description else {}
        if rule.cidr is not None:
            item["IpRanges"].append({"CidrIp": rule.cidr, **said})
        elif rule.prefix_list_id is not None:
            item["PrefixListIds"].append({"PrefixListId": rule.prefix_list_id, **said})
        else:
            item["UserIdGroupPairs"].append({"GroupId": rule.group_id, "UserId": state.account_id, **said})
    return list(grouped.values())


def rule_shape(state: CloudState, group: SecurityGroup, rule: SecurityGroupRule, *, egress: bool) -> dict[str, Any]:
    """`SecurityGroupRule`: ports are -1 where they mean nothing."""
    out: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id, "GroupId": group.id, "GroupOwnerId": state.account_id, "IsEgress": egress,
        "IpProtocol": rule.protocol, **{"FromPort": -1, "ToPort": -1, **port_shape(rule)}, "Tags": tag_list(rule.tags),
        "SecurityGroupRuleArn": f"arn:aws:ec2:{state.region}:{state.account_id}:security-group-rule/{rule.id}",
    }
    if rule.cidr is not None:
        out["CidrIpv4"] = rule.cidr
    elif rule.prefix_list_id is not None:
        out["PrefixListId"] = rule.prefix_list_id
    else:
        out["ReferencedGroupInfo"] = {"GroupId": rule.group_id, "UserId": state.account_id}
    return {**out, "Description": rule.description} if rule.description else out


def revoked_rule_shape(group: SecurityGroup, rule: SecurityGroupRule, *, egress: bool) -> dict[str, Any]:
    """`RevokedSecurityGroupRule`."""
    out: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id, "GroupId": group.id, "IsEgress": egress, "IpProtocol": rule.protocol,
        **{"FromPort": -1, "ToPort": -1, **port_shape(rule)}, **({"Description": rule.description} if rule.description else {}),
    }
    if rule.prefix_list_id is not None:
        return {**out, "PrefixListId": rule.prefix_list_id}
    return {**out, "CidrIpv4": rule.cidr} if rule.cidr is not None else {**out, "ReferencedGroupId": rule.group_id}


def eni_status(eni: Eni) -> str:
    """What an ENI is doing: available, or its attachment's state where that is not settled, or in-use."""
    if eni.attachment is None:
        return "available"
    return "in-use" if eni.attachment.status == "attached" else eni.attachment.status


def group_names(state: CloudState, groups: Iterable[str]) -> list[dict[str, str]]:
    """`GroupIdentifier` items."""
    return [{"GroupId": one, "GroupName": state.security_groups[one].name} for one in groups]


def eni_shape(state: CloudState, eni: Eni, *, in_instance: bool = False) -> dict[str, Any]:
    """`NetworkInterface`, or the smaller `InstanceNetworkInterface` of an instance."""
    out: dict[str, Any] = {
        "NetworkInterfaceId": eni.id, "SubnetId": eni.subnet_id, "VpcId": eni.vpc_id, "Description": eni.description,
        "OwnerId": state.account_id, "Status": eni_status(eni), "MacAddress": eni.mac,
        "PrivateIpAddress": eni.primary, "PrivateDnsName": private_dns(state, eni.primary), "SourceDestCheck": eni.source_dest_check,
        "Groups": group_names(state, eni.security_groups),
        "InterfaceType": eni.interface_type, "Ipv6Addresses": [],
        "Ipv4Prefixes": [{"Ipv4Prefix": prefix} for prefix in eni.prefixes],
        "PrivateIpAddresses": [
            {
                "PrivateIpAddress": item.address, "Primary": item.primary, "PrivateDnsName": private_dns(state, item.address),
                **_association(state, eni.vpc_id, item.public, in_instance),
            }
            for item in eni.addresses
        ],
        **_association(state, eni.vpc_id, eni.addresses[0].public, in_instance), **tracking_shape(eni.connection_tracking),
    }
    if eni.attachment is not None:
        out["Attachment"] = attachment_shape(state, eni, in_instance=in_instance)
    if not in_instance:
        out |= {"AvailabilityZone": eni.availability_zone, "RequesterManaged": eni.requester_managed, "TagSet": tag_list(eni.tags)}
    return out


def attachment_shape(state: CloudState, eni: Eni, *, in_instance: bool = False) -> dict[str, Any]:
    """`NetworkInterfaceAttachment`."""
    at = eni.attachment
    assert at is not None
    out = {
        "AttachmentId": at.id, "DeviceIndex": at.device_index, "NetworkCardIndex": at.network_card_index, "Status": at.status,
        "DeleteOnTermination": at.delete_on_termination, "AttachTime": time_of(at.attached_at_s),
    }
    if in_instance:
        return out
    if eni.requester_managed:  # plugged into something of AWS's own
        return {**out, "InstanceOwnerId": "amazon-aws"}
    return {**out, "InstanceId": at.instance_id, "InstanceOwnerId": state.account_id}


def _association(state: CloudState, vpc_id: str, public: str | None, in_instance: bool) -> dict[str, Any]:
    if public is None:
        return {}
    shown = {"PublicIp": public, "PublicDnsName": shown_public_dns(state, vpc_id, public), "IpOwnerId": "amazon"}
    elastic = state.elastic(public)
    if elastic is not None and elastic.association is not None:
        shown["IpOwnerId"] = state.account_id
        if not in_instance:
            shown |= {"AllocationId": elastic.id, "AssociationId": elastic.association.id}
    return {"Association": shown}


def instance_shape(state: CloudState, instance: Instance, enis: Sequence[Eni]) -> dict[str, Any]:
    """`Instance`; `enis` are its own, by network card and device index."""
    primary = enis[0] if enis else None
    out: dict[str, Any] = {
        "InstanceId": instance.id, "ImageId": instance.image_id, "InstanceType": instance.instance_type,
        "State": instance_state(instance), "LaunchTime": time_of(instance.launched_at_s),
        "Placement": {"AvailabilityZone": instance.availability_zone, "Tenancy": "default", "GroupName": ""},
        "Architecture": ARCHITECTURE, "Hypervisor": "xen", "VirtualizationType": "hvm", "RootDeviceType": "ebs",
        "AmiLaunchIndex": instance.launch_index, "ClientToken": instance.client_token, "Tags": tag_list(instance.tags),
        "SourceDestCheck": primary.source_dest_check if primary else True,
        "NetworkInterfaces": [eni_shape(state, eni, in_instance=True) for eni in enis],
        "SecurityGroups": group_names(state, primary.security_groups if primary else ()),
        "MetadataOptions": metadata_shape(instance.metadata),
        "PrivateDnsName": private_dns(state, primary.primary) if primary else "", "PublicDnsName": "", "StateTransitionReason": "",
    }
    if instance.terminated_at_s is not None:
        when = time_of(instance.terminated_at_s).strftime("%Y-%m-%d %H:%M:%S GMT")
        out |= {
            "StateTransitionReason": f"User initiated ({when})",
            "StateReason": {"Code": "Client.UserInitiatedShutdown", "Message": "Client.UserInitiatedShutdown: User initiated shutdown"},
        }
    if primary is not None:
        out |= {"VpcId": instance.vpc_id, "SubnetId": instance.subnet_id, "PrivateIpAddress": primary.primary}
        public = primary.addresses[0].public
        if public is not None:
            out |= {"PublicIpAddress": public, "PublicDnsName": shown_public_dns(state, instance.vpc_id, public)}
    return out


def instance_state(instance: Instance) -> dict[str, Any]:
    """`InstanceState`."""
    return {"Name": instance.state, "Code": STATE_CODES[instance.state]}


def metadata_shape(options: MetadataOptions) -> dict[str, Any]:
    """`InstanceMetadataOptionsResponse`."""
    return {
        "State": "applied", "HttpTokens": options.http_tokens, "HttpPutResponseHopLimit": options.hop_limit,
        "HttpEndpoint": options.http_endpoint, "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": options.instance_tags,
    }


def type_shape(kind: InstanceType) -> dict[str, Any]:
    """`InstanceTypeInfo`, as far as networking needs it."""
    cards = [{"NetworkCardIndex": index, "MaximumNetworkInterfaces": count} for index, count in kind.network_cards]
    out: dict[str, Any] = {
        "InstanceType": kind.name, "BareMetal": kind.bare_metal, "CurrentGeneration": True,
        "NetworkInfo": {
            "MaximumNetworkInterfaces": kind.enis, "MaximumNetworkCards": len(kind.network_cards),
            "DefaultNetworkCardIndex": kind.default_network_card, "NetworkCards": cards, "Ipv4AddressesPerInterface": kind.ipv4_per_eni,
            "Ipv6Supported": True, "Ipv6AddressesPerInterface": kind.ipv4_per_eni,
        },
    }
    if kind.hypervisor in ("nitro", "xen"):
        out["Hypervisor"] = kind.hypervisor
    return out

