"""Runs a network's plugins for a container, as a container runtime does: ADD in order, DEL backwards, CHECK.

Two carriers bring a call to a plugin with the same environment and stdin and bring back the same stdout and exit code:
`InProcess` for plugins of the lab's own process, `Exec` for a program in the node. Never run two operations for one
container at once, and follow a failed ADD by DEL.
Source: docs/sources.md#cni-contract
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

import msgspec

from labnet.cni import skel, spec
from labnet.cni.conflist import Conflist, plugin_stdin
from labnet.cni.jsontext import compact
from labnet.cni.registry import Registry
from labnet.cni.result import Result, parse_result
from labnet.cni.results import Results, encoded, entry_of
from labnet.cni.skel import Outcome
from labnet.cni.spec import NetnsGrant
from labnet.errors import CniError
from labnet.model.values import frozen
from labnet.ports import Clock

BIN_DIR = "/opt/cni/bin"
NETNS_FD = "LABNET_NETNS_FD"
"""Tells our executable which inherited descriptor is CNI_NETNS: in a node's own view the path leads nowhere."""

Spawn = Callable[[Sequence[str], Mapping[str, str], bytes, Sequence[int]], Awaitable[tuple[int, bytes, str]]]
"""Run a program in the node's namespace and mount view: (argv, environment, stdin, descriptors that the child inherits
under the same numbers) → (exit code, stdout, stderr). It adds PATH and whatever else a process of that node has."""


@frozen
class Attachment:
    """A container's interface in a network: `args` is CNI_ARGS, `capabilities` what the runtime offers plugins."""

    container_id: str
    netns_path: str
    ifname: str = "eth0"
    args: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    netns: NetnsGrant | None = None


