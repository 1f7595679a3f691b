"""Security groups of the managed ENIs: the first one's, given to all at the start and whenever they change.

With custom networking the other ENIs have groups of their own, and nothing is given. Source: docs/sources.md#ipamd-ec2
"""

from __future__ import annotations

from collections.abc import Callable

from labnet.errors import Ec2Error
from labnet.ipamd.cloud import NOT_FOUND, NodeCloud
from labnet.ipamd.datastore import Datastore
from labnet.ipamd.metadata import NodeFacts


class GroupRefresh:
    """Remembers which groups were given last; an ENI that is made later gets them when it is made."""

    def __init__(self, cloud: NodeCloud, datastore: Datastore, tell: Callable[[str, str], None]) -> None:
        self._cloud, self._datastore, self._tell = cloud, datastore, tell
        self._given: tuple[str, ...] | None = None

    async def refresh(self, facts: NodeFacts) -> None:
        """Give the first ENI's groups to every ENI if they differ from the last ones. Errors: ImdsError.

        What EC2 refuses becomes an event and is not tried again before the groups change: as with the VPC CNI.
        """
        groups = await self._cloud.security_groups(facts.primary_mac)
        if groups == self._given:
            return
        self._given = groups
        for entry in self._datastore.enis():
            try:
                await self._cloud.set_security_groups(entry.id, groups)
            except Ec2Error as error:
                if error.code != NOT_FOUND:
                    self._tell("GroupsNotGiven", f"{entry.id}: {error}")
