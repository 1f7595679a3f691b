from __future__ import annotations

import io
import sys

import pytest

from labnet.cli.output import Table, color_wanted, counted, plain, print_tables
from labnet.cli.progress import ProgressLine


class Step:
    """Looks like a Progress; the class itself lives where the lab is."""

    def __init__(self, text: str, done: int = 0, total: int = 0) -> None:
        self.stage, self.text, self.done, self.total = "x", text, done, total


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_plain_tables_are_aligned_without_blanks_at_the_ends() -> None:
    assert plain(Table(("A", "LONG"), (("x", ""), ("yyy", "z")))) == "A    LONG\nx\nyyy  z"


def test_tables_without_rows_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([Table(("A",), ()), Table(("B",), (("x",),), "title"), Table(("C",), (("y",),))])
    assert capsys.readouterr().out == "title\nB\nx\n\nC\ny\n"


def test_on_a_terminal_the_table_is_the_same_text_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_tables([Table(("POD", "STATUS"), (("pod1", "Running"),))])
    assert "\x1b[" in terminal.getvalue()
    assert "Running" in terminal.getvalue()


def test_a_narrow_terminal_neither_cuts_nor_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_tables([Table(("POD", "IP"), (("a-pod-with-a-name", "10.10.31.255"),))])
    assert "a-pod-with-a-name  10.10.31.255" in terminal.getvalue()


def test_colours_only_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert color_wanted(Terminal())
    assert not color_wanted(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not color_wanted(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color_wanted(Terminal())


@pytest.mark.parametrize(("number", "text"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods")])
def test_counted(number: int, text: str) -> None:
    assert counted(number, "pod") == text


def test_progress_is_a_line_a_stage_off_a_terminal() -> None:
    stream = io.StringIO()
    with ProgressLine(stream) as progress:
        for step in (Step("pods", 1, 2), Step("pods", 2, 2), Step("done"), Step("done")):
            progress(step)  # type: ignore[arg-type]
    assert stream.getvalue() == "pods 2/2\ndone\n"


def test_progress_is_one_live_line_on_a_terminal_and_leaves_nothing() -> None:
    stream = Terminal()
    with ProgressLine(stream) as progress:
        progress(Step("pods", 1, 2))  # type: ignore[arg-type]
    assert stream.getvalue() == "\r\x1b[Kpods 1/2\r\x1b[K"


def test_progress_goes_on_when_nobody_reads() -> None:
    with ProgressLine(Broken()) as progress:
        progress(Step("one"))  # type: ignore[arg-type]
        progress(Step("two"))  # type: ignore[arg-type]
