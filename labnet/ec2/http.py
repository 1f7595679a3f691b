"""The EC2 API over HTTP, on listening sockets that the caller opened, of whatever namespace.

One request is parsed, its signature checked, carried out whole by `Ec2Service`, after its latency where one is set, and answered.
aiohttp, botocore and its model are loaded when somebody first connects or `load` is called. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from labnet.ec2 import wire
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error

if TYPE_CHECKING:
    from aiohttp import web

MAX_BODY_BYTES = 1 << 20
SHUTDOWN_S = 0.5


class Ec2Server:
    """EC2 on the wire. `keys` maps access keys to secrets; who signed is the caller in the ledger of calls."""

    def __init__(self, service: Ec2Service, keys: Mapping[str, str], log: Callable[[str], None]) -> None:
        self._service, self._keys, self._log = service, keys, log
        self._wire: wire.Wire | None = None
        self._runner: web.AppRunner | None = None
        self._loading = asyncio.Lock()

    async def start(self, listeners: list[socket.socket]) -> None:
        """Answer on listening sockets, which belong to this server from now on."""
        from aiohttp import web  # late: nobody who waits for a lab waits for HTTP

        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        for listener in listeners:
            listener.setblocking(False)
            await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        """Listen no more. Twice is fine."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def load(self) -> wire.Wire:
        """The model, loaded in a thread once."""
        async with self._loading:
            if self._wire is None:
                self._wire = await asyncio.to_thread(wire.Wire)
        return self._wire

    async def _handle(self, request: web.Request) -> web.Response:
        from aiohttp import web

        request_id = str(uuid.uuid4())
        body = await request.read()
        translator = await self.load()
        path, _, query = request.raw_path.partition("?")  # as received: that is what was signed
        headers = {name.lower(): text for name, text in request.headers.items()}
        try:
            caller = wire.signer(request.method, path, query, headers, body, self._keys, time.time())
            text, status = await self._carry_out(translator, caller, body or query.encode(), request_id), 200
        except Ec2Error as error:
            text, status = wire.refusal(error, request_id), error.status
        except Exception as error:  # noqa: BLE001 - a fault of ours is EC2's InternalError for who called, and stands in the log
            self._log(f"EC2 API: {type(error).__name__}: {error}")
            text, status = wire.refusal(Ec2Error("InternalError", "An internal error has occurred"), request_id), 500
        kind = {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id, "Server": "AmazonEC2"}
        return web.Response(body=text, status=status, headers=kind)

    async def _carry_out(self, translator: wire.Wire, caller: str, form: bytes, request_id: str) -> bytes:
        action, params = translator.parse(form)
        result: dict[str, Any] = await self._service.acall(caller, action, params)
        return translator.answer(action, result, request_id)
