"""Model values ↔ JSON documents, by their type hints (pure).

A dataclass becomes an object with its field names; where a field may hold one of several classes, the object says which in
`kind`. Documents carry no version of their own: who stores them says `VERSION` beside them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from labnet.errors import LabnetError

VERSION = 1
T = TypeVar("T")
_PLAIN = frozenset((str, int, float, bool, type(None)))


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """`tag` is the member `kind`, if any; `read` gives the values of the fields in order."""

    tag: dict[str, str]
    names: tuple[str, ...]
    read: Callable[[Any], tuple[Any, ...]]
    flat: bool
    """Nothing but texts and numbers in a value that cannot change: an ENI has fifty such addresses, and is written at each change."""


class CodecError(LabnetError):
    """A document that does not fit its type; the message names the place."""


def to_document(value: Any) -> Any:
    """A model value as JSON data; dataclasses with a tag as their `kind` says or their class name."""
    cls = type(value)
    if cls in _PLAIN:  # most values: a document is written for each thing that an API call changes
        return value
    if cls is tuple or cls is list:
        return [item if type(item) in _PLAIN else to_document(item) for item in value]
    layout = _layout(cast(Hashable, cls))
    if layout is not None:
        if layout.flat:
            return _flat(value)
        document = {**layout.tag, **dict(zip(layout.names, layout.read(value), strict=True))}
        for name, item in document.items():
            if type(item) not in _PLAIN:
                document[name] = to_document(item)
        return document
    if isinstance(value, Mapping):
        return {str(key): to_document(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((to_document(item) for item in value), key=str)
    if isinstance(value, tuple | list):
        return [to_document(item) for item in value]
    if isinstance(value, str | int | float | bool):
        return value
    raise CodecError(f"{cls.__name__} is no model value")


def from_document(document: Any, kind: Any) -> Any:
    """JSON data as a value of a type: a dataclass, a union of them, or what their fields are made of. Errors: CodecError."""
    return _decode(document, kind, "")


def decode(document: Any, cls: type[T]) -> T:
    """`from_document` for a class, typed."""
    return cast(T, _decode(document, cls, ""))


def _tag(cls: type) -> str:
    said = cls.__dict__.get("kind")
    return said if isinstance(said, str) else cls.__name__


@lru_cache(maxsize=256)
def _has_own_kind(cls: type) -> bool:
    """Has a class a field of that name? Then its documents carry no tag, and it can be no member of a union."""
    return any(field.name == "kind" for field in _fields(cls))


@lru_cache(maxsize=256)
def _layout(cls: Hashable) -> _Layout | None:
    """How documents of a dataclass look; None for any other class."""
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        return None
    names = tuple(field.name for field in _fields(cls))
    read: Callable[[Any], tuple[Any, ...]] = attrgetter(*names) if len(names) > 1 else lambda one: tuple(getattr(one, name) for name in names)
    flat = cls.__hash__ is not None and all(_is_plain(_hints(cls)[name]) for name in names)
    return _Layout({} if _has_own_kind(cls) else {"kind": _tag(cls)}, names, read, flat)


def _is_plain(hint: Any) -> bool:
    return hint in _PLAIN or (isinstance(hint, types.UnionType) and all(part in _PLAIN for part in get_args(hint)))


@lru_cache(maxsize=8192)
def _flat(value: Hashable) -> dict[str, Any]:
    """The document of a flat value: read it, never change it."""
    layout = _layout(type(value))
    assert layout is not None, "only dataclasses are flat"
    return {**layout.tag, **dict(zip(layout.names, layout.read(value), strict=True))}


@lru_cache(maxsize=256)
def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(cls) if field.init)


@lru_cache(maxsize=256)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode(document: Any, kind: Any, where: str) -> Any:
    if kind is Any or kind is object:
        return document
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(document, get_args(kind), where)
    if origin is Literal:
        if document not in get_args(kind):
            raise CodecError(f"{where or 'value'}: {document!r} is none of {', '.join(map(repr, get_args(kind)))}")
        return document
    if dataclasses.is_dataclass(kind):
        return _decode_class(document, cast(type, kind), where)
    if origin is not None:
        return _decode_many(document, origin, get_args(kind), where)
    return _decode_plain(document, kind, where)


def _decode_plain(document: Any, kind: Any, where: str) -> Any:
    if kind is type(None):
        kinds: tuple[type, ...] = (type(None),)
    else:
        kinds = (int, float) if kind is float else (kind,)
    if not isinstance(document, kinds) or (isinstance(document, bool) and kind is not bool):
        raise CodecError(f"{where or 'value'}: {document!r} is no {getattr(kind, '__name__', kind)}")
    return document


def _decode_many(document: Any, origin: Any, args: tuple[Any, ...], where: str) -> Any:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(document, Mapping):
            raise CodecError(f"{where}: {document!r} is no object")
        return {key: _decode(item, args[1], f"{where}.{key}") for key, item in document.items()}
    if not isinstance(document, Sequence) or isinstance(document, str):
        raise CodecError(f"{where}: {document!r} is no list")
    if origin is tuple and args[-1] is not Ellipsis:
        if len(document) != len(args):
            raise CodecError(f"{where}: {len(args)} values expected, {len(document)} there")
        return tuple(_decode(item, each, f"{where}[{n}]") for n, (item, each) in enumerate(zip(document, args, strict=True)))
    items = (_decode(item, args[0], f"{where}[{n}]") for n, item in enumerate(document))
    return frozenset(items) if origin in (frozenset, typing.AbstractSet) else tuple(items)


def _decode_union(document: Any, options: tuple[Any, ...], where: str) -> Any:
    if document is None and type(None) in options:
        return None
    classes = {_tag(cast(type, option)): option for option in options if dataclasses.is_dataclass(option)}
    if classes and isinstance(document, Mapping):
        if document.get("kind") not in classes:
            raise CodecError(f"{where or 'value'}: kind {document.get('kind')!r} is none of {', '.join(classes)}")
        return _decode_class(document, cast(type, classes[document["kind"]]), where)
    plain = [option for option in options if option is not type(None) and not dataclasses.is_dataclass(option)]
    for option in plain:
        try:
            return _decode(document, option, where)
        except CodecError:
            continue
    raise CodecError(f"{where or 'value'}: {document!r} fits none of its types")


def _decode_class(document: Any, cls: type, where: str) -> Any:
    if not isinstance(document, Mapping):
        raise CodecError(f"{where or cls.__name__}: {document!r} is no object")
    if not _has_own_kind(cls) and document.get("kind", _tag(cls)) != _tag(cls):
        raise CodecError(f"{where or cls.__name__}: kind {document['kind']!r} is not {_tag(cls)}")
    names = {field.name for field in _fields(cls)}
    for key in document:
        if key not in names and key != "kind":
            raise CodecError(f"{where or cls.__name__}: unknown field {key!r}")
    hints = _hints(cls)
    values = {name: _decode(document[name], hints[name], f"{where}.{name}".lstrip(".")) for name in names if name in document}
    try:
        return cls(**values)
    except TypeError as error:
        raise CodecError(f"{where or cls.__name__}: {error}") from error
