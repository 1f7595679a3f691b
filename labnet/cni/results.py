"""What a runtime remembers of each ADD until its DEL: on disk in the node's folder, or in memory for a plan."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from labnet.cni.jsontext import compact

KIND = "cniCacheV1"


class Results(Protocol):
    """Remembered results, by the attachment's file name ``network-container id-interface``."""

    def write(self, key: str, entry: Mapping[str, Any]) -> None:
        """Remember one ADD."""

    def read(self, key: str) -> dict[str, Any] | None:
        """What was remembered, or None."""

    def remove(self, key: str) -> None:
        """Forget; unknown is fine."""


class MemoryResults:
    """In memory."""

    def __init__(self) -> None:
        self._entries: dict[str, Mapping[str, Any]] = {}

    def write(self, key: str, entry: Mapping[str, Any]) -> None:
        """Remember one ADD."""
        self._entries[key] = entry

    def read(self, key: str) -> dict[str, Any] | None:
        """What was remembered, or None."""
        entry = self._entries.get(key)
        return dict(entry) if entry is not None else None

    def remove(self, key: str) -> None:
        """Forget."""
        self._entries.pop(key, None)


class FileResults:
    """One file each, in the node's stand-in for /var/lib/cni/results; the directory is made on first use."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, key: str, entry: Mapping[str, Any]) -> None:
        """Remember one ADD. Errors: OSError."""
        data = compact(entry)
        try:
            _write(f"{self._directory}/{key}", data)
        except FileNotFoundError:
            self._directory.mkdir(parents=True)
            _write(f"{self._directory}/{key}", data)

    def read(self, key: str) -> dict[str, Any] | None:
        """What was remembered; None also when the file is damaged, as if it had never been."""
        try:
            entry = json.loads(_read(f"{self._directory}/{key}"))
        except (FileNotFoundError, ValueError):
            return None
        return entry if isinstance(entry, dict) and entry.get("kind") == KIND else None

    def remove(self, key: str) -> None:
        """Forget."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._directory}/{key}")  # noqa: PTH108 - for every pod


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    """One file in three calls: a runtime does this for every pod."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def encoded(config: bytes) -> str:
    """A list's text as an entry carries it."""
    return base64.b64encode(config).decode()


def entry_of(
    *, container_id: str, config: str, ifname: str, network: str, netns: str, args: str, capabilities: Mapping[str, Any],
    result: Mapping[str, Any],
) -> dict[str, Any]:
    """One entry in the shape that CNI runtimes share; `config` is the list's text, `encoded`. Source: docs/sources.md#cni-contract."""
    entry: dict[str, Any] = {
        "kind": KIND, "containerId": container_id, "config": config, "ifName": ifname, "networkName": network,
        "netns": netns,
    }
    pairs = [pair.partition("=") for pair in args.split(";")] if args else []
    if pairs:
        entry["cniArgs"] = [[key, value] for key, _equals, value in pairs]
    if capabilities:
        entry["capabilityArgs"] = dict(capabilities)
    return {**entry, "result": result}
