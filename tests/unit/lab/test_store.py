"""Both stores keep documents and ledgers alike; the one on disk survives its process."""

from __future__ import annotations

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
