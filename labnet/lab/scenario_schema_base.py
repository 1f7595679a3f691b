"""What all parts of the scenario schema share: the base of its mappings and the kinds of text that stand in several (pure)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

AS_WRITTEN = {"as_written": True}
"""In a type's `extra`: the value is text, and a number or a word like true is taken as it was written in the file."""
MARK = "x-as-written"
"""Marks such a type in what msgspec makes, until `schema` has widened it."""

Text = Annotated[str, Meta(extra=AS_WRITTEN, extra_json_schema={MARK: True})]
Name = Annotated[str, Meta(extra_json_schema={"pattern": "^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$"})]
PodName = Annotated[str, Meta(extra_json_schema={"pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"})]
Cidr = Annotated[str, Meta(description="An IPv4 block without host bits", examples=["10.10.0.0/16"])]
Command = Annotated[str | list[str], Meta(description="A command: one text, split as a shell would, or a list of words")]
Port = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 65535})]
Protocol = Annotated[str, Meta(
    description="tcp, udp, icmp, an IP protocol number, or -1 for all", examples=["tcp"], extra=AS_WRITTEN,
    extra_json_schema={MARK: True},
)]


class Mapping(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What all mappings of a scenario file share."""
