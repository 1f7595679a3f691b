"""The hourly sweep for ENIs that a daemon created and never attached, or detached and never deleted.

It is not confined to this node's own: whatever lies about detached in the VPC for five minutes is deleted, also what another
node is about to attach. Source: docs/sources.md#ipamd-leaks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from labnet.errors import Ec2Error
from labnet.ipamd.cloud import CREATED_TAG, NodeCloud, timestamp
from labnet.ipamd.metadata import NodeFacts
from labnet.ipamd.subnets import tags_of
from labnet.ports import Clock

INTERVAL_S = 3600.0
MAX_DELAY_S = 300
MIN_AGE_S = 300.0

Verdict = Literal["keep", "tag", "delete", "tag and delete"]


def judge(item: Mapping[str, Any], now_s: float) -> Verdict:
    """What becomes of a detached ENI, in the API's shape: without a time of creation it gets one and stays for now; with one that
    cannot be read it gets one too, but goes: it counts as older than any.
    """
    text = tags_of(item).get(CREATED_TAG)
    if text is None:
        return "tag"
    created_at_s = _seconds(text)
    if created_at_s is None:
        return "tag and delete"
    return "delete" if now_s - created_at_s >= MIN_AGE_S else "keep"


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class LeakSweep:
    """The sweep of one node; `delay_s` draws the pause before each run, so that a cluster's nodes do not all ask at once."""

    def __init__(
        self, cloud: NodeCloud, clock: Clock, delay_s: Callable[[], float], allowed: Callable[[], bool], tell: Callable[[str, str], None]
    ) -> None:
        self._cloud, self._clock, self._delay_s, self._allowed, self._tell = cloud, clock, delay_s, allowed, tell

    async def run(self, facts: NodeFacts) -> None:
        """Sweep once an hour, for ever."""
        while True:
            await self._clock.sleep(self._delay_s())
            if self._allowed():
                await self.sweep(facts)
            await self._clock.sleep(INTERVAL_S)

    async def sweep(self, facts: NodeFacts) -> None:
        """Look once. What EC2 refuses becomes an event, and is tried again in an hour."""
        try:
            found = await self._cloud.leaked(facts)
        except Ec2Error as error:
            self._tell("LeakSweepFailed", str(error))
            return
        for item in found:
            eni_id = str(item["NetworkInterfaceId"])
            try:
                await self._deal_with(item, eni_id)
            except Ec2Error as error:
                self._tell("LeakSweepFailed", f"{eni_id}: {error}")

    async def _deal_with(self, item: Mapping[str, Any], eni_id: str) -> None:
        now_s = self._clock.now_s()
        verdict = judge(item, now_s)
        if verdict in ("tag", "tag and delete"):
            await self._cloud.create_tags(eni_id, {CREATED_TAG: timestamp(now_s)})
        if verdict in ("delete", "tag and delete"):
            await self._cloud.delete(eni_id)
            self._tell("LeakedEniDeleted", f"{eni_id}: {item.get('Description')}, detached")
