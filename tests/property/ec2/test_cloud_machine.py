"""Any sequence of EC2 requests on the in-memory kernel: what `cloud_machine` promises after every step."""

from __future__ import annotations

from cloud_machine import CloudMachine, FollowedCloud
from hypothesis import HealthCheck, settings

from labnet.kernel.fake import FakeKernel


class InMemory(CloudMachine):
    """The machine on a kernel of values."""

    def make(self) -> FollowedCloud:
        return FollowedCloud("t", FakeKernel())


InMemory.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestCloudMachine = InMemory.TestCase
