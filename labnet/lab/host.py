"""What a running lab does on the machine beside the kernel door: folders of nodes, CNI sockets, programs; or nothing at all.

A plan runs the same lab with `NoHost`: no file, no socket, no program.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from labnet.cni.conflist import Conflist
from labnet.cni.results import FileResults, MemoryResults, Results
from labnet.cni.runtime import Spawn
from labnet.cni.vpc import executable
from labnet.cni.vpc.conflist import FILE_NAME, TYPE
from labnet.cni.vpc.server import CniServer, NodePlugin
from labnet.errors import NotFoundError
from labnet.lab import credentials, programs, views
from labnet.lab.credentials import Credentials
from labnet.lab.owned_kernel import OwnedKernel
from labnet.lab.paths import SOCKET_PATH_BYTES, LabPaths
from labnet.ports import Kernel

if TYPE_CHECKING:
    from labnet.kernel.delay import DelayProcess

NETNS_DIR = "/run/netns"
END_S = 1.0
"""How long a program on a machine that is switched off may take to heed SIGTERM."""


class Host(Protocol):
    """Files, sockets and programs of a lab's nodes and pods."""

    def results(self, node: str) -> Results:
        """Where a node's runtime remembers what ADD said."""

    def node_file(self, node: str, path: str) -> Path | None:
        """Where a file of a node's own view lies on this machine, its folder made; None for nowhere."""

    async def serve_cni(self, node: str, netns: str, plugin: NodePlugin, kernel: Kernel) -> None:
        """Listen on the node's cni.sock and install the executable that talks to it."""

    def lab_log(self) -> Path:
        """The log of the lab's process. Errors: NotFoundError."""

    def pod_log(self, netns: str) -> Path:
        """What the programs of a pod print. Errors: NotFoundError, when it has none."""

    def credentials(self) -> Credentials:
        """The lab's AWS keys."""

    def write_conflist(self, node: str, conflist: Conflist) -> None:
        """The file whose presence makes the node ready."""

    def spawn_plugin(self, node: str, netns: str) -> Spawn | None:
        """How the node's runtime starts an executable plugin, or None when nothing can be started."""

    def start_program(self, netns: str, argv: tuple[str, ...], environ: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Start a container's program in its pod. Errors: KernelError."""

    def set_resolver(self, node: str, text: str) -> None:
        """Write a node's resolv.conf."""

    def pod_starts(self, netns: str, node: str) -> None:
        """Give a pod its files of its own: the node's resolv.conf."""

    def pod_ends(self, netns: str) -> None:
        """Take a pod's files of its own away."""

    def has_room_for(self, node: str, netns: str) -> bool:
        """Can a node have that name: is there no namespace of it on this machine, and do its sockets' paths fit?"""

    async def end_node(self, node: str, spaces: Sequence[str]) -> None:
        """Stop listening for a node, and end every program in these namespaces, whoever started it: the machine is switched off."""

    def forget_node(self, node: str) -> None:
        """Remove a node's files."""

    def start_delays(self) -> DelayProcess | None:
        """Start the process that holds packets between zones back; None where no packets are."""

    async def close(self) -> None:
        """Stop listening."""


class NoHost:
    """A lab that exists in memory alone."""

    def results(self, node: str) -> Results:
        """In memory."""
        return MemoryResults()

    def node_file(self, node: str, path: str) -> Path | None:
        """No file."""
        return None

    async def serve_cni(self, node: str, netns: str, plugin: NodePlugin, kernel: Kernel) -> None:
        """Nobody listens."""

    def lab_log(self) -> Path:
        """No file."""
        raise NotFoundError("a plan has no log")

    def pod_log(self, netns: str) -> Path:
        """No file."""
        raise NotFoundError("a plan has no log")

    def credentials(self) -> Credentials:
        """Keys that open nothing."""
        return Credentials("", "")

    def write_conflist(self, node: str, conflist: Conflist) -> None:
        """No file."""

    def spawn_plugin(self, node: str, netns: str) -> Spawn | None:
        """Nothing is started."""
        return None

    def start_program(self, netns: str, argv: tuple[str, ...], environ: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Nothing is started."""
        return None

    def set_resolver(self, node: str, text: str) -> None:
        """No file."""

    def pod_starts(self, netns: str, node: str) -> None:
        """No file."""

    def pod_ends(self, netns: str) -> None:
        """No file."""

    def has_room_for(self, node: str, netns: str) -> bool:
        """There is nothing else in memory."""
        return True

    async def end_node(self, node: str, spaces: Sequence[str]) -> None:
        """Nothing runs."""

    def forget_node(self, node: str) -> None:
        """No files."""

    def start_delays(self) -> DelayProcess | None:
        """No packets."""
        return None

    async def close(self) -> None:
        """Nothing is open."""


class LocalHost:
    """A lab on this machine, its files below the lab's directory."""

    def __init__(self, paths: LabPaths, kernel: OwnedKernel) -> None:
        self._paths, self._kernel = paths, kernel
        self._servers: dict[str, CniServer] = {}

    def results(self, node: str) -> Results:
        """Files, as a container runtime keeps them."""
        return FileResults(self._paths.node(node) / "var/lib/cni/results")

    def node_file(self, node: str, path: str) -> Path | None:
        """Below the node's own files, its folder made."""
        found = self._paths.node(node) / path[1:]
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    async def serve_cni(self, node: str, netns: str, plugin: NodePlugin, kernel: Kernel) -> None:
        """Listen on the node's cni.sock and install the executable that talks to it."""
        socket_path = self._paths.cni_socket(node)
        socket_path.parent.mkdir(parents=True, exist_ok=True)
        server = CniServer(socket_path, plugin, kernel, netns)
        await server.start()
        self._servers[node] = server
        executable.install(self._paths.node(node) / "opt/cni/bin" / TYPE, str(socket_path), sys.executable, executable.language())

    def lab_log(self) -> Path:
        """In the lab's directory."""
        return self._paths.log

    def pod_log(self, netns: str) -> Path:
        """Beside the pod's files. Errors: NotFoundError."""
        path = self._paths.pod(netns) / "log"
        if not path.exists():
            raise NotFoundError("the pod has no program that prints", "the built-in server has no log; 'labnet events' says how the pod came")
        return path

    def credentials(self) -> Credentials:
        """From the lab's directory, made on first use."""
        return credentials.load_or_make(self._paths.credentials)

    def write_conflist(self, node: str, conflist: Conflist) -> None:
        """Aside and renamed: a runtime that watches the folder never reads half of it."""
        folder = self._paths.node(node) / "etc/cni/net.d"
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{FILE_NAME}"
        aside.write_text(conflist.render())
        aside.chmod(0o644)
        aside.replace(folder / FILE_NAME)

    def spawn_plugin(self, node: str, netns: str) -> Spawn | None:
        """Executable plugins start in the node's namespace and view."""
        async def spawn(argv: Sequence[str], environ: Mapping[str, str], stdin: bytes, descriptors: Sequence[int]) -> tuple[int, bytes, str]:
            view = views.node_view(self._paths, node)  # its folders are made on first use
            return await asyncio.to_thread(views.run, f"{NETNS_DIR}/{netns}", view, argv, environ, stdin, descriptors)

        return spawn

    def start_program(self, netns: str, argv: tuple[str, ...], environ: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Start a program in a pod's namespace and view; its output goes to the pod's log."""
        view = views.pod_view(self._paths, netns, environ.get("HOSTNAME", netns))
        log = self._paths.pod(netns) / "log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return views.start(f"{NETNS_DIR}/{netns}", view, argv, environ, log)

    def set_resolver(self, node: str, text: str) -> None:
        """Write a node's resolv.conf."""
        views.set_resolver(self._paths, node, text)

    def pod_starts(self, netns: str, node: str) -> None:
        """Make the pod's view, with the node's resolv.conf."""
        views.pod_view(self._paths, netns, netns, resolver=views.resolver(self._paths, node))

    def pod_ends(self, netns: str) -> None:
        """Its resolv.conf."""
        views.forget_pod_resolver(self._paths, netns)

    def has_room_for(self, node: str, netns: str) -> bool:
        """Is the namespace's name free on this machine, and is the path of the node's socket short enough?"""
        free = self._kernel.prepared(netns) or not Path(NETNS_DIR, netns).exists()
        return free and len(bytes(self._paths.cni_socket(node))) <= SOCKET_PATH_BYTES

    async def end_node(self, node: str, spaces: Sequence[str]) -> None:
        """Stop listening for a node, and end every program in these namespaces."""
        server = self._servers.pop(node, None)
        if server is not None:
            await server.stop()
        await asyncio.sleep(0)  # connections that were just closed give their sockets back in the loop's next round
        inside = programs.find([Path(NETNS_DIR, netns).stat().st_ino for netns in spaces if Path(NETNS_DIR, netns).exists()])
        if inside:
            await asyncio.to_thread(programs.end, inside, END_S)

    def forget_node(self, node: str) -> None:
        """Remove a node's files."""
        shutil.rmtree(self._paths.node(node), ignore_errors=True)

    def start_delays(self) -> DelayProcess | None:
        """A process of this machine."""
        from labnet.kernel.delay import DelayProcess  # late: most labs set no latency

        return DelayProcess()

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            await server.stop()
        self._servers.clear()
