"""Instances: run and terminate (pure). What is asked of them: `instance_views`. Source: docs/sources.md#instances"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from labnet.ec2.rules.connection_tracking import PARAMETER as TRACKING
from labnet.ec2.rules.connection_tracking import tracking_of
from labnet.ec2.rules.enis import attach_eni, check_groups, check_type, make_eni, remove_eni, wanted_addresses
from labnet.ec2.rules.find import get_eni, get_instance, get_own_eni, get_subnet
from labnet.ec2.rules.instance_attributes import metadata_options
from labnet.ec2.rules.instance_views import FORGET_S, reservation
from labnet.ec2.rules.pool import give_back_public, take_public
from labnet.ec2.rules.request import (
    Context,
    Params,
    Result,
    action,
    check_id,
    check_members,
    check_same,
    invalid,
    new_id,
    request_digest,
    tags_for,
)
from labnet.ec2.rules.shapes import instance_state
from labnet.ec2.zone_faults import refuse_failed
from labnet.errors import Ec2Error
from labnet.model import names
from labnet.model.cloud import CloudState, Eni, Instance, MetadataOptions, Subnet
from labnet.model.values import frozen

MAX_AT_ONCE = 1000
NO_ROOM = ("InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks")
Interface = Mapping[str, Any]
_OF_NEW = (
    "SubnetId Groups Description PrivateIpAddress PrivateIpAddresses SecondaryPrivateIpAddressCount Ipv4PrefixCount Ipv4Prefixes "
    f"{TRACKING}"
)
_OF_ANY = "DeviceIndex NetworkCardIndex NetworkInterfaceId DeleteOnTermination AssociatePublicIpAddress InterfaceType"


@frozen
class _Launch:
    """What all instances of one request share."""

    params: Params
    context: Context
    interfaces: Sequence[Interface]
    metadata: MetadataOptions
    tags: Mapping[str, str]
    eni_tags: Mapping[str, str]
    count: int
    token: str
    digest: str


def run(state: CloudState, params: Params, context: Context) -> Result:
    """RunInstances: each instance with its interfaces, all of one availability zone."""
    token = str(params.get("ClientToken") or "")
    known = [one for one in state.instances.values() if token and one.client_token == token]
    if known:
        check_same(token, known[0].request_digest, params)
        return state, reservation(state, known, _enis_of(state, known))
    launch = _launch(params, context, token)
    made: list[str] = []
    reserved = ""
    for number in range(launch.count):
        try:
            state, instance = _run_one(state, launch, number, reserved)
        except Ec2Error as error:
            if error.code in NO_ROOM and number >= int(params["MinCount"]):
                break  # as many as there is room for, MinCount at least
            raise
        made.append(instance.id)
        reserved = instance.reservation_id
    instances = [state.instances[one] for one in made]
    return state, reservation(state, instances, _enis_of(state, instances))


def _enis_of(state: CloudState, instances: Sequence[Instance]) -> dict[str, Sequence[Eni]]:
    return {one.id: state.enis_of(one.id) for one in instances}


def _launch(params: Params, context: Context, token: str) -> _Launch:
    """What can be judged before the first instance is made. Errors: Ec2Error."""
    if params["InstanceType"] not in context.limits:
        raise invalid(f"Invalid value '{params['InstanceType']}' for InstanceType.")
    check_id("ami", str(params["ImageId"]), "InvalidAMIID.Malformed")
    least, most = int(params["MinCount"]), int(params["MaxCount"])
    if not 1 <= least <= most:
        raise invalid(f"Invalid value for instance counts: MinCount {least}, MaxCount {most}")
    if most > MAX_AT_ONCE:
        raise Ec2Error("InstanceLimitExceeded", f"You have requested more instances ({most}) than can be launched at once ({MAX_AT_ONCE}).")
    return _Launch(
        params=params, context=context, interfaces=_interfaces(params),
        metadata=metadata_options(MetadataOptions(), params.get("MetadataOptions") or {}, "MetadataOptions"),
        tags=tags_for(params, "instance", ("network-interface",)), eni_tags=tags_for(params, "network-interface", ("instance",)),
        count=most, token=token, digest=request_digest(params) if token else "",
    )


def _run_one(state: CloudState, launch: _Launch, number: int, reserved: str) -> tuple[CloudState, Instance]:
    where = _subnet(state, launch.interfaces[0])
    refuse_failed(state, where, str(launch.params["InstanceType"]))
    tag = launch.tags.get("Name", "")
    state, instance_id = new_id(state, "i", f"{tag}#{number}" if tag and launch.count > 1 else tag)
    instance = Instance(
        id=instance_id, instance_type=launch.params["InstanceType"], image_id=str(launch.params["ImageId"]), vpc_id=where.vpc_id,
        subnet_id=where.id, availability_zone=where.availability_zone, state="running", tags=launch.tags,
        launched_at_s=launch.context.now_s, metadata=launch.metadata, client_token=launch.token, request_digest=launch.digest,
        node_name=node_name(state, launch.context, instance_id, tag), launch_index=number,
        reservation_id=reserved or "r-" + instance_id.partition("-")[2],
    )
    state = replace(state, instances={**state.instances, instance_id: instance})
    for spec in launch.interfaces:
        state = _plug(state, launch, spec, instance_id)
    return state, instance


def node_name(state: CloudState, context: Context, instance_id: str, tag: str) -> str:
    """The name of a new instance's node: the tag Name where it can be one and is free, else the id. On AWS several may share a Name."""
    usable = names.is_name(tag) and tag not in names.RESERVED_NAMES and not context.name_taken(tag)
    taken = usable and any(one.node_name == tag and one.terminated_at_s is None for one in state.instances.values())
    return tag if usable and not taken else instance_id


