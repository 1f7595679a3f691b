"""lab.json: names before inodes, processes that are really ours, and which lab a verb means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labnet.errors import LabnetError, NotFoundError, UsageError
from labnet.lab import registry
from labnet.lab.paths import LabPaths
from labnet.lab.registry import LabRecord, Registry


def a_registry(tmp_path: Path, lab: str = "eks", pid: int = 0) -> Registry:
    book = Registry(LabPaths(tmp_path, lab), LabRecord(lab, "eks-2node", "running", pid, registry.process_start(pid) if pid else 0))
    book.write(book.record)
    return book


def test_names_are_on_disk_before_they_are_made(tmp_path: Path) -> None:
    book = a_registry(tmp_path)
    book.intend(["eks-vpc", "eks-node1"])
    found = registry.read(book._paths)
    assert found is not None
    assert found.names == {"eks-vpc": None, "eks-node1": None}
    book.made({"eks-vpc": 4711})
    book.flush()
    found = registry.read(book._paths)
    assert found is not None
    assert found.names == {"eks-vpc": 4711, "eks-node1": None}
    book.intend(["eks-vpc"])
    assert book.record.names["eks-vpc"] == 4711, "what is known stays known"
    book.gone(["eks-node1"])
    book.flush()
    found = registry.read(book._paths)
    assert found is not None
    assert found.names == {"eks-vpc": 4711}


def test_a_reused_pid_is_not_ours(tmp_path: Path) -> None:
    book = a_registry(tmp_path, pid=os.getpid())
    assert registry.alive(book.record)
    assert not registry.alive(LabRecord("eks", "", "running", os.getpid(), 1))
    assert not registry.alive(LabRecord("eks", "", "running", 0, 0))


def test_a_zombie_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert registry.process_start(child.pid) == 0
    child.wait()


def test_the_only_lab_is_the_default(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no lab is running"):
        registry.resolve(tmp_path, None)
    a_registry(tmp_path, "one")
    assert registry.resolve(tmp_path, None) == "one"
    a_registry(tmp_path, "two")
    with pytest.raises(UsageError, match="one, two"):
        registry.resolve(tmp_path, None)
    assert registry.resolve(tmp_path, "two") == "two"
    with pytest.raises(NotFoundError, match="three"):
        registry.resolve(tmp_path, "three")


def test_a_dead_lab_is_listed_as_dead(tmp_path: Path) -> None:
    a_registry(tmp_path, "gone", pid=0)
    a_registry(tmp_path, "here", pid=os.getpid())
    assert [(entry.name, entry.state) for entry in registry.labs(tmp_path)] == [("gone", "dead"), ("here", "running")]


@pytest.mark.parametrize("text", ["", "{", json.dumps({"lab": "eks"})])
def test_a_broken_file_is_an_error_with_a_way_out(tmp_path: Path, text: str) -> None:
    book = a_registry(tmp_path)
    book._paths.registry.write_text(text)
    with pytest.raises(LabnetError) as caught:
        registry.read(book._paths)
    assert caught.value.hint


def test_socket_paths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    paths = LabPaths(tmp_path / ("x" * 90), "lab")
    with pytest.raises(UsageError, match="107 bytes"):
        paths.check_socket_lengths(("node1",))
