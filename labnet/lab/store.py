"""The Store port: documents and ledgers in SQLite (WAL), and the same in memory for plans and tests.

What is written soon after each other is one transaction, made when `later` says so or somebody calls `flush`: a transaction a
document costs 24 to 56 microseconds, measured, and a pod has ten. Of a document that is written several times meanwhile the last one
counts. Nothing is synced to the disk: a kill -9 loses nothing that was flushed; only the end of the machine would, and that ends the
lab too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_SCHEMA = """
create table if not exists documents (kind text, key text, place integer, body text, primary key (kind, key)) without rowid;
create table if not exists records (stream text, id integer primary key autoincrement, body text);
create index if not exists records_by_stream on records (stream, id);
"""


def _encoded(document: Mapping[str, Any]) -> str:
    """JSON without blanks: ten times as fast as the standard library's, for some ten documents a pod."""
    return msgspec.json.encode(document).decode()


_PUT = "insert into documents values (?, ?, ?, ?) on conflict (kind, key) do update set body = excluded.body"
_REMOVE = "delete from documents where kind = ? and key = ?"
_APPEND = "insert into records (stream, body) values (?, ?)"
Later = Callable[[Callable[[], None]], object]


@dataclass(slots=True)
class _Waiting:
    """What the next transaction does to one document: take the one away that is there, put one at a place, or both."""

    removed: bool = False
    place: int = 0
    document: Mapping[str, Any] | None = None


class SqliteStore:
    """The store of a running lab. `later` puts the end of a transaction off (a loop's `call_soon`: to the loop's next turn); without it
    every write is a transaction of its own. Documents belong to the store from then on: nobody changes them any more.
    """

    def __init__(self, path: Path, later: Later | None = None) -> None:
        self._later = later
        self._documents: dict[tuple[str, str], _Waiting] = {}
        self._records: list[tuple[str, str]] = []
        self._due = False
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=off")  # the end of the process loses nothing; the end of the machine ends the lab anyway
        self._db.executescript(_SCHEMA)
        last = self._db.execute("select max(place) from documents").fetchone()[0]
        self._place = int(last or 0)

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Write one document; its place among the others stays."""
        waiting = self._documents.get((kind, key))
        if waiting is None:
            waiting = self._documents[kind, key] = _Waiting()
        if waiting.document is None:
            self._place += 1
            waiting.place = self._place
        waiting.document = document
        self._written()

    def remove(self, kind: str, key: str) -> None:
        """Forget one document."""
        self._documents[kind, key] = _Waiting(removed=True)
        self._written()

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind, oldest first."""
        self.flush()
        rows = self._db.execute("select key, body from documents where kind = ? order by place", (kind,))
        return {key: json.loads(body) for key, body in rows}

    def append(self, stream: str, record: Mapping[str, Any]) -> None:
        """Add one record to a ledger."""
        self._records.append((stream, _encoded(record)))
        self._written()

    def read(self, stream: str) -> list[dict[str, Any]]:
        """The records of a ledger."""
        self.flush()
        rows = self._db.execute("select body from records where stream = ? order by id", (stream,))
        return [json.loads(body) for (body,) in rows]

    def flush(self) -> None:
        """Write what waits, all of it or, when SQLite fails, nothing."""
        self._due = False
        documents, records = self._documents, self._records
        if not documents and not records:
            return
        gone = [key for key, waiting in documents.items() if waiting.removed]
        put = [
            (*key, waiting.place, _encoded(waiting.document)) for key, waiting in documents.items() if waiting.document is not None
        ]
        self._db.execute("begin")
        try:
            for statement, rows in ((_REMOVE, gone), (_PUT, put), (_APPEND, records)):
                self._db.executemany(statement, rows)
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        self._documents, self._records = {}, []

    def close(self) -> None:
        """Let go of the file."""
        self.flush()
        self._db.close()

    def _written(self) -> None:
        if self._later is None:
            self.flush()
        elif not self._due:
            self._due = True
            self._later(self.flush)


class MemoryStore:
    """The same port without a file."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, dict[str, Any]]] = {}
        self._records: dict[str, list[dict[str, Any]]] = {}

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Write one document."""
        self._documents.setdefault(kind, {})[key] = json.loads(json.dumps(document))

    def remove(self, kind: str, key: str) -> None:
        """Forget one document."""
        self._documents.get(kind, {}).pop(key, None)

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind."""
        return json.loads(json.dumps(self._documents.get(kind, {})))  # type: ignore[no-any-return]  # what went in comes out

    def append(self, stream: str, record: Mapping[str, Any]) -> None:
        """Add one record."""
        self._records.setdefault(stream, []).append(dict(record))

    def read(self, stream: str) -> list[dict[str, Any]]:
        """The records of a ledger."""
        return list(self._records.get(stream, []))

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to let go of."""
