from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import labnet
from labnet.cli import main as main_module
from labnet.cli.main import VERBS, cli, main
from labnet.cli.session import Session
from labnet.errors import InterruptedByUser, LabnetError, NotFoundError, PrerequisiteError, WaitTimeoutError


def test_every_verb_of_the_table_is_there_and_says_the_same_as_the_table() -> None:
    context = click.Context(cli)
    for verb, (_section, _module, text) in VERBS.items():
        command = cli.get_command(context, verb)
        assert command is not None
        assert command.name == verb
        assert command.get_short_help_str(200) == text


def test_the_verbs_of_the_contract_are_all_there() -> None:
    wanted = "up down ls status exec ec2 fault trace plan validate schema scenarios check repair doctor events env version completion"
    assert set(VERBS) == {*wanted.split(), "set", "logs", "capacity", "get", "explain", "capture", "watch"}


def test_help_lists_every_verb(run) -> None:
    for words in ((), ("--help",), ("-h",)):
        ran = run(*words)
        assert ran.code == 0
        assert all(f"  {verb} " in ran.out for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "part", "hint"),
    [
        (("statsu",), "there is no verb 'statsu'; did you mean status?", "'labnet --help'"),
        (("zzz",), "there is no verb 'zzz'", "'labnet --help'"),
        (("status", "--nope"), "no such option", "'labnet status --help'"),
        (("--nope",), "no such option", "'labnet --help'"),
        (("up",), "missing argument 'SCENARIO'", "'labnet up --help'"),
        (("trace", "a"), "missing argument 'TO'", "'labnet trace --help'"),
        (("status", "-o", "xml"), "invalid value", "'labnet status --help'"),
        (("-o", "wide", "trace", "a", "b"), "-o wide is not there for this verb; it prints table, json, yaml", "'labnet trace --help'"),
    ],
)
def test_usage_errors_are_two_lines_and_exit_2(run, words: tuple[str, ...], part: str, hint: str) -> None:
    ran = run(*words)
    error, way_out = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, "")
    assert error.startswith("error: ")
    assert part in error
    assert way_out == f"hint: {hint} shows how it goes"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LabnetError("it failed", "do this"), 1), (NotFoundError("it failed", "do this"), 5), (PrerequisiteError("it failed", "do this"), 4),
        (
            WaitTimeoutError("it failed", "do this"), 124), (InterruptedByUser("it failed", "do this"), 130), (LabnetError("it failed",
            "do this", 3), 3,
        ),
    ],
)
def test_errors_are_two_lines_and_their_own_exit_code(run, backend, error: LabnetError, code: int) -> None:
    backend.raises["resolve"] = error
    assert run("status") == (code, "", "error: it failed\nhint: do this\n")


def test_an_error_without_a_hint_is_one_line(run, backend) -> None:
    backend.raises["resolve"] = LabnetError("it failed")
    assert run("status").err == "error: it failed\n"


def test_a_fault_of_ours_is_two_lines_too(run, backend) -> None:
    backend.raises["resolve"] = ZeroDivisionError("oh")
    ran = run("status")
    assert ran.code == 1
    assert ran.err.startswith("error: ZeroDivisionError: oh\nhint: a fault of labnet")


@pytest.mark.parametrize("words", [("--debug", "status"), ("status", "--debug")])
def test_a_traceback_only_with_debug(run, backend, words: tuple[str, ...]) -> None:
    backend.raises["resolve"] = LabnetError("it failed", "do this")
    assert "Traceback" not in run("status").err
    ran = run(*words)
    assert "Traceback" in ran.err
    assert ran.err.endswith("error: it failed\nhint: do this\n")


def test_ctrl_c_is_130(run, backend) -> None:
    backend.raises["resolve"] = KeyboardInterrupt()
    ran = run("status")
    assert ran.code == 130
    assert ran.err.strip() == "error: interrupted"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_errors_have_colours_on_a_terminal_only_and_never_with_no_color(backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.raises["resolve"] = LabnetError("it failed")
    monkeypatch.setenv("TERM", "xterm")
    for no_color, colored in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(["status"], Session(backend=backend)) == 1
        assert ("\x1b[" in terminal.getvalue()) is colored


def test_the_lab_may_be_named_before_and_behind_the_verb_and_by_the_environment(run, backend, monkeypatch: pytest.MonkeyPatch) -> None:
    run("--lab", "one", "status")
    run("status", "-l", "two")
    monkeypatch.setenv("LABNET_LAB", "three")
    run("status")
    run("status", "--lab", "four")
    assert [words[2] for words in backend.asked if words[0] == "resolve"] == ["one", "two", "three", "four"]


def test_the_run_dir_by_option_and_environment(run, backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run("ls")
    monkeypatch.setenv("LABNET_RUN_DIR", str(tmp_path))
    run("ls")
    run("--run-dir", "/elsewhere", "ls")
    assert [str(words[1]) for words in backend.asked] == ["/run/labnet", str(tmp_path), "/elsewhere"]


def labnet_process(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LABNET", "_LABNET"))}
    return subprocess.run(
        [sys.executable, "-m", "labnet", *words], capture_output=True, text=True, check=False, timeout=60,
        env=environ | dict(more.get("env", {})),  # type: ignore[call-overload]
    )


def test_python_m_labnet() -> None:
    ran = labnet_process("version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"labnet {labnet.__version__}\n", "")


def test_the_version_imports_nothing_that_is_slow() -> None:
    code = "import sys; from labnet.cli.main import main; main(['version']); print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(ran.stdout.split())
    slow = {"msgspec", "yaml", "rich", "pyroute2", "scapy", "botocore", "aiohttp", "asyncio", "labnet.lab", "labnet.kernel", "difflib"}
    assert not loaded & slow


def test_up_does_not_load_rich_or_http_before_the_lab_is_asked() -> None:
    code = "import sys, labnet.cli.verb_lab; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(ran.stdout.split()) & {"rich", "msgspec", "yaml", "aiohttp", "pyroute2", "labnet.lab.lifecycle"}


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "labnet", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_an_ascii_locale_is_no_error() -> None:
    ran = labnet_process("scenarios", "show", "eks-2node", env={"PYTHONIOENCODING": "ascii"})
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = labnet_process("schema", env={"PYTHONIOENCODING": "ascii"})
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = labnet_process("scenarios", "show", str(Path(__file__)), env={"PYTHONIOENCODING": "ascii"})
    assert (ran.returncode, ran.stderr) == (0, ""), "→ is printed as ?"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert "_LABNET_COMPLETE" in ran.out


def test_completion_knows_verbs_and_scenarios() -> None:
    def complete(*words: str) -> list[str]:
        environ = {"_LABNET_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("labnet", *words)), "COMP_CWORD": str(len(words))}
        code = "import sys; sys.argv = ['labnet']; from labnet.cli.main import main; main()"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=os.environ | environ)
        return [line.rpartition(",")[2] for line in ran.stdout.splitlines()]

    assert complete("sta") == ["status"]
    assert complete("up", "eks-2") == ["eks-2node"]
    assert complete("fault", "cl") == ["clear"]
    assert complete("fault", "deny", "attachnet") == ["AttachNetworkInterface"]


def test_the_main_module_is_what_the_entry_point_names() -> None:
    assert main_module.main is main
