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


def new_tokens() -> TokenBook:
    """The tokens of a lab, which nobody can guess."""
    return TokenBook(os.urandom(16))


async def serve_imds(service: Ec2Service, kernel: Kernel, clock: Clock, tokens: TokenBook, vpc_id: str) -> ImdsServer:
    """Listen on 169.254.169.254 port 80 in a VPC. Errors: KernelError, OSError."""
    listener = kernel.open_socket(vpc_netns_of(service.state, vpc_id), socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((IMDS_ADDRESS, PORT))
        listener.listen(BACKLOG)
        return await serve(listener, _asker(service, vpc_id), service, tokens, clock)
    except BaseException:
        listener.close()
        raise


def _asker(service: Ec2Service, vpc_id: str) -> Who:
    return lambda address: who_has(service.state, vpc_id, address)
