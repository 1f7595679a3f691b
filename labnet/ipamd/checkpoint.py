"""The file in which the daemon remembers who has which address, in the VPC CNI's own format.

::

    {"version": "vpc-cni-ipam/1", "allocations": [{"networkName": …, "containerID": …, "ifName": …, "ipv4": …,
     "allocationTimestamp": <nanoseconds>, "metadata": {"k8sPodNamespace": …, "k8sPodName": …, "interfacesCount": 1}}]}

It is written anew at every change (once for what several calls change at the same time), to a file beside it that is then
renamed, so that a reader sees the old or the new one and never half of it. It is not synced to the disk as the VPC CNI's is: it
has to outlive this process, not the machine, and after a crash of the machine the pods' namespaces are gone too.
Source: docs/sources.md#ipamd-checkpoint
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from labnet.errors import BadCheckpoint, IpamError
from labnet.ipamd.datastore import Assignment, AttachmentKey

VERSION = "vpc-cni-ipam/1"
NS_PER_S = 1_000_000_000
MODE = 0o600
WAY_OUT = "remove the file, or end the lab with 'labnet down'"


class Checkpoint:
    """One node's file; with `path` None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._beside = f"{path}.tmp"

    def write(self, assignments: Iterable[Assignment]) -> None:
        """Replace the file. Errors: IpamError when it cannot be written; then the old one stands."""
        if self._path is None:
            return
        data = msgspec.json.encode(to_document(assignments))
        try:
            try:
                _write(self._beside, data)
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                _write(self._beside, data)
            os.replace(self._beside, self._path)  # noqa: PTH105 - for every pod: two calls less than Path's
        except OSError as error:
            raise IpamError(f"the checkpoint {self._path} cannot be written: {error.strerror or error}") from error

    def read(self) -> tuple[Assignment, ...]:
        """What the file says, nothing when there is none. Errors: BadCheckpoint."""
        if self._path is None:
            return ()
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise BadCheckpoint(f"the checkpoint {self._path} cannot be read: {error}") from error
        try:
            return from_document(json.loads(text))
        except ValueError as error:
            raise BadCheckpoint(f"the checkpoint {self._path} is no JSON: {error}", WAY_OUT) from error


def _write(path: str, data: bytes) -> None:
    """A new file with only its owner's rights; one of a process that ended in between, whose mode may be another, goes first."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, MODE)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108
        descriptor = os.open(path, flags, MODE)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def to_document(assignments: Iterable[Assignment]) -> dict[str, Any]:
    """Assignments in the file's form."""
    return {"version": VERSION, "allocations": [_entry(one) for one in assignments]}


def _entry(one: Assignment) -> dict[str, Any]:
    return {
        "networkName": one.key.network, "containerID": one.key.container_id, "ifName": one.key.if_name, "ipv4": one.address,
        "allocationTimestamp": int(one.assigned_at_s * NS_PER_S),
        "metadata": {"k8sPodNamespace": one.pod_namespace, "k8sPodName": one.pod_name, "interfacesCount": 1},
    }


def from_document(document: Any) -> tuple[Assignment, ...]:
    """The file's form as assignments, without their ENIs. Errors: BadCheckpoint: another version, a wrong shape."""
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise BadCheckpoint(f"the checkpoint has version {version!r}, not {VERSION!r}", WAY_OUT)
    try:
        return tuple(_assignment(entry) for entry in document["allocations"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCheckpoint(f"the checkpoint has an entry of a wrong shape: {error!r}", WAY_OUT) from error


def _assignment(entry: dict[str, Any]) -> Assignment:
    metadata = entry.get("metadata") or {}
    return Assignment(
        AttachmentKey(str(entry["networkName"]), str(entry["containerID"]), str(entry["ifName"])), str(entry["ipv4"]), "",
        str(metadata.get("k8sPodNamespace", "")), str(metadata.get("k8sPodName", "")), int(entry.get("allocationTimestamp", 0)) / NS_PER_S,
    )
