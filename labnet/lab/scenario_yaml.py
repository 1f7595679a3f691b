"""YAML text → plain values, with the line of each and the text of each scalar as it was written (pure, but for PyYAML).

Stricter than YAML: a key stands once in a mapping, keys are texts, no tags, and aliases may not blow the file up.
Values that YAML 1.1 would turn into dates stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from labnet.lab.scenario_problems import Path, Place, Problem, ScenarioProblems

MAX_VALUES = 200_000
"""5,000 pods with ten keys each take 100,000; a bomb of aliases takes billions."""
MAX_DEPTH = 30
_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Tree:
    """A file as plain values: `places` says where each value stands, `texts` how each scalar was written."""

    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)


def read(text: str, file: str) -> Tree:
    """A whole file. Errors: ScenarioProblems with the line: no YAML, several documents, a key twice, too many aliases."""
    tree = Tree()
    tree.value = graft(tree, (), text, lambda line: Place(file, line))
    return tree


def graft(tree: Tree, path: Path, text: str, place: Callable[[int], Place]) -> Any:
    """Read YAML text as the value at a path, noting places and texts in the tree; `place` makes a place of a line."""
    node = _compose(text, place)
    return None if node is None else _Walk(tree, place).value(node, path, 0)


def _compose(text: str, place: Callable[[int], Place]) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise _syntax(error, place) from error
    try:
        node: yaml.Node | None = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _syntax(error, place) from error
    finally:
        loader.dispose()
    return node


def _syntax(error: yaml.YAMLError, place: Callable[[int], Place]) -> ScenarioProblems:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    if "expected a single document" in str(error):
        return ScenarioProblems([Problem(place(mark.line + 1 if mark else 0), "", "a second document begins", "one scenario a file")])
    column = f", column {mark.column + 1}" if mark else ""
    hint = "look at the indentation, colons and quotes around this line; tabs are not allowed"
    return ScenarioProblems([Problem(place(mark.line + 1 if mark else 0), "", f"not YAML: {said}{column}", hint)])


class _Walk:
    """One walk over composed nodes; counts values so that aliases cannot multiply without end."""

    def __init__(self, tree: Tree, place: Callable[[int], Place]) -> None:
        self._tree, self._place = tree, place
        self._count = 0

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        """The plain value of a node."""
        self._count += 1
        line = node.start_mark.line + 1
        self._tree.places.setdefault(path, self._place(line))
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            self._stop(line, "the file unfolds to too much", "write out what its aliases (*name) stand for")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, n), depth + 1) for n, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                self._stop(line, "merge keys (<<) are not taken", "write the keys out")
            if not isinstance(key_node, yaml.ScalarNode):
                self._stop(line, "a key must be a word", "quote it if it holds special characters")
            key = str(key_node.value)
            if key in out:
                self._stop(line, f"key {key!r} stands here twice, first in line {lines[key]}", "remove one of them")
            lines[key] = line
            self._tree.places[(*path, key)] = self._place(line)
            out[key] = self.value(value_node, (*path, key), depth + 1)
        return out

    def _scalar(self, node: yaml.Node, path: Path, line: int) -> Any:
        text = str(node.value)
        self._tree.texts[path] = text
        kind = str(node.tag).removeprefix(_PREFIX)
        if kind in _SCALARS:
            try:
                return _SCALARS[kind](text)
            except ValueError:
                return text  # 0o17 and the like: what reads it says what it wants
        if kind not in ("str", "timestamp", "value"):
            self._stop(line, f"YAML tag {node.tag} is not taken", "remove the tag")
        return text

    def _stop(self, line: int, message: str, hint: str) -> None:
        raise ScenarioProblems([Problem(self._place(line), "", message, hint)])


def _number(text: str) -> int:
    return int(text.replace("_", ""), 0)


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "null": lambda _text: None,
    "bool": lambda text: text.lower() in ("true", "yes", "on"),
    "int": _number,
    "float": lambda text: float(text.replace("_", "")),
}
