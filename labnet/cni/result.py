"""What an ADD gives back, in the shape of every protocol version and back (pure).

`Result` is the newest shape; `document(version)` writes an older one, dropping what it has no place for::

    0.1.0 0.2.0           ip4, ip6 {ip, gateway, routes}, dns
    0.3.0 0.3.1 0.4.0     interfaces, ips [{version "4" or "6", …}], routes, dns
    1.0.0                 ips without version; no dns when it is empty, keys in the order of the alphabet (as the CNI library prints)
    1.1.0                 + mtu, socketPath, pciID of interfaces; mtu, advmss, priority, table, scope of routes

Source: docs/sources.md#cni-contract
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from typing import Any

from labnet.cni.jsontext import indented
from labnet.errors import CniError
from labnet.model import addressing
from labnet.model.values import frozen

DECODE_FAILURE = 6
INCOMPATIBLE_VERSION = 1
FLAT = frozenset({"0.1.0", "0.2.0"})
VERSIONED_IPS = frozenset({"0.3.0", "0.3.1", "0.4.0"})
KNOWN = FLAT | VERSIONED_IPS | {"1.0.0", "1.1.0"}



@frozen
class ResultInterface:
    """An interface that a plugin made; `sandbox` empty = on the host's side. `mac` is text: the VPC CNI puts numbers there."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu_bytes: int = 0
    socket_path: str = ""
    pci_id: str = ""


@frozen
class ResultIp:
    """An address with its mask; `interface` is an index into the result's interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None

    @property
    def version(self) -> str:
        """"4" or "6"."""
        return "6" if ":" in self.address else "4"


@frozen
class ResultRoute:
    """A route; `extra` holds what 1.1.0 added: mtu, advmss, priority, table, scope."""

    dst: str
    gw: str = ""
    extra: tuple[tuple[str, int], ...] = ()


@frozen
class ResultDns:
    """The DNS part, which every result carries, empty or not."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@frozen
