"""What a check is, and how one ends (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labnet.ec2.probe.site import Site

Body = Callable[["Site"], None]


class Wrong(Exception):
    """The endpoint does not do what AWS does; the message says what it did instead."""


class Refusal(Exception):
    """The endpoint refused a call: EC2's code, text and HTTP status."""

    def __init__(self, operation: str, code: str, text: str, status: int, request_id: str, content_type: str) -> None:
        super().__init__(f"{operation} was refused: {code}: {text}")
        self.operation, self.code, self.text, self.status = operation, code, text, status
        self.request_id, self.content_type = request_id, content_type


@dataclass(frozen=True, slots=True)
class Check:
    """One question: `row` is the rule of EC2 that it belongs to, `says` what AWS answers.

    `needs` names the option without which the question makes no sense: how the endpoint was set up is not to be seen from outside.
    """

    name: str
    group: str
    row: str
    says: str
    body: Body
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended: `reason` is empty when it passed; `left` names what could not be cleaned up."""

    check: Check
    reason: str
    seconds: float
    left: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Did the endpoint answer as AWS does?"""
        return not self.reason


def of_group(group: str) -> Callable[..., Callable[[Body], Check]]:
    """A decorator for the checks of one group: `@check(row)` makes a Check of a function; its docstring says what AWS does."""

    def check(row: str, *, needs: str = "") -> Callable[[Body], Check]:
        return lambda body: Check(body.__name__.replace("_", "-"), group, row, str(body.__doc__), body, needs)

    return check


def expect(right: bool, otherwise: str) -> None:
    """Judge a value. Errors: Wrong."""
    if not right:
        raise Wrong(otherwise)


def same(found: object, wanted: object, what: str) -> None:
    """Judge by equality. Errors: Wrong, with both."""
    expect(found == wanted, f"{what}: expected {wanted}, got {found}")
