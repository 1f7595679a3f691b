"""Values: what cannot be changed, told to the type checker and not to the interpreter (pure).

A frozen dataclass sets each field through `object.__setattr__`; a pod passes through some hundred values, and that alone took a
tenth of the time in which a thousand of them come up. So the class is a plain slotted dataclass with equality and a hash at run
time, and frozen for mypy, which reads all of the code. What users of the Python API get is sealed. Why: docs/adr/0006-values.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class of values: slots, equality and hash by fields; nobody assigns to a field."""
    return _valued(cls, dataclass(slots=True, eq=False, repr=False)(cls))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def sealed(cls: type[T]) -> type[T]:
    """The same for what users of the Python API hold in their hands: who assigns to a field hears FrozenInstanceError."""
    made = _valued(cls, dataclass(slots=True, eq=False, repr=False)(cls))
    fill = made.__setattr__

    def set_once(self: T, name: str, value: object) -> None:
        if hasattr(self, name):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        fill(self, name, value)

    def keep(_self: T, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    made.__setattr__, made.__delattr__ = set_once, keep  # type: ignore[assignment, method-assign]
    return made


def _valued(cls: type[T], made: type[T]) -> type[T]:
    """Equality, hash and text by fields, for a dataclass that was made of `cls`.

    They are the same functions for every class; only `__init__` is source that is compiled when a class is made. labnet has some
    hundred and fifty, and every command makes them anew.
    """
    parts = fields(made)  # type: ignore[arg-type]  # it is a dataclass now
    compared = tuple(part.name for part in parts if part.compare)
    hashed = tuple(part.name for part in parts if (part.compare if part.hash is None else part.hash))
    shown = tuple(part.name for part in parts if part.repr)
    key_of = _getter(compared)
    hashed_of = key_of if hashed == compared else _getter(hashed)

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
