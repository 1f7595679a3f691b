"""The EC2 API on a real socket of 127.0.0.1, in a loop and a thread of its own, and raw connections to it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from labnet.ec2 import limits
from labnet.ec2.http import Ec2Server
from labnet.ec2.service import Ec2Service
from labnet.lab.store import MemoryStore
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

KEY, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "a-secret-that-opens-nothing", "us-west-2"


class Running:
    """An API on 127.0.0.1, in a loop of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.logged: list[str] = []
        self.service = Ec2Service(CloudState(lab="t", seed=7), limits.load(), LabClock(), self.store)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = Ec2Server(self.service, {KEY: SECRET}, self.logged.append)
        self.wait(self.server.start([listener]))

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def client(self, key: str = KEY, secret: str = SECRET) -> Any:
        return boto3.session.Session().client(
            "ec2", endpoint_url=self.url, region_name="us-west-2", aws_access_key_id=key, aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def close(self) -> None:
        self.wait(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def connect(self) -> Raw:
        return Raw(self.port)


class Raw:
    """A connection that sends what it is told to."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.sock.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.sock.close()

    def send(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer; status 0 where the server ended the connection without one."""
        line = self.stream.readline()
        if not line:
            return 0, {}, b""
        headers: dict[str, str] = {}
        while text := self.stream.readline().strip().decode():
            name, _, value = text.partition(": ")
            headers[name.lower()] = value
        return int(line.split()[1]), headers, self.stream.read(int(headers.get("content-length", "0")))

    def ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        self.send(raw)
        return self.answer()

    def signed(self, body: bytes | str = "Action=DescribeVpcs&Version=2016-11-15", **options: Any) -> bytes:
        return signed(self.host, body.encode() if isinstance(body, str) else body, **options)


def signed(
    host: str, body: bytes, *, method: str = "POST", query: str = "", key: str = KEY, secret: str = SECRET, region: str = REGION,
    service: str = "ec2", headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a request that botocore signed."""
    target = "/" + (f"?{query}" if query else "")
    request = AWSRequest(method, f"http://{host}{target}", {"Host": host, **(headers or {})}, body)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in request.headers.items()), f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def form(action: str, **params: str) -> bytes:
    return urlencode({"Action": action, "Version": "2016-11-15", **params}).encode()


def until(condition: Any, seconds: float = 10.0) -> bool:
    """Wait for a condition, at most so long."""
    end_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True
