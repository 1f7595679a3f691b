"""The metadata service of a running lab: one listener in each VPC's namespace; who asks is known by the address."""

from __future__ import annotations

import os
import socket

from labnet.ec2.imds import TokenBook, who_has
from labnet.ec2.imds_http import ImdsServer, Who, serve
from labnet.ec2.service import Ec2Service
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.tables import IMDS_ADDRESS
from labnet.ports import Clock, Kernel

BACKLOG = 256
PORT = 80


async def serve_imds(service: Ec2Service, kernel: Kernel, clock: Clock) -> list[ImdsServer]:
    """Listen on 169.254.169.254 port 80 in every VPC. Errors: KernelError, OSError."""
    tokens = TokenBook(os.urandom(16))
    servers = []
    for vpc_id in service.state.vpcs:
        listener = kernel.open_socket(vpc_netns_of(service.state, vpc_id), socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((IMDS_ADDRESS, PORT))
        listener.listen(BACKLOG)
        servers.append(await serve(listener, _asker(service, vpc_id), service, tokens, clock))
    return servers


def _asker(service: Ec2Service, vpc_id: str) -> Who:
    return lambda address: who_has(service.state, vpc_id, address)
