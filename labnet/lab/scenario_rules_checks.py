"""What must hold for the checks of a scenario: one form each, and nothing named that is not there (pure)."""

from __future__ import annotations

from collections.abc import Collection

from labnet.lab import checks
from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import node_names, vpcs_of, words_of
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.targets import ONPREM
from labnet.model.addressing import is_address
from labnet.model.values import frozen

MAX_PORT = 65_535
FURTHER = ("vpc.", "igw.", "vgw.", "onprem.")
"""How the names of places of further VPCs and networks begin."""


@frozen
class _Known:
    """Names that a check may use."""

    nodes: Collection[str]
    pods: Collection[str]
    pod_names: Collection[str]
    nats: Collection[str] = ()
    outside: Collection[str] = ()

    def find(self, word: str) -> tuple[str, ...]:
        """What a word means: ``node``, ``pod`` and ``network``, each as often as it fits."""
        kind, slash, rest = word.partition("/")
        found = ["node"] if word in self.nodes or (kind == "node" and slash and rest in self.nodes) else []
        if slash:
            found += ["pod"] if word in self.pods or (kind == "pod" and (rest in self.pods or rest in self.pod_names)) else []
        else:
            found += ["pod" for key in self.pods if key.partition("/")[2] == word]
            found += ["network"] if word in self.outside else []
        return tuple(found)

    @property
    def words(self) -> list[str]:
        """Everything that can be said, for a suggestion."""
        return [*self.nodes, *self.pod_names, *self.outside]


