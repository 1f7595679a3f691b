#!/usr/bin/env python3
"""ADD and DEL through labnet's CNI executable beside Debian's `bridge` with `host-local`, in one run.

Both plugins are started the same way, as a container runtime does: a process with the CNI_* variables and the configuration on
standard input, from its start to its end, in a namespace that was made before. The two take turns, pod by pod, so that noise
hits both alike; only the ratio of one run says something. Needs root and the package containernetworking-plugins.

`bridge` is asked for the least that it does: no gateway, no masquerading, its bridge made before the clock starts, in a
namespace of this program's own; `host-local` keeps its files in a folder of this program's own.

Usage: bench_cni.py [--json] [--pods N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labnet.cni.vpc.framing import REPLY_HEAD_BYTES, render_request
from labnet.kernel import netns as namespaces

CNI_BIN = Path("/usr/lib/cni")
PACKAGE = "containernetworking-plugins"
LABNET = Path(sys.executable).parent / "labnet"
LAB, NODE = "benchadd", "node1"
WARM_UP = 3
GOAL_TIMES = 0.8
SETTLED_S, LOOK_S, LOOKS = 20.0, 0.1, 5
SCENARIO = f"""
apiVersion: labnet/v1
kind: Lab
metadata: {{name: {LAB}}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}}]
nodes: [{{name: {NODE}, instanceType: m5.24xlarge, subnet: a}}]
cni: {{kind: vpc, dialect: "1.23", env: {{MINIMUM_IP_TARGET: "%d", WARM_IP_TARGET: "1"}}}}
pods: []
"""


class Plugin:
    """A program that speaks CNI: where it is, what it reads, whose pods' namespaces it is called for."""

    def __init__(self, name: str, program: Path, config: Mapping[str, Any]) -> None:
        self.name, self.program, self.config = name, program, config
        self.times: dict[str, list[float]] = {"ADD": [], "DEL": []}
        self._previous: dict[str, Any] = {}

    def call(self, verb: str, netns: str) -> float:
        """One call as a process; seconds from its start to its end."""
        document = dict(self.config)
        if verb == "DEL":
            document["prevResult"] = self._previous[netns]
        stdin, environ = json.dumps(document).encode(), environment(verb, netns)
        start = time.perf_counter()
        done = subprocess.run([self.program], env=environ, input=stdin, capture_output=True, timeout=60, check=False)
        took = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"{self.name}: {verb} failed: {done.stdout.decode()} {done.stderr.decode()}")
        if verb == "ADD":
            self._previous[netns] = json.loads(done.stdout)
        return took


