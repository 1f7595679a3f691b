"""A scenario's promises: placeholders filled in, what was seen judged, the report (pure; who looks is `lab.verbs`).

Placeholders in texts of a check: ``${TARGET}`` is the address of a node, pod or NAT gateway, ``${TARGET.FIELD}`` a field of its
entry in the status document (``${node1.publicIp}``, ``${pod2.hostLink}``); ``$${`` stands for a plain ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from labnet.errors import NotFoundError
from labnet.model.drops import DropCheck
from labnet.model.scenario import Check, Ec2Check, EventCheck, KernelCheck, PacketCheck, PodCheck
from labnet.model.values import frozen

if TYPE_CHECKING:  # a scenario is read without packets
    from labnet.model.packet import Path

Status = Mapping[str, Any]
PLACEHOLDER_RE = re.compile(r"\$?\$\{([^}]*)\}")
NODE_FIELDS = ("name", "instanceId", "instanceType", "netns", "ip", "publicIp", "maxPods")
POD_FIELDS = ("namespace", "name", "node", "phase", "ip", "eni", "device", "table", "hostLink", "netns")
NAT_FIELDS = ("name", "id", "subnet", "ip", "publicIp", "netns")
SITE_FIELDS = ("name", "ip", "netns")
DROP_CHECKS: tuple[str, ...] = get_args(DropCheck)
MAX_TOLD = 5
"""So many events of a kind are shown where none says what it should."""
PLACES = ("vpc", "igw", "nat", "internet", "vgw", "onprem")


@frozen
class CheckResult:
    """One check, done: `expected` and `seen` are texts for people; `detail` may have several lines."""

    title: str
    kind: str
    ok: bool
    expected: str
    seen: str
    detail: str = ""


# ---- placeholders ---------------------------------------------------------------------------------------------------------


def placeholders(text: str) -> Iterator[tuple[str, str]]:
    """Every (target, field) that a text names; the field is ``ip`` where none is said."""
    for found in PLACEHOLDER_RE.finditer(text):
        if not found.group().startswith("$$"):
            target, _dot, name = found.group(1).partition(".")
            yield target, name or "ip"


def texts_of(check: Check) -> list[str]:
    """Every text of a check in which placeholders may stand."""
    if isinstance(check, PacketCheck):
        return [text for text in (check.source, check.through_source) if text]
    if isinstance(check, EventCheck):
        return [check.contains] if check.contains else []
    if isinstance(check, KernelCheck):
        return [*check.command, *check.contains, *([check.equals] if check.equals is not None else [])]
    return []


def resolve(check: Check, status: Status) -> Check:
    """The check with every placeholder filled in from a status document. Errors: NotFoundError for what is not there (yet)."""
    if isinstance(check, PacketCheck):
        filled = (None if text is None else fill(text, status) for text in (check.source, check.through_source))
        return replace(check, source=next(filled), through_source=next(filled))
    if isinstance(check, EventCheck):
        return replace(check, contains=None if check.contains is None else fill(check.contains, status))
    if isinstance(check, KernelCheck):
        return replace(
            check, command=tuple(fill(word, status) for word in check.command), contains=tuple(fill(line, status) for line in check.contains),
            equals=None if check.equals is None else fill(check.equals, status),
        )
    return check


def fill(text: str, status: Status) -> str:
    """A text with its placeholders filled in. Errors: NotFoundError."""

    def value(found: re.Match[str]) -> str:
        if found.group().startswith("$$"):
            return found.group()[1:]
        target, _dot, name = found.group(1).partition(".")
        return _field(target, name or "ip", status)

    return PLACEHOLDER_RE.sub(value, text)


def _field(target: str, name: str, status: Status) -> str:
    entry = find_entry(target, status)
    if entry is None:
        raise NotFoundError(f"the lab has no node, pod or NAT gateway {target!r}", "'labnet status' lists them")
    value = entry.get(name)
    if value in (None, ""):
        raise NotFoundError(f"{target} has no {name} now", "'labnet status -o json' shows what it has")
    return str(value)


def find_entry(target: str, status: Status) -> Mapping[str, Any] | None:
    """The entry of a node, pod, NAT gateway, network or host outside: by name, ``namespace/pod``, ``pod/NAME`` or ``node/NAME``."""
    kind, slash, rest = target.partition("/")
    pods: Sequence[Mapping[str, Any]] = status.get("pods", ())
    nodes: Sequence[Mapping[str, Any]] = status.get("nodes", ())
    if not slash:
        named = [node for node in nodes if node["name"] == target] + [pod for pod in pods if pod["name"] == target]
        named += [nat for nat in status.get("natGateways", ()) if nat["name"] == target]
        for site in status.get("onPremises", ()):
            named += [one for one in (site, *({**site, **host} for host in site["hosts"])) if one["name"] == target]
    elif kind == "node":
        named = [node for node in nodes if node["name"] == rest]
    else:
        named = [pod for pod in pods if f"{pod['namespace']}/{pod['name']}" == target or (kind == "pod" and pod["name"] == rest)]
    return next(iter(named), None)


# ---- judging --------------------------------------------------------------------------------------------------------------


def title(check: Check) -> str:
    """What a check says, in one line."""
    if isinstance(check, Ec2Check):
        return f"EC2 of {check.node}: {_counts(check)}"
    if isinstance(check, KernelCheck):
        return f"{check.target}: {' '.join(check.command)}"
    if isinstance(check, PodCheck):
        return f"{_who(check)}: {_wanted(check)}"
    if isinstance(check, EventCheck):
        return f"event: {_said(check)}"
    port = f" port {check.port}" if check.port else ""
    source = f" from {check.source}" if check.source else ""
    return f"{check.source_target} → {check.target} {check.protocol}{port}: {check.expect}{source}{_end(check)}"


def _end(check: PacketCheck) -> str:
    """The answer's fate and what takes it, as a check says them."""
    at = f" at {check.drop_at}" if check.drop_at else ""
    return (f", its answer {check.answer}{at}" if check.answer else at) + _by(check)


