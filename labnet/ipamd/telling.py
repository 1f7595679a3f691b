"""What a daemon does, told in its own log beside everything else that hears of it: its events, and its calls of EC2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.errors import Ec2Error
from labnet.ports import Ec2Api, Events, NodeLog

NAMES = ("NetworkInterfaceId", "NetworkInterfaceIds", "Resources", "SubnetId", "SubnetIds", "AttachmentId", "InstanceIds")
COUNTS = ("SecondaryPrivateIpAddressCount", "Ipv4PrefixCount", "PrivateIpAddresses", "Ipv4Prefixes")


class ToldEvents:
    """The Events port: every event is a line of the log too."""

    def __init__(self, events: Events, log: NodeLog) -> None:
        self._events, self._log = events, log

    def record(self, object: str, reason: str, message: str) -> None:  # noqa: A002 - the field's own word
        """Record, and say it."""
        self._events.record(object, reason, message)
        self._log.info(f"{reason}: {message}")


class ToldEc2:
    """The Ec2Api port: every call is a line of the log, and its error another."""

    def __init__(self, ec2: Ec2Api, log: NodeLog) -> None:
        self._ec2, self._log = ec2, log

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call. Errors: Ec2Error."""
        said = ", ".join(f"{key}={_short(params[key])}" for key in (*NAMES, *COUNTS) if key in params)
        self._log.debug(f"ec2:{action} {said}".rstrip())
        try:
            return await self._ec2.call(action, params)
        except Ec2Error as error:
            self._log.error(f"failed to call ec2:{action}: {error}")
            raise


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
