"""What the verbs ask of the rest of labnet, in one place: imported late, and replaced as a whole in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from labnet.lab.again import Again
    from labnet.lab.capture_outputs import Output
    from labnet.lab.capturing import CaptureOptions
    from labnet.lab.launch import Launch
    from labnet.lab.progress import Progress
    from labnet.lab.scenario_file import BuiltIn
    from labnet.lab.watching import WatchOptions
    from labnet.model.scenario import Scenario

OnEvent = Callable[[dict[str, Any]], None]
Report = Callable[["Progress"], None]


class Backend(Protocol):
    """The functions of labnet that verbs call. Documents have the shapes of the project's interfaces."""

    def prepare_up(self, run_dir: Path) -> None:
        """`up` was asked for: begin what it will need, if there is no lab yet. Needs no end, and never fails."""

    def check_machine(self) -> None:
        """Can labs be made here? Errors: PrerequisiteError."""

    def load(self, source: str, overrides: Sequence[str] = ()) -> Scenario:
        """A scenario from a file, a built-in name or `-`. Errors: ScenarioError."""

    def built_ins(self) -> list[BuiltIn]:
        """The scenarios that come with labnet."""

    def scenario_text(self, name: str) -> str:
        """The text of a scenario file, as it is."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of scenario files."""

    def up_again(
        self, source: str, overrides: Sequence[str], run_dir: Path, lab: str | None, timeout_s: float, progress: Report
    ) -> Again | None:
        """Make the running lab of a scenario what it says; its status and what speaks against the scenario, or None when there is none of
        which that is certain.
        """

    def up(self, scenario: Scenario, run_dir: Path, lab: str | None, timeout_s: float, progress: Report) -> dict[str, Any]:
        """Bring a lab up, or make a running one what the scenario says; its status."""

    def hold(self, status: Mapping[str, Any], run_dir: Path, progress: Report) -> None:
        """Stay until a signal, then take the lab down."""

    def find_labs(self, run_dir: Path, given: Sequence[str], every: bool) -> list[str]:
        """The labs that a `down` means. Errors: NotFoundError."""

    def down(self, labs: Sequence[str], run_dir: Path, progress: Report) -> list[str]:
        """Take labs away; the names of those that were there."""

    def plan(self, scenario: Scenario, run_dir: Path, lab: str | None) -> dict[str, Any]:
        """The Plan document of a scenario."""

    def labs(self, run_dir: Path) -> list[dict[str, Any]]:
        """Every lab: name, state, scenario, pid, started, nodes, pods."""

    def resolve(self, run_dir: Path, lab: str | None) -> str:
        """The lab that a verb means. Errors: NotFoundError, UsageError."""

    def call(self, run_dir: Path, lab: str, verb: str, args: Mapping[str, Any], on_event: OnEvent | None = None) -> dict[str, Any]:
        """Ask a running lab."""

    def check(self, run_dir: Path, word: str | None, lab: str | None, progress: Report) -> dict[str, Any]:
        """The CheckReport of a running lab, or of a scenario that is brought up for it and taken down again."""

    def exec_in_target(self, run_dir: Path, lab: str, target: str, argv: Sequence[str]) -> int:
        """Run a program in a target; does not return, or returns the program's exit code."""

    def capture(self, run_dir: Path, lab: str, options: CaptureOptions, output: Output, say: Callable[[str], None]) -> None:
        """Listen in a running lab until something ends it."""

    def watch(
        self, run_dir: Path, lab: str, options: WatchOptions, emit: Callable[[Mapping[str, Any]], None], say: Callable[[str], None]
    ) -> None:
        """Tell the flows of a pod until something ends it."""

    def probe(self) -> list[dict[str, Any]]:
        """What the machine can do: name, ok, detail, hint of each thing tried."""

    def coverage(self) -> dict[str, Any]:
        """The Ec2Coverage document: which actions of EC2 there are."""

    def ec2_actions(self) -> list[str]:
        """The names of the EC2 API's actions."""

    def capacity(
        self, instance_type: str, prefix: bool, custom_networking: bool, subnet: str | None, nodes: int | None
    ) -> dict[str, Any]:
        """The Capacity document of an instance type. Errors: UsageError for an unknown type, or what is no subnet."""

    def instance_types(self) -> list[str]:
        """The names of all instance types."""