def check_checks(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the checks."""
    known = _Known(
        nodes={name for node in document.nodes for name in node_names(node)},
        pods={f"{pod.namespace}/{pod.name}" for pod in document.pods},
        pod_names={pod.name for pod in document.pods},
        nats={nat.name for _path, vpc in vpcs_of(document) for nat in vpc.nat_gateways},
        outside={name for site in document.on_premises for name in (site.name, *(host.name for host in site.hosts))}
        | ({ONPREM} if document.on_premises else set()),
    )
    for n, check in enumerate(document.checks):
        path: Path = ("checks", n)
        packet = check.source_target is not None or check.to is not None
        given = (("from/to", packet), ("ec2", check.ec2), ("kernel", check.kernel), ("pod", check.pod), ("event", check.event))
        forms = [name for name, said in given if said]
        if len(forms) != 1:
            what = f"mixes {' and '.join(forms)}" if forms else "checks nothing"
            findings.add(path, what, "one of: {from, to}, {ec2: …}, {kernel: …}, {pod: …}, {event: …}")
        elif check.ec2 is not None:
            _ec2(check.ec2, (*path, "ec2"), known, findings)
        elif check.kernel is not None:
            _kernel(check.kernel, (*path, "kernel"), known, findings)
        elif check.pod is not None:
            _pod(check.pod, (*path, "pod"), known, findings)
        elif check.event is not None:
            _event(check.event, (*path, "event"), known, findings)
        else:
            _packet(check, path, known, findings)


def _packet(check: schema.Check, path: Path, known: _Known, findings: Findings) -> None:
    for key, word, extra in (("from", check.source_target, False), ("to", check.to, True)):
        if word is None:
            findings.add(path, f"{key} is missing", f"for example '{key}: pod1'")
        else:
            _target(word, (*path, key), known, findings, elsewhere=extra)
    if check.protocol == "icmp" and check.port is not None:
        findings.add((*path, "port"), "icmp has no ports", "remove it, or say 'protocol: tcp'")
    if check.port is not None and not 0 < check.port <= MAX_PORT:
        findings.add((*path, "port"), f"{check.port} is no port", f"1 to {MAX_PORT}")
    _fate(check, path, known, findings)
    if check.through is not None:
        _through(check.through, (*path, "through"), known, findings)
    if check.source is not None:
        _placeholders(check.source, (*path, "source"), known, findings)
        if "${" not in check.source and not is_address(check.source):
            hint = "for example '${node1.publicIp}' or 10.10.0.4"
            findings.add((*path, "source"), f"{check.source!r} is no address and no placeholder", hint)


def _fate(check: schema.Check, path: Path, known: _Known, findings: Findings) -> None:
    """What is said of a packet's end, and of its answer's, must go together."""
    if check.expect == "dropped" and check.source is not None:
        findings.add((*path, "source"), "nobody sees the source of a packet that is dropped", "remove it, or expect delivered")
    if check.expect == "dropped" and check.answer is not None:
        findings.add((*path, "answer"), "nobody answers a packet that is dropped", "remove it, or expect delivered")
    if check.answer == "dropped" and check.drop_at is not None and check.drop_at not in checks.DROP_CHECKS:
        findings.add((*path, "dropAt"), "of an answer the check alone is known", f"one of {', '.join(checks.DROP_CHECKS)}")
    if check.expect == "delivered" and check.answer != "dropped" and check.drop_at is not None:
        findings.add((*path, "dropAt"), "a packet that is delivered is dropped nowhere", "add 'expect: dropped'")
    if check.drop_at is not None:
        places = [*checks.PLACES, *known.nodes, *known.pod_names, *checks.DROP_CHECKS]
        if check.drop_at not in places and not check.drop_at.startswith(FURTHER):
            otherwise = f"a node, a pod, {', '.join(checks.PLACES)}, or one of {', '.join(checks.DROP_CHECKS)}"
            findings.add((*path, "dropAt"), f"{check.drop_at!r} is no place and no check", nearest(check.drop_at, places, otherwise))


def _through(through: schema.Through, path: Path, known: _Known, findings: Findings) -> None:
    places = ["vpc", "igw", "vgw", *known.nats, *known.words]
    if through.place not in places and not through.place.startswith(FURTHER):
        findings.add((*path, "place"), f"{through.place!r} is no place", nearest(through.place, places, f"one of {', '.join(places)}"))
    if through.source is not None:
        _placeholders(through.source, (*path, "source"), known, findings)


def _target(word: str, path: Path, known: _Known, findings: Findings, elsewhere: bool) -> None:
    """A target that must be known; `elsewhere`: internet and bare addresses are taken too."""
    text = word.partition(":")[0]
    if elsewhere and (text == "internet" or is_address(text)):
        return
    found = known.find(text)
    if not found:
        otherwise = "a node or pod of this scenario" + (", internet, or an address" if elsewhere else "")
        findings.add(path, f"there is no node or pod {word!r}", nearest(text.rpartition("/")[2], known.words, otherwise))
    elif len(found) > 1:
        findings.add(path, f"{word!r} means {len(found)} things", "say node/NAME or namespace/NAME")


def _ec2(check: schema.Ec2Check, path: Path, known: _Known, findings: Findings) -> None:
    if check.node not in known.nodes:
        findings.add((*path, "node"), f"there is no node {check.node!r}", nearest(check.node, known.nodes))
    if check.enis is None and check.addresses is None and check.prefixes is None:
        findings.add(path, "compares nothing", "give it enis, addresses or prefixes")


def _kernel(check: schema.KernelCheck, path: Path, known: _Known, findings: Findings) -> None:
    if check.target != "internet":
        _target(check.target, (*path, "target"), known, findings, elsewhere=False)
    if check.contains is None and check.equals is None:
        findings.add(path, "compares nothing", "give it contains or equals")
    try:
        words = words_of(check.command)
    except ValueError as error:
        findings.add((*path, "command"), str(error), "close the quotes, or write a list of words")
        return
    if not words:
        findings.add((*path, "command"), "is empty", "for example 'ip rule'")
    contains = [check.contains] if isinstance(check.contains, str) else check.contains or []
    for text in (*words, *contains, *([check.equals] if check.equals is not None else [])):
        _placeholders(text, path, known, findings)


def _pod(check: schema.PodCheck, path: Path, known: _Known, findings: Findings) -> None:
    if (check.name is None) == (check.count is None):
        message = "names a pod and a count" if check.name is not None else "names no pod and no count"
        findings.add(path, message, "one of: {name: pod1, phase: Pending}, {node: node1, phase: Running, count: 3}")
    if check.name is not None and "pod" not in known.find(check.name):
        findings.add((*path, "name"), f"there is no pod {check.name!r}", nearest(check.name, known.pod_names))
    if check.name is not None and check.node is not None:
        findings.add((*path, "node"), "stands beside 'name'", "a pod is on one node: remove one of them")
    if check.node is not None and check.node not in known.nodes:
        findings.add((*path, "node"), f"there is no node {check.node!r}", nearest(check.node, known.nodes))
    if check.phase is None and check.reason is None:
        findings.add(path, "compares nothing", "give it phase or reason")


def _event(check: schema.EventCheck, path: Path, known: _Known, findings: Findings) -> None:
    if check.reason is None and check.contains is None:
        findings.add(path, "compares nothing", "give it reason or contains")
    if check.contains is not None:
        _placeholders(check.contains, (*path, "contains"), known, findings)


def _placeholders(text: str, path: Path, known: _Known, findings: Findings) -> None:
    for target, name in checks.placeholders(text):
        found = known.find(target) or (("NAT gateway",) if target in known.nats else ())
        if not found:
            findings.add(path, f"placeholder ${{{target}}}: there is no node or pod {target!r}", nearest(target, known.words))
            continue
        fields = {"node": checks.NODE_FIELDS, "pod": checks.POD_FIELDS, "network": checks.SITE_FIELDS}.get(found[0], checks.NAT_FIELDS)
        if name not in fields:
            findings.add(path, f"placeholder ${{{target}.{name}}}: a {found[0]} has no {name!r}", nearest(name, fields))
