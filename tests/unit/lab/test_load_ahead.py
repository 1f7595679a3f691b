"""What a lab's process loads when it has come up: what the first trace needs too, unless its caller says that there will be none soon."""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace

import pytest

from labnet.lab import process


async def nothing() -> None:
    """Somebody who begins to answer at once."""


def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules in the order in which they are asked for."""
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", asked.append)
    monkeypatch.setattr(process, "BREATH_S", 0.0)
    world = SimpleNamespace(workloads=None, resolvers=SimpleNamespace(answer=nothing), endpoint=SimpleNamespace(answer=nothing))
    asyncio.run(process._load_the_rest(world, SimpleNamespace(serving=set())))  # type: ignore[arg-type]
    return asked


def test_a_trace_finds_its_libraries_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(process.LOAD_AHEAD)
    assert loaded(monkeypatch) == ["labnet.lab.scenario_file", *process.OF_A_TRACE]


def test_unless_it_is_said_that_they_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.LOAD_AHEAD, "0")
    assert loaded(monkeypatch) == ["labnet.lab.scenario_file"]