def main() -> int:
    """Measure both and print them side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pods", type=int, default=60)
    options = parser.parse_args()
    rows = measure(options.pods)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            goal = f"   goal {row['goal']}" if row["goal"] else ""
            print(f"{row['what']:<78} {row['value']:>9.2f} {row['unit']:<8}{goal}")
    return 0


def measure(pods: int) -> list[dict[str, Any]]:
    """Rows of the report: p50 and p95 of both plugins' ADD and DEL, and the ratios."""
    beside = all((CNI_BIN / name).exists() for name in ("bridge", "host-local"))
    if not beside:
        print(f"{CNI_BIN}/bridge is not there: labnet alone. For the comparison: apt-get install {PACKAGE}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="lnc", dir="/run") as run_dir:
        environ = {**os.environ, "LABNET_RUN_DIR": run_dir, "NO_COLOR": "1"}
        _labnet(environ, "up", "-", stdin=SCENARIO % (2 * (pods + WARM_UP)))
        try:
            _settled(int(json.loads(Path(run_dir, LAB, "lab.json").read_text())["pid"]))
            with _home() as home:
                return _in_turns(Path(run_dir, LAB, "nodes", NODE), pods, run_dir if beside else None, home)
        finally:
            _labnet(environ, "down", LAB)


def _in_turns(node: Path, pods: int, run_dir: str | None, home: int) -> list[dict[str, Any]]:
    """Two namespaces a pod, made before; then pod by pod each plugin, the first one first every other time."""
    aws = {"cniVersion": "0.4.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001"}
    plugins = [Plugin("labnet", node / "opt/cni/bin/aws-cni", aws)]
    if run_dir is not None:
        bridge = {
            "cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": False, "ipMasq": False,
            "ipam": {"type": "host-local", "subnet": "10.22.0.0/16", "dataDir": f"{run_dir}/host-local"},
        }
        plugins.append(Plugin("bridge", CNI_BIN / "bridge", bridge))
    count = pods + WARM_UP
    with _pods([f"{LAB}-{plugin.name}{number}" for plugin in plugins for number in range(count)]), namespaces.enter(home):
        for verb in ("ADD", "DEL"):
            for number in range(count):
                for plugin in plugins if number % 2 else reversed(plugins):
                    took = plugin.call(verb, f"{LAB}-{plugin.name}{number}")
                    if number >= WARM_UP:
                        plugin.times[verb].append(took)
        alone = _socket_alone(node / "cni.sock", aws, [f"{LAB}-labnet{number}" for number in range(min(count, pods))])
    return _report(plugins, alone)


def _socket_alone(path: Path, config: Mapping[str, Any], spaces: Sequence[str]) -> dict[str, list[float]]:
    """The same calls without the process: what plugin, ipamd and kernel take. The namespaces' old veths are gone with their rules."""
    times: dict[str, list[float]] = {"ADD": [], "DEL": []}
    for netns in spaces:
        subprocess.run(["ip", "-n", netns, "link", "del", "eth0"], check=True, timeout=60)
    for verb, taken in times.items():
        for netns in spaces:
            start = time.perf_counter()
            code = _spoken(path, environment(verb, netns, attempt="b"), json.dumps(config).encode(), netns)
            taken.append(time.perf_counter() - start)
            if code:
                sys.exit(f"{verb} over the socket failed for {netns}: {code.decode()}")
    return times


def _spoken(path: Path, environ: Mapping[str, str], stdin: bytes, netns: str) -> bytes:
    """One call over the node's socket; what it printed if it failed, else nothing."""
    import socket

    descriptor = namespaces.open_ns(netns)
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            socket.send_fds(caller, [render_request(environ, stdin)], [descriptor])
            data = b""
            while part := caller.recv(1 << 16):
                data += part
    finally:
        os.close(descriptor)
    return data[REPLY_HEAD_BYTES:] if any(data[:4]) or not data else b""


def _report(plugins: Sequence[Plugin], alone: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    named = {"labnet": "through the executable", "bridge": "Debian's bridge + host-local"}
    for verb in ("ADD", "DEL"):
        for plugin in plugins:
            rows += _row(f"CNI {verb}, {named[plugin.name]}", plugin.times[verb])
        rows += _row(f"CNI {verb}, labnet's socket without the process", alone[verb])[:1]
        if len(plugins) > 1:
            ratio = statistics.median(plugins[0].times[verb]) / statistics.median(plugins[1].times[verb])
            rows.append({
                "what": f"  {verb} against bridge + host-local, p50", "value": round(ratio, 3), "unit": "times",
                "goal": f"{GOAL_TIMES:g}" if verb == "ADD" else "",
            })
    return rows


def _row(what: str, seconds: Sequence[float]) -> list[dict[str, Any]]:
    quantiles = statistics.quantiles(seconds, n=20)
    return [
        {"what": f"{what}, p50", "value": round(statistics.median(seconds) * 1e3, 3), "unit": "ms", "goal": ""},
        {"what": f"{what}, p95", "value": round(quantiles[18] * 1e3, 3), "unit": "ms", "goal": ""},
    ]


def environment(verb: str, netns: str, attempt: str = "a") -> dict[str, str]:
    """The variables of one call for the pod of a namespace; each attempt is a sandbox of its own."""
    pod = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={netns};K8S_POD_INFRA_CONTAINER_ID={netns}{attempt};K8S_POD_UID=u-{netns}"
    return {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": f"{netns}{attempt}", "CNI_NETNS": f"{namespaces.NETNS_DIR}/{netns}", "CNI_IFNAME": "eth0",
        "CNI_PATH": str(CNI_BIN), "CNI_ARGS": pod, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }


def _settled(pid: int) -> None:
    """Wait until the lab has loaded what it loads behind its start: until it takes no processor time for a while."""
    before, still = -1, 0
    for _ in range(int(SETTLED_S / LOOK_S)):
        now = sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        still = still + 1 if now == before else 0
        if still == LOOKS:
            return
        before = now
        time.sleep(LOOK_S)
    print(f"the lab is busy still after {SETTLED_S:g} s", file=sys.stderr)


@contextmanager
def _home() -> Iterator[int]:
    """A namespace without a name, in which both plugins are started and `bridge` has its bridge."""
    with namespaces.returning():
        namespaces.unshare()
        home = os.open(namespaces.THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield home
    finally:
        os.close(home)


@contextmanager
def _pods(names: Sequence[str]) -> Iterator[None]:
    """Named namespaces, gone afterwards."""
    namespaces.create(names)
    try:
        yield
    finally:
        for name in names:
            namespaces.remove_name(name)


def _labnet(environ: Mapping[str, str], *words: str, stdin: str | None = None) -> None:
    done = subprocess.run([LABNET, *words], env=dict(environ), input=stdin, text=True, capture_output=True, timeout=300, check=False)
    if done.returncode:
        sys.exit(f"labnet {' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
