"""Values: what cannot be changed (pure).

A pod passes through some hundred values, and every command makes the classes of all of them anew. A frozen dataclass is dear at both: it
sets each field through `object.__setattr__`, and compiles source for each of its methods. So a class of values is a `msgspec.Struct`, which
is made, filled, compared and hashed in C. It looks like a frozen dataclass to mypy and to the functions of `dataclasses` (`replace`,
`fields`, `asdict`). Why: docs/adr/0006-values.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from inspect import get_annotations
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")
_OF_THE_CLASS = ("__dict__", "__weakref__", "__annotations__")
_FIELDS = "__dataclass_fields__"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class of values: slots, equality and hash by fields; nobody assigns to a field."""
    return _struct(cls) if _is_plain(cls) else _slotted(cls)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def sealed(cls: type[T]) -> type[T]:
    """The same for what users of the Python API hold in their hands: who assigns to a field hears AttributeError, whatever the class."""
    if _is_plain(cls):
        return _struct(cls)
    made = _slotted(cls)
    fill = made.__setattr__

    def set_once(self: T, name: str, value: object) -> None:
        if hasattr(self, name):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        fill(self, name, value)

    def keep(_self: T, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    made.__setattr__, made.__delattr__ = set_once, keep  # type: ignore[assignment, method-assign]
    return made


def _is_plain(cls: type) -> bool:
    """Can it be a struct: has it no base, and is every field made, compared, hashed and shown as all others are?

    Errors: TypeError for a class that inherits from another value.
    """
    if issubclass(cls, msgspec.Struct):
        raise TypeError(f"{cls.__name__}: values do not inherit from each other")
    if "__post_init__" in cls.__dict__ or cls.__bases__ != (object,):
        return False
    special = (item for item in cls.__dict__.values() if isinstance(item, Field))
    return all(item.init and item.repr and item.compare and item.hash is None for item in special)


def _struct(cls: type[T]) -> type[T]:
    known: dict[str, Field[Any]] = {}
    parts: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, kind in get_annotations(cls).items():
        if str(kind).startswith(("ClassVar", "typing.ClassVar")):
            continue
        said = cls.__dict__.get(name, MISSING)
        known[name] = part = said if isinstance(said, Field) else field(default=said)
        part.name, part.type = name, kind
        part._field_type = _KIND  # type: ignore[union-attr]  # what tells `dataclasses` that it is no ClassVar
        if part.default_factory is not MISSING:
            parts.append((name, kind, msgspec.field(default_factory=part.default_factory)))
        else:
            parts.append((name, kind) if part.default is MISSING else (name, kind, part.default))
    names = {part[0] for part in parts}
    namespace = {name: item for name, item in cls.__dict__.items() if name not in names and name not in _OF_THE_CLASS}
    return msgspec.defstruct(  # type: ignore[return-value]  # what it looks like
        cls.__name__, parts, module=cls.__module__, namespace=namespace | {_FIELDS: known}, frozen=True
    )


def _slotted(cls: type[T]) -> type[T]:
    """A dataclass, for what a struct cannot say. Equality, hash and text are functions that all such classes share."""
    made = dataclass(slots=True, eq=False, repr=False)(cls)
    parts = fields(made)  # type: ignore[arg-type]  # it is a dataclass now
    key_of = _getter(tuple(part.name for part in parts if part.compare))
    hashed_of = _getter(tuple(part.name for part in parts if (part.compare if part.hash is None else part.hash)))
    shown = tuple(part.name for part in parts if part.repr)

    def equal(self: T, other: object) -> Any:
        return key_of(self) == key_of(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: T) -> int:
        return hash(hashed_of(self))

    def text_of(self: T) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    for name, method in (("__eq__", equal), ("__hash__", hash_of), ("__repr__", text_of)):
        if cls.__dict__.get(name) is None:
            setattr(made, name, method)
    return made


def _getter(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """What is compared of a value: one field's own value, or a tuple."""
    return attrgetter(*names) if names else lambda _value: ()


@dataclass
class _Sample:
    """Only to learn what marks a field in `dataclasses`."""

    one: int


_KIND = fields(_Sample)[0]._field_type  # type: ignore[attr-defined]
