"""Broken labs whose cause is in the VPC: groups, ACLs, route tables, gateways, peering, ENIs and their addresses."""

from __future__ import annotations

import pytest
from corpus_files import Case, cases
from corpus_runner import run_case

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("case", [case for case in cases() if case.name.startswith("vpc-")], ids=lambda case: case.name)
def test_the_right_hop_and_cause(case: Case) -> None:
    run_case(case)
