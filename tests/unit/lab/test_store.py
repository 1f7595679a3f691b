"""Both stores keep documents and ledgers alike; the one on disk survives its process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labnet.lab.store import MemoryStore, SqliteStore

Any_store = SqliteStore | MemoryStore


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any_store]:
    made: Any_store = SqliteStore(tmp_path / "lab.sqlite") if request.param == "sqlite" else MemoryStore()
    yield made
    made.close()


def test_documents_come_back_in_order_of_first_writing(store: Any_store) -> None:
    store.put("eni", "b", {"n": 1})
    store.put("eni", "a", {"n": 2})
    store.put("eni", "b", {"n": 3})
    store.put("other", "b", {"n": 4})
    assert list(store.load("eni").items()) == [("b", {"n": 3}), ("a", {"n": 2})]


def test_removed_documents_are_gone_and_unknown_ones_are_fine(store: Any_store) -> None:
    store.put("eni", "a", {})
    store.remove("eni", "a")
    store.remove("eni", "never")
    assert store.load("eni") == {}


def test_ledgers_keep_their_order_apart(store: Any_store) -> None:
    for n in range(3):
        store.append("events", {"n": n})
    store.append("calls", {"n": 9})
    assert store.read("events") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert store.read("none") == []


def test_what_was_written_survives_without_a_close(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "lab.sqlite")
    first.put("eni", "a", {"n": 1})
    second = SqliteStore(tmp_path / "lab.sqlite")
    assert second.load("eni") == {"a": {"n": 1}}
    second.put("eni", "z", {})
    assert list(second.load("eni")) == ["a", "z"]
    first.close()
    second.close()


def test_what_one_turn_writes_is_one_transaction(tmp_path: Path) -> None:
    turn: list[Callable[[], None]] = []
    first = SqliteStore(tmp_path / "lab.sqlite", turn.append)
    other = SqliteStore(tmp_path / "lab.sqlite")
    first.put("eni", "a", {"n": 1})
    first.append("events", {"n": 2})
    first.put("eni", "b", {})
    first.remove("eni", "b")
    assert len(turn) == 1 and other.load("eni") == {}, "nobody else sees half a turn"
    turn.pop()()
    assert other.load("eni") == {"a": {"n": 1}} and other.read("events") == [{"n": 2}]
    first.put("eni", "c", {})
    assert list(first.load("eni")) == ["a", "c"], "whoever reads sees it at once"
    assert list(other.load("eni")) == ["a", "c"]
    first.append("events", {"n": 3})
    first.flush()
    assert len(other.read("events")) == 2, "a flush does not wait for the turn"
    first.close()
    other.close()


def test_of_what_one_turn_does_to_a_document_the_last_counts(tmp_path: Path) -> None:
    turn: list[Callable[[], None]] = []
    store, other = SqliteStore(tmp_path / "lab.sqlite", turn.append), SqliteStore(tmp_path / "lab.sqlite")
    for key in "abc":
        store.put("pod", key, {"n": 0})
    store.put("pod", "a", {"n": 1})
    store.flush()
    assert list(other.load("pod").items()) == [("a", {"n": 1}), ("b", {"n": 0}), ("c", {"n": 0})], "its place among the others stays"
    store.put("pod", "a", {"n": 2})
    store.remove("pod", "a")
    store.put("pod", "a", {"n": 3})
    store.put("pod", "b", {"n": 4})
    store.remove("pod", "c")
    store.flush()
    assert list(other.load("pod").items()) == [("b", {"n": 4}), ("a", {"n": 3})], "what came again stands behind"
    store.put("pod", "d", {})
    store.remove("pod", "d")
    store.flush()
    assert list(other.load("pod")) == ["b", "a"]
    store.close()
    other.close()


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "lab.sqlite", lambda flush: None), SqliteStore(tmp_path / "lab.sqlite")
    other._db.execute("begin immediate")
    store._db.execute("pragma busy_timeout = 0")
    store.put("pod", "a", {"n": 1})
    store.append("events", {"n": 2})
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.flush()
    other._db.execute("rollback")
    store.flush()
    assert other.load("pod") == {"a": {"n": 1}} and other.read("events") == [{"n": 2}]
    store.close()
    other.close()