def judge_packet(check: PacketCheck, path: Path, lab: str, asked: Check | None = None) -> CheckResult:
    """A resolved check against the path that a trace told. `asked` is the check as written, for the title."""
    seen_source = next((hop.frame.src for hop in reversed(path.hops) if hop.frame is not None), "")
    if path.delivered:
        seen = "delivered" + (f" from {seen_source}" if seen_source else "") + (_answer_seen(path) if check.answer else "")
    else:
        seen = "dropped" + (f" at {_place(path, lab)}: {path.drop.check}" if path.drop else "")
    ok = path.delivered == (check.expect == "delivered")
    if check.source is not None and path.delivered:
        ok = ok and seen_source == check.source
    if check.answer is not None:
        ok = ok and path.answer == ("arrived" if check.answer == "delivered" else "lost")
        if check.drop_at is not None:
            ok = ok and path.answer_drop is not None and path.answer_drop.check == check.drop_at
    elif check.drop_at is not None:
        ok = ok and not path.delivered and path.drop is not None and check.drop_at in (path.drop.check, _place(path, lab))
    if check.through is not None:
        came = [hop.frame.src for hop in path.hops if hop.direction == "in" and hop.frame and hop.owner == check.through]
        ok = ok and bool(came) and check.through_source in (None, *came)
        seen += f" through {check.through}" + (f" as {came[0]}" if check.through_source else "") if came else f" past {check.through}"
    expected = check.expect + (f" from {check.source}" if check.source else "") + _end(check)
    drop = path.drop or path.answer_drop
    detail = drop.text if drop is not None else ""
    return CheckResult(title(asked or check), "packet", ok, expected, seen, "" if ok else detail)


def _answer_seen(path: Path) -> str:
    if path.answer == "lost":
        return f", its answer dropped at {path.answer_drop.check}" if path.answer_drop else ", its answer lost"
    return ", its answer delivered" if path.answer else ", no answer seen"


def _by(check: PacketCheck) -> str:
    source = f" as {check.through_source}" if check.through_source else ""
    return f" through {check.through}{source}" if check.through else ""


def _place(path: Path, lab: str) -> str:
    """Where a packet ended, in the words of `dropAt`: the namespace without the lab's name, one word for all NAT gateways."""
    assert path.drop is not None
    netns = next((hop.netns for hop in path.hops if hop.n == path.drop.hop), "")
    place = netns.removeprefix(f"{lab}-")
    return "nat" if place.startswith("nat.") else place


def judge_ec2(check: Ec2Check, enis: Sequence[Mapping[str, int]]) -> CheckResult:
    """Counts of a node's attached ENIs: each entry is ``{"addresses": n, "prefixes": n}``."""
    counted = {
        "enis": len(enis),
        "addresses": sum(item.get("addresses", 0) for item in enis),
        "prefixes": sum(item.get("prefixes", 0) for item in enis),
    }
    wanted = {"enis": check.enis, "addresses": check.addresses, "prefixes": check.prefixes}
    ok = all(counted[key] == value for key, value in wanted.items() if value is not None)
    seen = ", ".join(f"{counted[key]} {_WORDS[key]}" for key, value in wanted.items() if value is not None)
    return CheckResult(title(check), "ec2", ok, _counts(check), seen)


_WORDS = {"enis": "ENIs", "addresses": "addresses", "prefixes": "prefixes"}


def _counts(check: Ec2Check) -> str:
    wanted = (("enis", check.enis), ("addresses", check.addresses), ("prefixes", check.prefixes))
    return ", ".join(f"{value} {_WORDS[key]}" for key, value in wanted if value is not None)


