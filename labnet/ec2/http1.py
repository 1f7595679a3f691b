"""HTTP/1.1 for the two services of EC2 that a lab answers on sockets of its own: one connection, bounded in everything.

A connection reads whole requests (keep-alive, pipelining, bodies of known length or in chunks), hands one at a time to `respond`
and reads no further while its answer is open or the client does not take it. What cannot be read is refused, and the rest of the
client's bytes are taken and dropped for a while: closing on unread bytes would be a reset, and the refusal lost with it. Why no
HTTP library: docs/adr/0002-imds-http.md, docs/adr/0007-ec2-http.md. Source: docs/sources.md#http
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping

from labnet.errors import LabnetError
from labnet.model.values import frozen

READ_BYTES = 65_536
LINGER_S = 5.0
LINGER_BYTES = 64 << 20
MAX_CHUNKS = 16_384
MAX_CHUNK_HEAD_BYTES = 256
ONCE = frozenset((
    "content-length", "transfer-encoding", "host", "authorization", "x-amz-date", "x-amz-content-sha256", "x-aws-ec2-metadata-token",
    "x-aws-ec2-metadata-token-ttl-seconds",
))
"""Headers that mean nothing certain when they come twice."""
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([!-~\x80-\xff]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?")


class Unreadable(LabnetError):
    """Bytes that are no request which can be answered; `status` is the HTTP status to say."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


@frozen
class Request:
    """One request: `target` as received, header names in lower case; `keep` says that the connection may go on."""

    method: str
    target: str
    headers: Mapping[str, str]
    keep: bool = True
    body: bytes = b""


@frozen
class Limits:
    """What one connection may cost: bytes, seconds for a whole request and between two, connections of a server."""

    head_bytes: int
    body_bytes: int
    request_s: float
    idle_s: float
    connections: int
    chunked: bool


def parse_head(head: bytes) -> tuple[Request, int | None]:
    """A request without its body from a head without its empty line, and the body's length, None for chunks. Errors: Unreadable."""
    lines = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise Unreadable(400)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        one = _HEADER.fullmatch(line)
        if one is None:
            raise Unreadable(400)
        name, text = str(one[1], "latin-1").lower(), str(one[2], "latin-1").rstrip()
        if name in headers:
            if name in ONCE:
                raise Unreadable(400)
            text = f"{headers[name]},{text}"
        headers[name] = text
    words = {word.strip().lower() for word in headers["connection"].split(",")} if "connection" in headers else ()
    keep = "close" not in words if found[3] == b"1" else "keep-alive" in words
    target = found[2].decode("latin-1")
    if target[:7].lower() == "http://":  # the absolute form, as clients behind a proxy setting send it
        _host, slash, rest = target[7:].partition("/")
        target = slash + rest or "/"
    return Request(found[1].decode("ascii"), target, headers, keep), _length(headers)


def _length(headers: Mapping[str, str]) -> int | None:
    if "transfer-encoding" in headers:
        if "content-length" in headers:  # two lengths: who believes which decides where the next request begins
            raise Unreadable(400)
        if headers["transfer-encoding"].lower() != "chunked":
            raise Unreadable(501)
        return None
    text = headers.get("content-length", "0")
    if _LENGTH.fullmatch(text) is None:
        raise Unreadable(400)
    return int(text)


