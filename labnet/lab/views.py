"""The views of a lab's nodes and pods: which of its files stand where on a node, and programs started in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from labnet.errors import KernelError
from labnet.kernel import mounts
from labnet.kernel.mounts import View
from labnet.lab.paths import LabPaths

NODE_FOLDERS = ("/var/run/aws-node", "/etc/cni/net.d", "/opt/cni/bin", "/var/log", "/var/lib/cni")
FILES = ("/etc/hosts", "/etc/resolv.conf")
LOCK = "/run/xtables.lock"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RESOLVER = "nameserver 169.254.169.253\n"
"""Where nobody has said otherwise: what every VPC has."""
INTERNET_RESOLVER = "nameserver 8.8.8.8\n"


def node_view(paths: LabPaths, node: str, hosts: Mapping[str, str] | None = None) -> View:
    """A node's view; its files are made on first use. `hosts` are names and addresses for /etc/hosts."""
    root = paths.node(node)
    for folder in NODE_FOLDERS:
        (root / folder[1:]).mkdir(parents=True, exist_ok=True)
    return _view(root, node, hosts, (*NODE_FOLDERS, *FILES, LOCK))


def pod_view(paths: LabPaths, netns: str, hostname: str, hosts: Mapping[str, str] | None = None, resolver: str = RESOLVER) -> View:
    """A pod's view: its own hosts, resolver and host name. `resolver` counts on first use."""
    return _view(paths.pod(netns), hostname, hosts, FILES, resolver)


def set_resolver(paths: LabPaths, node: str, text: str) -> None:
    """Write a node's resolv.conf: the machine has just asked for its DHCP options."""
    path = paths.node(node) / "etc/resolv.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def resolver(paths: LabPaths, node: str) -> str:
    """A node's resolv.conf, which pods that start there copy (dnsPolicy Default)."""
    try:
        return (paths.node(node) / "etc/resolv.conf").read_text()
    except FileNotFoundError:
        return RESOLVER


def forget_pod_resolver(paths: LabPaths, netns: str) -> None:
    """The pod is gone; the next one of its name starts with its own node's."""
    (paths.pod(netns) / "etc/resolv.conf").unlink(missing_ok=True)


def _view(root: Path, hostname: str, hosts: Mapping[str, str] | None, targets: Sequence[str], resolver: str = RESOLVER) -> View:
    scratch = root / "view"
    for folder in (root / "etc", root / "run", scratch):
        folder.mkdir(parents=True, exist_ok=True)
    _write_once(root / "etc/resolv.conf", resolver)
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in (hosts or {}).items())]
    if hosts is not None or not (root / "etc/hosts").exists():
        (root / "etc/hosts").write_text("\n".join(lines) + "\n")
    _write_once(root / LOCK[1:], "")
    binds = [(target, str(root / target[1:])) for target in targets]
    # its own folder last, on itself: through an overlay of a folder above nobody could connect to a socket in it
    return View(hostname, (*binds, (str(root), str(root))), str(scratch))


def _write_once(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text)


def run(
    netns_path: str, view: View, argv: Sequence[str], environ: Mapping[str, str], stdin: bytes, descriptors: Sequence[int],
    timeout_s: float = 120.0,
) -> tuple[int, bytes, str]:
    """Run a program in a namespace and view and wait. Errors: FileNotFoundError when there is no such program."""
    child = _popen(netns_path, view, argv, environ, subprocess.PIPE, subprocess.PIPE, subprocess.PIPE, descriptors)
    with child:
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return 124, b"", f"not finished after {timeout_s:g} s"
    return child.returncode, out, err.decode(errors="replace")


def start(netns_path: str, view: View, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program in a namespace and view; what it prints goes to `log`. Errors: KernelError."""
    with log.open("ab") as output:
        try:
            return _popen(netns_path, view, argv, environ, subprocess.DEVNULL, output.fileno(), output.fileno(), ())
        except FileNotFoundError as error:
            raise KernelError("start", view.hostname, argv[0], error.errno or 0) from error


def _popen(
    netns_path: str, view: View, argv: Sequence[str], environ: Mapping[str, str], stdin: int, stdout: int, stderr: int,
    descriptors: Sequence[int],
) -> subprocess.Popen[bytes]:
    """The child moves itself before it becomes the program; it touches nothing but system calls on the way."""
    handle = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            list(argv), stdin=stdin, stdout=stdout, stderr=stderr, env={"PATH": PATH, **environ}, pass_fds=tuple(descriptors),
            preexec_fn=lambda: mounts.enter(handle, view), start_new_session=True, cwd="/",
        )
    except subprocess.SubprocessError as error:
        raise KernelError("start", view.hostname, argv[0], 0, f"its view could not be made: {error}") from error
    finally:
        os.close(handle)
