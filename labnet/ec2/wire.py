"""The EC2 query protocol, server side, driven by botocore's own service model: forms in, XML out, signatures checked.

A request is a form of `Action`, `Version` and dotted keys (``Filter.1.Value.2``); by the model's shapes it becomes the
parameters that boto3's caller wrote, and an answer in boto3's shapes becomes XML the same way. Nothing here knows a rule.
The model is big: who makes a `Wire` waits half a second, and botocore is loaded then. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from labnet.errors import Ec2Error

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
VERSION = "2016-11-15"
MAX_FIELDS = 20_000
CLOCK_SKEW_S = 300.0
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
PLACE = re.compile(r"[1-9][0-9]{0,4}")
_Tree = dict[str, Any]


class Wire:
    """botocore's model of EC2, and the two translations."""

    def __init__(self) -> None:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel

        self._service = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")

    def parse(self, form: bytes) -> tuple[str, dict[str, Any]]:
        """Action and parameters, in boto3's shapes, of a form (a POST's body or a GET's query). Errors: Ec2Error with AWS's code."""
        try:
            pairs = parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=bool(form), max_num_fields=MAX_FIELDS)
        except (UnicodeDecodeError, ValueError) as error:
            raise Ec2Error("MalformedQueryString", f"The query string is malformed: {error}") from error
        words = dict(pairs)
        action = words.get("Action", "")
        if not action:
            raise Ec2Error("MissingAction", "The request must contain the parameter Action")
        if action not in self._service.operation_names:
            raise Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")
        if words.get("Version", VERSION) != VERSION:
            raise Ec2Error("InvalidParameterValue", f"labnet speaks version {VERSION} of the API, not {words['Version']}")
        shape = self._service.operation_model(action).input_shape
        node = _tree(pair for pair in pairs if pair[0] not in ("Action", "Version"))
        return action, _value(shape, node, "") if shape is not None else {}

    def answer(self, action: str, result: Mapping[str, Any], request_id: str) -> bytes:
        """The XML of an answer."""
        shape = self._service.operation_model(action).output_shape
        inner = _members(shape, result) if shape is not None and shape.members else "<return>true</return>"
        return _document(f'<{action}Response xmlns="{XMLNS}"><requestId>{request_id}</requestId>{inner}</{action}Response>')


def refusal(fault: Ec2Error, request_id: str) -> bytes:
    """The XML of an error."""
    said = f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>"
    return _document(f"<Response><Errors><Error>{said}</Error></Errors><RequestID>{request_id}</RequestID></Response>")


def signer(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, keys: Mapping[str, str], now_s: float) -> str:
    """The access key that signed a request (SigV4). `headers` have lower-case names, `keys` maps access keys to secrets.

    Errors: Ec2Error as AWS tells them: no signature, an unknown key, a wrong signature, a time more than five minutes off.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    if "authorization" not in headers:
        raise Ec2Error("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    found = AUTHORIZATION.fullmatch(headers["authorization"].strip())
    signed = found[5].split(";") if found else []
    if not found or found[1] not in keys or "host" not in signed or "x-amz-date" not in headers:
        raise _not_validated()
    try:
        made_s = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise _not_validated() from error
    if abs(made_s - now_s) > CLOCK_SKEW_S:
        raise Ec2Error("RequestExpired", "Request has expired.")
    url = f"http://{headers.get('host', '')}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, {name: headers.get(name, "") for name in signed}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(found[1], keys[found[1]]), found[4], found[3])
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if not hmac.compare_digest(expected, found[6]):
        raise _not_validated()
    return found[1]


def _not_validated() -> Ec2Error:
    return Ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


# ---- requests -------------------------------------------------------------------------------------------------------------


def _tree(pairs: Iterable[tuple[str, str]]) -> _Tree:
    """Dotted keys as nested objects. Errors: Ec2Error for keys that contradict each other."""
    root: _Tree = {}
    for key, text in pairs:
        node = root
        *path, last = key.split(".")
        for word in path:
            node = node.setdefault(word, {})
            if not isinstance(node, dict):
                raise Ec2Error("InvalidParameterCombination", f"The parameter {key} conflicts with another one")
        if last in node:
            raise Ec2Error("InvalidParameterValue", f"The parameter {key} is given twice")
        node[last] = text
    return root


def _wire_name(member: str, shape: Any) -> str:
    """How a member is called in a request: the model's query name, else its XML name with a capital, else its own."""
    said = shape.serialization
    return str(said.get("queryName") or (said["name"][0].upper() + said["name"][1:] if "name" in said else member))


def _value(shape: Any, node: Any, where: str) -> Any:
    if shape.type_name == "structure":
        return _structure(shape, node, where)
    if shape.type_name == "list":
        if not isinstance(node, dict) or not all(PLACE.fullmatch(key) for key in node):
            raise Ec2Error("InvalidParameterValue", f"The members of {where} must be numbered from 1")
        return [_value(shape.member, node[key], f"{where}.{key}") for key in sorted(node, key=int)]
    if isinstance(node, dict):
        raise Ec2Error("InvalidParameterValue", f"The parameter {where} has no members")
    return _scalar(shape.type_name, node, where)


def _structure(shape: Any, node: Any, where: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise Ec2Error("InvalidParameterValue", f"The parameter {where} must have members")
    names = {_wire_name(member, sub): (member, sub) for member, sub in shape.members.items()}
    for word in node:
        if word not in names:
            raise Ec2Error("UnknownParameter", f"The parameter {where + '.' if where else ''}{word} is not recognized")
    for member in shape.required_members:
        word = _wire_name(member, shape.members[member])
        if word not in node and shape.members[member].type_name != "list":  # an empty list is sent as nothing at all
            raise Ec2Error("MissingParameter", f"The request must contain the parameter {word}")
    return {names[word][0]: _value(names[word][1], sub, f"{where}.{word}".lstrip(".")) for word, sub in node.items()}


def _scalar(kind: str, text: str, where: str) -> Any:
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if kind == "timestamp":
            return datetime.fromisoformat(text)
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except (ValueError, KeyError) as error:
        raise Ec2Error("InvalidParameterValue", f"Value ({text}) for parameter {where} is invalid. Not a valid {kind}.") from error
    return text  # enumerations are judged by the rules, in EC2's own words


# ---- answers --------------------------------------------------------------------------------------------------------------


def _document(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{inner}'.encode()


def _members(shape: Any, item: Mapping[str, Any]) -> str:
    present = [(member, sub) for member, sub in shape.members.items() if item.get(member) is not None]
    return "".join(_element(sub, sub.serialization.get("name", member), item[member]) for member, sub in present)


def _element(shape: Any, name: str, item: Any) -> str:
    kind = shape.type_name
    if kind == "structure":
        inner = _members(shape, item)
    elif kind == "list":  # an empty list stays as an empty element
        inner = "".join(_element(shape.member, shape.member.serialization.get("name", "item"), one) for one in item)
    elif kind == "timestamp":
        inner = item.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{item.microsecond // 1000:03d}Z"
    elif kind == "boolean":
        inner = "true" if item else "false"
    elif kind == "blob":
        inner = base64.b64encode(item).decode()
    else:
        inner = escape(str(item))
    return f"<{name}>{inner}</{name}>"
