"""Filter texts: what libpcap makes of them, and what it says of bad ones."""

from __future__ import annotations

import ctypes
import subprocess

import pytest
from test_bpf import passes
from test_trace_frames import PROBE, on_wire

from labnet.errors import PrerequisiteError, UsageError
from labnet.model.packet import Frame
from labnet.trace import libpcap
from labnet.trace.bpf import EVERYTHING

FRAME = on_wire(Frame("02:00:00:00:00:01", "02:00:00:00:00:02", "10.0.0.1", "8.8.8.8", "icmp", 0, 0, 60, 0), PROBE)


def test_a_text_becomes_the_program_that_tcpdump_would_use() -> None:
    said = subprocess.run(["tcpdump", "-y", "EN10MB", "-ddd", "icmp and host 8.8.8.8"], capture_output=True, text=True, check=False)
    program = libpcap.compile_filter("icmp and host 8.8.8.8")
    if said.returncode == 0:  # tcpdump is no part of what is needed
        assert [tuple(map(int, line.split())) for line in said.stdout.splitlines()[1:]] == list(program)
    assert passes(program, FRAME) and not passes(libpcap.compile_filter("udp"), FRAME)
    assert libpcap.compile_filter("  ") == EVERYTHING


@pytest.mark.parametrize(("text", "said"), [("tcp prt 80", "syntax error"), ("port 99999999", "port"), ("ifname eth0", "ifname supported")])
def test_a_bad_text_is_refused_in_the_words_of_libpcap(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        libpcap.compile_filter(text)
    assert refused.value.exit_code == 2 and "pcap-filter" in refused.value.hint


def test_without_the_library_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(libpcap.ctypes, "CDLL", missing)
    with pytest.raises(PrerequisiteError, match="libpcap") as refused:
        libpcap.compile_filter("icmp")
    assert refused.value.exit_code == 4 and "apt-get install libpcap0.8" in refused.value.hint
    assert libpcap.compile_filter("") == EVERYTHING  # nothing to compile, nothing needed
