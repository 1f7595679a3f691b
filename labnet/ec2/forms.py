"""EC2's forms, read by botocore's shapes: each shape becomes a function once (pure).

::

    Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1  →  {"Filter": {"1": {"Name": "vpc-id", "Value": {"1": "vpc-1"}}}}
                                                 →  {"Filters": [{"Name": "vpc-id", "Values": ["vpc-1"]}]}

What a form cannot mean is refused with EC2's code and the parameter's name as the client wrote it. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from labnet.ec2.xml_text import FORBIDDEN
from labnet.errors import Ec2Error

Read = Callable[[Any, str], Any]
Tree = dict[str, Any]
MAX_FIELDS = 20_000
MAX_DEPTH = 16  # the model's deepest name has 11 parts
MAX_SAID = 200
INTEGER_BITS = {"integer": 31, "long": 63}
_BROKEN = re.compile("%(?![0-9A-Fa-f]{2})")
_PLACE = re.compile("[1-9][0-9]{0,4}")
_INTEGER = re.compile("-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def pairs_of(form: bytes) -> list[tuple[str, str]]:
    """Names and values of a form. Errors: Ec2Error MalformedQueryString; InvalidParameterValue for what no XML could say again."""
    try:
        text = form.decode()
        if _BROKEN.search(text) is not None:
            raise ValueError("a percent sign without two hex digits")
        text = text.replace("+", " ")
        found = [part.partition("=") for part in text.split("&") if part]
        if len(found) > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS} parameters")
        if any(not equals for _key, equals, _value in found):
            raise ValueError("a parameter without a value")
        pairs = [(_decoded(key), _decoded(value)) for key, _equals, value in found]
    except ValueError as error:  # UnicodeDecodeError is one
        raise Ec2Error("MalformedQueryString", f"The query string is malformed: {str(error)[:MAX_SAID]}") from error
    for key, value in pairs:
        if FORBIDDEN.search(key) is not None or FORBIDDEN.search(value) is not None:
            raise _invalid(f"The parameter {_short(FORBIDDEN.sub('?', key))} has characters that are not valid in XML")
    return pairs


def _decoded(text: str) -> str:
    return unquote(text, errors="strict") if "%" in text else text


def tree(pairs: Iterable[tuple[str, str]]) -> Tree:
    """Dotted names as nested objects. Errors: Ec2Error for names that contradict each other."""
    root: Tree = {}
    for key, text in pairs:
        node = root
        *path, last = key.split(".", MAX_DEPTH)
        for word in path:
            node = node.setdefault(word, {})
            if not isinstance(node, dict):
                raise Ec2Error("InvalidParameterCombination", f"The parameter {_short(key)} conflicts with another one")
        if last in node:
            if isinstance(node[last], dict):
                raise Ec2Error("InvalidParameterCombination", f"The parameter {_short(key)} conflicts with another one")
            raise _invalid(f"The parameter {_short(key)} is given twice")
        node[last] = text
    return root


def reader(shape: Any) -> Read:
    """A function from a node of a tree, and where it stands, to the value of a shape. The model has no shape that contains itself."""
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape)
    if kind == "list":
        return _list(shape)
    return _scalar(kind)


def wire_name(member: str, shape: Any) -> str:
    """How a member is called in a request: the model's query name, else its XML name with a capital, else its own."""
    said = shape.serialization
    return str(said.get("queryName") or (said["name"][0].upper() + said["name"][1:] if "name" in said else member))


def _structure(shape: Any) -> Read:
    shapes = {wire_name(member, sub): (member, sub) for member, sub in shape.members.items()}
    required = [
        wire_name(member, shape.members[member]) for member in shape.required_members
        if shape.members[member].type_name != "list"  # an empty list is sent as nothing at all
    ]
    made: dict[str, tuple[str, Read]] = {}

    def read(node: Any, where: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            raise _invalid(f"The parameter {where} must have members")
        out: dict[str, Any] = {}
        for word, sub in node.items():
            place = f"{where}.{word}" if where else word
            if word not in made:
                if word not in shapes:
                    raise Ec2Error("UnknownParameter", f"The parameter {_short(place)} is not recognized")
                made[word] = (shapes[word][0], reader(shapes[word][1]))
            member, inner = made[word]
            out[member] = inner(sub, place)
        for word in required:
            if word not in node:
                text = f"The request must contain the parameter {f'{where}.{word}' if where else word}"
                raise Ec2Error("MissingParameter", text)
        return out

    return read


def _list(shape: Any) -> Read:
    inner = reader(shape.member)

    def read(node: Any, where: str) -> list[Any]:
        if not isinstance(node, dict) or not all(_PLACE.fullmatch(key) for key in node):
            raise _invalid(f"The members of {where} must be numbered from 1")
        return [inner(node[key], f"{where}.{key}") for key in sorted(node, key=int)]

    return read


def _scalar(kind: str) -> Read:
    convert = _SCALARS.get(kind)  # none for text; enumerations are judged by the rules, in EC2's own words

    def read(node: Any, where: str) -> Any:
        if isinstance(node, dict):
            raise _invalid(f"The parameter {where} has no members")
        if convert is None:
            return node
        try:
            return convert(node)
        except (ValueError, KeyError) as error:
            raise _invalid(f"Value ({_short(node)}) for parameter {where} is invalid. Not a valid {kind}.") from error

    return read


def _integer(bits: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        number = int(text) if _INTEGER.fullmatch(text) else None
        if number is None or not -(1 << bits) <= number < 1 << bits:
            raise ValueError(text)
        return number

    return convert


def _number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return float(text)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _timestamp(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _blob(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    **{kind: _integer(bits) for kind, bits in INTEGER_BITS.items()}, "float": _number, "double": _number, "boolean": _boolean,
    "timestamp": _timestamp, "blob": _blob,
}


def _short(text: str) -> str:
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."


def _invalid(message: str) -> Ec2Error:
    return Ec2Error("InvalidParameterValue", message)
