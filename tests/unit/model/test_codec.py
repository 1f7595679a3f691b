"""Model values as JSON and back."""

from __future__ import annotations

import json

import pytest

from labnet.lab.scenario_file import load
from labnet.model import codec
from labnet.model.codec import CodecError
from labnet.model.netstate import Change, LinkUp, NftTable, Route, Rule, Slice
from labnet.model.scenario import CniSpec, Scenario


@pytest.mark.parametrize("name", ["eks-2node", "eks-current"])
def test_a_whole_scenario_survives_the_wire(name: str) -> None:
    scenario = load(name)
    wire = json.loads(json.dumps(codec.to_document(scenario)))
    assert codec.decode(wire, Scenario) == scenario


def test_changes_of_every_kind_survive_the_wire() -> None:
    objects = (
        Rule(512, 254, dst="10.10.0.5/32"), Route("default", dev="eth0", via="10.10.0.1"), LinkUp("eth0"), NftTable("ip", "t", "chain c {}"),
    )
    part = Slice("cni:x", objects)
    assert codec.decode(json.loads(json.dumps(codec.to_document(part))), Slice) == part
    change = Change("add", objects[0])
    assert codec.decode(codec.to_document(change), Change) == change


def test_a_class_with_a_field_named_kind_keeps_its_own_value() -> None:
    assert codec.to_document(CniSpec(kind="none"))["kind"] == "none"
    assert codec.decode({"kind": "none", "dialect": "1.6"}, CniSpec) == CniSpec(kind="none", dialect="1.6")


@pytest.mark.parametrize("document, words", [
    ({"kind": "kubenet"}, "kind: 'kubenet' is none of 'vpc', 'none'"),
    ({"dialct": "1.6"}, "unknown field 'dialct'"),
    ({"env": ["a"]}, "env: ['a'] is no object"),
    ([], "is no object"),
])
def test_what_does_not_fit_is_named(document: object, words: str) -> None:
    with pytest.raises(CodecError) as caught:
        codec.decode(document, CniSpec)
    assert words in str(caught.value)
