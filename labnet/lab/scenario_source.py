"""The text of a scenario, wherever it comes from; nothing here understands it, so nothing heavy is loaded."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TextIO

from labnet.errors import ScenarioError

MAX_BYTES = 8 << 20
_SUFFIXES = (".yaml", ".yml", ".json")


def read_text(source: str, stdin: TextIO | None = None) -> tuple[str, str]:
    """The text of a source and the name it has in messages. Errors: ScenarioError when there is nothing to read."""
    if source == "-":
        return (stdin or sys.stdin).read(), "<stdin>"
    path = Path(source)
    if "/" not in source and path.suffix not in _SUFFIXES:
        found = built_in_path(source)
        if found is not None:
            return found.read_text(encoding="utf-8"), str(found)
        if not path.is_file():
            from labnet.lab.scenario_problems import nearest  # late: only a wrong name needs it

            known = built_in_names()
            raise ScenarioError(f"there is no scenario {source!r}", nearest(source, known, f"built in: {', '.join(known)}; or give a file"))
    return _read_file(path), source


def _read_file(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ScenarioError(f"is larger than {MAX_BYTES >> 20} MiB", "is it a scenario?", file=str(path))
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScenarioError("there is no such file", "'labnet scenarios' lists the built-in ones", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"is not UTF-8 text (byte {error.start})", "save it as UTF-8", file=str(path)) from error
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}", "give a file that you may read", file=str(path)) from error


def built_in_names() -> list[str]:
    """The names of the scenarios that come with labnet."""
    folder = _folder()
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder else []


def built_in_path(name: str) -> Path | None:
    """Where a built-in scenario lies; None for a name that is none."""
    return _folder() / f"{name}.yaml" if name in built_in_names() else None


def _folder() -> Path:
    spec = importlib.util.find_spec("labnet.scenarios")
    assert spec is not None and spec.submodule_search_locations, "labnet.scenarios travels with the package"
    return Path(spec.submodule_search_locations[0])
