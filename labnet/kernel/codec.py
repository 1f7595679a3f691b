"""pyroute2's message classes, loaded without the rest of pyroute2.

`import pyroute2` runs an `__init__` that loads every socket class it has (0.2 to 0.35 s, asyncio and multiprocessing among
them). The codecs need 0.03 s. So the package is entered without its `__init__`, which runs by itself as soon as
somebody asks the package for a name that it would have defined.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

from labnet.model.values import frozen


class _Package(ModuleType):
    """A package whose `__init__` runs at the first question for a name that is missing."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__dict__.get("__spec__")
        if name.startswith("__") or spec is None or self.__dict__.get("_loading", True):
            raise AttributeError(name)
        self.__dict__["_loading"] = True  # its own submodules are looked for while it runs
        spec.loader.exec_module(self)
        return getattr(self, name)


@frozen
class Codecs:
    """pyroute2's classes for the six kinds of rtnetlink messages."""

    ifinfmsg: Any
    ifaddrmsg: Any
    rtmsg: Any
    fibmsg: Any
    ndmsg: Any
    nsidmsg: Any


@cache
def load() -> Codecs:
    """The codecs, imported at the first call."""
    package: _Package | None = None
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise ModuleNotFoundError("pyroute2 is not installed", name="pyroute2")
        package = _Package("pyroute2")
        package.__dict__.update(__spec__=spec, __path__=list(spec.submodule_search_locations or ()), __file__=spec.origin, _loading=True)
        sys.modules["pyroute2"] = package
    rtnl = "pyroute2.netlink.rtnl."
    names = ("ifinfmsg", "ifaddrmsg", "rtmsg", "fibmsg", "ndmsg", "nsidmsg")
    try:
        found = Codecs(*(getattr(importlib.import_module(rtnl + name), name) for name in names))
    except BaseException:
        if package is not None:
            del sys.modules["pyroute2"]
        raise
    if package is not None:
        package.__dict__["_loading"] = False
    return found


def encode(codec: Any, kind: int, flags: int, fields: dict[str, Any], attrs: list[tuple[str, Any]]) -> bytes:
    """One message in full, sequence number 0. Errors: whatever pyroute2 raises for values that it cannot encode."""
    message = codec()
    for key, value in fields.items():
        message[key] = value
    message["attrs"] = attrs
    header = message["header"]
    header["type"], header["flags"], header["sequence_number"], header["pid"] = kind, flags, 0, 0
    message.encode()
    return bytes(message.data)
