"""What network interfaces can be filtered by, by themselves and as part of an instance (pure). Source: docs/sources.md#enis"""

from __future__ import annotations

from labnet.ec2.rules import describe
from labnet.ec2.rules.shapes import eni_status, private_dns, shown_public_dns, time_of, zone_id
from labnet.model.cloud import CloudState, Eni


def eni_fields(state: CloudState) -> dict[str, describe.Field[Eni]]:
    """Every filter of DescribeNetworkInterfaces that an ENI of a lab has an answer to."""
    return {**_own(state), **_addresses(state), **_attachment(state)}


def _own(state: CloudState) -> dict[str, describe.Field[Eni]]:
    return {
        "network-interface-id": lambda one: (one.id,),
        "subnet-id": lambda one: (one.subnet_id,),
        "vpc-id": lambda one: (one.vpc_id,),
        "availability-zone": lambda one: (one.availability_zone,),
        "availability-zone-id": lambda one: (zone_id(one.availability_zone),),
        "mac-address": lambda one: (one.mac,),
        "description": lambda one: (one.description,),
        "status": lambda one: (eni_status(one),),
        "interface-type": lambda one: (one.interface_type,),
        "owner-id": lambda one: (state.account_id,),
        "requester-managed": lambda one: (_word(one.requester_managed),),
        "source-dest-check": lambda one: (_word(one.source_dest_check),),
        "group-id": lambda one: one.security_groups,
        "group-name": lambda one: (state.security_groups[group].name for group in one.security_groups),
    }


def _addresses(state: CloudState) -> dict[str, describe.Field[Eni]]:
    return {
        "private-ip-address": lambda one: (one.primary,),
        "private-dns-name": lambda one: (private_dns(state, one.primary),),
        "addresses.private-ip-address": lambda one: (item.address for item in one.addresses),
        "addresses.primary": lambda one: (_word(item.primary) for item in one.addresses),
        "addresses.association.public-ip": lambda one: (item.public for item in one.addresses if item.public),
        "association.public-ip": lambda one: (item.public for item in one.addresses if item.public),
        "association.public-dns-name": lambda one: (shown_public_dns(state, one.vpc_id, item.public) for item in one.addresses if item.public),
    }


def _attachment(state: CloudState) -> dict[str, describe.Field[Eni]]:
    return {
        "attachment.instance-id": lambda one: (one.attachment.instance_id,) if one.attachment else (),
        "attachment.instance-owner-id": lambda one: (state.account_id,) if one.attachment else (),
        "attachment.attachment-id": lambda one: (one.attachment.id,) if one.attachment else (),
        "attachment.attach-time": lambda one: (stamp(one.attachment.attached_at_s),) if one.attachment else (),
        "attachment.delete-on-termination": lambda one: (_word(one.attachment.delete_on_termination),) if one.attachment else (),
        "attachment.device-index": lambda one: (str(one.attachment.device_index),) if one.attachment else (),
        "attachment.network-card-index": lambda one: (str(one.attachment.network_card_index),) if one.attachment else (),
        "attachment.status": lambda one: (one.attachment.status,) if one.attachment else (),
    }


def stamp(at_s: float) -> str:
    """A moment as filters name it."""
    return time_of(at_s).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _word(value: bool) -> str:
    return str(value).lower()
