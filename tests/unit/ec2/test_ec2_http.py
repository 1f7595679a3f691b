"""The EC2 API on real sockets of 127.0.0.1 against broken, slow, greedy and many clients: clear errors, and it goes on answering."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from builders_ec2_http import KEY, REGION, SECRET, Raw, Running, form, until

from labnet.ec2 import http


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    one = Running()
    one.wait(one.server.load())
    yield one
    one.close()


@pytest.fixture
def raw(running: Running) -> Iterator[Raw]:
    with running.connect() as one:
        yield one


@pytest.fixture(autouse=True)
def unharmed(running: Running) -> Iterator[None]:
    """After each test: nobody is left, nothing was logged, and the next client is served."""
    yield
    with running.connect() as one:
        assert one.ask(one.signed())[0] == 200
    assert running.logged == []
    assert until(lambda: not running.server.connections and not running.server.tasks)


def code_of(body: bytes) -> str:
    return ElementTree.fromstring(body).findtext("Errors/Error/Code") or ""


# ---- what is right --------------------------------------------------------------------------------------------------------


def test_an_answers_head(raw: Raw) -> None:
    status, headers, body = raw.ask(raw.signed())
    assert status == 200
    assert headers["content-type"] == "text/xml;charset=UTF-8"
    assert headers["content-length"] == str(len(body))
    assert headers["server"] == "AmazonEC2" and headers["date"].endswith(" GMT") and headers["connection"] == "keep-alive"
    root = ElementTree.fromstring(body)
    assert root.tag == "{http://ec2.amazonaws.com/doc/2016-11-15/}DescribeVpcsResponse"
    assert root.findtext("{*}requestId") == headers["x-amzn-requestid"]


def test_get_and_post_and_parameters_in_both(raw: Raw) -> None:
    query = "Action=DescribeVpcs&Version=2016-11-15"
    assert raw.ask(raw.signed(b"", method="GET", query=query))[0] == 200
    assert raw.ask(raw.signed(b"", method="POST", query=query))[0] == 200
    assert raw.ask(raw.signed(b"Version=2016-11-15", query="Action=DescribeVpcs"))[0] == 200


def test_a_presigned_url(raw: Raw) -> None:
    request = AWSRequest("GET", f"http://{raw.host}/?Action=DescribeVpcs&Version=2016-11-15", {"Host": raw.host})
    SigV4QueryAuth(Credentials(KEY, SECRET), "ec2", REGION, 60).add_auth(request)
    target = request.url.partition(raw.host)[2]
    assert raw.ask(f"GET {target} HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode())[0] == 200
    status, _, body = raw.ask(f"GET {target}0 HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode())
    assert (status, code_of(body)) == (401, "AuthFailure")


def test_the_same_bytes_again_on_one_connection(raw: Raw) -> None:
    request = raw.signed()
    assert [raw.ask(request)[0] for _ in range(20)] == [200] * 20


def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    actions = ["DescribeVpcs", "DescribeSubnets", "Fly", "DescribeInstances"] * 10
    raw.send(b"".join(raw.signed(form(action)) for action in actions))
    for action in actions:
        status, _, body = raw.answer()
        assert (status, action) in ((400, "Fly"), (200, action))
        assert action == "Fly" or f"<{action}Response".encode() in body


def test_a_request_in_single_bytes(raw: Raw) -> None:
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in raw.signed():
        raw.send(bytes((number,)))
    assert raw.answer()[0] == 200


def chunked(request: bytes, sizes: int) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
    parts = [body[place : place + sizes] for place in range(0, len(body), sizes)]
    said = b"".join(b"%x;note=x\r\n%s\r\n" % (len(one), one) for one in parts)
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + said + b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("sizes", [1, 7, 1000])
def test_chunked_bodies(raw: Raw, sizes: int) -> None:
    request = chunked(raw.signed(), sizes)
    assert raw.ask(request)[0] == 200
    for place in range(0, len(request), 5):
        raw.send(request[place : place + 5])
    assert raw.answer()[0] == 200


def test_curls_expect_header_is_answered_before_the_body(raw: Raw) -> None:
    head, _, body = raw.signed().partition(b"\r\n\r\n")
    raw.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert raw.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert raw.stream.readline() == b"\r\n"
    assert raw.ask(body)[0] == 200


def test_half_closed_sockets_get_their_answer(raw: Raw) -> None:
    raw.send(raw.signed() + raw.signed())
    raw.sock.shutdown(socket.SHUT_WR)
    assert [raw.answer()[0] for _ in range(3)] == [200, 200, 0]


def test_connection_close_and_http_1_0(running: Running) -> None:
    for change in ((b"\r\nHost", b"\r\nConnection: close\r\nHost"), (b"HTTP/1.1", b"HTTP/1.0")):
        with running.connect() as raw:
            status, headers, _ = raw.ask(raw.signed().replace(*change, 1))
            assert (status, headers["connection"]) == (200, "close")
            assert raw.answer()[0] == 0


# ---- what is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_line, status", [
    ("PUT /", 405), ("DELETE /", 405), ("PATCH /", 405), ("OPTIONS /", 405), ("FROBNICATE /", 405), ("GET /latest/meta-data/", 404),
    ("POST /../../etc/passwd", 404), ("GET //", 404),
])
def test_other_methods_and_paths(raw: Raw, request_line: str, status: int) -> None:
    found, headers, body = raw.ask(f"{request_line} HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode())
    assert (found, code_of(body)) == (status, "InvalidRequest")
    assert headers["connection"] == "keep-alive"
    assert raw.ask(raw.signed())[0] == 200, "what can be read does no harm to what follows"


def test_head_has_no_body(raw: Raw) -> None:
    raw.send(f"HEAD / HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode() + raw.signed())
    assert raw.stream.readline().startswith(b"HTTP/1.1 405 ")
    while raw.stream.readline().strip():
        pass
    assert raw.answer()[0] == 200


@pytest.mark.parametrize("said, status, code", [
    (b"nonsense\r\n\r\n", 400, "MalformedQueryString"), (b"GET / HTTP/2.0\r\n\r\n", 400, "MalformedQueryString"),
    (b"get / HTTP/1.1\r\n\r\n", 400, "MalformedQueryString"), (b"GET /a b HTTP/1.1\r\n\r\n", 400, "MalformedQueryString"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "MalformedQueryString"),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "MalformedQueryString"),
    (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400, "MalformedQueryString"),
    (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, "MalformedQueryString"), (b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "NotImplemented"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413, "RequestEntityTooLarge"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000, 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 600, 400, "MalformedQueryString"),
    (b"POST / HTTP/1.1\r\nContent-Length: 10485760\r\n\r\n", 413, "RequestEntityTooLarge"),
    (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, "MalformedQueryString"),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", 431, "RequestEntityTooLarge"),
    (b"GET /?" + b"a" * 100_000, 431, "RequestEntityTooLarge"), (b"x" * 70_000, 431, "RequestEntityTooLarge"),
])
def test_what_is_no_http_is_refused_in_ec2s_form(raw: Raw, said: bytes, status: int, code: str) -> None:
    found, headers, body = raw.ask(said)
    assert (found, code_of(body)) == (status, code)
    assert headers["connection"] == "close"
    assert raw.answer()[0] == 0


def test_ten_megabytes_are_refused_and_the_refusal_arrives(raw: Raw) -> None:
    body = b"Action=DescribeVpcs&Version=2016-11-15&VpcId.1=" + b"x" * (10 << 20)
    status, _, said = raw.ask(raw.signed(body))  # sent whole before anything is read, as most clients do
    assert (status, code_of(said)) == (413, "RequestEntityTooLarge")


def test_a_megabyte_is_a_request(raw: Raw) -> None:
    body = b"Action=DescribeVpcs&Version=2016-11-15&VpcId.1=" + b"x" * 1_000_000
    status, _, said = raw.ask(raw.signed(body))
    assert (status, code_of(said)) == (400, "InvalidVpcID.Malformed") or code_of(said).startswith("InvalidVpcID")


@pytest.mark.parametrize("body, code", [
    (b"Action=DescribeVpcs&Version=2016-11-15&Filter.99999999.Name=x", "InvalidParameterValue"),
    (b"Action=DescribeVpcs&Version=2016-11-15&" + b"a." * 10_000 + b"b=c", "UnknownParameter"),
    (b"Action=DescribeVpcs&Version=2016-11-15&VpcId.1=%ff", "MalformedQueryString"), (b"\xff\xfe", "MalformedQueryString"),
    (b"{}", "MalformedQueryString"), (b"<Action>DescribeVpcs</Action>", "MalformedQueryString"),
    (b"Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16%00", "InvalidParameterValue"),
    (b"Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=%1b",
     "InvalidParameterValue"),
    (b"Action=DescribeVpcs&Version=2016-11-15&VpcId.1=]]></Message><Code>x", "InvalidVpcID.Malformed"), (b"", "MissingAction"),
])
def test_hostile_parameters(running: Running, raw: Raw, body: bytes, code: str) -> None:
    before = running.service.state
    status, _, said = raw.ask(raw.signed(body))
    assert status == 400
    assert code_of(said).split(".")[0] == code.split(".")[0]
    assert running.service.state is before
    assert raw.ask(raw.signed())[0] == 200


def test_text_goes_round_whole(raw: Raw) -> None:
    text = " <a href=\"x\">&amp;]]> ä€𝄞\r\n\t' "
    keys = {"TagSpecification.1.ResourceType": "vpc", "TagSpecification.1.Tag.1.Key": "k", "TagSpecification.1.Tag.1.Value": text}
    status, _, body = raw.ask(raw.signed(form("CreateVpc", CidrBlock="10.77.0.0/16", **keys)))
    assert status == 200
    assert [one.text for one in ElementTree.fromstring(body).iter("{http://ec2.amazonaws.com/doc/2016-11-15/}value")] == [text]


def test_the_signature_covers_the_form_wherever_it_stands(raw: Raw) -> None:
    request = raw.signed(b"", method="GET", query="Action=DescribeVpcs&Version=2016-11-15")
    status, _, body = raw.ask(request.replace(b"DescribeVpcs", b"DescribeSubnets", 1))
    assert (status, code_of(body)) == (401, "AuthFailure")
    request = raw.signed(form("DescribeVpcs"))
    assert raw.ask(request.replace(b"POST / ", b"POST /?DryRun=true ", 1))[0] == 401
    assert raw.ask(raw.signed(region="eu-west-1"))[0] == 401
    status, _, body = raw.ask(f"GET /?Action=DescribeVpcs HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode())
    assert (status, code_of(body)) == (403, "MissingAuthenticationToken")


def test_what_labnet_has_not_says_so(raw: Raw) -> None:
    status, _, body = raw.ask(raw.signed(form("DescribeVolumes")))
    assert (status, code_of(body)) == (501, "InvalidAction")
    assert b"DescribeVolumes" in body


# ---- slow and many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [b"P", b"POST / HTTP/1.1\r\nHost: x\r\nA: ", b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nAction="])
def test_who_sends_a_request_slowly_is_told_and_ended(running: Running, monkeypatch: pytest.MonkeyPatch, half: bytes) -> None:
    monkeypatch.setattr(http, "LIMITS", replace(http.LIMITS, request_s=0.2))
    with running.connect() as slow, running.connect() as other:
        slow.send(half)
        assert other.ask(other.signed())[0] == 200
        status, _, body = slow.answer()
        assert (status, code_of(body)) == (408, "RequestTimeout")
        assert slow.answer()[0] == 0


def test_a_byte_now_and_then_buys_no_time(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LIMITS", replace(http.LIMITS, request_s=0.4))
    with running.connect() as slow:
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.05):
                try:
                    slow.send(b"A")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        slow.send(b"GET /")
        thread.start()
        try:
            assert slow.answer()[0] == 408
        finally:
            ended.set()
            thread.join()


def test_who_asks_nothing_is_ended_without_a_word(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LIMITS", replace(http.LIMITS, idle_s=0.1))
    with running.connect() as idle:
        assert idle.answer()[0] == 0
    with running.connect() as kept:
        assert kept.ask(kept.signed())[0] == 200
        assert kept.answer()[0] == 0


def test_two_hundred_at_once_and_no_descriptor_is_lost(running: Running) -> None:
    with running.connect() as one:
        one.ask(one.signed())
    assert until(lambda: not running.server.connections)
    before = len(os.listdir("/proc/self/fd"))
    held = [running.connect() for _ in range(200)]
    try:
        for one in held:
            one.send(one.signed())
        assert [one.answer()[0] for one in held] == [200] * 200
        assert len(running.server.connections) == 200
        for one in held[:100]:  # half of them go in the middle of a request
            one.send(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nAction=")
    finally:
        for one in held:
            one.close()
    assert until(lambda: not running.server.connections)
    assert until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_one_too_many_is_told(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LIMITS", replace(http.LIMITS, connections=2))
    with running.connect() as first, running.connect() as second:
        assert (first.ask(first.signed())[0], second.ask(second.signed())[0]) == (200, 200)
        with running.connect() as third:
            status, _, body = third.answer()
            assert (status, code_of(body)) == (503, "Unavailable")
        assert first.ask(first.signed())[0] == 200


def test_who_never_reads_is_not_read_from(running: Running) -> None:
    with running.connect() as greedy, running.connect() as other:
        greedy.sock.setblocking(False)
        flood, sent, stuck = greedy.signed() * 50, 0, 0
        while stuck < 50 and sent < 256 << 20:
            try:
                sent += greedy.sock.send(flood)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.01)
        assert stuck == 50, "the server took everything"
        assert max(len(one._buffer) for one in tuple(running.server.connections)) < 2 << 20
        assert other.ask(other.signed())[0] == 200


def test_a_call_goes_on_when_its_client_has_gone(running: Running) -> None:
    before = len(running.service.state.vpcs)
    with running.connect() as gone:
        gone.send(gone.signed(form("CreateVpc", CidrBlock="10.78.0.0/16")))
        gone.sock.shutdown(socket.SHUT_WR)
    assert until(lambda: len(running.service.state.vpcs) == before + 1)


def test_calls_that_wait_hold_nobody_and_are_answered_in_their_connections_order(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Running()
    try:
        gate = one.wait(_future())
        load = one.server.load

        async def late() -> object:
            await gate
            return await load()

        monkeypatch.setattr(one.server, "load", late)
        with one.connect() as first, one.connect() as second:
            first.send(first.signed(form("DescribeSubnets")) + first.signed(form("DescribeVpcs")))
            assert second.ask(b"PUT / HTTP/1.1\r\n\r\n")[0] == 405, "answered while the other one waits"
            assert until(lambda: len(one.server.tasks) == 1), "the second of a connection has not begun"
            one.loop.call_soon_threadsafe(gate.set_result, None)
            assert [b"DescribeSubnetsResponse" in first.answer()[2], b"DescribeVpcsResponse" in first.answer()[2]] == [True, True]
    finally:
        one.close()


def test_a_server_that_closes_ends_calls_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SHUTDOWN_S", 0.05)
    one = Running()
    gate = one.wait(_future())

    async def never() -> object:
        return await gate

    monkeypatch.setattr(one.server, "load", never)
    with one.connect() as client:
        client.send(client.signed())
        assert until(lambda: bool(one.server.tasks))
        one.close()
        assert client.stream.read() == b""
    assert not one.server.tasks and not one.server.connections
    assert one.logged == []


async def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
