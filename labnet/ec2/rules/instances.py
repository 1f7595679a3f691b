"""Instances: run, terminate, describe, metadata options (pure). Source: docs/sources.md#instances"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.enis import attach_eni, check_groups, make_eni, remove_eni
from labnet.ec2.rules.find import get_instance, get_own_eni, get_subnet, no_instance
from labnet.ec2.rules.pool import check_given, give_back_public, take_public
from labnet.ec2.rules.request import Context, Params, Result, action, check_id, check_same, invalid, new_id, request_digest, tags_for
from labnet.ec2.rules.shapes import STATE_CODES, instance_shape, private_dns
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, Instance, MetadataOptions

MAX_HOPS = 64
MAX_AT_ONCE = 1000


def run(state: CloudState, params: Params, context: Context) -> Result:
    """RunInstances: each instance with its primary ENI on device index 0."""
    token = str(params.get("ClientToken") or "")
    known = [one for one in state.instances.values() if token and one.client_token == token]
    if known:
        check_same(token, known[0].request_digest, params)
        return state, _reservation(state, known)
    if params["InstanceType"] not in context.limits:
        raise invalid(f"Invalid value '{params['InstanceType']}' for InstanceType.")
    check_id("ami", str(params["ImageId"]), "InvalidAMIID.Malformed")
    count = int(params["MaxCount"])
    if not 1 <= int(params["MinCount"]) <= count <= MAX_AT_ONCE:
        raise invalid(f"Invalid value for instance counts: MinCount {params['MinCount']}, MaxCount {count}")
    made: list[str] = []
    for number in range(count):
        try:
            state, instance_id = _run_one(state, params, context, token, number if count > 1 else None)
        except Ec2Error as error:
            if error.code == "InsufficientFreeAddressesInSubnet" and number >= int(params["MinCount"]):
                break  # as many as there is room for, MinCount at least
            raise
        made.append(instance_id)
    return state, _reservation(state, [state.instances[one] for one in made])


def _run_one(state: CloudState, params: Params, context: Context, token: str, number: int | None) -> tuple[CloudState, str]:
    interface = _interface(params)
    if interface.get("NetworkInterfaceId"):
        eni: Eni | None = get_own_eni(state, interface["NetworkInterfaceId"])
        subnet = state.subnets[state.enis[interface["NetworkInterfaceId"]].subnet_id]
    else:
        eni = None
        subnet_id = interface.get("SubnetId") or params.get("SubnetId")
        if not subnet_id:
            raise Ec2Error("MissingInput", "No subnets found for the default VPC: say SubnetId")
        subnet = get_subnet(state, subnet_id)
    tags = tags_for(params, "instance", ("network-interface",))
    suffix = "" if number is None else f"#{number}"
    state, instance_id = new_id(state, "i", tags.get("Name", "") + suffix if tags.get("Name") else "")
    instance = Instance(
        id=instance_id, instance_type=params["InstanceType"], image_id=str(params["ImageId"]), vpc_id=subnet.vpc_id, subnet_id=subnet.id,
        availability_zone=subnet.availability_zone, state="running", tags=tags, launched_at_s=context.now_s,
        metadata=_metadata(MetadataOptions(), params.get("MetadataOptions") or {}), client_token=token,
        request_digest=request_digest(params) if token else "",
    )
    state = replace(state, instances={**state.instances, instance_id: instance})
    if eni is None:
        groups = interface.get("Groups") or params.get("SecurityGroupIds") or ()
        address = interface.get("PrivateIpAddress") or params.get("PrivateIpAddress")
        if address:
            check_given(state, subnet, [address])
        state, eni = make_eni(
            state, context, subnet, primary=address, groups=check_groups(state, subnet.vpc_id, groups, creating=True), name=f"{instance_id}#0",
            description=str(interface.get("Description", "")), tags=tags_for(params, "network-interface", ("instance",)),
        )
        if interface.get("AssociatePublicIpAddress", subnet.map_public_ip_on_launch):
            state, public = take_public(state)
            eni = replace(eni, addresses=(replace(eni.addresses[0], public=public), *eni.addresses[1:]))
    state, _ = attach_eni(state, context, eni, instance_id, 0, delete_on_termination=bool(interface.get("DeleteOnTermination", True)))
    return state, instance_id


def _interface(params: Params) -> Mapping[str, Any]:
    """The one interface that a request describes, or an empty one. Errors: Ec2Error."""
    listed = params.get("NetworkInterfaces") or ()
    if not listed:
        return {}
    known = {
        "DeviceIndex", "SubnetId", "Groups", "PrivateIpAddress", "AssociatePublicIpAddress", "NetworkInterfaceId", "DeleteOnTermination",
        "Description",
    }
    if len(listed) > 1 or listed[0].get("DeviceIndex", 0) != 0:
        raise Ec2Error("InvalidParameterCombination", "Only the interface of device index 0 can be given here: attach others afterwards")
    for name in listed[0]:
        if name not in known:
            raise Ec2Error("UnknownParameter", f"The parameter NetworkInterfaces.{name} is not recognized")
    if params.get("SubnetId") or params.get("SecurityGroupIds") or params.get("PrivateIpAddress"):
        text = "Network interfaces and an instance-level subnet ID, group or address may not be specified on the same request"
        raise Ec2Error("InvalidParameterCombination", text)
    return dict(listed[0])


def _metadata(before: MetadataOptions, wanted: Mapping[str, Any]) -> MetadataOptions:
    hops = wanted.get("HttpPutResponseHopLimit", before.hop_limit)
    if not 1 <= int(hops) <= MAX_HOPS:
        raise invalid(f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and {MAX_HOPS}.")
    tokens = wanted.get("HttpTokens", before.http_tokens)
    endpoint = wanted.get("HttpEndpoint", before.http_endpoint)
    if tokens not in ("optional", "required"):
        raise invalid(f"Value ({tokens}) for parameter HttpTokens is invalid.")
    if endpoint not in ("enabled", "disabled"):
        raise invalid(f"Value ({endpoint}) for parameter HttpEndpoint is invalid.")
    return MetadataOptions(tokens, int(hops), endpoint)


def modify_metadata(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyInstanceMetadataOptions."""
    instance = get_instance(state, params["InstanceId"])
    after = replace(instance, metadata=_metadata(instance.metadata, params))
    options = {
        "State": "applied", "HttpTokens": after.metadata.http_tokens, "HttpPutResponseHopLimit": after.metadata.hop_limit,
        "HttpEndpoint": after.metadata.http_endpoint,
    }
    state = replace(state, instances={**state.instances, instance.id: after})
    return state, {"InstanceId": instance.id, "InstanceMetadataOptions": options}


