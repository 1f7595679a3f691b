"""Where a lab keeps its files: everything below one directory of its own (pure).

::

    <run dir>/<lab>/lab.json            the registry: names, inodes, pid, state
                    control.sock        one JSON object a line
                    lab.sqlite          objects and ledgers
                    lab.log             what the lab's process says
                    credentials.json    the lab's keys, for its owner alone
                    nodes/<node>/…      a node's own files, as its programs see them
                    pods/<netns>/…      a pod's own files
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labnet.errors import UsageError

DEFAULT_RUN_DIR = Path("/run/labnet")
SOCKET_PATH_BYTES = 107  # sun_path of a unix socket, less its closing zero


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The paths of one lab."""

    run_dir: Path
    lab: str

    @property
    def root(self) -> Path:
        """The lab's own directory."""
        return self.run_dir / self.lab

    @property
    def registry(self) -> Path:
        """The list of what is ours."""
        return self.root / "lab.json"

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.root / "control.sock"

    @property
    def store(self) -> Path:
        """The database."""
        return self.root / "lab.sqlite"

    @property
    def log(self) -> Path:
        """The log of the lab's process."""
        return self.root / "lab.log"

    @property
    def credentials(self) -> Path:
        """The lab's AWS keys."""
        return self.root / "credentials.json"

    @property
    def lock(self) -> Path:
        """Held while a verb changes whether the lab runs; beside the lab's directory, which comes and goes."""
        return self.run_dir / f".{self.lab}.lock"

    def node(self, name: str) -> Path:
        """A node's files."""
        return self.root / "nodes" / name

    def pod(self, netns: str) -> Path:
        """A pod's files."""
        return self.root / "pods" / netns

    def cni_socket(self, node: str) -> Path:
        """Where the node's CNI executable finds its server."""
        return self.node(node) / "cni.sock"

    def check_socket_lengths(self, nodes: tuple[str, ...]) -> None:
        """Refuse a run directory in which a socket's path would not fit. Errors: UsageError."""
        for path in (self.control, *(self.cni_socket(node) for node in nodes)):
            if len(str(path).encode()) > SOCKET_PATH_BYTES:
                hint = "use a shorter run directory (LABNET_RUN_DIR) or shorter names"
                raise UsageError(f"the socket path {path} is longer than {SOCKET_PATH_BYTES} bytes", hint)
