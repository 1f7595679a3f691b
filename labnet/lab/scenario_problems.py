"""What is wrong with a scenario file, as values: where, what, and the way out (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from labnet.errors import ScenarioError
from labnet.model.values import frozen

Step = str | int
Path = tuple[Step, ...]
"""Where a value stands in a file: keys and list indexes from the top."""

MAX_SUGGESTED = 20
MAX_SHOWN = 20
"""More problems than this are counted, not listed: the first ones usually cause the rest."""


@frozen
class Place:
    """Where a value was written: a line of a file (1-based, 0 = unknown), or another origin such as `--set`."""

    file: str
    line: int = 0

    @property
    def text(self) -> str:
        """``file:line``, as compilers print it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@frozen
class Problem:
    """One thing that is wrong: `field` is a dotted path (``nodes[0].instanceType``), `hint` the way out."""

    place: Place
    field: str
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """Everything in one line."""
        at = f"{self.field}: " if self.field else ""
        return f"{self.place.text}: {at}{self.message}{f' ({self.hint})' if self.hint else ''}"


class ScenarioProblems(ScenarioError):
    """A scenario that cannot be taken; `problems` holds all of them, the error's own fields speak of the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        if len(self.problems) == 1:
            message, hint = first.message, first.hint
        else:
            shown = [f"{problem.text}" for problem in self.problems[1:MAX_SHOWN]]
            more = len(self.problems) - MAX_SHOWN
            shown += [f"and {more} more"] if more > 0 else []
            message = "\n".join((f"{first.message}{f' ({first.hint})' if first.hint else ''}", *shown))
            hint = f"{len(self.problems)} problems; nothing was done"
        super().__init__(message, hint, file=first.place.file, line=first.place.line, field=first.field)


@dataclass(slots=True)
class Findings:
    """Collects problems; knows where each value was written. A path without a place of its own takes that of what holds it."""

    file: str
    places: Mapping[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """One more problem at a path."""
        self.problems.append(Problem(self.place(path), dotted(path), message, hint))

    def place(self, path: Path) -> Place:
        """Where the value at a path was written."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                return place
        return Place(self.file)

    def stop(self) -> None:
        """Raise what was found, in the order of the file. Errors: ScenarioProblems; nothing found = nothing happens."""
        if self.problems:
            raise ScenarioProblems(sorted(self.problems, key=lambda problem: problem.place.line))


def dotted(path: Path) -> str:
    """A path as text: ``nodes[0].instanceType``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint: what the word may have been meant to be, else `otherwise`, else everything known."""
    candidates = list(known)
    lower = {name.lower(): name for name in candidates}
    import difflib  # late: only a wrong word needs it

    close = [lower[name] for name in difflib.get_close_matches(word.lower(), list(lower), n=2, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    if otherwise or not candidates:
        return otherwise or "there is none"
    shown = sorted(candidates)[:MAX_SUGGESTED]
    return f"known: {', '.join(shown)}{' …' if len(candidates) > MAX_SUGGESTED else ''}"