# ---- interfaces of a launch -----------------------------------------------------------------------------------------------


def _interfaces(params: Params) -> list[Interface]:
    """The interfaces that a request describes, device index 0 of network card 0 first. Errors: Ec2Error."""
    listed = params.get("NetworkInterfaces") or ()
    if not listed:
        whole = {"DeviceIndex": 0, "SubnetId": params.get("SubnetId"), "Groups": params.get("SecurityGroupIds"),
                 "PrivateIpAddress": params.get("PrivateIpAddress")}  # fmt: skip
        return [{key: value for key, value in whole.items() if value not in (None, "", [])}]
    for name, word in (("SubnetId", "subnet ID"), ("SecurityGroupIds", "security groups"), ("PrivateIpAddress", "private IP address")):
        if params.get(name):
            text = f"Network interfaces and an instance-level {word} may not be specified on the same request"
            raise Ec2Error("InvalidParameterCombination", text)
    for item in listed:
        check_members(item, f"{_OF_NEW} {_OF_ANY}", "NetworkInterfaces")
        if item.get("DeviceIndex") is None:
            raise invalid("Each network interface requires a device index.")
        _check_interface(item, len(listed))
    slots = [(int(item.get("NetworkCardIndex") or 0), int(item["DeviceIndex"])) for item in listed]
    if (0, 0) not in slots:
        raise invalid("A network interface with device index 0 on network card 0 is required.")
    if len(set(slots)) < len(slots):
        raise invalid("Two network interfaces were given the same device index and network card.")
    return [item for _, item in sorted(zip(slots, listed, strict=True), key=lambda pair: pair[0])]


def _check_interface(item: Interface, count: int) -> None:
    """What may not be said of an interface, alone or beside others. Errors: Ec2Error."""
    check_type(item)
    public = item.get("AssociatePublicIpAddress")
    if public is not None and count > 1:
        text = "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces."
        raise Ec2Error("InvalidParameterCombination", text)
    if not item.get("NetworkInterfaceId"):
        return
    said = [name for name in _OF_NEW.split() if item.get(name)] + (["AssociatePublicIpAddress"] if public is not None else [])
    if item.get("DeleteOnTermination"):
        said.append("DeleteOnTermination")
    if said:
        text = f"A network interface that exists already may not be specified together with {', '.join(said)}"
        raise Ec2Error("InvalidParameterCombination", text)


