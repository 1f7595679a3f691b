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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

from labnet.ec2.imds import TokenBook, metadata
from labnet.ec2.service import Ec2Service
from labnet.errors import ImdsError
from labnet.model.cloud import CloudState
from labnet.ports import Clock

DEFAULT_TTL = 64
MAX_HEAD_BYTES = 8_192
MAX_BODY_BYTES = 4_096
MAX_CONNECTIONS = 1_024
IDLE_S = 30.0  # for one whole request; by the machine's time, because it guards against slow clients and imitates nothing
DEAD_PEER_MS = 15_000  # a token that never arrives is retransmitted no longer than that
TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
VERSIONS = ("1.0", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "latest")
_SIOCOUTQ = 0x5411
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (\S{1,4096}) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")

Who = Callable[[str], "str | None"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names in lower case; `keep` says that the connection may go on."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep: bool = True


@dataclass(frozen=True, slots=True)
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
    path = request.path.partition("?")[0]
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


def parse(head: bytes) -> tuple[Request, int]:
    """A request's head without its empty line, and the length of the body that follows. Errors: ImdsError with the HTTP status."""
    lines = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise ImdsError(400, "Bad Request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        one = _HEADER.fullmatch(line)
        if one is None:
            raise ImdsError(400, "Bad Request")
        name = one[1].decode("ascii").lower()
        if name in headers and name in ("content-length", "host", TOKEN_HEADER, TTL_HEADER.lower()):
            raise ImdsError(400, "Bad Request")
        headers[name] = one[2].decode("latin-1").strip()
    if "transfer-encoding" in headers:
        raise ImdsError(501, "Not Implemented")
    length = headers.get("content-length", "0")
    if re.fullmatch(r"[0-9]{1,9}", length) is None:
        raise ImdsError(400, "Bad Request")
    if int(length) > MAX_BODY_BYTES:
        raise ImdsError(413, "Content Too Large")
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    keep = "close" not in words if found[3] == b"1" else "keep-alive" in words
    target = found[2].decode("latin-1")
    if target.lower().startswith("http://"):  # the absolute form, as clients behind a proxy setting send it
        target = "/" + target[7:].partition("/")[2]
    return Request(found[1].decode("ascii"), target, headers, keep), int(length)


def render(reply: Answer, *, keep: bool, head_only: bool = False) -> bytes:
    """The bytes of an answer. An error says its name in a small page, as EC2's do; no body ends in a newline."""
    phrase = HTTPStatus(reply.status).phrase
    body, kind = reply.body, "text/plain"
    if reply.status != 200:
        said = f"{reply.status} - {phrase}"
        body, kind = f"<html><head><title>{said}</title></head><body><h1>{said}</h1></body></html>", "text/html"
    data = body.encode()
    lines = [
        f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in reply.headers), f"Content-Type: {kind}",
        f"Content-Length: {len(data)}", f"Date: {formatdate(usegmt=True)}", f"Connection: {'keep-alive' if keep else 'close'}", "Server: EC2ws",
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else data)


class _Connection(asyncio.Protocol):
    """One client: requests in order, answered at once, nothing read while the client does not take what it asked for."""

    def __init__(self, server: ImdsServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._limited = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._server.connections) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._server.connections.add(self)
        with contextlib.suppress(OSError):
            self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    def pause_writing(self) -> None:
        """The client does not read: do not read from it either."""
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._serve()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        self._buffer += data
        self._serve()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _serve(self) -> None:
        while self._transport is not None and not self._transport.is_closing() and not self._paused:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 and len(self._buffer) <= MAX_HEAD_BYTES:
                return
            try:
                if not 0 <= end <= MAX_HEAD_BYTES:
                    raise ImdsError(431, "Request Header Fields Too Large")
                request, length = parse(bytes(self._buffer[:end]))
            except ImdsError as error:
                self._send(Answer(error.status), keep=False)
                return
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            self._send(self._server.answer(self._peer(), request), keep=request.keep, head_only=request.method == "HEAD")

    def _send(self, reply: Answer, *, keep: bool, head_only: bool = False) -> None:
        assert self._transport is not None
        self._limit(reply.hop_limit)
        self._transport.write(render(reply, keep=keep, head_only=head_only))
        if keep:
            self._wait()
        else:
            self._transport.close()

    def _limit(self, hop_limit: int | None) -> None:
        """Set the TTL for what is sent next; a limit is lifted only when the peer has acknowledged what was sent under it."""
        sock = self._socket()
        if hop_limit is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
            self._limited = True
        elif self._limited and _unacknowledged(sock) == 0:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, DEFAULT_TTL)
            self._limited = False

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self.abort)

    def _socket(self) -> socket.socket:
        assert self._transport is not None
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    def _peer(self) -> str:
        assert self._transport is not None
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""


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
    connections: set[_Connection] = field(default_factory=set)
    _listening: asyncio.Server | None = None

    def answer(self, address: str, request: Request) -> Answer:
        """What one address is told."""
        instance_id = self.who(address)
        return answer(self.service.metadata_state(instance_id), instance_id, self.tokens, self.clock.now_s(), request)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a listening socket, which belongs to this server from now on."""
        self._listening = await asyncio.get_running_loop().create_server(lambda: _Connection(self), sock=listener)

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
