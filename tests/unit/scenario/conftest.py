"""A small table of instance types, and a reader that takes YAML text and returns the scenario or its problems."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import pytest

from labnet.lab import scenario_file
from labnet.lab.scenario_problems import Problem, ScenarioProblems
from labnet.model.cloud import InstanceType
from labnet.model.scenario import Scenario

HEAD = "apiVersion: labnet/v1\nkind: Lab\nmetadata: {name: lab}\n"
VPC = "vpc: {cidr: 10.10.0.0/16, subnets: [{name: a, cidr: 10.10.0.0/19}]}\n"


def instance_type(name: str, enis: int, ipv4_per_eni: int) -> InstanceType:
    return InstanceType(
        name=name, enis=enis, ipv4_per_eni=ipv4_per_eni, max_pods=enis * (ipv4_per_eni - 1) + 2, default_network_card=0,
        network_cards=((0, enis),), hypervisor="nitro", bare_metal=False,
    )


@pytest.fixture()
def types() -> dict[str, InstanceType]:
    found = (instance_type("t3.nano", 2, 2), instance_type("t3.medium", 3, 6), instance_type("m5.large", 3, 10))
    return {item.name: item for item in found}


Read = Callable[..., Scenario]
Problems = Callable[..., Sequence[Problem]]


@pytest.fixture()
def read(types: dict[str, InstanceType]) -> Read:
    """Text (a head and, unless there is one, a VPC are put before it) → Scenario."""

    def parse(text: str, *sets: str) -> Scenario:
        return scenario_file.parse(whole(text), "lab.yaml", overrides=sets, types=types)

    return parse


@pytest.fixture()
def problems(read: Read) -> Problems:
    """Text → what is wrong with it."""

    def collect(text: str, *sets: str) -> Sequence[Problem]:
        with pytest.raises(ScenarioProblems) as caught:
            read(text, *sets)
        assert caught.value.exit_code == 2
        return caught.value.problems

    return collect


def whole(text: str) -> str:
    body = textwrap.dedent(text).lstrip("\n")
    return HEAD + ("" if body.startswith("vpc") else VPC) + body
