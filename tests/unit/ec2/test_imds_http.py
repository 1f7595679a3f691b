"""The metadata service over real sockets on 127.0.0.1: tokens, TTLs, statuses, hostile clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from builders_ec2 import Cloud

from labnet.ec2 import imds_http, limits
from labnet.ec2.http1 import Request
from labnet.ec2.imds import TokenBook, who_has
from labnet.ec2.imds_http import ImdsServer, answer, serve
from labnet.ec2.service import Ec2Service
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Place:
    """A cloud with one node, and the server that tells everybody on 127.0.0.1 that he is this node."""

    def __init__(self) -> None:
        cloud = Cloud()
        self.instance = cloud.node(cloud.subnet(cloud.vpc()), "t3.small")
        self.clock = LabClock(1_700_000_000.0)
        self.service = Ec2Service(cloud.state, limits.load(), self.clock)
        self.server: ImdsServer | None = None
        self.address = ("", 0)
        self.asked: list[str] = []

    def options(self, **wanted: object) -> None:
        self.service.call("test", "ModifyInstanceMetadataOptions", {"InstanceId": self.instance, **wanted})

    def who(self, address: str) -> str | None:
        self.asked.append(address)
        return self.instance

    async def ask(self, raw: bytes, *, reads: int = 1) -> tuple[int, dict[str, str], str]:
        """Send bytes on a new connection; the last of `reads` answers."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(raw)
            for _ in range(reads):
                found = await read_answer(reader)
            return found
        finally:
            writer.close()
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], str]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    lines = head.split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines[1:] if line)}
    content = await reader.readexactly(int(headers["content-length"])) if body else b""
    return int(lines[0].split()[1]), headers, content.decode()


def get(path: str, **headers: str) -> bytes:
    return request("GET", path, **headers)


def put(path: str = "/latest/api/token", **headers: str) -> bytes:
    return request("PUT", path, **headers)


