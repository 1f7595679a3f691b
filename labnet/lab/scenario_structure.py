"""Plain values of a file → `scenario_schema.Document`: unknown keys, missing keys and wrong types, all of them at once (pure).

msgspec alone would stop at the first error and know no lines; so each struct is walked first, every problem is noted with
its place, and only what is clean is converted.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_schema import (
    API_VERSION,
    KIND,
    LATER,
    LATER_CNI_KINDS,
    LATER_OBJECT_KINDS,
    OBJECT_ELSEWHERE,
    Document,
    KubeObject,
)
from labnet.lab.scenario_schema_base import AS_WRITTEN
from labnet.lab.scenario_yaml import Tree
from labnet.model.values import frozen

_WORDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping"}


def read_document(tree: Tree, findings: Findings) -> Document:
    """The document of a tree. Errors: ScenarioProblems with everything that is structurally wrong."""
    value = tree.value
    if value is None:
        findings.add((), "the file is empty", "'labnet scenarios show eks-2node' prints one to start from")
    elif not isinstance(value, dict):
        findings.add((), f"a scenario is a mapping of keys, not {_said(value)}", f"begin with 'apiVersion: {API_VERSION}'")
    else:
        _identity(value, findings)
    findings.stop()
    clean = _Walk(tree, findings).struct(value, Document, ())
    findings.stop()
    try:
        return msgspec.convert(clean, Document)
    except msgspec.ValidationError as error:  # a type that the walk does not know: still a message, if a drier one
        findings.add((), str(error).replace("`", ""), "'labnet schema' prints what may stand where")
        findings.stop()
        raise


def _identity(value: dict[str, Any], findings: Findings) -> None:
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        said = value.get(key)
        if key not in value:
            findings.add((), f"{key} is missing", f"a scenario begins with '{key}: {wanted}'")
        elif said != wanted:
            findings.add((key,), f"{said!r} is not known here", f"this labnet reads '{key}: {wanted}'")


@frozen
class _Field:
    """What may stand somewhere: the type as declared, and its core without Annotated and None, with the `extra` it carried."""

    declared: Any
    required: bool
    wanted: Any
    extra: Any


class _Walk:
    """Takes values by the types that the structs declare, and notes what does not fit."""

    def __init__(self, tree: Tree, findings: Findings) -> None:
        self._tree, self._findings = tree, findings
        self._fields: dict[type[msgspec.Struct], dict[str, _Field]] = {}

    def _fields_of(self, cls: type[msgspec.Struct]) -> dict[str, _Field]:
        """A struct's fields by key; msgspec works them out anew at every call, which 5,000 pods would feel."""
        if cls not in self._fields:
            self._fields[cls] = {
                item.encode_name: _Field(item.type, item.required, *_unwrapped(item.type)) for item in msgspec.structs.fields(cls)
            }
        return self._fields[cls]

    def struct(self, value: Any, cls: type[msgspec.Struct], path: Path) -> Any:
        """A mapping as a struct wants it: unknown keys out, every known key taken by its type."""
        if not isinstance(value, dict):
            self._findings.add(path, f"wants a mapping, not {_said(value)}", f"keys: {', '.join(_keys(cls))}")
            return value
        if cls is KubeObject:
            if not self._acts_on(value, path):
                return value
            value = self._without_namespace(value, path)
        fields = self._fields_of(cls)
        out = {}
        meant = ""
        for key, inner in value.items():
            if key not in fields:
                meant += self._unknown(key, list(fields), path)
            elif inner is not None or fields[key].required:
                out[key] = self._take(inner, fields[key], (*path, key))
        for key, item in fields.items():
            if item.required and key not in value and key not in meant:  # a misspelt key is not missing too
                self._findings.add(path, f"{key} is missing", _example(key, item.declared))
        return out

    def _acts_on(self, value: dict[str, Any], path: Path) -> bool:
        """Is it an object of a kind that this version acts on? Notes what another kind comes with."""
        known, kind = get_args(self._fields_of(KubeObject)["kind"].wanted), value.get("kind")
        if not isinstance(kind, str) or kind in known:
            return True
        at = (*path, "kind")
        if kind in OBJECT_ELSEWHERE:
            self._findings.add(at, f"{kind} is no object of its own here", OBJECT_ELSEWHERE[kind])
        elif kind in LATER_OBJECT_KINDS:
            message = f"{kind} is not there yet: {LATER_OBJECT_KINDS[kind]} come with a later version"
            self._findings.add(at, message, f"this version acts on {' and '.join(known)}")
        else:
            self._findings.add(at, f"labnet has no objects of kind {kind!r}", nearest(kind, known))
        return False

    def _without_namespace(self, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """Notes a namespace: objects of the kinds that are known have none."""
        metadata = value.get("metadata")
        if not isinstance(metadata, dict) or "namespace" not in metadata:
            return value
        self._findings.add((*path, "metadata", "namespace"), f"an {value.get('kind', 'object')} has no namespace", "remove the key")
        return {**value, "metadata": {key: item for key, item in metadata.items() if key != "namespace"}}

    def _take(self, value: Any, field: _Field, path: Path) -> Any:
        """A value as its type wants it."""
        wanted, extra = field.wanted, field.extra
        if _is_struct(wanted):
            return self.struct(value, wanted, path)
        origin, args = get_origin(wanted), get_args(wanted)
        if origin is list and isinstance(value, list):
            inner = _Field(args[0], True, *_unwrapped(args[0]))
            return [self._take(item, inner, (*path, n)) for n, item in enumerate(value)]
        if origin is dict and isinstance(value, dict):
            inner = _Field(args[1], True, *_unwrapped(args[1]))
            return {self._key(key, args[0], path): self._take(item, inner, (*path, key)) for key, item in value.items()}
        if origin in (Union, types.UnionType) and isinstance(value, dict):  # one of several: what is a mapping decides itself
            mapping = next((item for item in args if get_origin(item) is dict or _is_struct(item)), None)
            if mapping is not None:
                return self._take(value, _Field(mapping, True, *_unwrapped(mapping)), path)
        if extra == AS_WRITTEN and isinstance(value, int | float):
            value = self._tree.texts.get(path, str(value))
        self._leaf(value, wanted, path)
        return value

    def _key(self, key: str, wanted: Any, path: Path) -> str:
        choices = get_args(wanted)
        if choices and key not in choices:
            self._findings.add((*path, key), f"{key!r} is none of {', '.join(choices)}", nearest(key, choices))
        return key

    def _leaf(self, value: Any, wanted: Any, path: Path) -> None:
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            choices = get_args(wanted) if get_origin(wanted) is Literal else ()
            self._findings.add(path, *(self._choice(value, choices, path) if choices else self._type(value, wanted, path)))

    def _choice(self, value: Any, choices: Sequence[str], path: Path) -> tuple[str, str]:
        if path == ("cni", "kind") and value in LATER_CNI_KINDS:
            return f"{value} is not there yet: it comes with a later version", f"this version knows {' and '.join(choices)}"
        known = " or ".join(str(choice) for choice in choices)
        return f"{_said(value)} is not taken", f"it wants {known}" if len(choices) < 4 else nearest(str(value), choices)

    def _type(self, value: Any, wanted: Any, path: Path) -> tuple[str, str]:
        quote = ""
        if isinstance(value, bool | int | float) and "text" in _named(wanted):
            quote = f'put it in quotes: "{self._tree.texts.get(path, value)}"'
        elif value is None:
            quote = "give it a value or remove the key"
        return f"wants {_named(wanted)}, not {_said(value)}", quote or _example(str(path[-1]), wanted)

    def _unknown(self, key: str, known: list[str], path: Path) -> str:
        """Note an unknown key; returns the hint that was given."""
        at = (*path, key)
        later = LATER.get(_pattern(at))
        if later is not None:
            self._findings.add(at, f"{key} is not there yet: {later} come with a later version", "remove the key")
            return ""
        hint = nearest(key, known)
        self._findings.add(at, f"unknown key {key!r}", hint)
        return hint if hint.startswith("did you mean") else ""


def _is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


def _pattern(path: Path) -> str:
    """A path with its indexes left out, `vpc` written as the list that it is short for."""
    steps: list[str] = []
    for step in path:
        if isinstance(step, int):
            steps[-1] += "[]"
        else:
            steps.append("vpcs[]" if step == "vpc" and not steps else step)
    return ".".join(steps)


def _unwrapped(wanted: Any) -> tuple[Any, Any]:
    """A type without Annotated and without None, and the `extra` that it carried."""
    extra = None
    while True:
        origin = get_origin(wanted)
        if origin is Annotated:
            extra = next((meta.extra for meta in wanted.__metadata__ if getattr(meta, "extra", None)), extra)
            wanted = get_args(wanted)[0]
        elif origin in (Union, types.UnionType) and type(None) in get_args(wanted) and len(get_args(wanted)) == 2:
            wanted = next(item for item in get_args(wanted) if item is not type(None))
        else:
            return wanted, extra


def _named(wanted: Any) -> str:
    """A type in words."""
    wanted, _extra = _unwrapped(wanted)
    origin, args = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(item) for item in args if item is not type(None))
    if origin is Literal:
        return " or ".join(str(item) for item in args)
    if origin is list:
        return "a list of texts" if args == (str,) else "a list of mappings"
    return _WORDS.get(origin or wanted, "a mapping")


def _said(value: Any) -> str:
    """A value in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return _WORDS[type(value)]
    return repr(value)


def _keys(cls: type[msgspec.Struct]) -> list[str]:
    return [item.encode_name for item in msgspec.structs.fields(cls)]


def _example(key: str, wanted: Any) -> str:
    """A hint from the examples that a type carries."""
    for meta in getattr(wanted, "__metadata__", ()):
        if getattr(meta, "examples", None):
            return f"for example '{key}: {meta.examples[0]}'"
    inner, _extra = _unwrapped(wanted)
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return f"keys: {', '.join(_keys(inner))}"
    return "'labnet schema' prints what may stand where"
