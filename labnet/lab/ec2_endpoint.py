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
    _waiting: list[socket.socket] = field(default_factory=list)
    _inside: dict[str, socket.socket] = field(default_factory=dict)
    _answers: bool = False

    async def answer(self) -> None:
        """Begin to answer on the open sockets; from now on at once."""
        self._answers = True
        waiting, self._waiting = self._waiting, []
        await self.server.start(waiting)

    async def open_in(self, vpc_id: str, kernel: Kernel, netns: str) -> None:
        """Listen in a VPC too. Errors: KernelError, OSError."""
        inside = kernel.open_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
        try:
            _listen(inside, EC2_API_ADDRESS, PORT)
        except OSError:
            inside.close()
            raise
        self._inside[vpc_id] = inside
        if self._answers:
            await self.server.start([inside])
        else:
            self._waiting.append(inside)

    async def leave(self, vpc_id: str) -> None:
        """Listen no more in a VPC. Unknown is fine."""
        inside = self._inside.pop(vpc_id, None)
        if inside is None:
            return
        if inside in self._waiting:
            self._waiting.remove(inside)
            inside.close()
        await self.server.leave(inside)

    async def close(self) -> None:
        """Listen no more."""
        for listener in self._waiting:
            listener.close()
        self._waiting = []
        await self.server.close()

    def environment(self, *, inside: bool) -> dict[str, Any]:
        """Variables that point boto3 and the AWS CLI here, for programs on the machine or inside nodes and pods."""
        url = f"http://{EC2_API_ADDRESS}" if inside else f"http://{LOOPBACK}:{self.port}"
        variables = {
            "AWS_ENDPOINT_URL_EC2": url, "AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id, "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
        }
        return {"env": variables, "unset": list(UNSET)}


def open_endpoint(service: Ec2Service, credentials: Credentials, log: Callable[[str], None]) -> Ec2Endpoint:
    """Listen on the machine's loopback. Errors: OSError."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        _listen(outside, LOOPBACK, 0)
    except BaseException:
        outside.close()
        raise
    server = Ec2Server(service, {credentials.access_key_id: credentials.secret_access_key}, log)
    return Ec2Endpoint(server, credentials, service.state.region, int(outside.getsockname()[1]), [outside])


def _listen(sock: socket.socket, address: str, port: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(BACKLOG)
