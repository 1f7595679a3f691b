"""Plugins that live in the lab's process, by the `type` under which a configuration names them."""

from __future__ import annotations

from collections.abc import Mapping

from labnet.cni.skel import Plugin


class Registry:
    """Type → plugin, one registry per node: a plugin knows its node."""

    def __init__(self, plugins: Mapping[str, Plugin] | None = None) -> None:
        self._plugins: dict[str, Plugin] = dict(plugins or {})

    def register(self, type: str, plugin: Plugin) -> None:  # noqa: A002 - the configuration's own word
        """Add a plugin. Errors: ValueError when the type is taken."""
        if type in self._plugins:
            raise ValueError(f"CNI plugin type {type} is registered already")
        self._plugins[type] = plugin

    def find(self, type: str) -> Plugin | None:  # noqa: A002
        """The plugin of that type, or None."""
        return self._plugins.get(type)

    @property
    def types(self) -> tuple[str, ...]:
        """Every registered type, sorted."""
        return tuple(sorted(self._plugins))
