"""The metadata service on the wire: HTTP/1.1 for 169.254.169.254 port 80, on a listening socket that the caller opened.

`answer` decides (pure); a connection reads requests, writes answers and sets the TTL of those to a token PUT::

    PUT /latest/api/token        → 200, token, TTL header echoed, sent with IP TTL = the instance's hop limit
    GET /latest/meta-data/…      → 200 with a good token, or without one where tokens are optional; else 401

Behind more hops than the limit a client connects and its PUT hangs, while everything else works: the token's segments die on
the way and so must their retransmissions, so the limit stays until the peer has acknowledged them. Why no HTTP library:
docs/adr/0002-imds-http.md. Source: docs/sources.md#imds
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from labnet.ec2.http1 import Connection, Limits, Request
from labnet.ec2.imds import TokenBook, metadata
from labnet.ec2.service import Ec2Service
from labnet.errors import ImdsError
from labnet.model.cloud import CloudState
from labnet.model.values import frozen
from labnet.ports import Clock

DEFAULT_TTL = 64
BACKLOG = 256
LIMITS = Limits(head_bytes=8_192, body_bytes=4_096, request_s=30.0, idle_s=30.0, connections=1_024, chunked=False)
"""By the machine's time, because they guard against slow clients and imitate nothing."""
DEAD_PEER_MS = 15_000  # a token that never arrives is retransmitted no longer than that
TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "2011-01-01",
    "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28",
    "2018-08-17", "2018-09-24", "2019-10-01", "2020-08-24", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "latest",
)
PAGE = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{0}</title>
 </head>
 <body>
  <h1>{0}</h1>
 </body>
</html>
"""
"""What an error looks like; only a 405 has nothing but its head."""
_SIOCOUTQ = 0x5411
Who = Callable[[str], "str | None"]


@frozen
class Answer:
    """One answer; `hop_limit` is the IP TTL to send it with, None for the usual one."""

    status: int
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    hop_limit: int | None = None


def answer(state: CloudState, instance_id: str | None, tokens: TokenBook, now_s: float, request: Request) -> Answer:
    """What the metadata service says to one request of an instance; only `tokens` may change."""
    instance = state.instances.get(instance_id or "")
    if instance is None or instance_id is None or instance.state == "terminated":
        return Answer(404)
    options = instance.metadata
    if options.http_endpoint == "disabled":
        return Answer(403)
    path = request.target.partition("?")[0]
    if path == TOKEN_PATH:
        if request.method != "PUT":
            return Answer(405, headers=(("Allow", "OPTIONS, PUT"),))
        return _issue(tokens, instance_id, now_s, request, options.hop_limit)
    if request.method not in ("GET", "HEAD"):
        return Answer(405, headers=(("Allow", "OPTIONS, GET, HEAD"),))
    token = request.headers.get(TOKEN_HEADER)
    left: tuple[tuple[str, str], ...] = ()
    if token is not None:
        left_s = tokens.left_s(token, instance_id, now_s)
        if left_s is None:
            return Answer(401)
        left = ((TTL_HEADER, str(left_s)),)
    elif options.http_tokens == "required":
        return Answer(401)
    left = (("Last-Modified", _date(instance.launched_at_s)), *left)
    version, _, rest = path.lstrip("/").partition("/")
    if not version:
        return Answer(200, "\n".join(VERSIONS), left)
    if version not in VERSIONS:
        return Answer(404)
    try:
        return Answer(200, metadata(state, instance_id, rest), left)
    except ImdsError as error:
        return Answer(error.status)


def _issue(tokens: TokenBook, instance_id: str, now_s: float, request: Request, hop_limit: int) -> Answer:
    if "x-forwarded-for" in request.headers:
        return Answer(403)
    wanted = request.headers.get(TTL_HEADER.lower(), "")
    if re.fullmatch(r"[0-9]{1,6}", wanted) is None:
        return Answer(400)
    try:
        token = tokens.issue(instance_id, int(wanted), now_s)
    except ImdsError as error:
        return Answer(error.status)
    return Answer(200, token, ((TTL_HEADER, str(int(wanted))),), hop_limit)


def render(reply: Answer, *, keep: bool, head_only: bool = False) -> bytes:
    """The bytes of an answer. An error says its name in a small page, as EC2's do; no other body ends in a newline."""
    phrase = "Not Allowed" if reply.status == 405 else HTTPStatus(reply.status).phrase
    body, kind = reply.body, "text/plain"
    if reply.status not in (200, 405):
        body, kind = PAGE.format(f"{reply.status} - {phrase}"), "text/html"
    data = body.encode()
    lines = [
        f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in reply.headers), f"Content-Type: {kind}",
        *(("Accept-Ranges: none",) if reply.status == 200 else ()), f"Content-Length: {len(data)}", f"Date: {_date()}",
        f"Connection: {'keep-alive' if keep else 'close'}", "Server: EC2ws",
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else data)


