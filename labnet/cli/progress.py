"""Progress on stderr: one live line on a terminal, a line a step elsewhere."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from labnet.lab.progress import Progress

_CLEAR = "\r\x1b[K"


class ProgressLine:
    """Call it with each Progress; as a context manager it leaves a clean line behind.

    Off a terminal a stage that counts is printed at its end only, so that a log stays short.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._last = ""
        self._deaf = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()

    def __call__(self, step: Progress) -> None:
        """Show one step."""
        counted = f" {step.done}/{step.total}" if step.total else ""
        text = f"{step.text}{counted}"
        if self._live:
            width = shutil.get_terminal_size().columns
            self._write(_CLEAR + text[: max(1, width - 1)])
        elif text != self._last and (not step.total or step.done >= step.total):
            self._write(text + "\n")
        self._last = text

    def clear(self) -> None:
        """Take the live line away."""
        if self._live and self._last:
            self._write(_CLEAR)
            self._last = ""

    def _write(self, text: str) -> None:
        if self._deaf:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            self._live, self._deaf = False, True  # nobody reads: the work goes on