def judge_kernel(check: KernelCheck, printed: str, exit_code: int = 0, asked: Check | None = None) -> CheckResult:
    """A resolved check against what its command printed; lines are compared with runs of blanks as one."""
    name = title(asked or check)
    lines = normalised(printed)
    if exit_code != 0:
        return CheckResult(name, "kernel", False, "exit status 0", f"exit status {exit_code}", printed.strip())
    missing = [line for text in check.contains for line in normalised(text) if line not in lines]
    expected = [f"contains {len(check.contains)} lines"] if check.contains else []
    seen = [f"without: {line}" for line in missing]
    if check.equals is not None:
        wanted = normalised(check.equals)
        expected.append(f"equals {len(wanted)} lines")
        seen += _differences(wanted, lines)
    ok = not seen
    detail = "" if ok else "\n".join([*seen, "printed:", *lines])
    return CheckResult(name, "kernel", ok, " and ".join(expected), "as expected" if ok else seen[0], detail)


def judge_pods(check: PodCheck, status: Status) -> CheckResult:
    """A pod, or how many pods, against the status document. Errors: NotFoundError for a pod that is not there."""
    if check.name is not None:
        entry = find_entry(check.name if "/" in check.name else f"pod/{check.name}", {"pods": status.get("pods", ())})
        if entry is None:
            raise NotFoundError(f"the lab has no pod {check.name!r}", "'labnet status' lists them")
        seen = ": ".join(word for word in (entry["phase"], entry["reason"]) if word)
        return CheckResult(title(check), "pod", _is_as_said(check, entry), _wanted(check), seen)
    pods = [entry for entry in status.get("pods", ()) if check.node in (None, entry["node"])]
    counted = sum(_is_as_said(check, entry) for entry in pods)
    stand = sorted({": ".join(word for word in (entry["phase"], entry["reason"]) if word) for entry in pods})
    return CheckResult(title(check), "pod", counted == check.count, _wanted(check), f"{counted} of {len(pods)}; {', '.join(stand)}")


def _is_as_said(check: PodCheck, entry: Mapping[str, Any]) -> bool:
    return check.phase in (None, entry["phase"]) and check.reason in (None, entry["reason"])


def _who(check: PodCheck) -> str:
    return check.name if check.name is not None else f"pods of {check.node}" if check.node is not None else "all pods"


def _wanted(check: PodCheck) -> str:
    stand = ": ".join(word for word in (check.phase, check.reason) if word)
    return stand if check.count is None else f"{check.count} {stand}".strip()


def judge_event(check: EventCheck, events: Sequence[Mapping[str, Any]]) -> CheckResult:
    """A resolved check against everything that was told."""
    near = [item for item in events if check.object in (None, item["object"]) and check.reason in (None, item["reason"])]
    found = [item for item in near if check.contains is None or check.contains in item["message"]]
    if found:
        seen = f"told {len(found)} time{'' if len(found) == 1 else 's'}"
    else:
        seen = f"not told; {len(near)} such events say something else" if near else "no such event"
    detail = "" if found else "\n".join(dict.fromkeys(item["message"] for item in near[-MAX_TOLD:]))
    return CheckResult(title(check), "event", bool(found), _said(check), seen, detail)


def _said(check: EventCheck) -> str:
    about = " ".join(word for word in (check.object, check.reason) if word)
    return about + (f"{' with ' if about else ''}{check.contains!r}" if check.contains else "")


def _differences(wanted: Sequence[str], lines: Sequence[str]) -> list[str]:
    if wanted == lines:
        return []
    found = [f"missing: {line}" for line in wanted if line not in lines] + [f"unexpected: {line}" for line in lines if line not in wanted]
    return found or ["the same lines in another order or number"]


def normalised(text: str) -> list[str]:
    """Lines of a listing: runs of blanks as one, none at the ends, empty lines out."""
    return [line for line in (" ".join(raw.split()) for raw in text.splitlines()) if line]


def failed(check: Check, message: str) -> CheckResult:
    """A check that could not be done."""
    kind = {PacketCheck: "packet", Ec2Check: "ec2", KernelCheck: "kernel", PodCheck: "pod", EventCheck: "event"}[type(check)]
    return CheckResult(title(check), kind, False, "an answer", message)


def report(lab: str, scenario: str, results: Sequence[CheckResult]) -> dict[str, Any]:
    """The document that `labnet check -o json` prints."""
    return {
        "apiVersion": "labnet/v1", "kind": "CheckReport", "lab": lab, "scenario": scenario,
        "passed": sum(result.ok for result in results), "failed": sum(not result.ok for result in results),
        "checks": [
            {"title": item.title, "kind": item.kind, "ok": item.ok, "expected": item.expected, "seen": item.seen, "detail": item.detail}
            for item in results
        ],
    }
