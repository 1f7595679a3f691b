"""Instances as Describe actions show them (pure). Source: docs/sources.md#instances"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.eni_fields import eni_fields, stamp
from labnet.ec2.rules.find import no_instance
from labnet.ec2.rules.request import Context, Params, Result, action
from labnet.ec2.rules.shapes import ARCHITECTURE, STATE_CODES, instance_shape, instance_state, private_dns, shown_public_dns
from labnet.model.cloud import CloudState, Eni, Instance

FORGET_S = 3600.0
"""How long a terminated instance is still shown."""
EniIndex = Mapping[str, Sequence[Eni]]


def is_shown(instance: Instance, now_s: float) -> bool:
    """Is it there still for who asks?"""
    return instance.terminated_at_s is None or now_s - instance.terminated_at_s <= FORGET_S


def enis_by_instance(state: CloudState) -> EniIndex:
    """Instance id → its ENIs by network card and device index, from one walk over all."""
    found: dict[str, list[tuple[int, int, Eni]]] = {}
    for eni in state.enis.values():
        if eni.attachment is not None:
            at = eni.attachment
            found.setdefault(at.instance_id, []).append((at.network_card_index, at.device_index, eni))
    return {key: [eni for _, _, eni in sorted(items, key=lambda item: item[:2])] for key, items in found.items()}


def reservation(state: CloudState, instances: Sequence[Instance], enis: EniIndex) -> dict[str, Any]:
    """`Reservation`: the instances of one launch."""
    return {
        "ReservationId": instances[0].reservation_id, "OwnerId": state.account_id, "Groups": [],
        "Instances": [instance_shape(state, one, enis.get(one.id, ())) for one in instances],
    }


def _chosen(state: CloudState, params: Params, context: Context) -> list[Instance]:
    """The instances of a request's ids, or all, as far as they are shown. Errors: Ec2Error."""
    shown = {key: one for key, one in state.instances.items() if is_shown(one, context.now_s)}
    return describe.chosen(shown, params.get("InstanceIds"), no_instance)


def describe_instances(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInstances: what was launched by one request in one reservation."""
    describe.page_or_ids(params, "InstanceIds", "instancesSet")
    enis = enis_by_instance(state)
    found = describe.matching(_chosen(state, params, context), params, _fields(state, enis), lambda one: one.tags)
    shown, more = describe.page(found, params)
    launches: dict[str, list[Instance]] = {}
    for one in shown:
        launches.setdefault(one.reservation_id, []).append(one)
    return state, {"Reservations": [reservation(state, items, enis) for items in launches.values()], **more}


def _fields(state: CloudState, enis: EniIndex) -> dict[str, describe.Field[Instance]]:
    """What instances can be filtered by."""
    return {**_own(state), **_of_primary(state, enis), **_of_enis(state, enis)}


def _own(state: CloudState) -> dict[str, describe.Field[Instance]]:
    return {
        "instance-id": lambda one: (one.id,),
        "instance-state-name": lambda one: (one.state,),
        "instance-state-code": lambda one: (str(STATE_CODES[one.state]),),
        "instance-type": lambda one: (one.instance_type,),
        "image-id": lambda one: (one.image_id,),
        "availability-zone": lambda one: (one.availability_zone,),
        "architecture": lambda one: (ARCHITECTURE,),
        "client-token": lambda one: (one.client_token,),
        "launch-index": lambda one: (str(one.launch_index),),
        "launch-time": lambda one: (stamp(one.launched_at_s),),
        "owner-id": lambda one: (state.account_id,),
        "reservation-id": lambda one: (one.reservation_id,),
        "tenancy": lambda one: ("default",),
        "metadata-options.http-tokens": lambda one: (one.metadata.http_tokens,),
        "metadata-options.http-put-response-hop-limit": lambda one: (str(one.metadata.hop_limit),),
        "metadata-options.http-endpoint": lambda one: (one.metadata.http_endpoint,),
        "metadata-options.state": lambda one: ("applied",),
    }


def _of_primary(state: CloudState, enis: EniIndex) -> dict[str, describe.Field[Instance]]:
    """What an instance has from its primary interface; a terminated one has it no more."""
    def primary(one: Instance) -> Sequence[Eni]:
        return enis.get(one.id, ())[:1]

    def public(one: Instance) -> Iterable[str]:
        return (eni.addresses[0].public for eni in primary(one) if eni.addresses[0].public)

    return {
        "subnet-id": lambda one: (one.subnet_id for _ in primary(one)),
        "vpc-id": lambda one: (one.vpc_id for _ in primary(one)),
        "private-ip-address": lambda one: (eni.primary for eni in primary(one)),
        "private-dns-name": lambda one: (private_dns(state, eni.primary) for eni in primary(one)),
        "ip-address": public,
        "dns-name": lambda one: (shown_public_dns(state, one.vpc_id, address) for address in public(one)),
        "source-dest-check": lambda one: (str(eni.source_dest_check).lower() for eni in primary(one)),
        "instance.group-id": lambda one: (group for eni in primary(one) for group in eni.security_groups),
        "instance.group-name": lambda one: (state.security_groups[group].name for eni in primary(one) for group in eni.security_groups),
    }


def _of_enis(state: CloudState, enis: EniIndex) -> dict[str, describe.Field[Instance]]:
    """``network-interface.*``: what DescribeNetworkInterfaces can be asked, of any interface of an instance."""
    def of(read: describe.Field[Eni]) -> describe.Field[Instance]:
        return lambda one: (text for eni in enis.get(one.id, ()) for text in read(eni))

    return {
        name if name.startswith("network-interface") else f"network-interface.{name}": of(read) for name, read in eni_fields(state).items()
    } | {"network-interface.network-interface-id": of(lambda eni: (eni.id,))}


# ---- status ---------------------------------------------------------------------------------------------------------------


_PASSED = {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
_NOTHING = {"Status": "not-applicable"}


def describe_status(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInstanceStatus: of running instances, or with IncludeAllInstances of all; a node that runs is reachable."""
    describe.page_or_ids(params, "InstanceIds", "instancesSet")
    found = _chosen(state, params, context)
    if not params.get("IncludeAllInstances"):
        found = [one for one in found if one.state == "running"]
    found = describe.matching(found, params, _STATUS_FIELDS, lambda one: {})
    shown, more = describe.page(found, params)
    return state, {"InstanceStatuses": [_status(one) for one in shown], **more}


def _status(one: Instance) -> dict[str, Any]:
    said = _PASSED if one.state == "running" else _NOTHING
    return {
        "InstanceId": one.id, "AvailabilityZone": one.availability_zone, "InstanceState": instance_state(one), "InstanceStatus": said,
        "SystemStatus": said, "Events": [],
    }


def _word(running: str, otherwise: str = "not-applicable") -> describe.Field[Instance]:
    return lambda one: (running if one.state == "running" else otherwise,)


_STATUS_FIELDS: dict[str, describe.Field[Instance]] = {
    "availability-zone": lambda one: (one.availability_zone,),
    "instance-state-name": lambda one: (one.state,),
    "instance-state-code": lambda one: (str(STATE_CODES[one.state]),),
    "instance-status.status": _word("ok"), "system-status.status": _word("ok"),
    "instance-status.reachability": _word("passed"), "system-status.reachability": _word("passed"),
}

ACTIONS = {
    "DescribeInstances": action(describe_instances, "InstanceIds Filters MaxResults NextToken", mutates=False),
    "DescribeInstanceStatus": action(
        describe_status, "InstanceIds Filters IncludeAllInstances MaxResults NextToken", mutates=False
    ),
}
