"""The AWS keys of a lab: made once, kept for its owner alone, good for this lab's EC2 API and nothing else."""

from __future__ import annotations

import json
import os
import secrets
import string
from pathlib import Path

from labnet.model.values import frozen

KEY_LETTERS = string.ascii_uppercase + "234567"


@frozen
class Credentials:
    """One key pair, in the form of AWS's."""

    access_key_id: str
    secret_access_key: str


def load_or_make(path: Path) -> Credentials:
    """The lab's keys; a damaged file is replaced. Errors: OSError."""
    try:
        document = json.loads(path.read_text())
        return Credentials(str(document["accessKeyId"]), str(document["secretAccessKey"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        made = Credentials("AKIA" + "".join(secrets.choice(KEY_LETTERS) for _ in range(16)), secrets.token_urlsafe(30))
    path.unlink(missing_ok=True)
    text = json.dumps({"accessKeyId": made.access_key_id, "secretAccessKey": made.secret_access_key})
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(text)
    return made
