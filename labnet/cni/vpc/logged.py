"""The plugin as a node runs it: with its log, which each call opens where its configuration says. Source: docs/sources.md#vpc-cni-logs"""

from __future__ import annotations

from labnet.cni.result import Result
from labnet.cni.spec import Call
from labnet.cni.vpc.conflist import plugin_log
from labnet.cni.vpc.plugin import Ipamd, VpcPlugin, VpcPluginSettings
from labnet.errors import CniError
from labnet.ports import Kernel, NodeLog, OpenLog, Slices


class LoggedPlugin(VpcPlugin):
    """`VpcPlugin`, which says what it was asked and what came of it."""

    def __init__(self, ipamd: Ipamd, slices: Slices, kernel: Kernel, settings: VpcPluginSettings, open_log: OpenLog) -> None:
        super().__init__(ipamd, slices, kernel, settings)
        self._open_log, self._dialect = open_log, settings.dialect

    async def add(self, call: Call) -> Result:
        """Attach a pod. Errors: CniError 999."""
        log = self._log(call)
        log.info(f"Received CNI add request: {_about(call)}")
        try:
            result = await super().add(call)
        except CniError as error:
            log.error(f"add of {call.attachment} failed: {error.message}")
            raise
        addresses = ", ".join(one.address for one in result.ips)
        log.info(f"add of {call.attachment} done: {addresses} behind {result.interfaces[0].name}")
        return result

    async def delete(self, call: Call) -> None:
        """Detach a pod. Errors: CniError 999."""
        log = self._log(call)
        log.info(f"Received CNI del request: {_about(call)}")
        try:
            await super().delete(call)
        except CniError as error:
            log.error(f"del of {call.attachment} failed: {error.message}")
            raise
        log.info(f"del of {call.attachment} done")

    async def check(self, call: Call) -> None:
        """Is all as ADD left it? Errors: CniError."""
        try:
            await super().check(call)
        except CniError as error:
            self._log(call).error(f"check of {call.attachment} failed: {error.message}")
            raise

    def _log(self, call: Call) -> NodeLog:
        return self._open_log(*plugin_log(call.config, self._dialect))


def _about(call: Call) -> str:
    return f"ContainerID({call.container_id}) Netns({call.netns_path}) IfName({call.ifname}) Args({call.args})"