def _subnet(state: CloudState, item: Interface) -> Subnet:
    if item.get("NetworkInterfaceId"):
        return state.subnets[get_eni(state, item["NetworkInterfaceId"]).subnet_id]
    if not item.get("SubnetId"):
        raise Ec2Error("MissingInput", "No subnets found for the default VPC: say SubnetId")
    return get_subnet(state, item["SubnetId"])


def _plug(state: CloudState, launch: _Launch, item: Interface, instance_id: str) -> CloudState:
    """Make an interface, or take the one that is named, and attach it."""
    index, card = int(item["DeviceIndex"]), int(item.get("NetworkCardIndex") or 0)
    if item.get("NetworkInterfaceId"):
        eni = get_own_eni(state, item["NetworkInterfaceId"])
    else:
        subnet = _subnet(state, item)
        primary, secondary, prefixes = wanted_addresses(state, subnet, item)
        state, eni = make_eni(
            state, launch.context, subnet, primary=primary, secondary=secondary, prefixes=prefixes,
            groups=check_groups(state, subnet.vpc_id, item.get("Groups") or (), creating=True),
            name=f"{instance_id}#{index}" if card == 0 else f"{instance_id}#{card}.{index}",
            description=str(item.get("Description", "")), tags=dict(launch.eni_tags), connection_tracking=tracking_of(item),
        )
        if (card, index) == (0, 0) and item.get("AssociatePublicIpAddress", subnet.map_public_ip_on_launch):
            state, public = take_public(state)
            eni = replace(eni, addresses=(replace(eni.addresses[0], public=public), *eni.addresses[1:]))
    keep = bool(item.get("DeleteOnTermination", not item.get("NetworkInterfaceId")))
    return attach_eni(state, launch.context, eni, instance_id, index, card, delete_on_termination=keep)[0]


# ---- the end --------------------------------------------------------------------------------------------------------------


def terminate(state: CloudState, params: Params, context: Context) -> Result:
    """TerminateInstances: ENIs with DeleteOnTermination go too, the others become available.

    What was terminated an hour ago is forgotten now: until then DescribeInstances shows it.
    """
    old = [one.id for one in state.instances.values() if one.terminated_at_s is not None and context.now_s - one.terminated_at_s > FORGET_S]
    if old:
        state = replace(state, instances={key: one for key, one in state.instances.items() if key not in old})
    changes = []
    for instance_id in dict.fromkeys(params["InstanceIds"]):
        instance = get_instance(state, instance_id)
        after = instance
        if instance.terminated_at_s is None:
            state = _unplug_all(state, instance_id)
            after = replace(instance, state="terminated", terminated_at_s=context.now_s)
            state = replace(state, instances={**state.instances, instance_id: after})
        said = {"PreviousState": instance_state(instance), "CurrentState": instance_state(after)}
        changes.append({"InstanceId": instance_id, **said})
    return state, {"TerminatingInstances": changes}


def _unplug_all(state: CloudState, instance_id: str) -> CloudState:
    for eni in state.enis_of(instance_id):
        if eni.attachment is not None and eni.attachment.delete_on_termination:
            state = remove_eni(state, eni)
            continue
        auto = [item.public for item in eni.addresses if state.elastic(item.public) is None]
        for public in auto:  # a public address that came with the launch goes with the instance, an Elastic IP stays on the ENI
            state = give_back_public(state, public)
        kept = tuple(replace(item, public=None) if item.public in auto else item for item in eni.addresses)
        left = replace(eni, attachment=None, addresses=kept)
        state = replace(state, enis={**state.enis, eni.id: left})
    return state


ACTIONS = {
    "RunInstances": action(
        run,
        "ImageId InstanceType MinCount MaxCount SubnetId SecurityGroupIds PrivateIpAddress NetworkInterfaces MetadataOptions "
        "TagSpecifications ClientToken",
        "ImageId InstanceType MinCount MaxCount", state_only=f"NetworkInterfaces.{TRACKING}",
    ),
    "TerminateInstances": action(terminate, "InstanceIds", "InstanceIds"),
}
