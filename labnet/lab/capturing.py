"""`labnet capture`: listen in a running lab, in the process of whoever asks, so that the lab's own is not slowed down.

The lab is asked once who is where; the sockets are opened through a kernel door of this process. A packet socket keeps a
namespace alive: so the folder of the namespaces' names is looked at ten times a second, and a namespace that goes is let go.
With `all`, namespaces that come later are taken in; what passed there before that, a tenth of a second, is not seen.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from labnet.errors import KernelError, LabnetError, NotFoundError, OwnershipError, UsageError
from labnet.kernel.door import LinuxKernel
from labnet.lab import client
from labnet.lab.capture_outputs import Output
from labnet.lab.lifecycle import NETNS_DIR
from labnet.lab.pipes import stopped_by_signal, tell_ready
from labnet.lab.places import ALL
from labnet.model.values import frozen
from labnet.trace.bpf import MAX_LINKS, ethernet_only
from labnet.trace.capture import Capture
from labnet.trace.dissect import Captured
from labnet.trace.libpcap import compile_filter

LOOK_S = 0.1
ASK_AGAIN_S = 0.5

Say = Callable[[str], None]


@frozen
class CaptureOptions:
    """What to listen to: words (`places.chosen`), a filter text, one interface's name; and for how long, 0 = until a signal."""

    targets: tuple[str, ...] = (ALL,)
    filter: str = ""
    interface: str = ""
    for_s: float = 0.0
    count: int = 0
    ready_fd: int = -1


class Door(Protocol):
    """What is asked of the lab: `targets` → the Places document. Errors: NotFoundError when its process has ended."""

    def __call__(self, targets: Sequence[str]) -> Mapping[str, Any]:
        """Ask."""


def capture(run_dir: Path, lab: str, options: CaptureOptions, output: Output, say: Say) -> None:
    """Listen until a signal, the time or the count ends it, or the lab has gone; then the output is whole, and the summary is said.

    Errors: UsageError for a bad filter or target, NotFoundError, PrerequisiteError without libpcap, KernelError,
    BrokenPipeError when nobody reads the output any more.
    """
    program = ethernet_only(compile_filter(options.filter))

    def ask(targets: Sequence[str]) -> Mapping[str, Any]:
        return client.call(run_dir, lab, "places", {"targets": list(targets)})

    kernel = LinuxKernel()
    try:
        listening = Listening(kernel, ask, options)
        with stopped_by_signal() as stopped, Capture(kernel, listening.namespaces, program, listening.links) as taps:
            output.begin(listening, f"labnet capture of {lab}: {' '.join(options.targets)} {options.filter}".rstrip())
            say(listening.told(options))
            tell_ready(options.ready_fd)
            frames = _loop(taps, listening, options, output, stopped)
        output.end(taps.lost_in)
        for line in summary(frames, taps.lost_in, taps.unstamped, listening.short):
            say(line)
    finally:
        kernel.close()


def _loop(taps: Capture, listening: Listening, options: CaptureOptions, output: Output, stopped: list[int]) -> Counter[str]:
    """Frames by namespace."""
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + options.for_s if options.for_s else float("inf")
    left = options.count or -1

    def put(frames: Sequence[Captured]) -> None:
        nonlocal left
        frames = frames[:left] if left >= 0 else frames
        left -= len(frames) if left >= 0 else 0
        seen.update(frame.netns for frame in frames)
        output.frames(frames)

    while not stopped and left and (remaining_s := until_s - time.monotonic()) > 0 and taps.namespaces and output.is_read():
        put(taps.take(min(LOOK_S, remaining_s)))
        listening.look(taps)
    put(taps.finish())
    return seen


