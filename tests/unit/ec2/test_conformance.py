"""labnet's own server at the probe: every check passes, and nothing is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.ec2_servers import client_environment


def test_every_check_of_the_probe_passes(labnet_ec2: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "labnet.ec2.probe", "-o", "json"]
    environ = client_environment(labnet_ec2, tmp_path)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 3), done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert {one["name"]: one["reason"] for one in checks if not one["passed"]} == {}
    assert {one["name"]: one["left"] for one in checks if one["left"]} == {}
    assert len(checks) >= 60
