"""A program among others: signals that end it, readers that go away, and a word when it is ready."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from labnet.errors import UsageError

STANDARD_ERROR = 2


@contextmanager
def stopped_by_signal() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM fill the list instead of ending the process; a second one interrupts what may hang (a reader that
    does not read).
    """
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_ready(descriptor: int) -> None:
    """Write ``ready`` and a newline to a descriptor and close it; nothing for -1. Errors: UsageError when it cannot be written."""
    if descriptor < 0:
        return
    try:
        os.write(descriptor, b"ready\n")
        if descriptor > STANDARD_ERROR:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"--ready-fd {descriptor}: {error.strerror}", "open it for writing before labnet is started") from error


def still_read(descriptor: int) -> bool:
    """Does anybody read what is written to a descriptor? True for files."""
    asked = select.poll()
    asked.register(descriptor, 0)
    return not any(event & (select.POLLERR | select.POLLNVAL) for _, event in asked.poll(0))
