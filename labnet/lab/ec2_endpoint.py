"""The EC2 API of a running lab: one listener on the machine's loopback, one at 169.254.169.200 in each VPC.

The sockets are opened while the lab comes up, so that nobody is refused; they are answered once the libraries are loaded.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from labnet.ec2.http import Ec2Server
from labnet.ec2.service import Ec2Service
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.tables import EC2_API_ADDRESS
from labnet.lab.credentials import Credentials
from labnet.ports import Kernel

BACKLOG = 128
PORT = 80
LOOPBACK = "127.0.0.1"
UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


@dataclass(slots=True)
class Ec2Endpoint:
    """Where the API listens, and with which keys."""

    server: Ec2Server
    credentials: Credentials
    region: str
    port: int
    _listeners: list[socket.socket] = field(default_factory=list)

    async def answer(self) -> None:
        """Begin to answer on the open sockets."""
        listeners, self._listeners = self._listeners, []
        await self.server.start(listeners)

    async def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        await self.server.close()

    def environment(self, *, inside: bool) -> dict[str, Any]:
        """Variables that point boto3 and the AWS CLI here, for programs on the machine or inside nodes and pods."""
        url = f"http://{EC2_API_ADDRESS}" if inside else f"http://{LOOPBACK}:{self.port}"
        variables = {
            "AWS_ENDPOINT_URL_EC2": url, "AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id, "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
        }
        return {"env": variables, "unset": list(UNSET)}


def open_endpoint(service: Ec2Service, kernel: Kernel, credentials: Credentials, log: Callable[[str], None]) -> Ec2Endpoint:
    """Listen. Errors: KernelError, OSError."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listeners = [outside]
    try:
        _listen(outside, LOOPBACK, 0)
        for vpc_id in service.state.vpcs:
            inside = kernel.open_socket(vpc_netns_of(service.state, vpc_id), socket.AF_INET, socket.SOCK_STREAM)
            listeners.append(inside)
            _listen(inside, EC2_API_ADDRESS, PORT)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    server = Ec2Server(service, {credentials.access_key_id: credentials.secret_access_key}, log)
    return Ec2Endpoint(server, credentials, service.state.region, int(outside.getsockname()[1]), listeners)


def _listen(sock: socket.socket, address: str, port: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(BACKLOG)
