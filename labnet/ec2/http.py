"""The EC2 API over HTTP, on listening sockets that the caller opened, of whatever namespace.

One request of a connection at a time is read, its signature checked, carried out by `Ec2Service`, after its latency where one is
set, and answered with one write; whatever a client sends is answered with EC2's XML or not at all. botocore and its model are
loaded when somebody first asks or `load` is called. Why no HTTP library: docs/adr/0007-ec2-http.md. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from labnet.ec2 import wire
from labnet.ec2.cloud import ACTIONS
from labnet.ec2.http1 import Connection, Limits, Request
from labnet.ec2.service import Ec2Service
from labnet.ec2.sigv4 import Checker
from labnet.errors import Ec2Error

BACKLOG = 256
LIMITS = Limits(head_bytes=65_536, body_bytes=1 << 20, request_s=30.0, idle_s=60.0, connections=512, chunked=True)
SHUTDOWN_S = 0.5
REFUSALS = {
    400: ("MalformedQueryString", "The request is not valid HTTP."),
    408: ("RequestTimeout", f"The request was not complete within {LIMITS.request_s:.0f} seconds."),
    413: ("RequestEntityTooLarge", f"The body is larger than {LIMITS.body_bytes} bytes."),
    431: ("RequestEntityTooLarge", f"The head is larger than {LIMITS.head_bytes} bytes."),
    501: ("NotImplemented", "The transfer encoding is not one of this service: identity or chunked."),
    503: ("Unavailable", "The server is overloaded and cannot handle the request."),
}


class Ec2Server:
    """EC2 on the wire. `keys` maps access keys to secrets; who signed is the caller in the ledger of calls."""

    def __init__(self, service: Ec2Service, keys: Mapping[str, str], log: Callable[[str], None]) -> None:
        self._service, self._log = service, log
        self._checker = Checker(keys, service.state.region)
        self._wire: wire.Wire | None = None
        self._loading = asyncio.Lock()
        self._listening: dict[socket.socket, tuple[asyncio.Server, set[Connection]]] = {}
        self.tasks: set[asyncio.Future[Any]] = set()
        """Calls that take their time, and what they wait for."""

    async def start(self, listeners: list[socket.socket]) -> None:
        """Answer on listening sockets, which belong to this server from now on."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            clients: set[Connection] = set()
            server = await loop.create_server(partial(_Connection, self, clients), sock=listener, backlog=BACKLOG)
            self._listening[listener] = server, clients

    async def leave(self, listener: socket.socket) -> None:
        """Listen no more on one socket, and end the connections that came by it. Unknown is fine."""
        server, clients = self._listening.pop(listener, (None, set[Connection]()))
        if server is None:
            return
        server.close()
        for client in tuple(clients):
            client.abort()
        await server.wait_closed()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Every client that is connected."""
        return tuple(client for _server, clients in self._listening.values() for client in clients)

    async def close(self) -> None:
        """Listen no more; what was asked already is answered, if that takes no longer than a moment. Twice is fine."""
        for server, _clients in self._listening.values():
            server.close()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=SHUTDOWN_S)
        while self.tasks:
            for one in tuple(self.tasks):
                one.cancel()
            await asyncio.sleep(0)
        for client in self.connections:
            client.abort()
        for server, _clients in self._listening.values():
            await server.wait_closed()
        self._listening = {}
        await asyncio.sleep(0)

    async def load(self) -> wire.Wire:
        """The model, loaded in a thread once."""
        if self._wire is None:
            async with self._loading:
                if self._wire is None:
                    self._wire = await asyncio.to_thread(wire.Wire, ACTIONS)
        return self._wire

    def go_on(self, coroutine: Coroutine[Any, None, None], waits_for: asyncio.Future[Any] | None) -> None:
        """Run a coroutine that has begun, as soon as the future that it waits for is done."""
        loop = asyncio.get_running_loop()

        def resume(done: asyncio.Future[Any] | None) -> None:
            if done is not None:
                self.tasks.discard(done)
            task = loop.create_task(coroutine)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        if waits_for is None:  # it only lets others go first
            resume(None)
        else:
            self.tasks.add(waits_for)
            waits_for.add_done_callback(resume)

    async def answer(self, request: Request) -> tuple[bytes, bool]:
        """The bytes of an answer, and whether the connection goes on."""
        request_id = str(uuid.uuid4())
        try:
            text, status = await self._carry_out(request, request_id), 200
        except Ec2Error as error:
            text, status = wire.refusal(error, request_id), error.status
        except Exception as error:  # noqa: BLE001 - a fault of ours is EC2's InternalError for who called, and stands in the log
            self._log(f"EC2 API: {type(error).__name__}: {error}")
            text, status = wire.refusal(Ec2Error("InternalError", "An internal error has occurred"), request_id), 500
        return rendered(status, text, request_id, keep=request.keep, head_only=request.method == "HEAD"), request.keep

    async def _carry_out(self, request: Request, request_id: str) -> bytes:
        path, _, query = request.target.partition("?")
        if request.method not in ("GET", "POST"):
            raise Ec2Error("InvalidRequest", f"The method {request.method} is not one of this service: GET or POST.", 405)
        if path != "/":
            raise Ec2Error("InvalidRequest", "The only path of this service is /.", 404)
        caller = self._checker.signer(request.method, path, query, request.headers, request.body, time.time())
        translator = await self.load()
        form = b"&".join(part for part in (query.encode("latin-1"), request.body) if part)
        action, params = translator.parse(form, presigned="authorization" not in request.headers)
        result = await self._service.acall(caller, action, params)
        return translator.answer(action, result, request_id)


def rendered(status: int, text: bytes, request_id: str, *, keep: bool, head_only: bool = False) -> bytes:
    """An answer's bytes, head and body together."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nx-amzn-RequestId: {request_id}\r\nCache-Control: no-cache, no-store\r\n"
        f"Content-Type: text/xml;charset=UTF-8\r\nContent-Length: {len(text)}\r\nDate: {_date(int(time.time()))}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\nServer: AmazonEC2\r\n\r\n"
    ).encode("latin-1")
    return head if head_only else head + text


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    from email.utils import formatdate  # late: a lab comes up without an answer on the wire

    return formatdate(now_s, usegmt=True)


class _Connection(Connection):
    """One client of the API."""

    def __init__(self, server: Ec2Server, clients: set[Connection]) -> None:
        super().__init__(LIMITS, clients)
        self._server = server

    def respond(self, request: Request) -> None:
        """Answer at once where nothing is waited for; a call that takes its time, as on EC2, goes on in a task of its own.

        A task from the start would cost 0.05 ms and a turn of the loop. The call ends even when the client has gone.
        """
        coroutine = self._answer(request)
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return
        self._server.go_on(coroutine, waits_for)

    async def _answer(self, request: Request) -> None:
        answer, keep = await self._server.answer(request)
        self.send(answer, keep=keep)

    def refusal(self, status: int) -> bytes:
        """What is no HTTP is told in EC2's form too."""
        code, said = REFUSALS.get(status, REFUSALS[400])
        request_id = str(uuid.uuid4())
        return rendered(status, wire.refusal(Ec2Error(code, said, status), request_id), request_id, keep=False)
