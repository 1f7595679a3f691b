"""The words of `labnet capture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from labnet.lab.capturing import CaptureOptions


def test_words_become_options(run, backend, tmp_path: Path) -> None:
    assert run("capture") == (0, "", "listening\n")
    assert backend.asked[-1] == ("capture", "eks", CaptureOptions(("all",)), "Lines")
    file = tmp_path / "x.pcapng"
    ends = ("--for", "2m", "--count", "3", "--ready-fd", "9")
    ran = run("capture", "pod1", "eni-1", "-w", str(file), "--filter", "tcp", "--interface", "eth1", *ends)
    assert ran.err == f"listening\nwrote {file}\n"
    assert backend.asked[-1] == ("capture", "eks", CaptureOptions(("pod1", "eni-1"), "tcp", "eth1", 120.0, 3, 9), "Pcapng")
    assert not file.exists()  # nothing is opened before every socket listens
    run("capture", "-w", "-")
    assert backend.asked[-1][3] == "Pcapng"


@pytest.mark.parametrize("words", [("--for", "0s"), ("--for", "soon"), ("--count", "0"), ("--ready-fd", "-1"), ("-o", "json")])
def test_what_is_refused(run, words: tuple[str, ...]) -> None:
    assert run("capture", "pod1", *words).code == 2


def test_a_terminal_gets_no_pcapng(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labnet.cli.verb_capture.stdout_is_terminal", lambda: True)
    ran = run("capture", "-w", "-")
    assert ran.code == 2 and "nothing for a terminal" in ran.err
