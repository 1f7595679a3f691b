"""Attributes and metadata options of instances (pure). Source: docs/sources.md#instances"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules.eni_attributes import value_of
from labnet.ec2.rules.enis import check_groups
from labnet.ec2.rules.find import get_instance
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid
from labnet.ec2.rules.shapes import group_names, metadata_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, Instance, MetadataOptions

MAX_HOPS = 64
_METADATA = "HttpTokens HttpPutResponseHopLimit HttpEndpoint HttpProtocolIpv6 InstanceMetadataTags"


# ---- metadata options -----------------------------------------------------------------------------------------------------


def metadata_options(before: MetadataOptions, wanted: Mapping[str, Any], where: str) -> MetadataOptions:
    """What a request makes of an instance's options; what it does not name stays. Errors: Ec2Error."""
    check_members(wanted, _METADATA, where)
    hops = wanted.get("HttpPutResponseHopLimit", before.hop_limit)
    if not 1 <= int(hops) <= MAX_HOPS:
        raise invalid(f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and {MAX_HOPS}.")
    tokens = wanted.get("HttpTokens", before.http_tokens)
    endpoint = wanted.get("HttpEndpoint", before.http_endpoint)
    if tokens not in ("optional", "required"):
        raise invalid(f"Value ({tokens}) for parameter HttpTokens is invalid.")
    if endpoint not in ("enabled", "disabled"):
        raise invalid(f"Value ({endpoint}) for parameter HttpEndpoint is invalid.")
    if wanted.get("HttpProtocolIpv6", "disabled") != "disabled":
        raise invalid(f"Value ({wanted['HttpProtocolIpv6']}) for parameter HttpProtocolIpv6 is invalid. labnet offers: disabled.")
    tags = wanted.get("InstanceMetadataTags", before.instance_tags)
    if tags not in ("enabled", "disabled"):
        raise invalid(f"Value ({tags}) for parameter InstanceMetadataTags is invalid.")
    return MetadataOptions(tokens, int(hops), endpoint, tags)


def modify_metadata(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyInstanceMetadataOptions."""
    instance = _living(state, params["InstanceId"])
    wanted = {key: value for key, value in params.items() if key in _METADATA.split()}
    if not wanted:
        raise Ec2Error("MissingParameter", "The request must contain at least one of the metadata options")
    after = replace(instance, metadata=metadata_options(instance.metadata, wanted, "MetadataOptions"))
    state = replace(state, instances={**state.instances, instance.id: after})
    return state, {"InstanceId": instance.id, "InstanceMetadataOptions": metadata_shape(after.metadata)}


# ---- attributes -----------------------------------------------------------------------------------------------------------


def modify(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyInstanceAttribute: source/dest check and groups, which are those of the only interface."""
    instance = _living(state, params["InstanceId"])
    named = [key for key in ("SourceDestCheck", "Groups") if params.get(key) not in (None, [], ())]
    check = bool(value_of(params, "SourceDestCheck")) if "SourceDestCheck" in named else None
    if params.get("Attribute") is not None:
        check = _by_word(params)
        named.append("SourceDestCheck")
    elif params.get("Value") is not None:
        raise Ec2Error("InvalidParameterCombination", "The parameter value needs the parameter attribute")
    if len(named) != 1:
        raise Ec2Error("InvalidParameterCombination", "Exactly one attribute must be specified in the request")
    eni = _only(state, instance)
    if check is not None:
        after = replace(eni, source_dest_check=check)
    else:
        after = replace(eni, security_groups=check_groups(state, eni.vpc_id, params["Groups"]))
    return (replace(state, enis={**state.enis, eni.id: after}) if after != eni else state), {}


def _by_word(params: Params) -> bool:
    """The old form: an attribute's name and its value as text."""
    if params["Attribute"] != "sourceDestCheck":
        raise invalid(f"Value ({params['Attribute']}) for parameter attribute is invalid. labnet can change: sourceDestCheck.")
    value = str(params.get("Value")).lower()
    if value not in ("true", "false"):
        raise invalid(f"Value ({params.get('Value')}) for parameter value is invalid. Expecting true or false.")
    return value == "true"


def _only(state: CloudState, instance: Instance) -> Eni:
    enis = state.enis_of(instance.id)
    if len(enis) > 1:
        text = f"There are multiple interfaces attached to instance '{instance.id}'. Please specify an interface ID for the operation instead."
        raise Ec2Error("InvalidInstanceID", text)
    return enis[0]


def describe_attribute(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInstanceAttribute."""
    instance, name = get_instance(state, params["InstanceId"]), params["Attribute"]
    enis = state.enis_of(instance.id)
    answer: dict[str, Any] = {"InstanceId": instance.id}
    if name == "instanceType":
        answer["InstanceType"] = {"Value": instance.instance_type}
    elif name == "sourceDestCheck":
        answer["SourceDestCheck"] = {"Value": enis[0].source_dest_check if enis else True}
    elif name == "groupSet":
        answer["Groups"] = group_names(state, enis[0].security_groups if enis else ())
    else:
        raise invalid(f"Value ({name}) for parameter attribute is invalid. labnet knows: instanceType, sourceDestCheck, groupSet.")
    return state, answer


def _living(state: CloudState, instance_id: str) -> Instance:
    instance = get_instance(state, instance_id)
    if instance.state in ("shutting-down", "terminated"):
        text = f"The instance '{instance_id}' is not in a state from which its attributes can be modified."
        raise Ec2Error("IncorrectInstanceState", text)
    return instance


ACTIONS = {
    "ModifyInstanceAttribute": action(modify, "InstanceId SourceDestCheck Groups Attribute Value", "InstanceId"),
    "DescribeInstanceAttribute": action(describe_attribute, "InstanceId Attribute", "InstanceId Attribute", mutates=False),
    "ModifyInstanceMetadataOptions": action(modify_metadata, f"InstanceId {_METADATA}", "InstanceId"),
}
