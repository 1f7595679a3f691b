"""What every rule needs of a request: its context, its known parameters, ids, and the texts of common refusals (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, InstanceType
from labnet.model.names import aws_id

Params = Mapping[str, Any]
Response = dict[str, Any]
Result = tuple[CloudState, Response]


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know beside the state: the time, the limits of instance types, who calls."""

    now_s: float
    limits: Mapping[str, InstanceType]
    caller: str = ""


Rule = Callable[[CloudState, Params, Context], Result]


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its rule, every parameter that it acts on, and whether it changes anything."""

    rule: Rule
    parameters: frozenset[str]
    mutates: bool = True
    required: tuple[str, ...] = ()


def action(rule: Rule, parameters: str, required: str = "", *, mutates: bool = True) -> Action:
    """An entry of the table of actions; names as words of one text."""
    return Action(rule, frozenset(parameters.split()) | {"DryRun"}, mutates, tuple(required.split()))


def check_parameters(entry: Action, params: Params) -> None:
    """Refuse what would be ignored and what is missing, then answer a dry run. Errors: Ec2Error."""
    for name in params:
        if name not in entry.parameters:
            raise Ec2Error("UnknownParameter", f"The parameter {name} is not recognized")
    for name in entry.required:
        if params.get(name) in (None, "", []):
            raise Ec2Error("MissingParameter", f"The request must contain the parameter {name}")
    if params.get("DryRun"):
        raise Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def new_id(state: CloudState, kind: str, name: str = "") -> tuple[CloudState, str]:
    """The next id of a kind, by its logical name where that is still free, else by the count."""
    count = state.counters.get(kind, 0)
    state = replace(state, counters={**state.counters, kind: count + 1})
    made = aws_id(kind, state.seed, state.lab, name or f"#{count}")
    while any(made in objects for objects in _all_objects(state)):
        made = aws_id(kind, state.seed, state.lab, f"{name}#{count}")
        count += 1
    return state, made


def _all_objects(state: CloudState) -> tuple[Mapping[str, object], ...]:
    return (state.vpcs, state.subnets, state.internet_gateways, state.security_groups, state.enis, state.instances)


def invalid(message: str) -> Ec2Error:
    """InvalidParameterValue."""
    return Ec2Error("InvalidParameterValue", message)


def tags_for(params: Params, resource: str) -> dict[str, str]:
    """The tags that a request gives to a new object of a kind. Errors: Ec2Error for another kind."""
    tags: dict[str, str] = {}
    for spec in params.get("TagSpecifications") or ():
        kind = spec.get("ResourceType")
        if kind == resource:
            tags |= {str(tag["Key"]): str(tag.get("Value", "")) for tag in spec.get("Tags", ())}
        elif not (resource == "instance" and kind in ("network-interface", "volume")):
            raise invalid(f"'{kind}' is not a valid taggable resource type for this operation.")
    check_tags(tags)
    return tags


def check_tags(tags: Mapping[str, str]) -> None:
    """AWS's limits on tags. Errors: Ec2Error."""
    if len(tags) > 50:
        raise Ec2Error("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 127:
            raise invalid("Tag key exceeds the maximum length of 127 characters" if key else "Tag keys cannot be empty")
        if len(value) > 255:
            raise invalid("Tag value exceeds the maximum length of 255 characters")
        if key.startswith("aws:"):
            raise invalid("Tag keys starting with 'aws:' are reserved for internal use")


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the API's shape."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def check_id(prefix: str, text: str, code: str) -> None:
    """Is it an id of that kind at all? Errors: Ec2Error `code`."""
    if re.fullmatch(rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", text) is None:
        raise Ec2Error(code, f'Invalid id: "{text}" (expecting "{prefix}-...")')
