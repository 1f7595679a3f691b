"""A network's configuration list, and what each of its plugins reads on stdin (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labnet.cni import spec
from labnet.cni.jsontext import compact
from labnet.errors import CniError
from labnet.model.values import frozen


@frozen
class Conflist:
    """The plugins of one network in the order of ADD; `document` is the whole list as it stands in /etc/cni/net.d."""

    name: str
    cni_version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool
    document: Mapping[str, Any]

    def render(self) -> str:
        """As the file reads."""
        return json.dumps(self.document, indent=2) + "\n"


def parse_conflist(document: Mapping[str, Any]) -> Conflist:
    """A decoded list, checked. Errors: CniError 7 (no name, no plugin, a plugin without type), 1 (unknown version)."""
    name, version = document.get("name", ""), document.get("cniVersion", spec.VERSIONS[0])
    if not isinstance(name, str):
        raise CniError(spec.BAD_CONFIG, "the network's name is not a string")
    spec.check_network_name(name)
    if version not in spec.VERSIONS:
        raise CniError(spec.INCOMPATIBLE_VERSION, f"configuration list {name} has cniVersion {version!r}")
    plugins = document.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise CniError(spec.BAD_CONFIG, f"configuration list {name} names no plugins")
    for plugin in plugins:
        if not isinstance(plugin, Mapping) or not isinstance(plugin.get("type"), str) or not plugin["type"] or "/" in plugin["type"]:
            raise CniError(spec.BAD_CONFIG, f"configuration list {name} has a plugin without a type")
    return Conflist(name, version, tuple(plugins), document.get("disableCheck") in (True, "true"), document)


def plugin_stdin(
    conflist: Conflist, plugin: Mapping[str, Any], prev_result: Mapping[str, Any] | None, capabilities: Mapping[str, Any]
) -> bytes:
    """What one plugin reads: its own entry, the list's name and version, `prevResult`, and of the runtime's offers those it can use."""
    document = {**plugin, "name": conflist.name, "cniVersion": conflist.cni_version}
    able = plugin.get("capabilities")
    if isinstance(able, Mapping):
        offers = {key: capabilities[key] for key, wanted in able.items() if wanted is True and key in capabilities}
        if offers:
            document["runtimeConfig"] = offers
    if prev_result is not None:
        document["prevResult"] = prev_result
    return compact(document)