class Result:
    """The result of ADD."""

    interfaces: tuple[ResultInterface, ...] = ()
    ips: tuple[ResultIp, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    dns: ResultDns = ResultDns()

    def document(self, version: str) -> dict[str, Any]:
        """In the shape of a version. Errors: CniError 1 for an unknown one, or for no address where the shape needs one."""
        if version not in KNOWN:
            raise CniError(INCOMPATIBLE_VERSION, f"unsupported CNI result version {json.dumps(version)}")
        out: dict[str, Any] = {"cniVersion": version}
        if version in FLAT:
            out |= self._flat()
        else:
            newest = version not in VERSIONED_IPS and version != "1.0.0"
            if self.interfaces:
                out["interfaces"] = [_interface(item, newest) for item in self.interfaces]
            if self.ips:
                out["ips"] = [_ip(item, version in VERSIONED_IPS) for item in self.ips]
            if self.routes:
                out["routes"] = [_route(item, newest) for item in self.routes]
        out["dns"] = _dns(self.dns)
        if version in FLAT | VERSIONED_IPS:
            return out
        return {key: _sorted(out[key]) for key in sorted(out) if out[key] or key != "dns"}

    def render(self, version: str) -> bytes:
        """As a plugin prints it: JSON, four spaces deep, no newline at the end. Errors: as `document`."""
        return indented(self.document(version))

    def _flat(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for family, key in (("4", "ip4"), ("6", "ip6")):
            first = next((item for item in self.ips if item.version == family), None)
            if first is None:
                continue
            routes = [_route(item, False) for item in self.routes if (":" in item.dst) == (family == "6")]
            out[key] = {"ip": first.address, **_unless_empty(gateway=first.gateway, routes=routes)}
        if not out:
            raise CniError(INCOMPATIBLE_VERSION, "cannot convert: no valid IP addresses")
        return out


def parse_result(document: Mapping[str, Any]) -> Result:
    """A result of any version, told by its own `cniVersion` (none = 0.1.0). Errors: CniError 6, 1 for an unknown version."""
    version = document.get("cniVersion") or "0.1.0"
    if version not in KNOWN:
        raise CniError(INCOMPATIBLE_VERSION, f"unsupported CNI result version {json.dumps(version)}")
    try:
        return _parse_flat(document) if version in FLAT else _parse_listed(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CniError(DECODE_FAILURE, f"could not parse result: {error!r}") from error


def _parse_flat(document: Mapping[str, Any]) -> Result:
    parts = [document[key] for key in ("ip4", "ip6") if document.get(key)]
    return Result(
        ips=tuple(ResultIp(_with_mask(part["ip"]), _text(part, "gateway")) for part in parts),
        routes=tuple(_parse_route(item) for part in parts for item in _list(part, "routes")),
        dns=_parse_dns(document),
    )


def _parse_listed(document: Mapping[str, Any]) -> Result:
    interfaces = tuple(
        ResultInterface(
            str(item["name"]), _text(item, "mac"), _text(item, "sandbox"), int(item.get("mtu") or 0), _text(item, "socketPath"),
            _text(item, "pciID"),
        )
        for item in _list(document, "interfaces")
    )
    ips = tuple(ResultIp(_with_mask(item["address"]), _text(item, "gateway"), _index(item, len(interfaces))) for item in _list(document, "ips"))
    return Result(interfaces, ips, tuple(_parse_route(item) for item in _list(document, "routes")), _parse_dns(document))


def _parse_route(item: Mapping[str, Any]) -> ResultRoute:
    extra = tuple((key, int(item[key])) for key in _ROUTE_EXTRA if item.get(key) is not None)
    return ResultRoute(_with_mask(item["dst"]), _text(item, "gw"), extra)


def _parse_dns(document: Mapping[str, Any]) -> ResultDns:
    part = document.get("dns")
    if not part:
        return _NO_DNS
    lists = {key: tuple(str(word) for word in _list(part, key)) for key in ("nameservers", "search", "options")}
    return ResultDns(domain=_text(part, "domain"), **lists)


def _with_mask(text: Any) -> str:
    if not isinstance(text, str) or "/" not in text:
        raise ValueError(f"{text!r} is no address with a mask")
    if ":" in text:
        return ip_interface(text).with_prefixlen
    addressing.bounds(text)
    return text


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{key} is not a string")
    return value or ""


def _list(item: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = item.get(key)
    if value is not None and not isinstance(value, list):
        raise TypeError(f"{key} is not a list")
    return value or ()


def _index(item: Mapping[str, Any], count: int) -> int | None:
    value = item.get("interface")
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value < count:
        raise ValueError(f"interface {value!r} is none of the {count}")
    return value


_NO_DNS = ResultDns()
_ROUTE_EXTRA = ("mtu", "advmss", "priority", "table", "scope")


def _unless_empty(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def _sorted(value: Any) -> Any:
    """The same with the keys of every object in order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _interface(item: ResultInterface, newest: bool) -> dict[str, Any]:
    if newest:
        said = {"mac": item.mac, "mtu": item.mtu_bytes, "sandbox": item.sandbox, "socketPath": item.socket_path, "pciID": item.pci_id}
    else:
        said = {"mac": item.mac, "sandbox": item.sandbox}
    return {"name": item.name, **{key: value for key, value in said.items() if value}}


def _ip(item: ResultIp, versioned: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"version": item.version} if versioned else {}
    if item.interface is not None:
        out["interface"] = item.interface
    return {**out, "address": item.address, **_unless_empty(gateway=item.gateway)}


def _route(item: ResultRoute, newest: bool) -> dict[str, Any]:
    return {"dst": item.dst, **_unless_empty(gw=item.gw), **(dict(item.extra) if newest else {})}


def _dns(item: ResultDns) -> dict[str, Any]:
    if item == _NO_DNS:
        return {}
    return _unless_empty(
        nameservers=list(item.nameservers), domain=item.domain, search=list(item.search), options=list(item.options)
    )


