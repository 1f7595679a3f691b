"""The frame of every plugin: environment and stdin → one verb → stdout and exit code.

Streams are values, so the same frame serves an executable, a server and a call inside the lab's process. Who requires what:

================  ======  ======  =====  ==========  =========================================
variable          ADD     CHECK   DEL    GC, STATUS  when it is there and required
================  ======  ======  =====  ==========  =========================================
CNI_CONTAINERID   needed  needed  needed             letters, digits, ``_ . -`` (error 4)
CNI_NETNS         needed  needed
CNI_IFNAME        needed  needed  needed             a name that a link can have (error 4)
CNI_PATH          needed  needed  needed  needed
CNI_ARGS          never needed; the plugin reads them
================  ======  ======  =====  ==========  =========================================

The guard against a call for the plugin's own namespace stands before the verb acts (CNI_NETNS_OVERRIDE lifts it).
Source: docs/sources.md#cni-contract
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from labnet.cni import spec
from labnet.cni.result import Result
from labnet.cni.spec import Call, NetnsGrant, Verb
from labnet.errors import CniError, LabnetError
from labnet.model.values import frozen


@frozen
class Outcome:
    """How a plugin ended: what a process would leave behind."""

    exit_code: int
    stdout: bytes = b""
    stderr: str = ""


class Plugin(Protocol):
    """What a plugin brings. A verb that it does not care for returns at once. Failures: CniError, else number 999."""

    about: str
    """One line, told when somebody starts it by hand."""

    async def add(self, call: Call) -> Result:
        """Attach; the result is rendered in the configuration's version."""

    async def delete(self, call: Call) -> None:
        """Detach; what is gone already is fine."""

    async def check(self, call: Call) -> None:
        """Is the attachment as ADD left it?"""

    async def gc(self, call: Call) -> None:
        """Drop every attachment that the configuration does not list as valid."""

    async def status(self, call: Call) -> None:
        """Could an ADD be served now? Errors: CniError 50."""


_CHECKS: tuple[tuple[str, frozenset[str], Callable[[str], None] | None], ...] = (
    ("CNI_CONTAINERID", frozenset({"ADD", "CHECK", "DEL"}), spec.check_container_id),
    ("CNI_NETNS", frozenset({"ADD", "CHECK"}), None),
    ("CNI_IFNAME", frozenset({"ADD", "CHECK", "DEL"}), spec.check_ifname),
    ("CNI_PATH", frozenset({"ADD", "CHECK", "DEL", "GC", "STATUS"}), None),
)
_FLOORS = {"CHECK": spec.FIRST_CHECK, "GC": spec.FIRST_GC, "STATUS": spec.FIRST_GC}


async def run(environ: Mapping[str, str], stdin: bytes, plugin: Plugin, *, netns: NetnsGrant | None) -> Outcome:
    """Serve one call. `netns` is the opened CNI_NETNS, None where there is none. Never raises: errors are in the outcome."""
    if not environ.get("CNI_COMMAND"):
        return Outcome(0, stderr=about_text(plugin.about))
    version = ""
    try:
        _check_environment(environ)
        if environ["CNI_COMMAND"] == "VERSION":
            return Outcome(0, spec.render_versions())
        config = spec.parse_config(stdin)
        version = config.cni_version
        call = _checked_call(environ, config, netns)
        _guard_own_netns(call)
        return Outcome(0, await _answer(call, plugin))
    except CniError as error:
        return _failed(error, version)
    except LabnetError as error:
        return _failed(CniError(spec.INTERNAL, error.message), version)
    except Exception as error:  # noqa: BLE001 - a runtime gets an error of the contract, never a traceback
        return _failed(CniError(spec.INTERNAL, f"{type(error).__name__}: {error}"), version)


def about_text(about: str) -> str:
    """What a person sees who starts a plugin by hand."""
    return f"{about}\nCNI protocol versions supported: {', '.join(spec.VERSIONS)}\n"


def _failed(error: CniError, version: str) -> Outcome:
    return Outcome(1, spec.render_error(error, version))


def _check_environment(environ: Mapping[str, str]) -> None:
    verb = environ["CNI_COMMAND"]
    missing: list[str] = []
    for name, needed_by, check in _CHECKS:
        value = environ.get(name, "")
        if verb not in needed_by:
            continue
        if not value:
            missing.append(name)
        elif check is not None:
            check(value)
    if missing:
        raise CniError(spec.BAD_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")


def _checked_call(environ: Mapping[str, str], config: spec.NetConf, netns: NetnsGrant | None) -> Call:
    verb = environ["CNI_COMMAND"]
    if verb not in ("ADD", "DEL", *_FLOORS):
        raise CniError(spec.BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {verb}")
    floor = _FLOORS.get(verb)
    if floor is not None and not spec.at_least(config.cni_version, floor):
        raise CniError(spec.INCOMPATIBLE_VERSION, f"config version does not allow {verb}")
    if floor is not None and not spec.at_least(spec.NEWEST, config.cni_version):
        raise CniError(spec.INCOMPATIBLE_VERSION, f"plugin version does not allow {verb}")
    if config.cni_version not in spec.VERSIONS:
        supported = " ".join(f'"{version}"' for version in spec.VERSIONS)
        details = f'config is "{config.cni_version}", plugin supports [{supported}]'
        raise CniError(spec.INCOMPATIBLE_VERSION, "incompatible CNI versions", details)
    return Call(
        verb=cast(Verb, verb), container_id=environ.get("CNI_CONTAINERID", ""), netns_path=environ.get("CNI_NETNS", ""),
        ifname=environ.get("CNI_IFNAME", ""), path=environ.get("CNI_PATH", ""), args=environ.get("CNI_ARGS", ""),
        config=spec.with_prev_result(config), netns=netns, environ=environ,
    )


def _guard_own_netns(call: Call) -> None:
    lifted = call.environ.get("CNI_NETNS_OVERRIDE", "")
    if call.verb in ("ADD", "DEL") and call.netns is not None and call.netns.own and lifted.upper() != "TRUE" and lifted != "1":
        raise CniError(spec.BAD_NETNS, "plugin's netns and netns from CNI_NETNS should not be the same")


async def _answer(call: Call, plugin: Plugin) -> bytes:
    if call.verb == "ADD":
        result = await plugin.add(call)
        return result.render(call.config.cni_version)
    verbs = {"DEL": plugin.delete, "CHECK": plugin.check, "GC": plugin.gc, "STATUS": plugin.status}
    await verbs[call.verb](call)
    return b""
