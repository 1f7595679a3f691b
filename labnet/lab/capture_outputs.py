"""What becomes of captured frames: lines for a reader, or a pcapng file or stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol, TextIO

from labnet.errors import LabnetError
from labnet.lab.pipes import still_read
from labnet.trace.dissect import Captured
from labnet.trace.oneline import oneline
from labnet.trace.pcapng import PcapFrame, PcapngStream


class Names(Protocol):
    """Words for places."""

    def short(self, netns: str) -> str:
        """A namespace without the lab's name."""

    def describe(self, netns: str, link: str) -> str:
        """Whose an interface is."""


class Output(Protocol):
    """Takes frames in the order of time; after `begin`, and `end` closes it off. Errors: BrokenPipeError when nobody reads."""

    def begin(self, names: Names, comment: str) -> None:
        """Listening has begun."""

    def frames(self, frames: Sequence[Captured]) -> None:
        """These came."""

    def is_read(self) -> bool:
        """Does anybody still read it?"""

    def end(self, lost_in: Mapping[str, int]) -> None:
        """Nothing comes any more; so many were lost by namespace."""


class Lines:
    """One line a frame, each written at once: ``17:31:02.123456 node1/eth1 out 10.10.2.6.43210 > …``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._names: Names | None = None

    def begin(self, names: Names, comment: str) -> None:
        """Remember who is who."""
        self._names = names

    def frames(self, frames: Sequence[Captured]) -> None:
        """A line for each."""
        assert self._names is not None
        for frame in frames:
            clock = time.strftime("%H:%M:%S", time.localtime(frame.time_ns // 1_000_000_000))
            micros = frame.time_ns // 1_000 % 1_000_000
            self._stream.write(
                f"{clock}.{micros:06d} {self._names.short(frame.netns)}/{frame.link} {frame.direction:<3} {oneline(frame.data)}\n"
            )
        if frames:
            self._stream.flush()

    def is_read(self) -> bool:
        """Is the other end of a pipe open?"""
        return still_read(self._stream.fileno())

    def end(self, lost_in: Mapping[str, int]) -> None:
        """Nothing to close off."""


class Pcapng:
    """Blocks as frames come; what has come is written at the end of each call, so a reader behind a pipe is never behind.

    `opened` opens what is written to, once every socket listens: a command that is refused leaves a file as it was.
    """

    def __init__(self, opened: Callable[[], BinaryIO]) -> None:
        self._opened = opened
        self._stream: BinaryIO | None = None
        self._names: Names | None = None
        self._blocks = PcapngStream()

    def begin(self, names: Names, comment: str) -> None:
        """The head of the file."""
        self._names = names
        self._stream = self._opened()
        self._blocks = PcapngStream(comment, time.time_ns())
        self._write(self._blocks.head())

    def frames(self, frames: Sequence[Captured]) -> None:
        """The frames' blocks, and those of interfaces that are new."""
        if not frames:
            return
        assert self._names is not None
        blocks: list[bytes] = []
        for frame in frames:
            name = f"{frame.netns}/{frame.link}"
            if not self._blocks.has(name):
                blocks.append(self._blocks.interface(name, self._names.describe(frame.netns, frame.link)))
            blocks.append(self._blocks.packet(PcapFrame(name, frame.direction, frame.time_ns, frame.data)))
        self._write(b"".join(blocks))

    def is_read(self) -> bool:
        """Is the other end of a pipe open?"""
        return self._stream is None or still_read(self._stream.fileno())

    def end(self, lost_in: Mapping[str, int]) -> None:
        """Statistics of every interface."""
        self._write(self._blocks.tail(lost_in, time.time_ns()))

    def _write(self, data: bytes) -> None:
        assert self._stream is not None, "begin opens it"
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise LabnetError(f"the capture file cannot be written: {error.strerror}", "is there room on the disk?") from error
