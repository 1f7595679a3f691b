"""The program that a container runtime calls (`programs`): in which language, and how it gets into a node's /opt/cni/bin.

It sends what it was given to the node's socket and prints the answer (`framing`), so that it costs little more than the start
of an interpreter. Why Perl where there is one: docs/adr/0008-the-cni-executable.md.
Source: docs/sources.md#vpc-cni-plugin
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from labnet.cni import spec
from labnet.cni.runtime import NETNS_FD
from labnet.cni.skel import about_text
from labnet.cni.vpc import programs
from labnet.cni.vpc.framing import MAGIC
from labnet.cni.vpc.plugin import DAEMON_SOCKET, UNAVAILABLE, VpcPlugin
from labnet.errors import PrerequisiteError, UsageError

SOCKET_PATH_BYTES = 107  # sun_path of a unix socket, less its closing zero
FIRST_LINE_BYTES = 255  # what the kernel reads of a first line that names an interpreter
PERL = "/usr/bin/perl"
SENDMSG: Mapping[str, int] = {"x86_64": 46, "aarch64": 211, "riscv64": 211}
"""Numbers of sendmsg(2), by machine: the Perl program calls it by number. All of these are 64-bit machines."""
NOT_TORN_DOWN = "labnet: the lab does not run; nothing was torn down\n"

Language = Literal["perl", "python"]
_WORD = re.compile(r"__([A-Z_]+)__")


def language(machine: str = "", perl: str = PERL) -> Language:
    """Perl where it is there and the machine (as `uname -m` says) is known, else Python."""
    return "perl" if (machine or platform.machine()) in SENDMSG and os.access(perl, os.X_OK) else "python"


def source(socket_path: str, python: str, language: Language) -> bytes:
    """The program's text for one node; `socket_path` must be true inside the node's own view and outside. Errors: UsageError,
    PrerequisiteError for an interpreter that a first line cannot name.
    """
    if len(os.fsencode(socket_path)) > SOCKET_PATH_BYTES:
        hint = "use a shorter run directory (LABNET_RUN_DIR) or shorter names"
        raise UsageError(f"the socket path {socket_path} is longer than {SOCKET_PATH_BYTES} bytes", hint)
    if language == "perl":
        return _filled(programs.PERL, socket_path, _in_perl, SENDMSG=str(SENDMSG[platform.machine()]))
    interpreter = os.path.realpath(python)
    if " " in interpreter or len(os.fsencode(f"#!{interpreter} -IS\n")) > FIRST_LINE_BYTES:
        raise PrerequisiteError(f"{interpreter} cannot stand in a program's first line", "install Python under a shorter path without spaces")
    return _filled(programs.PYTHON, socket_path, _in_python, PYTHON=interpreter, BYTEORDER=repr(sys.byteorder))


def install(path: Path, socket_path: str, python: str, language: Language) -> None:
    """Write the program to `path` (mode 0755), aside and then renamed, so that nobody starts half of it. Errors: as `source`; OSError."""
    text = source(socket_path, python, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(text)
    aside.chmod(0o755)
    aside.replace(path)


def _filled(template: str, socket_path: str, literal: Callable[[str], str], **more: str) -> bytes:
    """The template with every ``__WORD__`` filled in: texts as literals of its language, `more` as it stands."""
    texts = {
        "SOCKET": socket_path, "ABOUT": about_text(VpcPlugin.about), "VERSIONS": spec.render_versions().decode(),
        "UNAVAILABLE": UNAVAILABLE.replace('"', '\\"'), "NOT_TORN_DOWN": NOT_TORN_DOWN, "NETNS_FD": NETNS_FD, "MAGIC": MAGIC.decode(),
    }
    words = {word: literal(text) for word, text in texts.items()} | {"DAEMON": DAEMON_SOCKET} | more
    return os.fsencode(_WORD.sub(lambda found: words[found[1]], template))


def _in_perl(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _in_python(text: str) -> str:
    return repr(os.fsencode(text))
