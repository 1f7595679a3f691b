"""Values: equal, hashed and shown by their fields; a sealed one says no to who would change it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field, replace

import msgspec
import pytest

from labnet.model import codec
from labnet.model.scenario import PodSpec
from labnet.model.values import frozen, sealed


@frozen
class Point:
    """Two numbers, and a note that does not count."""

    x: int
    y: int = 0
    note: str = field(default="", compare=False)


@frozen
class Named:
    """One field."""

    name: str


@frozen
class Empty:
    """None."""


@frozen
class Own:
    """One that compares and hashes in its own way."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and self.text.lower() == other.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())


@sealed
class Spec:
    """What users hold."""

    name: str
    more: tuple[str, ...] = ()


@sealed
class Noted:
    """What users hold, with a note that does not count."""

    name: str
    note: str = field(default="", compare=False)


@frozen
class Wider:
    """Several fields."""

    name: str
    size: int = 1
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def both(self) -> str:
        """The name and the size."""
        return f"{self.name} {self.size}"


def test_most_are_structs_and_still_dataclasses() -> None:
    assert issubclass(Named, msgspec.Struct) and issubclass(Wider, msgspec.Struct) and issubclass(PodSpec, msgspec.Struct)
    assert not issubclass(Point, msgspec.Struct) and not issubclass(Noted, msgspec.Struct), "a struct compares every field"
    value = Wider("a", tags={"b": "c"})
    assert dataclasses.asdict(value) == {"name": "a", "size": 1, "tags": {"b": "c"}} and value.both == "a 1"
    assert replace(value, size=2) == Wider("a", 2, {"b": "c"}) and [one.name for one in dataclasses.fields(Wider)] == ["name", "size", "tags"]
    assert Wider("a").tags is not Wider("a").tags and Named("a") != Wider("a")
    with pytest.raises(TypeError, match="Heir: values do not inherit"):
        frozen(type("Heir", (Named,), {}))
    assert codec.decode(codec.to_document(value), Wider) == value
    with pytest.raises(TypeError):
        Wider()  # type: ignore[call-arg]


def test_values_are_equal_and_hashed_by_their_fields() -> None:
    assert Point(1, 2, "a") == Point(1, 2, "b") != Point(2, 1)
    assert hash(Point(1, 2, "a")) == hash(Point(1, 2, "b")) and len({Point(1), Point(1), Point(2)}) == 2
    assert Named("a") == Named("a") != Named("b") and {Named("a")} == {Named("a")}
    assert Named("a") != "a" and Point(1) != (1, 0), "only with its own kind"
    assert Empty() == Empty() and len({Empty(), Empty()}) == 1
    assert Own("A") == Own("a") and len({Own("A"), Own("a")}) == 1, "what a class says itself stays"


def test_values_have_slots_and_a_text_and_can_be_copied() -> None:
    assert repr(Point(1, 2)) == "Point(x=1, y=2, note='')" and repr(Empty()) == "Empty()"
    assert not hasattr(Point(1), "__dict__") and [one.name for one in dataclasses.fields(Point)] == ["x", "y", "note"]
    for value in (Point(1, 2), Spec("a", ("b",)), PodSpec("pod")):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
    assert replace(Point(1, 2), y=3) == Point(1, 3) and replace(Spec("a"), name="b") == Spec("b")


@pytest.mark.parametrize("value", [Spec("a"), PodSpec("pod"), Noted("a")])
def test_a_sealed_value_is_never_changed(value: Spec | PodSpec | Noted) -> None:
    before = copy.deepcopy(value)
    with pytest.raises(AttributeError):
        value.name = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del value.name
    with pytest.raises(AttributeError):
        value.unknown = 1  # type: ignore[union-attr]
    assert value == before