class LabBackend:
    """The real thing; every import happens when it is needed."""

    def __init__(self) -> None:
        self._launch: Launch | None = None

    def prepare_up(self, run_dir: Path) -> None:
        """Where no lab is, none can be running already."""
        if not any(run_dir.glob("*/lab.json")):
            self._launch_process()

    def _launch_process(self) -> None:
        """A process that loads labnet while we read the scenario; should we never get to `up`, it ends with us."""
        from labnet.lab.launch import Launch

        self._launch = Launch()

    def check_machine(self) -> None:
        """Can labs be made here?"""
        from labnet.kernel import preflight

        preflight.check_quick()

    def load(self, source: str, overrides: Sequence[str] = ()) -> Scenario:
        """A scenario from a file, a built-in name or `-`."""
        import gc

        from labnet.lab import scenario_file

        collects = gc.isenabled()
        gc.disable()  # of thousands of pods nothing is garbage yet; looking for it takes a third of the time
        try:
            return scenario_file.load(source, overrides=overrides)
        finally:
            if collects:
                gc.enable()

    def built_ins(self) -> list[BuiltIn]:
        """The scenarios that come with labnet."""
        from labnet.lab import scenario_file

        return scenario_file.built_ins()

    def scenario_text(self, name: str) -> str:
        """The text of a scenario file."""
        from labnet.lab import scenario_source

        return scenario_source.read_text(name)[0]

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of scenario files."""
        from labnet.lab import scenario_schema

        return scenario_schema.schema()

    def up_again(
        self, source: str, overrides: Sequence[str], run_dir: Path, lab: str | None, timeout_s: float, progress: Report
    ) -> Again | None:
        """Ask the lab's process to read it and make it true."""
        from labnet.lab import again
        from labnet.lab.progress import progress_of

        made = again.up_again(source, overrides, run_dir, lab, timeout_s, lambda event: progress(progress_of(event)))
        if made is None and self._launch is None:
            self._launch_process()
        return made

    def up(self, scenario: Scenario, run_dir: Path, lab: str | None, timeout_s: float, progress: Report) -> dict[str, Any]:
        """Bring a lab up."""
        from labnet.lab import lifecycle

        options = lifecycle.UpOptions(run_dir=run_dir, lab=lab, timeout_s=timeout_s, signals_stay_blocked=True)
        launch, self._launch = self._launch, None
        return lifecycle.up(scenario, options, progress, launch)

    def hold(self, status: Mapping[str, Any], run_dir: Path, progress: Report) -> None:
        """Stay until a signal, then take the lab down."""
        from labnet.lab import lifecycle

        lifecycle.hold(status, lifecycle.UpOptions(run_dir=run_dir, wait=True), progress)

    def find_labs(self, run_dir: Path, given: Sequence[str], every: bool) -> list[str]:
        """The labs that a `down` means."""
        from labnet.lab import lifecycle

        return lifecycle.find_labs(run_dir, given, every)

    def down(self, labs: Sequence[str], run_dir: Path, progress: Report) -> list[str]:
        """Take labs away."""
        from labnet.lab import lifecycle

        return lifecycle.down(labs, run_dir, progress)

    def plan(self, scenario: Scenario, run_dir: Path, lab: str | None) -> dict[str, Any]:
        """The Plan document of a scenario."""
        from labnet.lab import lifecycle

        return lifecycle.plan(scenario, lifecycle.UpOptions(run_dir=run_dir, lab=lab))

    def labs(self, run_dir: Path) -> list[dict[str, Any]]:
        """Every lab."""
        from labnet.lab import registry

        return [asdict(entry) for entry in registry.labs(run_dir)]

    def resolve(self, run_dir: Path, lab: str | None) -> str:
        """The lab that a verb means."""
        from labnet.lab import registry

        return registry.resolve(run_dir, lab)

    def call(self, run_dir: Path, lab: str, verb: str, args: Mapping[str, Any], on_event: OnEvent | None = None) -> dict[str, Any]:
        """Ask a running lab."""
        from labnet.lab import client

        return client.call(run_dir, lab, verb, args, on_event)

    def check(self, run_dir: Path, word: str | None, lab: str | None, progress: Report) -> dict[str, Any]:
        """The CheckReport of a lab or scenario."""
        from labnet.lab import check_run

        return check_run.check(run_dir, word, lab, progress)

    def exec_in_target(self, run_dir: Path, lab: str, target: str, argv: Sequence[str]) -> int:
        """Run a program in a target."""
        from labnet.lab import execute

        return execute.exec_in_target(run_dir, lab, target, argv)

    def capture(self, run_dir: Path, lab: str, options: CaptureOptions, output: Output, say: Callable[[str], None]) -> None:
        """Listen in a running lab."""
        from labnet.lab import capturing

        capturing.capture(run_dir, lab, options, output, say)

    def watch(
        self, run_dir: Path, lab: str, options: WatchOptions, emit: Callable[[Mapping[str, Any]], None], say: Callable[[str], None]
    ) -> None:
        """Tell the flows of a pod."""
        from labnet.lab import watching

        watching.watch(run_dir, lab, options, emit, say)

    def probe(self) -> list[dict[str, Any]]:
        """What the machine can do."""
        from labnet.kernel import preflight

        return [asdict(item) for item in preflight.probe()]

    def coverage(self) -> dict[str, Any]:
        """Which actions of EC2 there are."""
        from labnet.ec2 import coverage

        return coverage.coverage()

    def ec2_actions(self) -> list[str]:
        """The names of the EC2 API's actions."""
        from labnet.ec2.cloud import ACTIONS

        return sorted(ACTIONS)

    def capacity(
        self, instance_type: str, prefix: bool, custom_networking: bool, subnet: str | None, nodes: int | None
    ) -> dict[str, Any]:
        """What a node and a subnet take."""
        from labnet.lab import sizing

        return sizing.capacity_of(instance_type, prefix, custom_networking, subnet, nodes)

    def instance_types(self) -> list[str]:
        """The names of all instance types."""
        from labnet.ec2 import limits

        return list(limits.load())
