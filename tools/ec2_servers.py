"""labnet's EC2 server and moto's as whole processes on 127.0.0.1, and an environment for AWS clients that touches nobody's own settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_S = 60
REGION = "us-west-2"


def client_environment(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """The process's environment without any AWS setting but these; `home` takes the place of the home directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    alone = {"HOME": str(home), "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_PAGER": ""}
    return {**kept, **alone, "AWS_EC2_METADATA_DISABLED": "true", **variables}


@contextmanager
def labnet_server() -> Iterator[dict[str, str]]:
    """Variables for clients of a labnet EC2 that runs meanwhile."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, str(HERE / "ec2_alone.py"), "--region", REGION]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdin is not None and process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise RuntimeError(f"labnet's server did not start:\n{log.read()}")
            yield json.loads(line)
        finally:
            _end(process)


@contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """Variables for clients of a moto server that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="lnm") as home:
        log = Path(home) / "log"
        command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", "0"]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=client_environment({}, Path(home)), cwd=home)
        try:
            yield {
                "AWS_ENDPOINT_URL_EC2": _address_in(log, process), "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "moto-checks-none",
            }
        finally:
            _end(process)


def _address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"moto_server did not start:\n{log.read_text()}")


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
