"""Attributes of network interfaces: modify, describe, reset, one a call as EC2 wants it (pure). Source: docs/sources.md#enis"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules.connection_tracking import PARAMETER, tracking_of
from labnet.ec2.rules.enis import check_groups
from labnet.ec2.rules.find import get_eni, get_own_eni
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid
from labnet.ec2.rules.shapes import attachment_shape, group_names
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni

_ATTRIBUTES = ("Groups", "SourceDestCheck", "Attachment", "Description", PARAMETER)


def modify(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyNetworkInterfaceAttribute."""
    eni = get_own_eni(state, params["NetworkInterfaceId"])
    named = [key for key in _ATTRIBUTES if params.get(key) not in (None, [], ())]
    if len(named) != 1:
        raise Ec2Error("InvalidParameterCombination", "Exactly one attribute must be specified in the request")
    if named == ["Groups"]:
        eni = replace(eni, security_groups=check_groups(state, eni.vpc_id, params["Groups"]))
    elif named == ["SourceDestCheck"]:
        eni = replace(eni, source_dest_check=bool(value_of(params, "SourceDestCheck")))
    elif named == ["Description"]:
        eni = replace(eni, description=str(value_of(params, "Description")))
    elif named == [PARAMETER]:
        eni = replace(eni, connection_tracking=tracking_of(params, eni.connection_tracking, required=True))
    else:
        eni = _attachment(eni, params["Attachment"])
    if eni == state.enis[eni.id]:
        return state, {}
    return replace(state, enis={**state.enis, eni.id: eni}), {}


def value_of(params: Params, name: str) -> Any:
    """The member `Value` of an attribute. Errors: Ec2Error."""
    check_members(params[name], "Value", name)
    if params[name].get("Value") is None:
        raise Ec2Error("MissingParameter", f"The request must contain the parameter {name}.Value")
    return params[name]["Value"]


def _attachment(eni: Eni, wanted: Mapping[str, Any]) -> Eni:
    check_members(wanted, "AttachmentId DeleteOnTermination", "Attachment")
    if eni.attachment is None or eni.attachment.id != wanted.get("AttachmentId"):
        text = f"The network interface attachment ID '{wanted.get('AttachmentId')}' does not exist"
        raise Ec2Error("InvalidAttachmentID.NotFound", text)
    if wanted.get("DeleteOnTermination") is None:
        raise Ec2Error("MissingParameter", "The request must contain the parameter Attachment.DeleteOnTermination")
    return replace(eni, attachment=replace(eni.attachment, delete_on_termination=bool(wanted["DeleteOnTermination"])))


def describe_attribute(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeNetworkInterfaceAttribute."""
    eni, name = get_eni(state, params["NetworkInterfaceId"]), params["Attribute"]
    answer: dict[str, Any] = {"NetworkInterfaceId": eni.id}
    if name == "description":
        answer["Description"] = {"Value": eni.description}
    elif name == "groupSet":
        answer["Groups"] = group_names(state, eni.security_groups)
    elif name == "sourceDestCheck":
        answer["SourceDestCheck"] = {"Value": eni.source_dest_check}
    elif name != "attachment":
        raise invalid(f"Value ({name}) for parameter attribute is invalid. labnet knows: description, groupSet, sourceDestCheck, attachment.")
    elif eni.attachment is not None:
        answer["Attachment"] = attachment_shape(state, eni)
    return state, answer


def reset(state: CloudState, params: Params, context: Context) -> Result:
    """ResetNetworkInterfaceAttribute: the source/dest check is on again, whatever the text of the parameter says."""
    eni = get_own_eni(state, params["NetworkInterfaceId"])
    if eni.source_dest_check:
        return state, {}
    return replace(state, enis={**state.enis, eni.id: replace(eni, source_dest_check=True)}), {}


ACTIONS = {
    "ModifyNetworkInterfaceAttribute": action(
        modify, f"NetworkInterfaceId {' '.join(_ATTRIBUTES)}", "NetworkInterfaceId", state_only=PARAMETER
    ),
    "DescribeNetworkInterfaceAttribute": action(
        describe_attribute, "NetworkInterfaceId Attribute", "NetworkInterfaceId Attribute", mutates=False
    ),
    "ResetNetworkInterfaceAttribute": action(reset, "NetworkInterfaceId SourceDestCheck", "NetworkInterfaceId SourceDestCheck"),
}
