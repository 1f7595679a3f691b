"""`labnet watch`: the live flows of a pod, without a probe, in the process of whoever asks.

It listens in all namespaces of the lab, with a kernel filter on the pod's address and on those that NAT may give its packets: its node's,
their public ones, the NAT gateways'. While there are frames that no flow owns, connection tracking of the node and the gateways is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labnet.errors import KernelError, LabnetError, OwnershipError
from labnet.kernel import conntrack
from labnet.kernel.door import LinuxKernel
from labnet.lab import client
from labnet.lab.capturing import LOOK_S, CaptureOptions, Listening
from labnet.lab.pipes import still_read, stopped_by_signal, tell_ready
from labnet.lab.places import ALL
from labnet.model.values import frozen
from labnet.trace.bpf import MAX_ADDRESSES, ethernet_only, of_addresses
from labnet.trace.capture import Capture
from labnet.trace.dissect import PROTOCOL_WORDS, Captured
from labnet.trace.flows import Flows, Watched, Way

IDLE_S = 5.0
"""A flow without a packet for so long is told as ended."""
READ_TRACKING_S = 0.2
S = 1_000_000_000

Say = Callable[[str], None]
Emit = Callable[[Mapping[str, Any]], None]


@frozen
class WatchOptions:
    """Whose flows, for how long (0 = until a signal), who is told when it listens; `written_fd` is where flows are written to."""

    pod: str
    for_s: float = 0.0
    ready_fd: int = -1
    written_fd: int = 1


def watch(run_dir: Path, lab: str, options: WatchOptions, emit: Emit, say: Say) -> None:
    """Emit a Flow document when a flow is first seen (``event: new``) and when it is over (``event: ended``), until a signal or the time.

    Errors: UsageError, NotFoundError, KernelError, BrokenPipeError when nobody reads any more.
    """

    def ask(targets: Sequence[str]) -> Mapping[str, Any]:
        return client.call(run_dir, lab, "places", {"targets": list(targets), "watch": options.pod if targets else ""})

    kernel = LinuxKernel()
    try:
        listening = Listening(kernel, ask, CaptureOptions((ALL,)))
        pod = listening.document["watched"]
        if len(pod["addresses"]) > MAX_ADDRESSES:
            what = f"NAT may give {pod['pod']} {len(pod['addresses'])} addresses, and a filter takes {MAX_ADDRESSES}"
            raise LabnetError(what, "labnet capture listens to all of them")
        watcher = _Watcher(kernel, listening, pod, emit)
        with stopped_by_signal() as stopped, Capture(kernel, listening.namespaces, ethernet_only(of_addresses(pod["addresses"]))) as taps:
            say(f"watching {pod['pod']} ({pod['ip']}) in {counted(len(taps.namespaces), 'namespace')}")
            tell_ready(options.ready_fd)
            until_s = time.monotonic() + options.for_s if options.for_s else float("inf")
            while not stopped and (left_s := until_s - time.monotonic()) > 0 and still_read(options.written_fd):
                watcher.take(taps.take(min(LOOK_S, left_s)))
                listening.look(taps)
                if pod["netns"] not in taps.namespaces:
                    say(f"{pod['pod']} has gone")
                    break
            watcher.take(taps.finish())
        watcher.finish()
        say(f"{counted(watcher.count, 'flow')}, {counted(taps.lost, 'packet')} lost")
    finally:
        kernel.close()


class _Watcher:
    """Frames in, documents out."""

    def __init__(self, kernel: LinuxKernel, listening: Listening, pod: Mapping[str, Any], emit: Emit) -> None:
        self._kernel = kernel
        self._listening = listening
        self._pod = pod
        self._emit = emit
        self._flows = Flows(str(pod["netns"]), [str(pod["ip"])])
        self._read_s = 0.0
        self.count = 0

    def take(self, frames: Iterable[Captured]) -> None:
        """Frames in the order of time; then tell what is over."""
        for frame in frames:
            new = self._flows.see(frame)
            if new is not None:
                self.count += 1
                self._tell(new, "new")
        if self._flows.asks and time.monotonic() - self._read_s > READ_TRACKING_S:
            self._read_tracking()
        for over in self._flows.ended(time.time_ns(), int(IDLE_S * S)):
            self._tell(over, "ended")

    def finish(self) -> None:
        """Tell all that is still open."""
        self._read_tracking()
        for over in self._flows.ended(time.time_ns(), -S):
            self._tell(over, "ended")

    def _read_tracking(self) -> None:
        self._read_s = time.monotonic()
        for netns in self._pod["translating"]:
            try:
                handle = self._kernel.open_netns(netns)
            except (KernelError, OwnershipError):
                continue  # it has gone
            try:
                self._flows.learn(conntrack.tracked(handle, netns))
            finally:
                os.close(handle)

    def _tell(self, flow: Watched, event: str) -> None:
        self._emit(flow_document(self._listening, str(self._pod["pod"]), flow, event))


def flow_document(names: Listening, pod: str, flow: Watched, event: str) -> dict[str, Any]:
    """The Flow document. Times in nanoseconds since the epoch, lengths in bytes from the IP header on, packets as the pod saw them."""
    first = flow.flow
    return {
        "apiVersion": "labnet/v1", "kind": "Flow", "event": event, "pod": pod, "began": flow.began, "protocol": PROTOCOL_WORDS[first.protocol],
        "src": first.source, "srcPort": first.source_port, "dst": first.destination, "dstPort": first.destination_port,
        "firstSeen_ns": flow.first_ns, "lastSeen_ns": flow.last_ns, "result": flow.ended if event == "ended" else None,
        "icmpError": list(flow.error) if flow.error is not None else None,
        "packets": dict(flow.packets), "bytes": dict(flow.length),
        "nat": [{"netns": netns, "owner": names.owner(netns), "text": text} for netns, text in flow.translations()],
        "path": _path(names, flow, "forth"), "back": _path(names, flow, "back"),
    }


def _path(names: Listening, flow: Watched, way: Way) -> list[dict[str, str]]:
    return [
        {"netns": netns, "link": link, "direction": direction, "owner": names.owner(netns), "name": names.describe(netns, link)}
        for netns, link, direction in flow.path(way)
    ]


def flow_text(document: Mapping[str, Any]) -> str:
    """A Flow document for a reader: a line when it is new; when it is over the verdict, NAT and the way there and back."""
    ports = document["protocol"] != "icmp"
    src = f"{document['src']}:{document['srcPort']}" if ports else document["src"]
    dst = f"{document['dst']}:{document['dstPort']}" if ports else document["dst"]
    what = f"{document['protocol']} {src} → {dst}"
    if document["event"] == "new":
        return f"new: {what}"
    packets, length = document["packets"], document["bytes"]
    there, back = (f"{counted(packets[way], 'packet')} ({counted(length[way], 'byte')})" for way in ("forth", "back"))
    lines = [f"{document['result']}: {what}, {there} there, {back} back"]
    lines.append(f"  way   {_way_text(document['path'])}")
    lines += [f"  nat   {one['owner']}: {one['text']}" for one in document["nat"]]
    if document["back"]:
        came = [(one["netns"], one["link"]) for one in reversed(document["back"])]
        same = came == [(one["netns"], one["link"]) for one in document["path"]]
        lines.append(f"  back  {'the same way' if same else _way_text(document['back'])}")
    stopped = document["back"] if document["result"] == "answer lost" else document["path"]
    if document["result"] in ("no answer", "unreachable", "answer lost") and stopped:
        lines.append(f"  last seen {stopped[-1]['direction']} at {stopped[-1]['name']}")
    return "\n".join(lines)


def _way_text(path: Sequence[Mapping[str, str]]) -> str:
    """Each interface once where a packet only came in or went out there."""
    return " → ".join(dict.fromkeys(f"{one['owner']} {one['link']}" for one in path))


def counted(number: int, word: str) -> str:
    """A number and its word."""
    return f"{number} {word}{'' if number == 1 else 's'}"
