"""What every rule needs of a request: its context, its known parameters, ids, and the texts of common refusals (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from labnet.errors import Ec2Error
from labnet.model.cloud import SHELVES, CloudState, InstanceType
from labnet.model.names import aws_id, digest
from labnet.model.values import frozen

Params = Mapping[str, Any]
Response = dict[str, Any]
Result = tuple[CloudState, Response]


@frozen
class Context:
    """What a rule may know beside the state: the time, the limits of instance types, who calls."""

    now_s: float
    limits: Mapping[str, InstanceType]
    caller: str = ""
    name_taken: Callable[[str], bool] = lambda name: False
    """Does something outside the cloud (a pod, a namespace) have the name of a node already?"""


Rule = Callable[[CloudState, Params, Context], Result]


@frozen
class Action:
    """One action: its rule, every parameter that it acts on, whether it changes anything, and whether packets feel it.

    `acts` False = state only: validated, kept and described, but nothing in the kernel follows from it yet. `state_only` names
    parameters of which that is true where the action acts otherwise.
    """

    rule: Rule
    parameters: frozenset[str]
    mutates: bool = True
    required: tuple[str, ...] = ()
    acts: bool = True
    state_only: tuple[str, ...] = ()


def action(
    rule: Rule, parameters: str, required: str = "", *, mutates: bool = True, dry_run: bool = True, acts: bool = True, state_only: str = ""
) -> Action:
    """An entry of the table of actions; names as words of one text."""
    known = frozenset(parameters.split()) | ({"DryRun"} if dry_run else set())
    return Action(rule, known, mutates, tuple(required.split()), acts, tuple(state_only.split()))


def check_parameters(entry: Action, params: Params) -> None:
    """Refuse what would be ignored and what is missing. Errors: Ec2Error."""
    for name in params:
        if name not in entry.parameters:
            raise Ec2Error("UnknownParameter", f"The parameter {name} is not recognized")
    for name in entry.required:
        if params.get(name) in (None, "", []):
            raise Ec2Error("MissingParameter", f"The request must contain the parameter {name}")


def check_members(item: Mapping[str, Any], known: str, where: str) -> None:
    """Refuse members of a structure in a request that would be ignored; names as words of one text. Errors: Ec2Error."""
    names = known.split()
    for name in item:
        if name not in names:
            raise Ec2Error("UnknownParameter", f"The parameter {where}.{name} is not recognized")


def new_id(state: CloudState, kind: str, name: str = "") -> tuple[CloudState, str]:
    """The next id of a kind: by its logical name, else by the count. None is ever used again, as on AWS."""
    key = f"{kind}/{name}" if name else kind
    count = state.counters.get(key, 0)
    made = aws_id(kind, state.seed, state.lab, f"{name}#{count}" if count or not name else name)
    while any(made in getattr(state, shelf) for shelf in SHELVES):
        count += 1
        made = aws_id(kind, state.seed, state.lab, f"{name}#{count}")
    return replace(state, counters={**state.counters, key: count + 1}), made


def request_digest(params: Params) -> str:
    """What a request asks for, in few letters: a client token used again must come with the same."""
    kept = {key: params[key] for key in sorted(params) if key not in ("ClientToken", "DryRun")}
    return digest(json.dumps(kept, sort_keys=True, default=str)).hex()[:16]


def check_same(token: str, said: str, params: Params) -> None:
    """The request of a used client token is the same as before. Errors: Ec2Error IdempotentParameterMismatch."""
    if said != request_digest(params):
        text = f"The client token '{token}' was used before, in a request with other parameters"
        raise Ec2Error("IdempotentParameterMismatch", text)


def count_of(params: Params, name: str) -> int:
    """A number of things to make, 0 where the request says none. Errors: Ec2Error for a negative one."""
    count = int(params.get(name) or 0)
    if count < 0:
        raise invalid(f"Value ({count}) for parameter {name[0].lower()}{name[1:]} is invalid.")
    return count


def invalid(message: str) -> Ec2Error:
    """InvalidParameterValue."""
    return Ec2Error("InvalidParameterValue", message)


def tags_for(params: Params, resource: str, beside: tuple[str, ...] = ()) -> dict[str, str]:
    """The tags that a request gives to a new object of a kind. Errors: Ec2Error for a kind that is neither it nor one of `beside`."""
    tags: dict[str, str] = {}
    for spec in params.get("TagSpecifications") or ():
        kind = spec.get("ResourceType")
        if kind == resource:
            tags |= {str(tag["Key"]): str(tag.get("Value", "")) for tag in spec.get("Tags", ())}
        elif kind not in beside:
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


def is_id(prefix: str, text: str) -> bool:
    """Is it an id of that kind: the prefix and 8 or 17 hex digits?"""
    return re.fullmatch(rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", text) is not None


def check_id(prefix: str, text: str, code: str) -> None:
    """Is it an id of that kind at all? Errors: Ec2Error `code`."""
    if not is_id(prefix, text):
        raise Ec2Error(code, f'Invalid id: "{text}" (expecting "{prefix}-...")')
