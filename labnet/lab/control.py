"""The control socket: verbs in, events and one result out, one JSON object a line, for the lab's owner alone."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from labnet.errors import LabnetError
from labnet.lab.client import PROTOCOL

Emit = Callable[[Mapping[str, Any]], None]
Verb = Callable[[Mapping[str, Any], Emit], Awaitable[Mapping[str, Any]]]
LINE_LIMIT = 1 << 22


class ControlServer:
    """Serves verbs on a unix socket. `log` takes the text of what should not have happened."""

    def __init__(self, verbs: Mapping[str, Verb], log: Callable[[str], None]) -> None:
        self._verbs = verbs
        self._log = log
        self._server: asyncio.AbstractServer | None = None
        self.serving: list[str] = []
        """The verbs that are being carried out now."""

    async def start(self, path: Path) -> None:
        """Listen, mode 0600; a socket that a dead process left is replaced."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=LINE_LIMIT)
        path.chmod(0o600)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _send(writer, {"protocol": PROTOCOL})
        try:
            while line := await reader.readline():
                await self._answer(line, writer)
                await writer.drain()
        except (ConnectionError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever asked has gone, or sends no lines: nothing to answer
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        number: Any = None
        try:
            request = json.loads(line)
            number = request.get("id")
            verb = self._verbs.get(str(request.get("verb")))
            if verb is None:
                raise LabnetError(f"the lab has no verb {request.get('verb')!r}", "client and lab differ in version: take the lab down and up")
            work = verb(request.get("args") or {}, lambda event: _send(writer, {"id": number, "event": dict(event)}))
            result = await self._carry_out(str(request["verb"]), work)
            _send(writer, {"id": number, "result": dict(result)})
        except LabnetError as error:
            _send(writer, {"id": number, "error": {"message": error.message, "hint": error.hint, "exitCode": error.exit_code}})
        except Exception as error:  # noqa: BLE001 - the lab must outlive a fault in one verb; it is logged whole
            self._log(traceback.format_exc())
            message = f"{type(error).__name__}: {error}"
            _send(writer, {"id": number, "error": {"message": message, "hint": "a fault of labnet; the lab's log has it whole", "exitCode": 1}})

    async def _carry_out(self, name: str, work: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
        self.serving.append(name)
        try:
            return await work
        finally:
            self.serving.remove(name)


def _send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
