#!/usr/bin/env python3
"""The EC2 API's times beside moto's server, in one run: signed requests replayed over one kept connection, both servers alike.

A raw socket on 127.0.0.1 sends the same bytes again and again and reads each answer whole, so that no client library stands
between the clock and the server. Both hold the same objects, made through the API: 10 ENIs, then 1,000. Needs no root.
moto's server (werkzeug) closes after each answer: for it the next connection is opened before the clock starts.

Usage: bench_ec2.py [--json] [--repeats N] [--only labnet|moto]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

KEY, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "a-secret-that-opens-nothing", "us-west-2"
START_S, ANSWER_S, MEASURE_S = 60.0, 60.0, 20.0
FEW, MANY = 10, 1_000
SHM = Path("/dev/shm")
GOALS_MS = {"describe 10": 3.0, "describe 1000": 60.0, "assign": 3.0}
GOAL_TIMES = 10.0
WHAT = {
    "describe 10": "DescribeNetworkInterfaces, 10 ENIs", "describe 1000": "DescribeNetworkInterfaces, a page of 1,000 ENIs",
    "assign": "AssignPrivateIpAddresses, one address",
}


def main() -> int:
    """Measure both servers and print them side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--only", choices=("labnet", "moto"))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(_serve(options.serve))
        return 0
    names = [options.only] if options.only else ["labnet", "moto"]
    if "moto" in names and importlib.util.find_spec("moto") is None:
        print("moto is not installed (extra dev): labnet alone", file=sys.stderr)
        names = ["labnet"]
    rows = measure(options.repeats, names)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            goal = f"   goal {row['goal']}" if row["goal"] else ""
            print(f"{row['what']:<78} {row['value']:>9.2f} {row['unit']:<8}{goal}")
    return 0


def measure(repeats: int, names: list[str]) -> list[dict[str, Any]]:
    """Rows of the report: p50 and p95 of each request and server, and how many times faster labnet is."""
    times: dict[str, dict[str, list[float]]] = {what: {} for what in WHAT}
    with ExitStack() as stack:
        lines = {name: stack.enter_context(Line(stack.enter_context(_running(name)))) for name in names}
        places = {name: _place(line) for name, line in lines.items()}
        for name, line in lines.items():  # one after the other for each request, so that both meet the same machine
            times["describe 10"][name] = line.timed(line.signed("DescribeNetworkInterfaces", MaxResults=str(MANY)), repeats, FEW)
        for name, line in lines.items():
            times["assign"][name] = _assigned(line, places[name][1], repeats)
        for name, line in lines.items():
            make = line.signed("CreateNetworkInterface", SubnetId=places[name][0])
            for _ in range(MANY - FEW):
                line.ask(make)
        for name, line in lines.items():
            times["describe 1000"][name] = line.timed(line.signed("DescribeNetworkInterfaces", MaxResults=str(MANY)), repeats, MANY)
    rows = []
    for what, text in WHAT.items():
        for name in names:
            some = times[what][name]
            goal = f"{GOALS_MS[what]:.0f}" if name == "labnet" else ""
            rows.append(_row(f"{text}: {name}, p50 of {len(some)}", statistics.median(some), "ms", goal))
            rows.append(_row(f"{text}: {name}, p95", statistics.quantiles(some, n=20)[-1], "ms", ""))
        if len(names) == 2:
            ratio = statistics.median(times[what]["moto"]) / statistics.median(times[what]["labnet"])
            rows.append(_row(f"{text}: moto's p50 by labnet's", ratio, "times", f"{GOAL_TIMES:.0f}"))
    return rows


def _row(what: str, value: float, unit: str, goal: str) -> dict[str, Any]:
    return {"what": what, "value": round(value, 3), "unit": unit, "goal": goal}


def _place(line: Line) -> tuple[str, list[str]]:
    """A subnet with the first ENIs; the subnet and them."""
    vpc = _word(line.call("CreateVpc", CidrBlock="10.20.0.0/16"), "vpcId")
    subnet = _word(line.call("CreateSubnet", VpcId=vpc, CidrBlock="10.20.0.0/18", AvailabilityZone=f"{REGION}a"), "subnetId")
    return subnet, [_word(line.call("CreateNetworkInterface", SubnetId=subnet), "networkInterfaceId") for _ in range(FEW)]