def request(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 169.254.169.254", *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def token_request(ttl: str = "21600") -> bytes:
    return put(X_aws_ec2_metadata_token_ttl_seconds=ttl)


def served(work: Callable[[Place], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        place = Place()
        listener = socket.create_server(("127.0.0.1", 0))
        place.address = listener.getsockname()
        place.server = await serve(listener, place.who, place.service, TokenBook(b"seed"), place.clock)
        try:
            await work(place)
        finally:
            await place.server.close()

    asyncio.run(all_of_it())


def test_a_token_opens_the_door() -> None:
    async def work(place: Place) -> None:
        place.options(HttpTokens="required")
        assert (await place.ask(get("/latest/meta-data/mac")))[0] == 401
        status, headers, token = await place.ask(token_request("300"))
        assert (status, headers["x-aws-ec2-metadata-token-ttl-seconds"]) == (200, "300")
        status, headers, text = await place.ask(get("/latest/meta-data/instance-id", X_aws_ec2_metadata_token=token))
        assert (status, text, headers["content-type"]) == (200, place.instance, "text/plain")
        assert headers["x-aws-ec2-metadata-token-ttl-seconds"] == "300"
        assert (await place.ask(get("/latest/meta-data/mac", X_aws_ec2_metadata_token="wrong")))[0] == 401
        assert set(place.asked) == {"127.0.0.1"}

    served(work)


def test_tokens_are_optional_unless_they_are_required_and_wrong_ones_never_good() -> None:
    async def work(place: Place) -> None:
        assert (await place.ask(get("/latest/meta-data/instance-id")))[2] == place.instance
        assert (await place.ask(get("/latest/meta-data/instance-id", X_aws_ec2_metadata_token="wrong")))[0] == 401

    served(work)


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "abc", "1.5", "99999999999"])
def test_a_bad_ttl(ttl: str) -> None:
    async def work(place: Place) -> None:
        assert (await place.ask(token_request(ttl)))[0] == 400

    served(work)


def test_what_a_token_request_must_not_be() -> None:
    async def work(place: Place) -> None:
        assert (await place.ask(put()))[0] == 400
        assert (await place.ask(put(X_aws_ec2_metadata_token_ttl_seconds="60", X_Forwarded_For="10.0.0.1")))[0] == 403
        assert (await place.ask(get("/latest/api/token")))[0] == 405
        assert (await place.ask(put("/latest/meta-data/mac")))[0] == 405
        assert (await place.ask(request("POST", "/latest/meta-data/mac")))[0] == 405

    served(work)


def test_unknown_paths_are_real_404s() -> None:
    async def work(place: Place) -> None:
        for path in ("/latest/meta-data/nothing", "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:00", "/2099-01-01/meta-data",
        "/etc/passwd",
                     "/latest/meta-data/../../etc/passwd", "/latest/meta-data/mac/x", "/latest/user-data"):
            assert (await place.ask(get(path)))[0] == 404, path

    served(work)


def test_the_endpoint_can_be_turned_off() -> None:
    async def work(place: Place) -> None:
        place.options(HttpEndpoint="disabled")
        assert (await place.ask(get("/latest/meta-data/mac")))[0] == 403
        assert (await place.ask(token_request()))[0] == 403

    served(work)


@pytest.mark.parametrize("raw, status, phrase", [
    (get("/latest/meta-data/nothing"), 404, "Not Found"), (get("/latest/meta-data/mac", X_aws_ec2_metadata_token="x"), 401, "Unauthorized"),
    (put(X_aws_ec2_metadata_token_ttl_seconds="0"), 400, "Bad Request"),
    (put(X_aws_ec2_metadata_token_ttl_seconds="60", X_Forwarded_For="10.0.0.1"), 403, "Forbidden"),
])
def test_the_page_of_an_error_is_ec2s(raw: bytes, status: int, phrase: str) -> None:
    async def work(place: Place) -> None:
        found, headers, body = await place.ask(raw)
        assert (found, headers["content-type"], headers["server"]) == (status, "text/html", "EC2ws")
        assert body == (
            '<?xml version="1.0" encoding="iso-8859-1"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n'
            '\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
            '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n <head>\n'
            f"  <title>{status} - {phrase}</title>\n </head>\n <body>\n  <h1>{status} - {phrase}</h1>\n </body>\n</html>\n"
        )

    served(work)


@pytest.mark.parametrize("raw, allow", [
    (get("/latest/api/token"), "OPTIONS, PUT"), (request("DELETE", "/latest/api/token"), "OPTIONS, PUT"),
    (request("POST", "/latest/meta-data/mac"), "OPTIONS, GET, HEAD"), (request("FROBNICATE", "/latest/user-data"), "OPTIONS, GET, HEAD"),
])
def test_a_method_that_is_not_allowed(raw: bytes, allow: str) -> None:
    async def work(place: Place) -> None:
        assert await _status_line(place, raw) == "HTTP/1.1 405 Not Allowed"
        status, headers, body = await place.ask(raw)
        assert (status, headers["allow"], headers["content-length"], headers["content-type"], body) == (405, allow, "0", "text/plain", "")

    served(work)


async def _status_line(place: Place, raw: bytes) -> str:
    reader, writer = await asyncio.open_connection(*place.address)
    writer.write(raw)
    line = (await asyncio.wait_for(reader.readline(), 5)).decode().strip()
    writer.close()
    await writer.wait_closed()
    return line


def test_the_head_of_an_answer() -> None:
    async def work(place: Place) -> None:
        _, headers, _ = await place.ask(get("/latest/meta-data/mac"))
        assert headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
        assert headers["accept-ranges"] == "none" and headers["date"].endswith(" GMT") and headers["content-type"] == "text/plain"

    served(work)


@pytest.mark.parametrize("path", [
    "/latest/meta-data/../../x", "/latest/meta-data/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/latest/../latest/meta-data/mac",
    "/latest/meta-data/..;/mac", "/latest/meta-data/mac%00", "/%6catest/meta-data/mac", "//etc//passwd", "/latest/meta-data\\mac", "/*", "*",
])
def test_no_path_leads_out(path: str) -> None:
    async def work(place: Place) -> None:
        assert (await place.ask(get(path)))[0] == 404

    served(work)


def test_versions_that_agents_ask_for() -> None:
    async def work(place: Place) -> None:
        for version in ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"):  # cloud-init's among them
            assert (await place.ask(get(f"/{version}/meta-data/instance-id")))[2] == place.instance
            assert version in (await place.ask(get("/")))[2].split("\n")

    served(work)


def test_two_vpcs_with_the_same_addresses_are_told_apart_by_the_port_they_ask_at() -> None:
    cloud = Cloud()
    vpcs = [cloud.vpc(name=name) for name in ("main", "other")]
    nodes = [cloud.node(cloud.subnet(vpc), name=f"node{n}") for n, vpc in enumerate(vpcs)]
    assert len({cloud.primary(node).primary for node in nodes}) == 1
    assert [who_has(cloud.state, vpc, "10.10.0.4") for vpc in vpcs] == nodes
    token = TokenBook(b"s").issue(nodes[0], 60, 0.0)
    book = TokenBook(b"s")
    assert book.issue(nodes[0], 60, 0.0) == token
    ask = Request("GET", "/latest/meta-data/instance-id", {"x-aws-ec2-metadata-token": token})
    assert answer(cloud.state, nodes[0], book, 1.0, ask).body == nodes[0]
    assert answer(cloud.state, nodes[1], book, 1.0, ask).status == 401


def test_no_newline_at_the_end_and_listings() -> None:
    async def work(place: Place) -> None:
        mac = place.service.state.enis_of(place.instance)[0].mac
        assert (await place.ask(get("/latest/meta-data/mac")))[2] == mac
        assert (await place.ask(get("/latest/meta-data/network/interfaces/macs")))[2] == f"{mac}/"
        assert (await place.ask(get("/latest/")))[2] == "dynamic\nmeta-data"
        assert (await place.ask(get("/")))[2].endswith("latest")
        assert (await place.ask(get("/2021-07-15/meta-data/mac?x=1")))[2] == mac
        assert (await place.ask(get("http://169.254.169.254/latest/meta-data/mac")))[2] == mac

    served(work)


def test_kept_connections_pipelining_head_and_bodies() -> None:
    async def work(place: Place) -> None:
        status, headers, text = await place.ask(get("/latest/meta-data/ami-id") + get("/latest/meta-data/instance-id"), reads=2)
        assert (status, text, headers["connection"]) == (200, place.instance, "keep-alive")
        reader, writer = await asyncio.open_connection(*place.address)
        writer.write(request("HEAD", "/latest/meta-data/instance-id"))
        status, headers, _ = await read_answer(reader, body=False)
        assert (status, headers["content-length"]) == (200, str(len(place.instance)))
        for part in (token_request("60")[:-2], b"Content-Length: 3\r\n\r\n", b"ab", b"c"):  # in pieces, with a body that is not asked for
            writer.write(part)
            await asyncio.sleep(0)
        assert (await read_answer(reader))[0] == 200
        writer.write(get("/latest/meta-data/mac", Connection="close"))
        assert (await read_answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert (await place.ask(b"GET /latest/meta-data/mac HTTP/1.0\r\n\r\n"))[1]["connection"] == "close"

    served(work)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /latest/meta-data/mac HTTP/2.0\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n", 413),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"x" * 9000, 431),
        (b"\0\xff\r\n\r\n", 400),
    ],
)
def test_hostile_requests_are_refused_and_the_next_client_served(raw: bytes, status: int) -> None:
    async def work(place: Place) -> None:
        assert (await place.ask(raw))[0] == status
        assert (await place.ask(get("/latest/meta-data/instance-id")))[2] == place.instance

    served(work)