def terminate(state: CloudState, params: Params, context: Context) -> Result:
    """TerminateInstances: ENIs with DeleteOnTermination go too, the others become available."""
    changes = []
    for instance_id in params["InstanceIds"]:
        instance = get_instance(state, instance_id)
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
        after = replace(instance, state="terminated")
        state = replace(state, instances={**state.instances, instance_id: after})
        changes.append({"InstanceId": instance_id, "PreviousState": _state(instance), "CurrentState": _state(after)})
    return state, {"TerminatingInstances": changes}


def _state(instance: Instance) -> dict[str, Any]:
    return {"Name": instance.state, "Code": STATE_CODES[instance.state]}


def _fields(state: CloudState) -> dict[str, describe.Field[Instance]]:
    """What instances can be filtered by."""
    def of_enis(read: Callable[[Eni], Iterable[str]]) -> describe.Field[Instance]:
        return lambda one: [text for eni in state.enis_of(one.id) for text in read(eni)]

    def of_primary(read: Callable[[Eni], Iterable[str]]) -> describe.Field[Instance]:
        return lambda one: [text for eni in state.enis_of(one.id)[:1] for text in read(eni)]

    return {
        "instance-id": lambda one: (one.id,),
        "instance-state-name": lambda one: (one.state,),
        "instance-state-code": lambda one: (str(STATE_CODES[one.state]),),
        "instance-type": lambda one: (one.instance_type,),
        "subnet-id": lambda one: (one.subnet_id,),
        "vpc-id": lambda one: (one.vpc_id,),
        "availability-zone": lambda one: (one.availability_zone,),
        "image-id": lambda one: (one.image_id,),
        "client-token": lambda one: (one.client_token,),
        "private-ip-address": of_primary(lambda eni: (eni.primary,)),
        "ip-address": of_primary(lambda eni: [item.public for item in eni.addresses[:1] if item.public]),
        "private-dns-name": of_primary(lambda eni: (private_dns(state, eni.primary),)),
        "instance.group-id": of_primary(lambda eni: eni.security_groups),
        "network-interface.network-interface-id": of_enis(lambda eni: (eni.id,)),
        "network-interface.subnet-id": of_enis(lambda eni: (eni.subnet_id,)),
        "network-interface.addresses.private-ip-address": of_enis(lambda eni: [item.address for item in eni.addresses]),
        "network-interface.group-id": of_enis(lambda eni: eni.security_groups),
        "network-interface.mac-address": of_enis(lambda eni: (eni.mac,)),
    }


def describe_instances(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInstances: one reservation an instance."""
    found = describe.chosen(state.instances, params.get("InstanceIds"), no_instance)
    found = describe.matching(found, params, _fields(state), lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"Reservations": [_reservation(state, [one]) for one in shown], **more}


def _reservation(state: CloudState, instances: list[Instance]) -> dict[str, Any]:
    return {
        "ReservationId": "r-" + instances[0].id.partition("-")[2], "OwnerId": state.account_id, "Groups": [],
        "Instances": [instance_shape(state, one) for one in instances],
    }


ACTIONS = {
    "RunInstances": action(
        run,
        "ImageId InstanceType MinCount MaxCount SubnetId SecurityGroupIds PrivateIpAddress NetworkInterfaces MetadataOptions "
        "TagSpecifications ClientToken",
        "ImageId InstanceType MinCount MaxCount",
    ),
    "TerminateInstances": action(terminate, "InstanceIds", "InstanceIds"),
    "DescribeInstances": action(describe_instances, "InstanceIds Filters MaxResults NextToken", mutates=False),
    "ModifyInstanceMetadataOptions": action(
        modify_metadata, "InstanceId HttpTokens HttpPutResponseHopLimit HttpEndpoint", "InstanceId"
    ),
}
