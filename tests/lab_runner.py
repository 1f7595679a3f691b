"""Run labnet as a user does: whole processes, a run directory of the test's own, names that nobody else has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

LIMIT_S = 120


class Labs:
    """The labs of one test; everything it brought up is taken down by `close`, come what may."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.environ = {**os.environ, "LABNET_RUN_DIR": str(run_dir), "NO_COLOR": "1"}
        self.environ.pop("LABNET_LAB", None)
        self.name = f"lnt{uuid.uuid4().hex[:8]}"

    def run(self, *words: str, stdin: str | None = None, ok: int | tuple[int, ...] = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "labnet", *words], env=self.environ, input=stdin, text=True, capture_output=True, timeout=LIMIT_S,
            check=False,
        )
        wanted = (ok,) if isinstance(ok, int) else ok
        assert done.returncode in wanted, f"labnet {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "labnet", *words], env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def up(self, scenario: str = "eks-2node", *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.run("up", scenario, "--name", self.name, *words, stdin=stdin)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("--lab", self.name, "status", "-o", "json").stdout)
        return found

    def pod(self, name: str) -> dict[str, Any]:
        return next(pod for pod in self.status()["pods"] if pod["name"] == name)

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def inside(self, target: str, *words: str) -> str:
        """A command in a namespace of the lab, by plain iproute2."""
        return subprocess.run(
            ["ip", "netns", "exec", f"{self.name}-{target}", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False
        ).stdout

    def pid(self) -> int:
        return int(json.loads((self.run_dir / self.name / "lab.json").read_text())["pid"])

    def kill_process(self) -> None:
        pid = self.pid()
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        import select

        select.select([handle], [], [], 10)
        os.close(handle)

    def namespaces(self) -> list[str]:
        directory = Path("/run/netns")
        return sorted(path.name for path in directory.iterdir() if path.name.startswith(self.name)) if directory.is_dir() else []

    def close(self) -> None:
        subprocess.run([sys.executable, "-m", "labnet", "down", "--all"], env=self.environ, capture_output=True, timeout=LIMIT_S, check=False)
