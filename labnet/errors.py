"""The exception tree: every failure that labnet reports (pure).

::

    LabnetError(message, hint, exit_code)
    ├─ UsageError                       2    a word on the command line or in a request is off
    │  └─ ScenarioError(file, line, field)
    ├─ PrerequisiteError(missing)       4    the machine lacks something; named, with the way out
    ├─ NotFoundError                    5    no such lab, node, pod
    ├─ WaitTimeoutError               124    what was waited for did not happen in time
    ├─ InterruptedByUser              130    a signal; everything was rolled back
    ├─ KernelError(op, netns, target, errno)  the one error of the kernel door
    ├─ OwnershipError(target)                 something of that name exists and is not ours
    ├─ Ec2Error(code, message, status)        an AWS error code as data; knows nothing of XML
    ├─ ImdsError(status)                      a metadata path that answers 404 or 401
    ├─ IpamError                              ├─ PoolExhausted ├─ UnknownAttachment ├─ BadCheckpoint
    ├─ CniError(number, message, details)     numbers of the CNI text; a plugin's own from 100
    ├─ KubeError(reason, message)             Kubernetes' own word: AlreadyExists, Conflict, Expired
    ├─ TraceError(lost)
    ├─ DriftError(changes)
    └─ TeardownError(errors)                  all failures of a tear-down, none hidden

`cli.main` alone prints these and turns them into exit codes: one line what failed, one line what to do.
"""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_VERDICT = 3
EXIT_UNFIT = 4
EXIT_NOT_FOUND = 5
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 130


class LabnetError(Exception):
    """Any failure that labnet explains: what failed (`message`), what to do (`hint`), the exit code it stands for."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class UsageError(LabnetError):
    """A word that the user gave cannot be taken; nothing was done."""

    exit_code = EXIT_USAGE


class ScenarioError(UsageError):
    """A scenario file that cannot be taken: `file`, `line` (1-based, 0 = unknown) and `field` (dotted path) say where."""

    def __init__(self, message: str, hint: str = "", *, file: str = "", line: int = 0, field: str = "") -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        at = f"{field}: " if field else ""
        super().__init__(f"{where}{at}{message}", hint)
        self.file, self.line, self.field = file, line, field


class PrerequisiteError(LabnetError):
    """The machine lacks what this needs; `missing` names each thing."""

    exit_code = EXIT_UNFIT

    def __init__(self, message: str, hint: str = "", *, missing: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.missing = tuple(missing)


class NotFoundError(LabnetError):
    """No lab, node, pod or target of that name."""

    exit_code = EXIT_NOT_FOUND


class WaitTimeoutError(LabnetError):
    """A wait reached its limit; the message lists what is not there, with reasons."""

    exit_code = EXIT_TIMEOUT


class InterruptedByUser(LabnetError):
    """A signal ended the work, after a clean rollback."""

    exit_code = EXIT_INTERRUPTED


class KernelError(LabnetError):
    """The kernel refused: operation, namespace, object and errno (0 where the cause has none)."""

    def __init__(self, op: str, netns: str, target: str, errno: int = 0, reason: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno)) if errno else ""
        said = reason or (os.strerror(errno) if errno else "failed")
        super().__init__(f"{op} in {netns or 'the machine'}: {target}: {said}{f' ({name})' if name else ''}")
        self.op, self.netns, self.target, self.errno, self.reason = op, netns, target, errno, reason


class OwnershipError(LabnetError):
    """Something of that name exists and labnet did not make it."""

    def __init__(self, target: str, hint: str = "") -> None:
        super().__init__(f"{target} exists and does not belong to this lab", hint)
        self.target = target


class Ec2Error(LabnetError):
    """An error of the EC2 API: AWS's `code` and message, and the HTTP status that goes with it (400 unless said)."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ImdsError(LabnetError):
    """A metadata request that is answered with an HTTP error: 400, 401, 403, 404 or 405."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class IpamError(LabnetError):
    """ipamd cannot do what was asked."""


class PoolExhausted(IpamError):
    """No assignable address in the datastore; kubelet retries."""


class UnknownAttachment(IpamError):
    """The (network, container, interface) has no address here: the VPC CNI's 'datastore: unknown pod'."""


class BadCheckpoint(IpamError):
    """The checkpoint file cannot be taken: wrong version, not JSON, or one address twice."""


class CniError(LabnetError):
    """An error of the CNI protocol: `number` of the specification (a plugin's own from 100), `details` free text."""

    def __init__(self, number: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.number, self.details = number, details


class KubeError(LabnetError):
    """A write or a watch that the object store refuses; `reason` is Kubernetes' own word: AlreadyExists, Conflict, Expired."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TraceError(LabnetError):
    """A trace that cannot be trusted: `lost` counts the frames that the capture missed."""

    def __init__(self, message: str, hint: str = "", *, lost: int = 0) -> None:
        super().__init__(message, hint)
        self.lost = lost


class DriftError(LabnetError):
    """The kernel is not as planned; `changes` are the printed differences."""

    def __init__(self, message: str, changes: Sequence[str] = ()) -> None:
        super().__init__(message, "'labnet repair' puts the plan back")
        self.changes = tuple(changes)


class TeardownError(LabnetError):
    """A tear-down that could not finish; `errors` holds every failure."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("; ".join(str(error) for error in errors) or "tear-down failed", "run 'labnet down' again")
        self.errors = tuple(errors)
