"""The EC2 query protocol, server side, driven by botocore's own service model: forms in, XML out.

A request is a form of `Action`, `Version` and dotted names (``Filter.1.Value.2``); by the model's shapes it becomes the
parameters that boto3's caller wrote, and an answer in boto3's shapes becomes XML the same way. Nothing here knows a rule.
The model is big: who makes a `Wire` waits half a second, and botocore is loaded then. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from labnet.ec2.forms import Read, pairs_of, reader, tree
from labnet.ec2.sigv4 import PRESIGNED
from labnet.ec2.xml_text import Write, escape, writer
from labnet.errors import Ec2Error

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
VERSION = "2016-11-15"
_BESIDE = frozenset(("Action", "Version"))


class Wire:
    """botocore's model of EC2, and the two translations. `actions` are those that somebody implements; None for all."""

    def __init__(self, actions: Collection[str] | None = None) -> None:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel

        self._service = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
        self._actions = actions
        self._readers: dict[str, Read | None] = {}
        self._writers: dict[str, Write | None] = {}

    def parse(self, form: bytes, *, presigned: bool = False) -> tuple[str, dict[str, Any]]:
        """Action and parameters, in boto3's shapes, of a form; `presigned` says that the signature's own parameters are among them.

        Errors: Ec2Error with AWS's code.
        """
        pairs = pairs_of(form)
        beside = _BESIDE | PRESIGNED if presigned else _BESIDE
        words: dict[str, str] = {}
        for key, text in pairs:
            if key in beside:
                if key in words:
                    raise Ec2Error("InvalidParameterValue", f"The parameter {key} is given twice")
                words[key] = text
        action = words.get("Action", "")
        if not action:
            raise Ec2Error("MissingAction", "The request is missing an action or a required parameter.")
        if words.get("Version", VERSION) != VERSION:
            raise Ec2Error("NoSuchVersion", f"The requested version ({words['Version']}) of service AmazonEC2 does not exist")
        read = self._reader(action)
        node = tree(pair for pair in pairs if pair[0] not in beside)
        return action, read(node, "") if read is not None else {}

    def answer(self, action: str, result: Mapping[str, Any], request_id: str) -> bytes:
        """The XML of an answer."""
        if action not in self._writers:
            shape = self._service.operation_model(action).output_shape
            self._writers[action] = writer(shape) if shape is not None and shape.members else None
        write = self._writers[action]
        inner = write(result) if write is not None else "<return>true</return>"
        return _document(f'<{action}Response xmlns="{XMLNS}"><requestId>{request_id}</requestId>{inner}</{action}Response>')

    def _reader(self, action: str) -> Read | None:
        if action not in self._readers:
            if action not in self._service.operation_names:
                raise Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")
            if self._actions is not None and action not in self._actions:
                text = f"The action {action} is not valid for this web service: EC2 has it, labnet has not."
                raise Ec2Error("InvalidAction", text, 501)
            shape = self._service.operation_model(action).input_shape
            self._readers[action] = reader(shape) if shape is not None else None
        return self._readers[action]


def refusal(fault: Ec2Error, request_id: str) -> bytes:
    """The XML of an error."""
    said = f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>"
    return _document(f"<Response><Errors><Error>{said}</Error></Errors><RequestID>{request_id}</RequestID></Response>")


def _document(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{inner}'.encode()
