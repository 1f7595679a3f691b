"""`labnet exec`: become a program on a node or in a pod, with the node's own files and host name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from labnet.errors import EXIT_NOT_FOUND, KernelError, LabnetError, NotFoundError, UsageError
from labnet.kernel import mounts
from labnet.lab import client, registry, views
from labnet.lab.lifecycle import NETNS_DIR
from labnet.lab.paths import LabPaths
from labnet.model import names


def exec_in_target(run_dir: Path, lab: str, target: str, argv: Sequence[str]) -> int:
    """Replace this process by a program in a target. Errors: NotFoundError, UsageError, KernelError when it cannot be started."""
    if not argv:
        raise UsageError("exec needs a command", f"labnet exec {target} -- ip addr")
    paths = LabPaths(run_dir, lab)
    netns, view = _place(paths, target)
    environ = {**os.environ, "LABNET_LAB": lab, "PATH": views.PATH + ":" + os.environ.get("PATH", "")}
    try:
        handle = os.open(NETNS_DIR / netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"{target} has no namespace now", "'labnet status' says why") from error
    try:
        mounts.exec_in(handle, view, argv, environ)
    except KernelError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise LabnetError(f"{argv[0]}: no such program", "it must be installed on this machine", 127) from error
        raise


def _place(paths: LabPaths, target: str) -> tuple[str, mounts.View]:
    """Namespace and view of a target: asked of the lab, or by plain name where its process has ended."""
    try:
        found = client.call(paths.run_dir, paths.lab, "target", {"target": target})
    except NotFoundError:
        return _by_name(paths, target)
    if not found["netns"]:
        raise UsageError(f"nothing of this lab has the address {target}", "exec takes a pod, a node, the internet or a network outside")
    if found["node"]:
        return found["netns"], views.node_view(paths, found["node"], found["hosts"])
    others = {"internet": views.INTERNET_RESOLVER, "onprem": ""}
    resolver = others[found["kind"]] if found["kind"] in others else views.resolver(paths, str(found["onNode"]))
    return found["netns"], views.pod_view(paths, found["netns"], str(found["name"]).rpartition("/")[2], resolver=resolver)


def _by_name(paths: LabPaths, target: str) -> tuple[str, mounts.View]:
    record = registry.read(paths)
    netns = names.node_netns(paths.lab, target)
    if record is None or registry.alive(record) or netns not in record.names:
        raise NotFoundError(f"no pod or node is named {target}", f"'labnet --lab {paths.lab} status' lists them", EXIT_NOT_FOUND)
    if (paths.node(target)).is_dir():
        return netns, views.node_view(paths, target)
    return netns, views.pod_view(paths, netns, target)