def _assigned(line: Line, enis: list[str], repeats: int) -> list[float]:
    """Milliseconds of each AssignPrivateIpAddresses; the ENIs take turns, so that none becomes unlike a real one."""
    words = {"SecondaryPrivateIpAddressCount": "1"}
    requests = [line.signed("AssignPrivateIpAddresses", NetworkInterfaceId=eni, **words) for eni in enis]
    out = []
    for request in itertools.islice(itertools.cycle(requests), min(repeats, 20 * FEW)):
        line.ready()
        start_s = time.perf_counter()
        line.ask(request)
        out.append((time.perf_counter() - start_s) * 1e3)
    return out


class Line:
    """One kept connection to a server; where the server closes it, the next one, opened outside of what is timed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._host = f"127.0.0.1:{port}"
        self._open()

    def _open(self) -> None:
        self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._sock.makefile("rb", buffering=1 << 20)
        self._closing = False

    def _close(self) -> None:
        self._stream.close()
        self._sock.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_how: object) -> None:
        self._close()

    def ready(self) -> None:
        """Have a connection that takes a request."""
        if self._closing:
            self._close()
            self._open()

    def call(self, action: str, **params: str) -> bytes:
        """One request, signed for itself."""
        return self.ask(self.signed(action, **params))

    def signed(self, action: str, **params: str) -> bytes:
        """The bytes of a signed request."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        body = urlencode({"Action": action, "Version": "2016-11-15", **params})
        kind = "application/x-www-form-urlencoded; charset=utf-8"
        request = AWSRequest("POST", f"http://{self._host}/", {"Host": self._host, "Content-Type": kind}, body.encode())
        SigV4Auth(Credentials(KEY, SECRET), "ec2", REGION).add_auth(request)
        lines = ["POST / HTTP/1.1", *(f"{name}: {text}" for name, text in request.headers.items()), f"Content-Length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def ask(self, request: bytes) -> bytes:
        """Send bytes, read one answer's body. A refusal ends the bench."""
        self.ready()
        self._sock.sendall(request)
        status = self._stream.readline()
        length = 0
        while (header := self._stream.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
            elif header == b"connection: close":
                self._closing = True
        body = self._stream.read(length)
        if b" 200 " not in status:
            sys.exit(f"{status!r}: {body[:500]!r}")
        return body

    def timed(self, request: bytes, repeats: int, enis: int) -> list[float]:
        """Milliseconds of each replay, `repeats` at most and no longer than the time there is."""
        found = self.ask(request).count(b"<macAddress>")
        if found != enis:
            sys.exit(f"{found} ENIs where {enis} were made")
        out: list[float] = []
        end_s = time.perf_counter() + MEASURE_S
        while len(out) < repeats and (len(out) < 5 or time.perf_counter() < end_s):
            self.ready()
            start_s = time.perf_counter()
            self.ask(request)
            out.append((time.perf_counter() - start_s) * 1e3)
        return out


def _word(answer: bytes, name: str) -> str:
    found = re.search(rf"<{name}>([^<]+)</{name}>".encode(), answer)
    if found is None:
        sys.exit(f"no {name} in {answer[:500]!r}")
    return found[1].decode()


@contextmanager
def _running(name: str) -> Iterator[int]:
    """A server in a process of its own, on a port of its own; ended by its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    own = [sys.executable, str(Path(__file__).resolve()), "--serve", str(port)]
    command = own if name == "labnet" else [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end_s:
                    sys.exit(f"{' '.join(command)} does not answer")
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


async def _serve(port: int) -> None:
    """labnet's own server, as a lab runs it: with its store on a tmpfs, which /run is on Debian; no kernel behind it."""
    from labnet.ec2 import limits
    from labnet.ec2.http import Ec2Server
    from labnet.ec2.service import Ec2Service
    from labnet.lab.store import SqliteStore
    from labnet.model.cloud import CloudState
    from labnet.sim.clock import LabClock

    clock = LabClock()
    clock.go_real()
    with tempfile.TemporaryDirectory(prefix="lnb", dir=SHM if SHM.is_dir() else None) as place:
        store = SqliteStore(Path(place) / "store.db", asyncio.get_running_loop().call_soon)
        service = Ec2Service(CloudState(lab="bench", region=REGION), limits.load(), clock, store)
        listener = socket.create_server(("127.0.0.1", port))
        server = Ec2Server(service, {KEY: SECRET}, lambda text: print(text, file=sys.stderr))
        await server.start([listener])
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)  # or the folder would stay
        try:
            await ended.wait()
        finally:
            await server.close()
            store.close()


if __name__ == "__main__":
    sys.exit(main())