class Listening:
    """Where to listen, and who is who there; follows namespaces that go, and with `all` those that come."""

    def __init__(self, kernel: LinuxKernel, ask: Door, options: CaptureOptions) -> None:
        self._kernel = kernel
        self._ask = ask
        self._interface = options.interface
        self._follows = ALL in options.targets
        self._changed_ns = _changed_ns()  # before the lab is asked: what comes after that is seen as a change
        self._places = ask(options.targets)
        self.lab = str(self._places["lab"])
        self._learn()
        self._chosen: dict[str, list[str]] = {netns: list(links) for netns, links in self._places["chosen"].items()}
        self.links: dict[str, list[str]] = {}
        self.namespaces: list[str] = []
        for netns, links in self._chosen.items():
            self._choose(netns, links)
        if not self.namespaces:
            raise NotFoundError(f"no interface {self._interface} there", "'labnet status -o wide' names those of nodes and pods")
        self._asked_s = time.monotonic()
        self._ask_again = False

    @property
    def document(self) -> Mapping[str, Any]:
        """What the lab has told last."""
        return self._places

    def told(self, options: CaptureOptions) -> str:
        """The line that says that every socket listens."""
        count = len(self.namespaces)
        only = f", interface {options.interface}" if options.interface else ""
        kept = f", filter {options.filter!r}" if options.filter else ""
        return f"listening in {count} namespace{'' if count == 1 else 's'}{only}{kept}"

    def short(self, netns: str) -> str:
        """A namespace without the lab's name."""
        return netns.removeprefix(f"{self.lab}-")

    def owner(self, netns: str) -> str:
        """Whose a namespace is."""
        return str(self._places["namespaces"].get(netns, {}).get("owner", netns))

    def describe(self, netns: str, link: str) -> str:
        """Whose an interface is; the lab is asked again, twice a second at most, for one that it has not told of."""
        name = f"{netns}/{link}"
        if name not in self._places["interfaces"] and link != "lo" and time.monotonic() - self._asked_s > ASK_AGAIN_S:
            self._refresh()
        return str(self._places["interfaces"].get(name) or f"{self.owner(netns)} {link}")

    def look(self, taps: Capture) -> None:
        """Let go of namespaces that went, take in those that came."""
        changed_ns = _changed_ns()
        due = self._ask_again and time.monotonic() - self._asked_s > ASK_AGAIN_S
        if changed_ns == self._changed_ns and not due:
            return
        self._ask_again = changed_ns != self._changed_ns  # once more later: a name comes before its namespace
        self._changed_ns = changed_ns
        for netns in taps.namespaces:
            if not self._kernel.exists(netns):
                taps.drop(netns)
        if self._follows and self._refresh():
            self._take_in(taps)

    def _take_in(self, taps: Capture) -> None:
        for netns in self._places["namespaces"]:
            if netns not in taps.namespaces and self._kernel.exists(netns):
                try:
                    self._choose(netns, [])
                    if netns in self.namespaces:
                        taps.add(netns)
                    else:
                        self._ask_again = True
                except (KernelError, OwnershipError):
                    self._ask_again = True  # it went again, or is not yet there

    def _refresh(self) -> bool:
        """Ask the lab; False when it does not answer."""
        self._asked_s = time.monotonic()
        try:
            found = self._ask(())
        except (LabnetError, OSError):
            return False
        kept = {key: {**self._places[key], **found[key]} for key in ("namespaces", "interfaces")}  # who has gone is named still
        self._places = {**self._places, **kept}
        self._learn()
        return True

    def _learn(self) -> None:
        self._kernel.learn({netns: int(found["inode"]) for netns, found in self._places["namespaces"].items()})

    def _choose(self, netns: str, links: list[str]) -> None:
        """Note a namespace, with its interfaces where not all are wanted; not when it has none of them."""
        if self._interface:
            there = self._kernel.links(netns)
            links = [link for link in links or [self._interface] if link == self._interface and link in there]
            if not links:
                return
        if len(links) > MAX_LINKS:
            raise UsageError(f"{len(links)} ENIs of {self.short(netns)} are too many", f"{MAX_LINKS} at most; or name {self.short(netns)}")
        if links:
            self.links[netns] = links
        if netns not in self.namespaces:
            self.namespaces.append(netns)


def summary(seen: Mapping[str, int], lost_in: Mapping[str, int], unstamped: int, short: Callable[[str], str]) -> list[str]:
    """What a capture says at its end: frames and losses, by namespace."""
    total, lost = sum(seen.values()), sum(lost_in.values())
    lines = [f"{total} packet{'' if total == 1 else 's'} captured, {lost} lost"]
    for netns in sorted({*seen, *(netns for netns, number in lost_in.items() if number)}, key=lambda name: (-seen.get(name, 0), name)):
        missing = f", {lost_in[netns]} lost" if lost_in.get(netns) else ""
        lines.append(f"  {short(netns)}: {seen.get(netns, 0)}{missing}")
    if unstamped:
        lines.append(f"{unstamped} had no stamp of the kernel yet and bear the time at which they were read")
    return lines


def _changed_ns() -> int:
    try:
        return os.stat(NETNS_DIR).st_mtime_ns  # noqa: PTH116 - ten times a second
    except FileNotFoundError:
        return 0
