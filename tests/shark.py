"""Capture files as Wireshark reads them: tshark of Debian, which `make dev` installs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FIELDS = (
    "frame.interface_name", "frame.interface_description", "frame.time_epoch", "frame.packet_flags_direction", "frame.comment", "frame.len",
    "ip.src", "ip.dst", "frame.protocols",
)


def tshark(*words: str, stdin: bytes | None = None) -> str:
    program = shutil.which("tshark")
    assert program, "tshark is missing: make dev installs it (apt-get install tshark)"
    done = subprocess.run([program, "-n", *words], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def packets(path: Path) -> list[dict[str, str]]:
    """Every packet of a file: field → text."""
    wanted = [word for name in FIELDS for word in ("-e", name)]
    lines = tshark("-r", str(path), "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f", *wanted).splitlines()
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]


def capinfos(path: Path) -> str:
    program = shutil.which("capinfos")
    assert program, "capinfos is missing: it comes with tshark"
    return subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=True).stdout
