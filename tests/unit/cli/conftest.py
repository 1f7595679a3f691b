"""A backend that answers from memory and remembers what it was asked, and a way to run the command line on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from labnet.cli.backend import LabBackend
from labnet.cli.main import main
from labnet.cli.session import Session
from labnet.errors import NotFoundError
from labnet.lab.scenario_problems import Place, Problem, ScenarioProblems
from labnet.model.scenario import Caution, NodeSpec, PodSpec, Scenario

STATUS: dict[str, Any] = {
    "apiVersion": "labnet/v1", "kind": "Status", "lab": "eks", "scenario": "eks-2node", "state": "running", "time": 1.0,
    "nodes": [
        {
            "name": "node1", "instanceId": "i-1", "instanceType": "t3.nano", "netns": "eks-node1", "ip": "10.10.0.4", "publicIp": "54.0.0.1",
            "maxPods": 4, "ready": True,
            "enis": [
                {
                    "id": "eni-1", "deviceIndex": 0, "name": "eth0", "mac": "02:00:00:00:00:01", "subnet": "public-a",
                    "ip": "10.10.0.4", "table": 254,
                    "addresses": {"used": 1, "warm": 0, "cooling": 0, "max": 1}, "prefixes": [],
                },
                {
                    "id": "eni-2", "deviceIndex": 1, "name": "eth1", "mac": "02:00:00:00:00:02", "subnet": "public-a",
                    "ip": "10.10.0.6", "table": 2,
                    "addresses": {"used": 0, "warm": 1, "cooling": 0, "max": 1}, "prefixes": [],
                },
            ],
        },
    ],
    "pods": [
        {
            "namespace": "default", "name": "pod1", "node": "node1", "phase": "Running", "reason": "", "ip": "10.10.0.5", "eni": "eni-1",
            "device": "eth0", "table": 254, "hostLink": "eniabc", "netns": "eks-pod1",
        },
        {
            "namespace": "shop", "name": "web", "node": "", "phase": "Pending", "reason": "Unschedulable", "ip": "", "eni": "", "device": "",
            "table": None, "hostLink": "", "netns": "eks-shop.web",
        },
    ],
}
PLAN: dict[str, Any] = {
    "apiVersion": "labnet/v1", "kind": "Plan", "lab": "eks",
    "changes": [
        {"netns": "eks-node1", "slice": "os", "op": "add", "object": "addr", "text": "10.10.0.4/19 dev eth0"},
        {"netns": "eks-vpc", "slice": "fabric", "op": "remove", "object": "route", "text": "10.10.0.9 dev p1"},
        {"netns": "eks-node1", "slice": "os", "op": "replace", "object": "sysctl", "text": "net.ipv4.ip_forward = 1"},
        {
            "netns": "eks-node1", "slice": "ipamd", "op": "add", "object": "ipt-chain",
            "text": ":AWS-SNAT-CHAIN-0 - [0:0]\n-A AWS-SNAT-CHAIN-0 -j X",
        },
    ],
}
REPORT: dict[str, Any] = {
    "apiVersion": "labnet/v1", "kind": "CheckReport", "lab": "eks", "scenario": "eks-2node", "passed": 1, "failed": 1,
    "checks": [
        {"title": "pod1 → pod2 icmp: delivered", "kind": "packet", "ok": True, "expected": "delivered", "seen": "delivered", "detail": ""},
        {
            "title": "node1: ip rule", "kind": "kernel", "ok": False, "expected": "equals 2 lines", "seen": "missing: <x>",
            "detail": "missing: <x>\nprinted:",
        },
    ],
}


class Step(NamedTuple):
    """What a lab tells while it comes up, as lifecycle.Progress has it."""

    stage: str
    text: str
    done: int = 0
    total: int = 0


class FakeBackend(LabBackend):
    """Scenario files are read by the real thing's stand-in below; everything that would touch the machine answers from memory."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"status": STATUS, "repair": PLAN, "plan": PLAN}
        self.running = ["eks"]
        self.exit_code = 0
        self.probes: list[dict[str, Any]] = []
        self.raises: dict[str, BaseException] = {}

    def _note(self, *words: Any) -> None:
        self.asked.append(words)
        error = self.raises.get(str(words[0]))
        if error is not None:
            raise error

    def prepare_up(self, run_dir: Path) -> None:
        """Nothing to begin."""

    def check_machine(self) -> None:
        if "check_machine" in self.raises:
            raise self.raises["check_machine"]

    def load(self, source: str, overrides: Any = ()) -> Scenario:
        self._note("load", source, tuple(overrides))
        if source == "bad.yaml":
            raise ScenarioProblems([Problem(Place("bad.yaml", 3), "nods", "unknown key 'nods'", "did you mean nodes?")])
        caution = Caution("odd.yaml", 7, "vpc.subnets", "all subnets are in us-west-2a, and EKS wants two", "add one")
        cautions = (caution,) if source == "odd.yaml" else ()
        return Scenario("eks", nodes=(NodeSpec("node1", "t3.nano", "a"),), pods=(PodSpec("pod1"),), source=source, cautions=cautions)

    def up_again(self, source: str, overrides: Any, run_dir: Path, lab: Any, timeout_s: float, progress: Any) -> Any:
        if source not in ("running.yaml", "running-odd.yaml"):
            return None
        self._note("up_again", source, tuple(overrides), run_dir, lab, timeout_s)
        caution = {"field": "vpc.subnets", "message": "all subnets are in us-west-2a, and EKS wants two"}
        return STATUS, [caution] if "odd" in source else []

    def up(self, scenario: Any, run_dir: Path, lab: Any, timeout_s: float, progress: Any) -> dict[str, Any]:
        self._note("up", scenario.name, run_dir, lab, timeout_s)
        for step in (Step("nodes", "starting nodes", 1, 2), Step("nodes", "starting nodes", 2, 2), Step("wait", "waiting for pods")):
            progress(step)
        return STATUS

    def hold(self, status: Any, run_dir: Path, progress: Any) -> None:
        self._note("hold", status["lab"])

    def find_labs(self, run_dir: Path, given: Any, every: bool) -> list[str]:
        self._note("find_labs", tuple(given), every)
        if not self.running and not every:
            raise NotFoundError("no lab is running", "'labnet up eks-2node' makes one")
        return list(given) or list(self.running)

    def down(self, labs: Any, run_dir: Path, progress: Any) -> list[str]:
        self._note("down", tuple(labs))
        return list(labs)

    def plan(self, scenario: Any, run_dir: Path, lab: Any) -> dict[str, Any]:
        self._note("plan", scenario.name, lab)
        return PLAN

    def labs(self, run_dir: Path) -> list[dict[str, Any]]:
        self._note("labs", run_dir)
        made = {"state": "running", "scenario": "eks-2node", "pid": 7, "started": 0.0, "nodes": 2, "pods": 3}
        return [{"name": name, **made} for name in self.running]

    def resolve(self, run_dir: Path, lab: str | None) -> str:
        self._note("resolve", run_dir, lab)
        if lab is None and not self.running:
            raise NotFoundError("no lab is running", "'labnet up eks-2node' makes one")
        return lab or self.running[0]

    def call(self, run_dir: Path, lab: str, verb: str, args: Any, on_event: Any = None) -> dict[str, Any]:
        self._note("call", lab, verb, dict(args))
        return dict(self.answers[verb])

    def check(self, run_dir: Path, word: str | None, lab: str | None, progress: Any) -> dict[str, Any]:
        self._note("check", word, lab)
        return dict(self.answers.get("check", REPORT))

    def exec_in_target(self, run_dir: Path, lab: str, target: str, argv: Any) -> int:
        self._note("exec", lab, target, tuple(argv))
        return self.exit_code

    def capture(self, run_dir: Path, lab: str, options: Any, output: Any, say: Any) -> None:
        self._note("capture", lab, options, type(output).__name__)
        say("listening")

    def watch(self, run_dir: Path, lab: str, options: Any, emit: Any, say: Any) -> None:
        self._note("watch", lab, options)
        for document in self.answers["watch"]:
            emit(document)

    def probe(self) -> list[dict[str, Any]]:
        self._note("probe")
        return self.probes


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture()
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture()
def run(backend: FakeBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", "-o", "json")` as a user would type it."""
    for name in ("LABNET_LAB", "LABNET_RUN_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str) -> Ran:
        code = main(words, Session(backend=backend))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return command