class _Chunks:
    """A body in chunks, taken from a buffer as it fills."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = self._count = 0
        self._open: int | None = None  # bytes of the present chunk; 0 = the last one was seen, trailers follow

    def take(self, buffer: bytearray) -> bytes | None:
        """The whole body once it is there; what was used leaves the buffer. Errors: Unreadable."""
        while True:
            if self._open:
                if len(buffer) < self._open + 2:
                    return None
                if buffer[self._open : self._open + 2] != b"\r\n":
                    raise Unreadable(400)
                self._parts.append(bytes(buffer[: self._open]))
                del buffer[: self._open + 2]
                self._open = None
            end = buffer.find(b"\r\n", 0, MAX_CHUNK_HEAD_BYTES)
            if end < 0:
                if len(buffer) >= MAX_CHUNK_HEAD_BYTES:
                    raise Unreadable(400)
                return None
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self._open == 0:
                if not line:
                    return b"".join(self._parts)
            else:
                found = _CHUNK.fullmatch(line)
                if found is None:
                    raise Unreadable(400)
                self._open = int(found[1], 16)
            self._size += self._open
            self._count += 1
            if self._size > self._max_bytes:
                raise Unreadable(413)
            if self._count > MAX_CHUNKS:
                raise Unreadable(400)


class Connection(asyncio.Protocol):
    """One client. `everyone` are the server's connections; who inherits says how requests are answered and refused."""

    def __init__(self, limits: Limits, everyone: set[Connection]) -> None:
        self._limits, self._everyone = limits, everyone
        self._buffer = bytearray()
        self._head: Request | None = None  # a request whose body is not all there
        self._length: int | None = 0
        self._chunks: _Chunks | None = None
        self._busy = self._paused = self._ended = self._serving = False
        self._dropped: int | None = None  # bytes taken and dropped since the refusal; None = none was refused
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late_at = 0.0

    # ---- for who inherits -------------------------------------------------------------------------------------------------

    def respond(self, request: Request) -> None:
        """Have a request answered: call `send` with the answer, now or later."""
        raise NotImplementedError

    def refusal(self, status: int) -> bytes:
        """What to say to bytes that are no request; nothing = end the connection at once."""
        raise NotImplementedError

    def send(self, answer: bytes, *, keep: bool) -> None:
        """Write the answer to the request that is open."""
        self._busy = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        if not keep:
            transport.close()
            return
        self._wait(self._limits.request_s if self._buffer else self._limits.idle_s)
        self._serve()
        self._read_or_not()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def socket(self) -> socket.socket:
        """The socket of the connection."""
        assert self._transport is not None
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    def peer(self) -> str:
        """The client's address."""
        assert self._transport is not None
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    # ---- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if hasattr(transport, "max_size"):  # asyncio asks for 256 KiB, which malloc maps and unmaps each time: 0.04 ms a request
            transport.max_size = READ_BYTES
        if len(self._everyone) >= self._limits.connections:
            self._refuse(503)
            transport.close()
            return
        self._everyone.add(self)
        self._wait(self._limits.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._everyone.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    def pause_writing(self) -> None:
        """The client does not read: do not read from it either."""
        self._paused = True
        self._read_or_not()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self._serve()
        self._read_or_not()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        if self._dropped is not None:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.abort()
            return
        if not self._buffer and self._head is None and not self._busy:
            self._wait(self._limits.request_s)
        self._buffer += data
        self._serve()
        self._read_or_not()

    def eof_received(self) -> bool:
        """The client has said all; who still has an answer to come gets it."""
        self._ended = True
        return self._busy or self._paused

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        if self._serving:
            return
        self._serving = True
        try:
            while self._takes_requests():
                request = self._next()
                if request is None:
                    break
                self._busy = True
                self.respond(request)
        except Unreadable as error:
            self._refuse(error.status)
        finally:
            self._serving = False
        if self._ended and self._takes_requests() and self._transport is not None:
            self._transport.close()

    def _takes_requests(self) -> bool:
        open_one = self._transport is not None and not self._transport.is_closing()
        return open_one and not self._busy and not self._paused and self._dropped is None

    def _next(self) -> Request | None:
        """The next whole request of the buffer. Errors: Unreadable."""
        if self._head is None:
            while self._buffer[:2] == b"\r\n":  # some clients end a body with an empty line
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n", 0, self._limits.head_bytes + 4)
            if end < 0:
                if len(self._buffer) > self._limits.head_bytes:
                    raise Unreadable(431)
                return None
            self._head, self._length = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._length is None and not self._limits.chunked:
                raise Unreadable(501)
            if (self._length or 0) > self._limits.body_bytes:
                raise Unreadable(413)
            self._chunks = _Chunks(self._limits.body_bytes) if self._length is None else None
            self._ask_for_body()
        if self._chunks is not None:
            body = self._chunks.take(self._buffer)
        elif len(self._buffer) >= (self._length or 0):
            body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
        else:
            body = None
        if body is None:
            return None
        head, self._head, self._chunks = self._head, None, None
        return Request(head.method, head.target, head.headers, head.keep, body) if body else head

    def _ask_for_body(self) -> None:
        """`Expect: 100-continue`: curl waits a second for that before it sends a body."""
        assert self._head is not None
        if self._transport is not None and not self._buffer and self._head.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status: int) -> None:
        transport, said = self._transport, self.refusal(status)
        if transport is None or transport.is_closing():
            return
        self._dropped = 0
        self._buffer.clear()
        if not said or self._ended:
            transport.write(said)
            (transport.close if said else transport.abort)()
            return
        transport.write(said)
        transport.write_eof()
        transport.resume_reading()
        self._wait(LINGER_S)

    def _read_or_not(self) -> None:
        """Bytes wait in the kernel while nothing can be done with them."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._dropped is not None:
            return
        if self._paused or (self._busy and len(self._buffer) > self._limits.head_bytes):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _wait(self, seconds: float) -> None:
        """Be late in so many seconds. The timer stays where it is when the moment only moves away: there are two moments a request."""
        loop = asyncio.get_running_loop()
        self._late_at = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._late_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(self._late_at, self._on_timer)

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._busy:  # an answer takes the time it takes; `send` sets the next moment
            self._late_at = max(self._late_at, loop.time() + self._limits.idle_s)
        if loop.time() < self._late_at:
            self._timer = loop.call_at(self._late_at, self._on_timer)
        else:
            self._late()

    def _late(self) -> None:
        half = self._buffer or self._head is not None
        if half and not self._paused and self._dropped is None:
            self._refuse(408)
        else:
            self.abort()
