"""The text of the CNI contract as values: versions, error numbers, identifiers, configuration, CNI_ARGS (pure).

Covers protocol versions 0.1.0 to 1.1.0. A configuration without `cniVersion` speaks 0.1.0. What a call hands to a plugin
is a `Call`; results live in `cni.result`. Every error here is a CniError with the number and the words that a runtime
expects from a plugin made with the CNI project's own library.
Source: docs/sources.md#cni-contract
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, Literal

import msgspec

from labnet.cni.jsontext import indented
from labnet.cni.result import Result, parse_result
from labnet.errors import CniError
from labnet.model.values import frozen

Verb = Literal["ADD", "DEL", "CHECK", "GC", "STATUS"]

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
FIRST_CHECK = "0.4.0"  # CHECK, disableCheck, and the cached result handed to DEL
FIRST_GC = "1.1.0"  # GC and STATUS

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
BAD_ENVIRONMENT = 4
IO_FAILURE = 5
DECODE_FAILURE = 6
BAD_CONFIG = 7
BAD_NETNS = 8
TRY_AGAIN = 11
NOT_AVAILABLE = 50
INTERNAL = 999

IFNAME_CHARS = 15
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_TRUE, _FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


@frozen
class NetConf:
    """The configuration that a plugin reads from stdin: `document` is all of it, the rest is what the contract names."""

    document: Mapping[str, Any]
    cni_version: str
    name: str
    type: str = ""
    prev_result: Result | None = None


@frozen
class NetnsGrant:
    """The namespace behind CNI_NETNS, as the kernel door names it; `own` says that it is the plugin's own, which no runtime may ask."""

    netns: str
    own: bool = False


@frozen
class Call:
    """One call of a plugin, checked: the variables of the environment, the configuration, and the opened namespace."""

    verb: Verb
    container_id: str
    netns_path: str
    ifname: str
    path: str
    args: str
    config: NetConf
    netns: NetnsGrant | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def attachment(self) -> str:
        """The key of an allocation: ``network/container id/interface``."""
        return f"{self.config.name}/{self.container_id}/{self.ifname}"


@lru_cache(64)
def version_key(text: str) -> tuple[int, ...]:
    """A version as numbers that compare. Errors: CniError 6 when it is none."""
    if _VERSION.fullmatch(text) is None:
        raise CniError(DECODE_FAILURE, f"invalid version {json.dumps(text)}")
    numbers = tuple(int(part) for part in text.split("."))
    return numbers + (0,) * (3 - len(numbers))


def at_least(version: str, floor: str) -> bool:
    """Is `version` not older than `floor`? Errors: CniError 6."""
    return version_key(version) >= version_key(floor)


def check_container_id(text: str) -> None:
    """Errors: CniError 4 unless letters, digits, ``_``, ``.`` and ``-``, the first a letter or digit."""
    if _NAME.fullmatch(text) is None:
        raise CniError(BAD_ENVIRONMENT, "invalid characters in containerID", text)


def check_ifname(text: str) -> None:
    """Errors: CniError 4 unless the kernel would take it as the name of a link."""
    if len(text.encode()) > IFNAME_CHARS:
        raise CniError(BAD_ENVIRONMENT, "interface name is too long", f"interface name should be less than {IFNAME_CHARS + 1} characters")
    if text in (".", ".."):
        raise CniError(BAD_ENVIRONMENT, "interface name is . or ..")
    if any(char in "/:" or char.isspace() for char in text):
        raise CniError(BAD_ENVIRONMENT, "interface name contains / or : or whitespace characters")


def check_network_name(text: str) -> None:
    """Errors: CniError 7 unless it is a network's name (same characters as a container id)."""
    if not text:
        raise CniError(BAD_CONFIG, "missing network name")
    if _NAME.fullmatch(text) is None:
        raise CniError(BAD_CONFIG, "invalid characters found in network name", text)


@lru_cache(maxsize=64)
def parse_config(stdin: bytes) -> NetConf:
    """The configuration on stdin, without judging its version; never change its document: a node's is read once.

    Errors: CniError 6 (not JSON, wrong types), 7 (name).
    """
    document = _decoded(stdin)
    name, version, kind = (_text(document, key) for key in ("name", "cniVersion", "type"))
    check_network_name(name)
    return NetConf(document, version or VERSIONS[0], name, kind)


def with_prev_result(config: NetConf) -> NetConf:
    """The same with `prevResult` read. Errors: CniError 6; 1 for one of a version that nobody knows."""
    raw = config.document.get("prevResult")
    if raw is None:
        return config
    if not isinstance(raw, Mapping):
        raise CniError(DECODE_FAILURE, "could not parse prevResult: not an object")
    return NetConf(config.document, config.cni_version, config.name, config.type, parse_result(raw))


def _decoded(stdin: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise CniError(DECODE_FAILURE, f"error unmarshall network config: {error}") from error
    if not isinstance(document, dict):
        raise CniError(DECODE_FAILURE, "error unmarshall network config: not an object")
    return document


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise CniError(DECODE_FAILURE, f"error unmarshall network config: {key} is not a string")
    return value


def parse_args(text: str, known: Collection[str]) -> dict[str, str]:
    """CNI_ARGS (``K=V;K=V``) → the known keys that are there. IgnoreUnknown, wherever it stands, excuses the others.

    Errors: CniError 4 for a pair without ``=`` and for an unknown key that nothing excuses.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    ignore = False
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise CniError(BAD_ENVIRONMENT, f"ARGS: invalid pair {json.dumps(pair)}")
        if key == "IgnoreUnknown":
            ignore = _truth(value)
        elif key in known:
            found[key] = value
        else:
            unknown.append(pair)
    if unknown and not ignore:
        raise CniError(BAD_ENVIRONMENT, f"ARGS: unknown args [{' '.join(json.dumps(pair) for pair in unknown)}]")
    return found


def _truth(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise CniError(BAD_ENVIRONMENT, f"boolean unmarshal error: invalid input {text}")
    return lowered in _TRUE


def render_error(error: CniError, cni_version: str = "") -> bytes:
    """The JSON that a failing plugin prints; with the configuration's version where it is known, as the contract asks."""
    document: dict[str, Any] = {"cniVersion": cni_version} if cni_version else {}
    document |= {"code": error.number, "msg": error.message}
    if error.details:
        document["details"] = error.details
    return indented(document)


def parse_error(stdout: bytes) -> CniError | None:
    """What a failing plugin printed, or None when it is no error of this contract."""
    try:
        document = msgspec.json.decode(stdout)
        return CniError(int(document["code"]), str(document["msg"]), str(document.get("details", "")))
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def render_versions(supported: Collection[str] = VERSIONS, newest: str = NEWEST) -> bytes:
    """The answer to VERSION: one line."""
    return json.dumps({"cniVersion": newest, "supportedVersions": list(supported)}, separators=(",", ":")).encode() + b"\n"
