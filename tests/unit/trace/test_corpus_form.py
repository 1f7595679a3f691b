"""The corpus of broken labs as a whole: enough of it, every cause, every word that a trace can say; malformed cases fail loudly."""

from __future__ import annotations

import typing

import pytest
from corpus_files import CAUSES, CorpusError, cases, paths, read

from labnet.model.drops import DropCheck

NOT_PRODUCED = {"unknown": "it says that nobody could tell; each case that came to it has shown a cause, and is told by that now"}
"""Words of a trace that no case can have, with the reason."""


def test_there_are_enough_and_they_show_every_cause() -> None:
    everything = cases()
    assert len(everything) >= 40
    assert {case.shows for case in everything} == CAUSES
    assert len({case.title for case in everything}) == len(everything)


def test_every_word_of_a_trace_occurs() -> None:
    words = set(typing.get_args(DropCheck))
    said = {case.trace.get("check") for case in cases()}
    assert words - said == set(NOT_PRODUCED)


def test_every_case_is_run_by_a_test() -> None:
    assert {path.stem.partition("-")[0] for path in paths()} == {"node", "end", "vpc"}


@pytest.mark.parametrize(("old", "new", "said"), [
    ("shows:", "show:", "unknown ['show'], missing ['shows']"),
    ("shows: missing rule", "shows: gremlins", "which is no cause"),
    ("check: source-dest-check", "cheque: source-dest-check", "unknown ['cheque']"),
    ("kind: eni", "sort: eni", "unknown ['sort']"),
    ("counter: source/dest check", "count: source/dest check", "is none of"),
    ("link: eth0", "lnk: eth0", "unknown ['lnk']"),
    ("{from: pod2", "{form: pod2", "unknown ['form']"),
    ("- node1: ip rule del", "- node1: x\n    node2: ip rule del", "a step is one target and a command"),
])  # fmt: skip
def test_a_malformed_case_fails_loudly(old: str, new: str, said: str) -> None:
    path = next(path for path in paths() if path.stem == "node-rule-1536-missing")
    text = path.read_text(encoding="utf-8")
    assert read("good", text).shows == "missing rule"
    assert old in text
    with pytest.raises(CorpusError, match=r"bad: ") as caught:
        read("bad", text.replace(old, new, 1))
    assert said in str(caught.value)
