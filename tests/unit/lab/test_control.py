"""The control socket and its client: events, results, errors with their exit code; junk does not stop the lab."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from labnet.errors import LabnetError, NotFoundError, UsageError
from labnet.lab import client
from labnet.lab.control import ControlServer, Emit
from labnet.lab.paths import LabPaths


async def count(args: Mapping[str, Any], emit: Emit) -> Mapping[str, Any]:
    for n in range(int(args["to"])):
        emit({"n": n})
    return {"sum": sum(range(int(args["to"])))}


async def refuse(args: Mapping[str, Any], emit: Emit) -> Mapping[str, Any]:
    raise UsageError("no such thing", "try another")


async def fault(args: Mapping[str, Any], emit: Emit) -> Mapping[str, Any]:
    raise KeyError("inside")


def with_server(tmp_path: Path, talk: Any) -> tuple[Any, list[str]]:
    paths = LabPaths(tmp_path, "lab")
    paths.root.mkdir()
    logged: list[str] = []

    async def main() -> Any:
        server = ControlServer({"count": count, "refuse": refuse, "fault": fault}, logged.append)
        await server.start(paths.control)
        assert stat.S_IMODE(paths.control.stat().st_mode) == 0o600
        try:
            return await asyncio.to_thread(talk, paths)
        finally:
            await server.stop()

    return asyncio.run(main()), logged


def test_events_then_the_result(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    result, _ = with_server(tmp_path, lambda paths: client.call(tmp_path, "lab", "count", {"to": 3}, seen.append))
    assert result == {"sum": 3}
    assert seen == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_errors_keep_message_hint_and_exit_code(tmp_path: Path) -> None:
    def talk(paths: LabPaths) -> LabnetError:
        with pytest.raises(LabnetError) as caught:
            client.call(tmp_path, "lab", "refuse", {})
        return caught.value

    error, logged = with_server(tmp_path, talk)
    assert (error.message, error.hint, error.exit_code) == ("no such thing", "try another", 2)
    assert logged == []


def test_a_fault_is_told_in_one_line_and_logged_whole(tmp_path: Path) -> None:
    def talk(paths: LabPaths) -> LabnetError:
        with pytest.raises(LabnetError) as caught:
            client.call(tmp_path, "lab", "fault", {})
        return caught.value

    error, logged = with_server(tmp_path, talk)
    assert "KeyError" in error.message
    assert "Traceback" in logged[0]


def test_junk_is_answered_and_the_next_request_served(tmp_path: Path) -> None:
    def talk(paths: LabPaths) -> list[bytes]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(paths.control))
            with sock.makefile("rwb") as stream:
                lines = [stream.readline()]
                for junk in (b"{]\n", b'{"id": 1, "verb": "nope"}\n', b'{"id": 2, "verb": "count", "args": {"to": 2}}\n'):
                    stream.write(junk)
                    stream.flush()
                    lines.append(stream.readline())
                return lines

    lines, _ = with_server(tmp_path, talk)
    assert b'"protocol": 1' in lines[0]
    assert b"error" in lines[1]
    assert b"no verb" in lines[2]
    assert b'"event": {"n": 0}' in lines[3]


def test_a_lab_whose_process_has_gone(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not answer") as caught:
        client.call(tmp_path, "lab", "status", {})
    assert "labnet up lab" in caught.value.hint
