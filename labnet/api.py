"""A running lab from Python, for scripts and notebooks (root, as for the command)::

    from labnet import Lab
    lab = Lab("eks-2node")
    path = lab.trace("pod1", "pod3")

It asks the lab's process over its control socket, and opens sockets inside namespaces in this process. docs/python.md shows it all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

from labnet.errors import EXIT_NOT_FOUND, EXIT_USAGE, LabnetError, NotFoundError, UsageError
from labnet.lab import client, registry
from labnet.lab.paths import DEFAULT_RUN_DIR
from labnet.model import codec
from labnet.model.packet import Path

if TYPE_CHECKING:
    from labnet.trace.dissect import Captured
    from labnet.trace.scapy_packets import Packet, Sniffed

LOOK_S = 0.1
EVERYWHERE = "all"
_KINDS: Mapping[int, type[LabnetError]] = {EXIT_USAGE: UsageError, EXIT_NOT_FOUND: NotFoundError}


class Lab:
    """A running lab: the one of that name, else the one that LABNET_LAB names, else the only one.

    `run_dir` is where labs keep their state, as the command's --run-dir. TARGETs are words as on the command line: ``pod1``,
    ``node/node1``, ``internet``, ``10.10.2.6``, with a port ``pod2:80``. Errors: NotFoundError, UsageError; LabnetError without root.
    """

    def __init__(self, name: str | None = None, run_dir: str | os.PathLike[str] | None = None) -> None:
        self.run_dir = FilePath(run_dir or os.environ.get("LABNET_RUN_DIR") or DEFAULT_RUN_DIR)
        self.name = registry.resolve(self.run_dir, name or os.environ.get("LABNET_LAB") or None)

    @classmethod
    def find(cls, name: str | None = None, run_dir: str | os.PathLike[str] | None = None) -> Lab:
        """The same as Lab(name)."""
        return cls(name, run_dir)

    def __repr__(self) -> str:
        return f"Lab({self.name!r})"

    def status(self) -> dict[str, Any]:
        """The Status document, as `labnet status -o json` prints it."""
        return self._ask("status")

    def trace(self, source: str, target: str, protocol: Literal["icmp", "tcp", "udp"] | None = None, port: int | None = None) -> Path:
        """Send one probe and follow it: its hops with frames and decisions, and where and why it ended.

        Without a protocol it is TCP where a port is said, else ICMP. Errors: NotFoundError, UsageError for targets.
        """
        args = {"from": source, "to": target, "protocol": protocol, "port": port, "path": True}
        found: Path = codec.from_document(self._ask("trace", args)["path"], Path)
        return found

    def send(self, source: str, packet: Packet, link: str = "eth0") -> int:
        """Send a scapy packet from inside a pod, a node or the internet; the bytes that were sent.

        An IP packet goes by the namespace's own rules, routes and iptables; without a source it has the target's address. A frame
        (``Ether(dst=…)/…``) leaves by `link` as it is. Errors: UsageError for what cannot be sent; KernelError with the kernel's word.
        """
        from labnet.kernel.door import LinuxKernel  # late: what only asks the lab needs neither netlink nor scapy
        from labnet.trace import scapy_packets

        found = self._ask("target", {"target": source})
        if not found["netns"]:
            raise UsageError(f"nothing of this lab has the address {source}", "a packet is sent by a pod, a node or the internet")
        with closing(LinuxKernel()) as kernel:
            kernel.learn(self._inodes())
            return scapy_packets.send(kernel, found["netns"], found["address"], packet, link)

    def sniff(
        self, filter: str = "", count: int = 0, timeout_s: float = 10.0, where: str | Sequence[str] = EVERYWHERE, interface: str = "",  # noqa: A002 - as scapy names it
        started: Callable[[], object] | None = None,
    ) -> Sniffed:
        """Listen, until there are `count` packets (0 = any number) or the time is over; an interrupt ends it early.

        A list of scapy packets in the order of time, each with `netns`, `sniffed_on`, `direction` and `time`; its `lost` says how
        many found no room. `filter` is tcpdump's language, `where` what `labnet capture` takes: ``all``, pods, nodes, ENIs, several of
        them; `interface` one interface's name. `started` is called as soon as every socket listens: what it sends is not missed.
        A packet is heard at every interface that it passes, on both ends of a link. Errors: UsageError, NotFoundError;
        PrerequisiteError where a filter needs libpcap and there is none.
        """
        from labnet.kernel.door import LinuxKernel  # late, as above
        from labnet.lab.capturing import CaptureOptions, Listening
        from labnet.trace.bpf import ethernet_only
        from labnet.trace.capture import Capture
        from labnet.trace.libpcap import compile_filter
        from labnet.trace.scapy_packets import sniffed

        targets = (where,) if isinstance(where, str) else tuple(where)
        program = ethernet_only(compile_filter(filter))
        with closing(LinuxKernel()) as kernel:
            listening = Listening(kernel, self._places, CaptureOptions(targets, filter, interface, timeout_s, count))
            with Capture(kernel, listening.namespaces, program, listening.links) as taps:
                frames: list[Captured] = []
                try:
                    if started is not None:
                        started()
                    until_s = time.monotonic() + timeout_s
                    while (left_s := until_s - time.monotonic()) > 0 and taps.namespaces and not 0 < count <= len(frames):
                        frames += taps.take(min(LOOK_S, left_s))
                        listening.look(taps)
                except KeyboardInterrupt:
                    pass  # as scapy's own sniff: who has seen enough keeps what there is
                frames += taps.finish()
        return sniffed(frames[:count] if count else frames, taps.lost)

    def exec(self, target: str, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program on a node or in a pod, with its files and host name, as `labnet exec`; its exit code and what it printed.

        Errors: subprocess.TimeoutExpired.
        """
        words = [sys.executable, "-m", "labnet", "--run-dir", str(self.run_dir), "--lab", self.name, "exec", target, "--", *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _ask(self, verb: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            return client.call(self.run_dir, self.name, verb, args or {})
        except LabnetError as error:  # over the socket come its words and exit code: give it its own class again
            kind = _KINDS.get(error.exit_code)
            if kind is None or isinstance(error, kind):
                raise
            raise kind(error.message, error.hint) from error

    def _places(self, targets: Sequence[str]) -> Mapping[str, Any]:
        return self._ask("places", {"targets": list(targets)})

    def _inodes(self) -> dict[str, int]:
        """Namespaces of the lab with their nsfs inodes, by which a later one of the same name is told."""
        return {netns: int(found["inode"]) for netns, found in self._places(())["namespaces"].items()}
