"""`labnet capacity` as a user types it: tables, JSON, mistakes and exit codes. No root, no lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labnet.cli.main import main
from labnet.cli.session import Session


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["capacity", *words], Session())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_type(capsys) -> None:
    code, out, err = ask(capsys, "t3.nano")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[1:5:3]] == [["t3.nano", "2", "2", "2", "2", "4"], ["idle", "0", "1", "2", "2"]]
    assert out.splitlines()[5].split() == ["full", "2", "2", "4", "4"]


def test_nodes_in_a_subnet(capsys) -> None:
    code, out, _err = ask(capsys, "m5.large", "--subnet", "10.10.0.0/24", "--nodes", "8")
    assert code == 0
    assert "10.10.0.0/24: 251 addresses without AWS's five; 3 are kept for an upgrade" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["idle", "24", "0"] in rows
    assert ["full", "8", "216"] in rows
    assert ["8", "full", "240", "/24", "yes"] in rows


def test_nodes_that_do_not_fit_are_a_verdict(capsys) -> None:
    code, out, _err = ask(capsys, "m5.large", "--subnet", "10.10.0.0/24", "--nodes", "9")
    assert code == 3
    assert ["9", "full", "270", "/23", "no"] in [line.split() for line in out.splitlines()]


def test_prefixes_show_how_much_hangs_on_where_single_addresses_lie(capsys) -> None:
    code, out, _err = ask(capsys, "t3.small", "--prefix", "--subnet", "10.10.0.0/24", "--nodes", "2")
    assert code == 0
    assert "14 whole /28 blocks" in out
    assert "full, single addresses packed     2      216" in out
    assert "full, single addresses scattered  1      108" in out
    assert ["2", "full", "230", "/24", "only", "packed"] in [line.split() for line in out.splitlines()]


def test_json_has_all_of_it(capsys) -> None:
    _code, out, _err = ask(capsys, "m5.large", "--custom-networking", "--nodes", "3", "-o", "json")
    document = json.loads(out)
    assert (document["kind"], document["podEnis"], document["podAddresses"], document["maxPods"]) == ("Capacity", 2, 18, 20)
    assert document["nodes"]["full"] == {"addresses": 60, "smallestSubnet": "/25"}
    assert "subnet" not in document


def test_a_type_without_prefixes_is_told(capsys) -> None:
    code, out, err = ask(capsys, "m4.large", "--prefix")
    assert code == 0
    assert "no Nitro type" in err
    assert "PREFIXES" not in out


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("t3.nanoo",), "no instance type 't3.nanoo'", "did you mean t3.nano"),
        (("m5.huge",), "no instance type 'm5.huge'", "m5.large"),
        (("t3.nano", "--subnet", "10.0.0.1/24"), "'10.0.0.1/24' is no subnet that AWS makes", "the block is 10.0.0.0/24"),
        (("t3.nano", "--subnet", "10.0.0.0/29"), "is no subnet", "/16 to /28"),
        (("t3.nano", "--subnet", "office"), "is no subnet", "10.10.0.0/24"),
        (("t3.nano", "--nodes", "0"), "0 is not in the range", "capacity --help"),
        ((), "missing argument 'TYPE'", "capacity --help"),
    ],
)
def test_mistakes(capsys, words: tuple[str, ...], message: str, hint: str) -> None:
    code, out, err = ask(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err


def test_the_readme_prints_what_it_prints(capsys) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    command = next(line for line in readme.splitlines() if line.startswith("labnet capacity")).partition("#")[0]
    _code, out, _err = ask(capsys, *command.split()[2:])
    assert f"```\n{out}```" in readme


def test_the_readme_lists_every_scenario() -> None:
    root = Path(__file__).parents[3]
    readme = (root / "README.md").read_text()
    assert [path.stem for path in (root / "scenarios").glob("*.yaml") if f"| `{path.stem}` |" not in readme] == []
