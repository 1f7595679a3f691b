"""The same machine of EC2 requests on real namespaces, shorter: nftables' sets, routes and neighbours read back after every step."""

from __future__ import annotations

import os

import pytest
from cloud_machine import CloudMachine, FollowedCloud
from hypothesis import HealthCheck, settings

from labnet.kernel.door import LinuxKernel

pytestmark = pytest.mark.kernel


class OnLinux(CloudMachine):
    """The machine on the real kernel; `clear` is called whatever happened."""

    def make(self) -> FollowedCloud:
        self.door = LinuxKernel()
        return FollowedCloud(f"lnt-m{os.getpid():x}", self.door)

    def clear(self) -> None:
        try:
            self.door.remove_netns(list(self.door.known))
        finally:
            self.door.close()


OnLinux.TestCase.settings = settings(
    max_examples=4, stateful_step_count=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestCloudMachineOnLinux = OnLinux.TestCase
