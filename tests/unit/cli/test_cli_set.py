"""`labnet set env` in kubectl's words, and `labnet logs`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest


def document(env: dict[str, str], nodes: int = 2) -> dict[str, Any]:
    return {"apiVersion": "labnet/v1", "kind": "DaemonEnvironment", "lab": "eks", "env": env, "changed": {}, "nodes": nodes}


@pytest.mark.parametrize(
    "target",
    [("aws-node",), ("ds/aws-node",), ("daemonset/aws-node",), ("daemonset", "aws-node"), ("-n", "kube-system", "ds", "aws-node")],
)
def test_set_env_takes_kubectls_words(run, backend, target: tuple[str, ...]) -> None:
    backend.answers["set-env"] = document({"A": "1"})
    ran = run("set", "env", *target, "WARM_IP_TARGET=5", 'ADDITIONAL_ENI_TAGS={"a": "b=c"}', "MAX_ENI-", "--timeout", "30s")
    assert ran == (0, "", "daemonset aws-node: env updated, 2 nodes rolled\n")
    sets = {"WARM_IP_TARGET": "5", "ADDITIONAL_ENI_TAGS": '{"a": "b=c"}'}
    assert backend.asked[-1] == ("call", "eks", "set-env", {"set": sets, "remove": ["MAX_ENI"], "list": False, "timeout": 30.0})


def test_set_env_that_changes_nothing_says_so(run, backend) -> None:
    backend.answers["set-env"] = document({}, nodes=0)
    assert run("set", "env", "aws-node", "A=").err == "nothing to do: aws-node runs with these settings\n"


def test_set_env_lists(run, backend) -> None:
    backend.answers["set-env"] = document({"B": "2", "A": "x y"}, nodes=0)
    assert run("set", "env", "aws-node", "--list") == (0, "A=x y\nB=2\n", "")
    assert '"kind": "DaemonEnvironment"' in run("set", "env", "aws-node", "--list", "-o", "json").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing argument"), (("coredns", "A=1"), "coredns is no daemon set"), (("aws-node",), "what shall change?"),
        (("aws-node", "A"), "'A' changes nothing"), (("aws-node", "=1"), "'=1' changes nothing"),
        (("aws-node", "-n", "default", "A=1"), "namespace default"),
        (("aws-node", "--list", "A=1"), "--list stands beside changes"),
    ],
)
def test_set_env_refuses(run, backend, words: tuple[str, ...], said: str) -> None:
    ran = run("set", "env", *words)
    assert ran.code == 2
    assert said.lower() in ran.err.lower()
    assert not any(asked[0] == "call" for asked in backend.asked)


def test_logs_print_the_file_that_the_lab_names(run, backend, tmp_path: Path) -> None:
    path = tmp_path / "ipamd.log"
    path.write_text("one\ntwo\nthree\n")
    backend.answers["logs"] = {"path": str(path)}
    assert run("logs", "node1") == (0, "one\ntwo\nthree\n", "")
    assert backend.asked[-1] == ("call", "eks", "logs", {"target": "node1", "plugin": False})
    assert run("logs", "node1", "--plugin", "--tail", "2").out == "two\nthree\n"
    assert backend.asked[-1][-1] == {"target": "node1", "plugin": True}
    assert run("logs", "node1", "--tail", "0").out == ""
    path.unlink()
    assert run("logs", "node1") == (0, "", ""), "nothing was said yet"


def test_logs_follow_a_file_that_is_put_aside_until_it_goes(run, backend, tmp_path: Path) -> None:
    path = tmp_path / "ipamd.log"
    path.write_text("one\n")
    backend.answers["logs"] = {"path": str(path)}

    def go_on() -> None:
        time.sleep(0.3)
        with path.open("a") as stream:
            stream.write("two\n")
        os.replace(path, f"{path}.1")
        path.write_text("three\n")
        time.sleep(0.6)
        path.unlink()

    writer = threading.Thread(target=go_on)
    writer.start()
    ran = run("logs", "node1", "-f")
    writer.join()
    assert ran == (0, "one\ntwo\nthree\n", "")


def test_up_says_which_settings_stay(run, backend, monkeypatch: pytest.MonkeyPatch) -> None:
    status = {**backend.answers["status"], "changedEnv": {"WARM_IP_TARGET": "5", "MAX_ENI": None}}
    monkeypatch.setattr(backend, "up_again", lambda *words: (status, []))
    said = "aws-node keeps what 'labnet set env' made it: WARM_IP_TARGET=5 MAX_ENI-; the scenario says otherwise"
    assert said in run("up", "running.yaml").err
    backend.answers["status"] = status
    head = run("status").out.splitlines()[0]
    assert head == "lab eks: running, scenario eks-2node; 'labnet set env' made of it: WARM_IP_TARGET=5 MAX_ENI-"
