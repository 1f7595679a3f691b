"""The kernel side of the node itself: set up at the daemon's start and when the VPC's blocks change, whatever stood there before.

The node is looked at first. What an earlier daemon left, and what others changed in what is the daemon's, counts as claimed from
then on; so the difference to the plan mends and removes it, and nothing is touched that is right already.
Source: docs/sources.md#ipamd-leftovers
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from labnet.ipamd.leftovers import standing_node
from labnet.ipamd.routes import NODE_SLICE, plan_node
from labnet.ipamd.settings import Settings
from labnet.model.netstate import Backend, Slice, Sysctl
from labnet.ports import Slices


class NodeSetup:
    """The slice ``ipamd`` of one node."""

    def __init__(self, netns: str, settings: Settings, backend: Backend, slices: Slices) -> None:
        self._netns, self._settings, self._backend, self._slices = netns, settings, backend, slices

    def set_up(self, primary: str, vpc_cidrs: Sequence[str], *, starting: bool) -> Awaitable[None] | None:
        """Make it so, in the background; None when nothing has changed in the plan and the daemon is not `starting`.

        Errors: IpamError where the daemon would end; KernelError, now or when awaited: the next call tries anew.
        """
        plan = plan_node(self._settings, self._backend, primary, vpc_cidrs)
        claimed = self._slices.claimed(self._netns, NODE_SLICE)
        if not starting and claimed == plan:
            return None
        sysctls = [item.path for item in plan.objects if isinstance(item, Sysctl)]
        seen = self._slices.observe(self._netns, routing=False, sysctls=sysctls)  # all that a plan for a node or its leftovers can be
        standing = standing_node(seen, claimed, plan, self._settings, self._backend)
        self._slices.assume(self._netns, Slice(NODE_SLICE, standing))
        return self._slices.set_soon([(self._netns, plan)])
