"""Ask a running lab: one JSON object a line over its control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labnet.errors import LabnetError, NotFoundError
from labnet.lab.paths import LabPaths

PROTOCOL = 1


def call(
    run_dir: Path, lab: str, verb: str, args: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None = None,
    timeout_s: float = 600.0,
) -> dict[str, Any]:
    """Send one verb and wait for its result; events on the way go to `on_event`.

    Errors: the lab's own (same message, hint and exit code); NotFoundError when its process does not answer.
    """
    paths = LabPaths(run_dir, lab)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(paths.control))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            hint = f"its process has ended; 'labnet up {lab}' brings it back, 'labnet down {lab}' takes it away"
            raise NotFoundError(f"lab {lab} does not answer", hint) from error
        except PermissionError as error:
            raise LabnetError(f"the control socket of lab {lab} is not yours", "run it with sudo") from error
        with sock.makefile("rwb") as stream:
            return _talk(stream, lab, verb, args, on_event)


def _talk(stream: Any, lab: str, verb: str, args: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None] | None) -> dict[str, Any]:
    greeting = json.loads(stream.readline() or b"{}")
    if greeting.get("protocol") != PROTOCOL:
        raise LabnetError(f"lab {lab} speaks protocol {greeting.get('protocol')}, this labnet {PROTOCOL}", "take the lab down and up again")
    stream.write(json.dumps({"id": 1, "verb": verb, "args": dict(args)}).encode() + b"\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "event" in answer:
            if on_event is not None:
                on_event(answer["event"])
        elif "error" in answer:
            error = answer["error"]
            raise LabnetError(error["message"], error.get("hint", ""), int(error.get("exitCode", 1)))
        else:
            return dict(answer["result"])
    raise LabnetError(f"lab {lab} hung up before it answered", "its log may say why")
