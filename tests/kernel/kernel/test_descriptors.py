"""A lab's process makes room for its files, or says before anything happens how many it would need."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from labnet.errors import PrerequisiteError
from labnet.kernel import descriptors
from labnet.lab.served import descriptors as of_scenario
from labnet.lab.served import ports_of
from labnet.model.cluster import ContainerSpec
from labnet.model.scenario import PodSpec

SCRIPT = """
import os, resource, sys
from labnet.kernel import descriptors
soft, hard, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.make_room(count)
table = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("FDSize")))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], table, len(os.listdir("/proc/self/fd")))
"""


def room(soft: int, hard: int, count: int) -> tuple[int, int, int]:
    """Soft limit, size of the table and open files of a process that made room."""
    said = subprocess.run([sys.executable, "-c", SCRIPT, str(soft), str(hard), str(count)], capture_output=True, text=True, check=True)
    limit, table, files = map(int, said.stdout.split())
    return limit, table, files


@pytest.mark.kernel
def test_the_limit_goes_as_far_as_needed_and_the_table_is_wide_at_once() -> None:
    most = 10_000  # root may raise what it is allowed, too
    limit, table, files = room(1024, most, 6000)
    assert limit == 6000 and table >= 6000 and files <= 5
    assert room(1024, most, 100)[0] == descriptors.LEAST
    assert room(1024, 2048, 6000)[0] == 2048, "as far as it may"
    assert room(5000, most, 100)[0] == 5000, "what is enough stays"


def test_too_many_are_refused_before_anything_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    descriptors.check(4096)
    with pytest.raises(PrerequisiteError, match=r"needs 4097 open files, and this process may have 4096") as caught:
        descriptors.check(4097)
    assert "ulimit -Hn 4097" in caught.value.hint
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, resource.RLIM_INFINITY))
    descriptors.check(1 << 30)


def test_a_scenario_counts_its_ports() -> None:
    class Lab:
        pods = (
            PodSpec("a"), PodSpec("b", containers=(ContainerSpec("one", serve=(("tcp", 1),)), ContainerSpec("two", ("sleep", "1")))),
        )
        nodes = ("n1", "n2")

    assert of_scenario(Lab()) == 3 + 1 + 1 + 2 * descriptors.A_NODE + descriptors.A_LAB  # type: ignore[arg-type]
    assert ports_of(()) == (("tcp", 80), ("tcp", 8080), ("udp", 7))
    assert ports_of((ContainerSpec("one", serve=(("tcp", 1),)), ContainerSpec("two", ("sleep", "1")))) == (("tcp", 1),)
    assert ports_of((ContainerSpec("one"), ContainerSpec("two", serve=(("tcp", 1),)))) == (), "each opens its own"
