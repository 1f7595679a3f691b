"""The Store port: documents and ledgers in SQLite (WAL), and the same in memory for plans and tests.

What one turn of the loop writes is one transaction, made when the loop turns or somebody calls `flush`: a transaction a
document costs 24 to 56 microseconds, measured, and a pod has ten. Nothing is synced to the disk: a kill -9 loses nothing that was
flushed; only the end of the machine would, and that ends the lab too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from itertools import groupby
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


class SqliteStore:
    """The store of a running lab. `later` (a loop's `call_soon`) puts the end of a transaction off to the loop's next turn;
    without it every write is a transaction of its own.
    """

    def __init__(self, path: Path, later: Later | None = None) -> None:
        self._later = later
        self._waiting: list[tuple[str, tuple[object, ...]]] = []
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=off")  # the end of the process loses nothing; the end of the machine ends the lab anyway
        self._db.executescript(_SCHEMA)
        last = self._db.execute("select max(place) from documents").fetchone()[0]
        self._place = int(last or 0)

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Write one document; its place among the others stays."""
        self._place += 1
        self._write(_PUT, (kind, key, self._place, _encoded(document)))

    def remove(self, kind: str, key: str) -> None:
        """Forget one document."""
        self._write(_REMOVE, (kind, key))

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind, oldest first."""
        self.flush()
        rows = self._db.execute("select key, body from documents where kind = ? order by place", (kind,))
        return {key: json.loads(body) for key, body in rows}

    def append(self, stream: str, record: Mapping[str, Any]) -> None:
        """Add one record to a ledger."""
        self._write(_APPEND, (stream, _encoded(record)))

    def read(self, stream: str) -> list[dict[str, Any]]:
        """The records of a ledger."""
        self.flush()
        rows = self._db.execute("select body from records where stream = ? order by id", (stream,))
        return [json.loads(body) for (body,) in rows]

    def flush(self) -> None:
        """Write what waits, all of it or, when SQLite fails, nothing."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._db.execute("begin")
        try:  # ledgers and documents do not meet: sorted apart, each in its order, they make a few long runs of one statement
            for statement, rows in groupby(sorted(waiting, key=_is_record), key=_statement):
                self._db.executemany(statement, [values for _statement, values in rows])
        except BaseException:
            self._db.execute("rollback")
            self._waiting = waiting + self._waiting
            raise
        self._db.execute("commit")

    def close(self) -> None:
        """Let go of the file."""
        self.flush()
        self._db.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._waiting.append((statement, values))
        if self._later is None:
            self.flush()
        elif len(self._waiting) == 1:
            self._later(self.flush)


def _is_record(write: tuple[str, tuple[object, ...]]) -> bool:
    return write[0] is _APPEND


def _statement(write: tuple[str, tuple[object, ...]]) -> str:
    return write[0]


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
