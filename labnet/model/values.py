"""Values: what cannot be changed, told to the type checker and not to the interpreter (pure).

A frozen dataclass sets each field through `object.__setattr__`; a pod passes through some hundred values, and that alone took a
tenth of the time in which a thousand of them come up. So the class is a plain slotted dataclass with equality and a hash at run
time, and frozen for mypy, which reads all of the code. Why: docs/adr/0006-values.md
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class of values: slots, equality and hash by fields; nobody assigns to a field."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
