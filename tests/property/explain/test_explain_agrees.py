"""What `explain` says of random small VPCs is what packets do: the verdict beside a real probe, hundreds of times."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
from explain_worlds import Proof, shuffled
from fabric_world import World

pytestmark = pytest.mark.kernel

CONFIGURATIONS, FLOWS = 8, 30
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_verdict_and_packets_agree(seed: int) -> None:
    dice = random.Random(seed)
    with contextlib.closing(World(f"lnt-x{os.getpid() % 100_000}{os.urandom(2).hex()}")) as world:
        proof = Proof(world, dice)
        reached, office = 0, {True: 0, False: 0}
        for number in range(CONFIGURATIONS):
            world.go(shuffled(world.cloud, dice))
            cases = proof.cases(FLOWS)
            verdicts = proof.verdicts(cases)
            answered = proof.probe(cases, [one.reachable for one in verdicts])
            for case, verdict, answer in zip(cases, verdicts, answered, strict=True):
                lines = "\n".join(f"{one.way} {one.kind} {one.id} {one.ok} {one.reason} [{one.packet}]" for one in verdict.components)
                what = f"configuration {number}: {case.source.name} to {case.target.name}, {case.protocol} {case.port}"
                assert verdict.reachable == answer, f"{what}: packets {'pass' if answer else 'do not'}, but\n{lines}"
                office[answer] += bool(case.source.site or case.target.site)
            reached += sum(answered)
        assert CONFIGURATIONS * FLOWS // 5 < reached < CONFIGURATIONS * FLOWS * 4 // 5, "both verdicts are proved"
        assert min(office.values()) > 2, f"of the network outside too: {office}"
