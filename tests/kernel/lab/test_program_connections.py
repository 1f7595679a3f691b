"""Programs of a lab that end with connections to each other: nobody waits for the answers that cannot come."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labnet.kernel.netns import create, enter, open_ns, remove_name
from labnet.lab import programs

pytestmark = pytest.mark.kernel
NAME = "lnt-orphans"


def value(namespace):
    with enter(namespace):
        return Path("/proc/sys/net/ipv4/tcp_orphan_retries").read_text().strip()


def test_orphans_are_given_up_in_the_namespaces_of_programs_and_in_no_other():
    create([NAME, f"{NAME}-other"])
    inside, other, program = open_ns(NAME), open_ns(f"{NAME}-other"), None
    try:
        with enter(inside):
            program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={"LABNET_LAB": NAME})
        before = value(other)
        found = programs.find([Path(f"/run/netns/{NAME}").stat().st_ino], f"LABNET_LAB={NAME}".encode())
        assert len(found) == 1
        programs.drop_orphans(found)
        assert value(inside) == "1"
        assert value(other) == before != "1"
        programs.end(found)
        assert program.wait(10) < 0
    finally:
        if program is not None and program.poll() is None:
            program.kill()
        for descriptor in (inside, other):
            os.close(descriptor)
        for name in (NAME, f"{NAME}-other"):
            remove_name(name)


def test_a_program_that_has_ended_is_no_error():
    program = subprocess.Popen([sys.executable, "-c", "pass"])
    found = programs.find([Path("/proc/self/ns/net").stat().st_ino])
    program.wait(10)
    mine = [handle for handle in found if programs._pid_of(handle) == -1]
    programs.drop_orphans(mine)
    programs.end(mine)
    for handle in set(found) - set(mine):
        os.close(handle)
