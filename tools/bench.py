#!/usr/bin/env python3
"""`make bench`: labnet's times beside what the kernel alone costs, in one run, as milliseconds and ratios.

Absolute times on shared machines are noise; the ratios are what to compare. Needs root. Takes about four minutes.

Usage: bench.py [--json] [--pods N] [--nodes N]
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IN_MEMORY = "LABNET_BENCH_RUN_IN_MEMORY"
LABNET = Path(sys.executable).parent / "labnet"


def main() -> int:
    """Run every measurement and print them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=40)
    options = parser.parse_args()
    _with_run_in_memory()
    compileall.compile_dir(str(HERE.parent / "labnet"), quiet=1)  # as an installed package is, whatever PYTHONDONTWRITEBYTECODE says
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lnb", dir="/run") as run_dir:
        environ = {**os.environ, "LABNET_RUN_DIR": run_dir, "NO_COLOR": "1"}
        try:
            rows += cold_up(environ)
            rows += many_pods(environ, options.pods, options.nodes)
            rows += cni_carriers(environ)
            rows += cni_beside_bridge()
            rows += ec2_api()
            rows += fabric()
        finally:
            subprocess.run([str(LABNET), "down", "--all"], env=environ, check=False, capture_output=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            goal = f"   goal {row['goal']}" if row.get("goal") else ""
            print(f"{row['what']:<78} {row['value']:>9.2f} {row['unit']:<8}{goal}")
    return 0


def _with_run_in_memory() -> None:
    """Start again in a mount namespace of our own with a tmpfs on /run, unless /run is one: it is on Debian, and a disk's file system
    there (in a container) would be measured instead of labnet.
    """
    kinds = [line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == "/run"]
    if (kinds and kinds[-1] == "tmpfs") or os.environ.get(IN_MEMORY):
        return
    script = 'mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "bench", sys.executable, *sys.argv]
    os.execvpe(command[0], command, {**os.environ, IN_MEMORY: "1"})


def floor_ms(pods: int) -> float:
    """What the kernel alone costs a pod, the better of two runs."""
    runs = [json.loads(_out([sys.executable, str(HERE / "floor.py"), str(pods), "--json"], None)) for _ in range(2)]
    return float(min(run["ms_per_pod"] for run in runs))


def cold_up(environ: dict[str, str]) -> list[dict[str, Any]]:
    """`labnet up eks-2node` as a whole process, and again on the running lab."""
    cold, again, gone = [], [], []
    for _ in range(3):
        cold.append(_timed([str(LABNET), "up", "eks-2node", "--name", "bench2"], environ))
        again.append(_timed([str(LABNET), "up", "eks-2node", "--name", "bench2"], environ))
        gone.append(_timed([str(LABNET), "down", "bench2"], environ))
    return [
        row("labnet up eks-2node, whole process, cold", min(cold) * 1e3, "ms", "1000"),
        row("labnet up on the running lab", min(again) * 1e3, "ms", "300"),
        row("labnet down", min(gone) * 1e3, "ms"),
    ]


def many_pods(environ: dict[str, str], pods: int, nodes: int) -> list[dict[str, Any]]:
    """N pods on M m5.large nodes through scheduler, CNI in process, ipamd, EC2 rules and fabric."""
    floor = floor_ms(200)
    scenario = f"""
apiVersion: labnet/v1
kind: Lab
metadata: {{name: benchmany}}
vpc:
  cidr: 10.10.0.0/16
  internetGateway: true
  subnets: [{{name: public-a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}}]
nodes: [{{name: node, count: {nodes}, instanceType: m5.large, subnet: public-a}}]
cni: {{kind: vpc, dialect: "1.23"}}
pods: [{", ".join(f"{{name: pod{n}}}" for n in range(pods))}]
"""
    seconds = _timed([str(LABNET), "up", "-", "--timeout", "600s"], environ, stdin=scenario)
    gone = _timed([str(LABNET), "down", "benchmany"], environ)
    per_pod = seconds / pods * 1e3
    return [
        row("floor.py: the kernel alone, a pod", floor, "ms"),
        row(f"labnet up, {pods} pods on {nodes} nodes, whole process", seconds, "s"),
        row("  a pod, nodes and fabric included", per_pod, "ms"),
        row("  against the floor", per_pod / floor, "times", "3"),
        row(f"labnet down, {pods} pods", gone, "s"),
    ]


def cni_carriers(environ: dict[str, str]) -> list[dict[str, Any]]:
    """The same pods by the executable and in process, a pod."""
    rows = []
    for carrier in ("auto", "always"):
        pods = 24
        scenario = f"""
apiVersion: labnet/v1
kind: Lab
metadata: {{name: benchcni}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: m5.large, subnet: a}}]
kubelet: {{exec: {carrier}}}
pods: [%s]
"""
        few = _timed([str(LABNET), "up", "-"], environ, stdin=scenario % "")
        _timed([str(LABNET), "down", "benchcni"], environ)
        many = _timed([str(LABNET), "up", "-"], environ, stdin=scenario % ", ".join(f"{{name: p{n}}}" for n in range(pods)))
        _timed([str(LABNET), "down", "benchcni"], environ)
        name = "in process" if carrier == "auto" else "through the executable"
        rows.append(row(f"a pod, CNI {name}", (many - few) / pods * 1e3, "ms"))
    return rows


def cni_beside_bridge() -> list[dict[str, Any]]:
    """ADD and DEL through the executable beside Debian's bridge + host-local; rows of tools/bench_cni.py."""
    done = subprocess.run(
        [sys.executable, str(HERE / "bench_cni.py"), "--json"], stdout=subprocess.PIPE, text=True, timeout=900, check=True,
    )  # its standard error is ours: it says there when the other plugin is missing
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def ec2_api() -> list[dict[str, Any]]:
    """The EC2 API beside moto's server; rows of tools/bench_ec2.py."""
    found: list[dict[str, Any]] = json.loads(_out([sys.executable, str(HERE / "bench_ec2.py"), "--json"], None))
    return found


def fabric() -> list[dict[str, Any]]:
    """The VPC with 2,000 ENIs: build, change, and what a packet pays; rows of tools/bench_fabric.py."""
    found: list[dict[str, Any]] = json.loads(_out([sys.executable, str(HERE / "bench_fabric.py"), "--json"], None))
    return found


def row(what: str, value: float, unit: str, goal: str = "") -> dict[str, Any]:
    """One line of the report."""
    return {"what": what, "value": round(value, 3), "unit": unit, "goal": goal}


def _timed(command: list[str], environ: dict[str, str], stdin: str | None = None) -> float:
    start = time.perf_counter()
    _out(command, environ, stdin)
    return time.perf_counter() - start


def _out(command: list[str], environ: dict[str, str] | None, stdin: str | None = None) -> str:
    done = subprocess.run(command, env=environ, input=stdin, text=True, capture_output=True, timeout=900, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
