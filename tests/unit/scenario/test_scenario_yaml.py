from __future__ import annotations

import pytest

from labnet.lab import scenario_yaml
from labnet.lab.scenario_problems import Place, ScenarioProblems


def first_problem(text: str) -> tuple[int, str]:
    with pytest.raises(ScenarioProblems) as caught:
        scenario_yaml.read(text, "f.yaml")
    return caught.value.line, caught.value.problems[0].message


def test_every_value_knows_its_line() -> None:
    tree = scenario_yaml.read("a: 1\nb:\n  - x\n  - c: y\n", "f.yaml")
    assert tree.value == {"a": 1, "b": ["x", {"c": "y"}]}
    assert tree.places[("b", 1, "c")] == Place("f.yaml", 4)
    assert tree.places[("b",)] == Place("f.yaml", 2)


def test_how_a_scalar_was_written_is_kept() -> None:
    tree = scenario_yaml.read("a: 1.10\nb: true\nc: 2020-01-01\nd: 0x10\ne: ~\n", "f.yaml")
    assert tree.texts[("a",)] == "1.10"
    assert tree.value == {"a": 1.1, "b": True, "c": "2020-01-01", "d": 16, "e": None}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: [\n  b\n", 3, "not YAML"),
        ("a: 1\n b: 2\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a:\n\t- b\n", 2, "not YAML"),
        ("a: \x01\n", 0, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "key 'a' stands here twice, first in line 1"),
        ("x:\n  a: 1\n  a: 2\n", 3, "twice"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", 2, "merge keys"),
        ("? [a]\n: 1\n", 1, "a key must be a word"),
        ("a: &x [*x]\n", 1, "unfolds"),
        ("[" * 60 + "]" * 60, 1, "unfolds"),
    ],
)
def test_what_is_not_taken_has_a_line(text: str, line: int, part: str) -> None:
    where, message = first_problem(text)
    assert part in message
    assert where == line


def test_an_alias_is_taken() -> None:
    assert scenario_yaml.read("a: &x {b: 1}\nc: *x\n", "f.yaml").value == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    _line, message = first_problem("\n".join(lines))
    assert "unfolds" in message