def test_the_hop_limit_is_the_ttl_of_the_token_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen where it acts: in the server's socket, at the moment of each write."""

    async def work(place: Place) -> None:
        place.options(HttpPutResponseHopLimit=3)
        reader, writer = await asyncio.open_connection(*place.address)
        seen: list[int] = []
        for raw in (get("/latest/meta-data/mac"), token_request(), get("/latest/meta-data/mac"), get("/latest/meta-data/mac")):
            writer.write(raw)
            assert (await read_answer(reader))[0] == 200
            assert place.server is not None
            (connection,) = place.server.connections
            seen.append(connection.socket().getsockopt(socket.IPPROTO_IP, socket.IP_TTL))
        writer.close()
        await writer.wait_closed()
        assert seen == [64, 3, 64, 64]

    served(work)


def test_the_limit_stays_while_the_token_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retransmission with the usual TTL would bring the token through."""

    async def work(place: Place) -> None:
        monkeypatch.setattr(imds_http, "_unacknowledged", lambda sock: 1)
        reader, writer = await asyncio.open_connection(*place.address)
        writer.write(token_request() + get("/latest/meta-data/mac"))
        for _ in range(2):
            await read_answer(reader)
        assert place.server is not None
        (connection,) = place.server.connections
        assert connection.socket().getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1
        writer.close()
        await writer.wait_closed()

    served(work)


def test_a_slow_client_is_ended_and_does_not_hold_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imds_http, "LIMITS", replace(imds_http.LIMITS, request_s=0.05))

    async def work(place: Place) -> None:
        reader, writer = await asyncio.open_connection(*place.address)
        writer.write(b"GET / HT")
        assert (await place.ask(get("/latest/meta-data/instance-id")))[2] == place.instance
        assert await asyncio.wait_for(_rest(reader), 5) == b""
        writer.close()

    served(work)


def test_two_hundred_connections_and_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imds_http, "LIMITS", replace(imds_http.LIMITS, connections=200))

    async def work(place: Place) -> None:
        held = [await asyncio.open_connection(*place.address) for _ in range(200)]
        for _reader, writer in held:
            writer.write(get("/latest/meta-data/instance-id"))
        assert [(await read_answer(reader))[2] for reader, _writer in held] == [place.instance] * 200
        reader, writer = await asyncio.open_connection(*place.address)
        assert await asyncio.wait_for(_rest(reader), 5) == b""
        for one in (writer, *(each for _reader, each in held)):
            one.close()

    served(work)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_client_that_never_reads_is_not_read_from() -> None:
    async def work(place: Place) -> None:
        sock = socket.create_connection(place.address)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        flood = get("/latest/dynamic/instance-identity/document") * 200
        stuck = 0
        for _ in range(2000):
            try:
                sock.send(flood)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                if stuck > 20:
                    break
            await asyncio.sleep(0)
        assert stuck > 20, "the server took everything"
        assert place.server is not None
        (connection,) = place.server.connections
        assert connection._paused
        assert (await place.ask(get("/latest/meta-data/instance-id")))[2] == place.instance
        sock.close()
        await loop.shutdown_asyncgens()

    served(work)


def test_who_is_nobody_gets_nothing_and_a_terminated_instance_too() -> None:
    cloud = Cloud()
    instance = cloud.node(cloud.subnet(cloud.vpc()))
    ask = Request("GET", "/latest/meta-data/mac", {})
    assert answer(cloud.state, None, TokenBook(b""), 0.0, ask).status == 404
    assert answer(cloud.state, instance, TokenBook(b""), 0.0, ask).status == 200
    cloud.call("TerminateInstances", InstanceIds=[instance])
    assert answer(cloud.state, instance, TokenBook(b""), 0.0, ask).status == 404


def test_tokens_end_and_belong_to_one_instance() -> None:
    book = TokenBook(b"seed")
    token = book.issue("i-1", 10, 100.0)
    assert book.left_s(token, "i-1", 100.0) == 10
    assert book.holds(token, "i-1", 109.9)
    assert not book.holds(token, "i-1", 110.0)
    assert not book.holds(token, "i-2", 105.0)
    assert TokenBook(b"other").issue("i-1", 10, 100.0) != token
    assert book.issue("i-1", 10, 100.0) != token


def test_without_a_state_nobody_is_known() -> None:
    assert answer(replace(CloudState(lab="x")), "i-1", TokenBook(b""), 0.0, Request("GET", "/", {})).status == 404
