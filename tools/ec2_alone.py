#!/usr/bin/env python3
"""labnet's EC2 server alone: the real rules and the real wire on 127.0.0.1, without a lab and without a kernel behind it.

Prints one line of JSON, the variables that point AWS clients to it, and serves until its standard input is closed.

Usage: ec2_alone.py [--region R]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import socket
import sys

from labnet.ec2 import limits
from labnet.ec2.http import Ec2Server
from labnet.ec2.service import Ec2Service
from labnet.model.cloud import DEFAULT_REGION, CloudState
from labnet.sim.clock import LabClock

BACKLOG = 128


async def serve(region: str) -> None:
    """Until standard input ends."""
    key, secret = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
    service = Ec2Service(CloudState(lab="alone", seed=1, region=region), limits.load(), LabClock())
    server = Ec2Server(service, {key: secret}, lambda line: print(line, file=sys.stderr, flush=True))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    await server.load()
    await server.start([listener])
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        variables = {
            "AWS_ENDPOINT_URL_EC2": url, "AWS_DEFAULT_REGION": region, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }
        print(json.dumps(variables), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.close()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--region", default=DEFAULT_REGION)
    asyncio.run(serve(parser.parse_args().region))
    return 0


if __name__ == "__main__":
    sys.exit(main())