class InProcess:
    """Calls plugins of a registry through the same frame as an executable."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def has(self, type: str) -> bool:  # noqa: A002 - the configuration's own word
        """Is there a plugin of that type?"""
        return self._registry.find(type) is not None

    async def call(self, type: str, environ: Mapping[str, str], stdin: bytes, netns: NetnsGrant | None) -> Outcome:  # noqa: A002
        """Serve one call. Errors: CniError when there is no such plugin."""
        plugin = self._registry.find(type)
        if plugin is None:
            raise _not_found(type, environ)
        return await skel.run(environ, stdin, plugin, netns=netns)


class Exec:
    """Starts ``CNI_PATH/<type>`` in the node; virtual time stands while it runs."""

    def __init__(self, spawn: Spawn, clock: Clock) -> None:
        self._spawn, self._clock = spawn, clock

    async def call(self, type: str, environ: Mapping[str, str], stdin: bytes, netns: NetnsGrant | None) -> Outcome:  # noqa: A002
        """Serve one call. Errors: CniError when the program cannot be started."""
        descriptor = _opened(environ.get("CNI_NETNS", "")) if netns is not None else None
        passed = () if descriptor is None else (descriptor,)
        extra = {} if descriptor is None else {NETNS_FD: str(descriptor)}
        try:
            with self._clock.busy():
                argv = (f"{environ['CNI_PATH'].partition(':')[0]}/{type}",)
                exit_code, stdout, stderr = await self._spawn(argv, {**environ, **extra}, stdin, passed)
        except FileNotFoundError as error:
            raise _not_found(type, environ) from error
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return Outcome(exit_code, stdout, stderr)


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # the plugin says what it thinks of a namespace that is not there


def _not_found(type: str, environ: Mapping[str, str]) -> CniError:  # noqa: A002
    paths = environ.get("CNI_PATH", "").replace(":", " ")
    return CniError(spec.INTERNAL, f'failed to find plugin "{type}" in path [{paths}]')


class Runtime:
    """One network of one node. In-process plugins are called in process unless `always_exec`."""

    def __init__(
        self, conflist: Conflist, results: Results, *, in_process: InProcess | None = None, exec_: Exec | None = None,
        always_exec: bool = False, path: str = BIN_DIR,
    ) -> None:
        self.conflist = conflist
        self._results, self._path = results, path
        self._in_process = None if always_exec else in_process
        self._exec = exec_
        self._plain: dict[int, bytes] = {}
        self._config = encoded(compact(conflist.document))

    def use(self, conflist: Conflist) -> None:
        """From now on this list: containers that are attached already are detached by it too."""
        if conflist == self.conflist:
            return
        self.conflist, self._plain, self._config = conflist, {}, encoded(compact(conflist.document))

    async def add(self, attachment: Attachment) -> Result:
        """Attach; the last plugin's result, which is remembered. Errors: CniError, worded as a runtime passes it on."""
        result: Mapping[str, Any] | None = None
        for plugin in self.conflist.plugins:
            outcome = await self._call("ADD", plugin, attachment, result)
            result = _decoded(outcome.stdout)
        assert result is not None, "a list names at least one plugin"
        parsed = parse_result(result)
        entry = entry_of(
            container_id=attachment.container_id, config=self._config, ifname=attachment.ifname, network=self.conflist.name,
            netns=attachment.netns_path, args=attachment.args, capabilities=attachment.capabilities, result=result,
        )
        self._results.write(self._key(attachment), entry)
        return parsed

    async def delete(self, attachment: Attachment) -> None:
        """Detach, last plugin first; what was never attached is fine. Errors: CniError, and the result stays remembered."""
        previous = self._remembered(attachment) if spec.at_least(self.conflist.cni_version, spec.FIRST_CHECK) else None
        for plugin in reversed(self.conflist.plugins):
            await self._call("DEL", plugin, attachment, previous)
        self._results.remove(self._key(attachment))

    async def check(self, attachment: Attachment) -> None:
        """Ask every plugin whether all is as ADD left it; a list with `disableCheck` is always content. Errors: CniError."""
        if not spec.at_least(self.conflist.cni_version, spec.FIRST_CHECK):
            raise CniError(spec.INCOMPATIBLE_VERSION, f"configuration version {self.conflist.cni_version} does not support CHECK")
        if self.conflist.disable_check:
            return
        previous = self._remembered(attachment)
        for plugin in self.conflist.plugins:
            await self._call("CHECK", plugin, attachment, previous)

    def remembered(self, attachment: Attachment) -> Result | None:
        """The result of the last ADD, or None."""
        document = self._remembered(attachment)
        return parse_result(document) if document is not None else None

    def _remembered(self, attachment: Attachment) -> Mapping[str, Any] | None:
        entry = self._results.read(self._key(attachment))
        return entry["result"] if entry is not None else None

    def _key(self, attachment: Attachment) -> str:
        return f"{self.conflist.name}-{attachment.container_id}-{attachment.ifname}"

    async def _call(self, verb: str, plugin: Mapping[str, Any], attachment: Attachment, previous: Mapping[str, Any] | None) -> Outcome:
        kind = str(plugin["type"])
        environ = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": attachment.container_id, "CNI_NETNS": attachment.netns_path,
            "CNI_IFNAME": attachment.ifname, "CNI_PATH": self._path, "CNI_ARGS": attachment.args,
        }
        stdin = self._stdin(plugin, previous, attachment.capabilities)
        try:
            outcome = await self._carried(kind, environ, stdin, attachment.netns)
            if outcome.exit_code:
                raise _failure(outcome)
        except CniError as error:
            said = f"{error.message}; {error.details}" if error.details else error.message
            described = f'plugin type="{kind}" name="{self.conflist.name}" failed ({verb.lower().replace("del", "delete")}): {said}'
            raise CniError(error.number, described) from error
        return outcome

    def _stdin(self, plugin: Mapping[str, Any], previous: Mapping[str, Any] | None, capabilities: Mapping[str, Any]) -> bytes:
        """What a plugin reads; the same for every container when it follows from the list alone."""
        if previous is not None or capabilities:
            return plugin_stdin(self.conflist, plugin, previous, capabilities)
        known = self._plain.get(id(plugin))
        if known is None:
            known = self._plain[id(plugin)] = plugin_stdin(self.conflist, plugin, None, {})
        return known

    async def _carried(self, kind: str, environ: Mapping[str, str], stdin: bytes, netns: NetnsGrant | None) -> Outcome:
        if self._in_process is not None and self._in_process.has(kind):
            return await self._in_process.call(kind, environ, stdin, netns)
        if self._exec is None:
            raise _not_found(kind, environ)
        return await self._exec.call(kind, environ, stdin, netns)


def _failure(outcome: Outcome) -> CniError:
    said = spec.parse_error(outcome.stdout)
    if said is not None:
        return said
    if outcome.stdout:
        return CniError(spec.INTERNAL, f"netplugin failed: {json.dumps(outcome.stdout.decode(errors='replace'))}")
    return CniError(spec.INTERNAL, f"netplugin failed with no error message: {json.dumps(outcome.stderr)}")


def _decoded(stdout: bytes) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(stdout)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CniError(spec.DECODE_FAILURE, f"a plugin's result is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CniError(spec.DECODE_FAILURE, "a plugin's result is not an object")
    return document