class _Connection(Connection):
    """One client: requests in order, answered at once."""

    def __init__(self, server: ImdsServer) -> None:
        super().__init__(LIMITS, server.connections)
        self._server = server
        self._limited = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; a token that never arrives must not be sent again for ever."""
        super().connection_made(transport)
        with contextlib.suppress(OSError):
            self.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)

    def respond(self, request: Request) -> None:
        """Answer, with the TTL that belongs to the answer."""
        reply = self._server.answer(self.peer(), request)
        self._limit(reply.hop_limit)
        self.send(render(reply, keep=request.keep, head_only=request.method == "HEAD"), keep=request.keep)

    def refusal(self, status: int) -> bytes:
        """What is no HTTP gets a page; who is slow, or one too many, gets nothing."""
        if status in (408, 503):
            return b""
        self._limit(None)
        return render(Answer(status), keep=False)

    def _limit(self, hop_limit: int | None) -> None:
        """Set the TTL for what is sent next; a limit is lifted only when the peer has acknowledged what was sent under it."""
        sock = self.socket()
        if hop_limit is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
            self._limited = True
        elif self._limited and _unacknowledged(sock) == 0:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, DEFAULT_TTL)
            self._limited = False


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes sent and not acknowledged by the peer."""
    answer_bytes = fcntl.ioctl(sock.fileno(), _SIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer_bytes)[0])


@dataclass(slots=True)
class ImdsServer:
    """A running metadata service on one socket. `who` maps the address that asks to its instance; None = nobody of this VPC."""

    who: Who
    service: Ec2Service
    tokens: TokenBook
    clock: Clock
    connections: set[Connection] = field(default_factory=set)
    _listening: asyncio.Server | None = None

    def answer(self, address: str, request: Request) -> Answer:
        """What one address is told."""
        instance_id = self.who(address)
        return answer(self.service.metadata_state(instance_id), instance_id, self.tokens, self.clock.now_s(), request)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a listening socket, which belongs to this server from now on."""
        self._listening = await asyncio.get_running_loop().create_server(lambda: _Connection(self), sock=listener, backlog=BACKLOG)

    async def close(self) -> None:
        """Stop listening and end every connection. Twice is fine."""
        if self._listening is not None:
            self._listening.close()
            for one in tuple(self.connections):
                one.abort()
            await self._listening.wait_closed()
            self._listening = None
            await asyncio.sleep(0)


async def serve(listener: socket.socket, who: Who, service: Ec2Service, tokens: TokenBook, clock: Clock) -> ImdsServer:
    """Serve metadata on `listener` (bound and listening, of whatever namespace) until the returned server is closed."""
    listener.setblocking(False)
    server = ImdsServer(who, service, tokens, clock)
    await server.start(listener)
    return server


def _date(at_s: float | None = None) -> str:
    """Now, or another time."""
    from email.utils import formatdate  # late: a lab comes up without an answer on the wire

    return formatdate(at_s, usegmt=True)
