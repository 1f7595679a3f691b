"""Broken labs whose cause is at an end: in a pod, in who listens, in addresses that are missing, at services of the VPC."""

from __future__ import annotations

import pytest
from corpus_files import Case, cases
from corpus_runner import run_case

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("case", [case for case in cases() if case.name.startswith("end-")], ids=lambda case: case.name)
def test_the_right_hop_and_cause(case: Case) -> None:
    run_case(case)
