"""The program that a container runtime calls: its source text, and how it gets into a node's /opt/cni/bin.

It imports two built-in modules and nothing else, so it costs no more than the interpreter's start. It sends what it was given
to the node's socket and prints the answer (`framing`). Without the lab's process it fails an ADD as the real plugin does
without its daemon, and lets a DEL pass.
Source: docs/sources.md#vpc-cni-plugin
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from labnet.cni import spec
from labnet.cni.runtime import NETNS_FD
from labnet.cni.skel import about_text
from labnet.cni.vpc.framing import HEAD_BYTES, MAGIC, REPLY_HEAD_BYTES
from labnet.cni.vpc.plugin import VpcPlugin
from labnet.errors import PrerequisiteError, UsageError

SOCKET_PATH_BYTES = 107  # sun_path of a unix socket, less its closing zero
FIRST_LINE_BYTES = 255  # what the kernel reads of a first line that names an interpreter
DAEMON_SOCKET = "/var/run/aws-node/ipamd.sock"
"""Where the real plugin would have looked; its error says so."""

_SOURCE = '''#!{python} -IS
# The CNI executable of one labnet node: environment, stdin and the opened CNI_NETNS go to the lab's process, its answer comes back.
import _socket
import posix

SOCKET = {socket!r}
ABOUT = {about!r}
VERSIONS = {versions!r}
UNAVAILABLE = {unavailable!r}


def say(descriptor, data):
    while data:
        data = data[posix.write(descriptor, data):]


def read_stdin():
    parts = []
    while part := posix.read(0, 65536):
        parts.append(part)
    return b"".join(parts)


def open_netns(environ):
    number = environ.get({netns_fd!r}, b"")
    if number:
        return int(number)
    try:
        return posix.open(environ.get(b"CNI_NETNS", b""), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return -1


def receive(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 65536))
        if not part:
            raise ConnectionResetError(104, "Connection reset by peer")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def ask(environ, stdin):
    netns = open_netns(environ)
    block = b"".join(name + b"=" + value + b"\\0" for name, value in environ.items() if name.startswith(b"CNI_"))
    head = {magic!r} + len(block).to_bytes(4, "big") + len(stdin).to_bytes(4, "big")
    rights = [] if netns < 0 else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, {byteorder!r}))]
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.connect(SOCKET)
    if sock.sendmsg([head], rights) != {head_bytes}:
        raise OSError(105, "No buffer space available")
    sock.sendall(block + stdin)
    reply = receive(sock, {reply_head_bytes})
    code, out, err = (int.from_bytes(reply[at:at + 4], "big") for at in (0, 4, 8))
    return code, receive(sock, out), receive(sock, err)


def version_of(stdin):
    found = stdin.partition(b'"cniVersion"')[2].lstrip(b" \\t\\r\\n:")
    text = found[1:].partition(b'"')[0] if found.startswith(b'"') else b""
    return text if text.replace(b".", b"").isdigit() else b""


def without_lab(verb, stdin, error):
    if verb in (b"DEL", b"GC"):
        return 0, b"", b""
    version = version_of(stdin)
    first = b'{{\\n    "cniVersion": "' + version + b'",\\n' if version else b"{{\\n"
    number, said = (b"50", b"plugin not available: ") if verb == b"STATUS" else (b"999", verb.lower() + b" cmd: " + UNAVAILABLE)
    reason = (error.strerror or "timed out").encode()
    reason = reason[:1].lower() + reason[1:]
    said += b"dial unix {daemon}: connect: " + reason
    if verb != b"STATUS":
        said += b'\\\\"'
    return 1, first + b'    "code": ' + number + b',\\n    "msg": "' + said + b'"\\n}}', b""


def main():
    environ = posix.environ
    verb = environ.get(b"CNI_COMMAND", b"")
    if not verb:
        return 0, b"", ABOUT
    if verb == b"VERSION":
        return 0, VERSIONS, b""
    stdin = read_stdin()
    try:
        return ask(environ, stdin)
    except OSError as error:
        return without_lab(verb, stdin, error)


code, out, err = main()
say(1, out)
say(2, err)
posix._exit(code)
'''
_UNAVAILABLE = (
    b'Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: '
    b'desc = \\"transport: Error while dialing: '
)


def source(socket_path: str, python: str) -> str:
    """The program's text for one node; `socket_path` must be true inside the node's own view and outside. Errors: UsageError,
    PrerequisiteError for an interpreter that a first line cannot name.
    """
    if len(os.fsencode(socket_path)) > SOCKET_PATH_BYTES:
        hint = "use a shorter run directory (LABNET_RUN_DIR) or shorter names"
        raise UsageError(f"the socket path {socket_path} is longer than {SOCKET_PATH_BYTES} bytes", hint)
    interpreter = os.path.realpath(python)
    if " " in interpreter or len(os.fsencode(f"#!{interpreter} -IS\n")) > FIRST_LINE_BYTES:
        raise PrerequisiteError(f"{interpreter} cannot stand in a program's first line", "install Python under a shorter path without spaces")
    return _SOURCE.format(
        python=interpreter, socket=os.fsencode(socket_path), about=about_text(VpcPlugin.about).encode(), versions=spec.render_versions(),
        unavailable=_UNAVAILABLE, netns_fd=NETNS_FD.encode(), magic=MAGIC, byteorder=sys.byteorder, head_bytes=HEAD_BYTES,
        reply_head_bytes=REPLY_HEAD_BYTES, daemon=DAEMON_SOCKET,
    )


def install(path: Path, socket_path: str, python: str) -> None:
    """Write the program to `path` (mode 0755), aside and then renamed, so that nobody starts half of it. Errors: as `source`; OSError."""
    text = source(socket_path, python)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    aside.chmod(0o755)
    aside.replace(path)
