"""The server on real sockets of the loopback: datagrams, connections, and clients that mean harm."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from collections.abc import Awaitable, Callable

import dns.message
import pytest

from labnet.dns import internet, server, wire
from labnet.dns.server import DnsServer

Main = Callable[[DnsServer, tuple[str, int]], Awaitable[None]]
RESPOND = functools.partial(wire.respond, internet.lookup)
QUERY = dns.message.make_query("example.com", "A").to_wire()


def run(main: Main, respond: server.Respond = RESPOND) -> None:
    async def whole() -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(tcp.getsockname())
        dns_server = DnsServer(respond)
        await dns_server.start([udp, tcp])
        try:
            await main(dns_server, tcp.getsockname())
        finally:
            dns_server.close()

    asyncio.run(asyncio.wait_for(whole(), 30))


async def over_udp(address: tuple[str, int], *messages: bytes) -> bytes:
    """The answer to the last one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        for message in messages:
            sock.sendto(message, address)
        return await asyncio.get_running_loop().sock_recv(sock, 65_535)


async def read(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])


def framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


def is_good(answer: bytes) -> bool:
    return "192.0.2.10" in dns.message.from_wire(answer).to_text()


def test_datagrams_are_answered_after_any_rubbish() -> None:
    async def main(_server: DnsServer, address: tuple[str, int]) -> None:
        assert is_good(await over_udp(address, b"", b"rubbish", b"\xff" * 500, *[b"x"] * 100, QUERY))

    run(main)


def test_one_connection_takes_several_questions_in_pieces() -> None:
    async def main(_server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for byte in framed(QUERY):
            writer.write(bytes([byte]))
            await writer.drain()
        assert is_good(await read(reader))
        writer.write(framed(QUERY) + framed(b"\0\1\1\0garbage!!") + framed(QUERY))
        answers = [await read(reader) for _ in range(3)]
        assert is_good(answers[0]) and is_good(answers[2]) and answers[1][3] & 15 == 1
        writer.close()

    run(main)


def test_who_sends_no_query_is_hung_up_on() -> None:
    async def main(_server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(b"no"))
        assert await reader.read() == b""
        writer.close()

    run(main)


def test_slow_clients_are_cut_and_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.2)
    monkeypatch.setattr(server, "CONNECTIONS", 3)

    async def main(_server: DnsServer, address: tuple[str, int]) -> None:
        slow = [await asyncio.open_connection(*address) for _ in range(3)]
        for _reader, writer in slow:
            writer.write(b"\1")
        one_too_many, its_writer = await asyncio.open_connection(*address)
        with pytest.raises(OSError):
            await one_too_many.readexactly(1)
        its_writer.close()
        assert is_good(await over_udp(address, QUERY)), "datagrams do not care"
        for reader, writer in slow:
            with pytest.raises(OSError):
                await reader.readexactly(1)
            writer.close()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(QUERY))
        assert is_good(await read(reader)), "there is room again"
        writer.close()

    run(main)


def test_closing_leaves_nothing_open() -> None:
    async def main(dns_server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(QUERY))
        await read(reader)
        dns_server.close()
        with pytest.raises(OSError):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection(*address)

    run(main)
