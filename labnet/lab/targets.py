"""What a TARGET word means (pure).

pod | namespace/pod | node | pod/NAME | node/NAME | internet | onprem | a network or host outside of AWS | an IP, any of them with :PORT
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from ipaddress import AddressValueError, IPv4Address

from labnet.errors import NotFoundError, UsageError
from labnet.model import names
from labnet.model.values import frozen

INTERNET_ADDRESS = "8.8.8.8"
ONPREM = "onprem"
"""The first network outside of AWS."""
MAX_PORT = 65_535


@frozen
class Target:
    """A target, found: `kind` pod, node, internet, onprem or address; `netns` empty for a bare address that nothing here owns."""

    kind: str
    name: str
    netns: str = ""
    address: str = ""
    port: int | None = None


@frozen
class Known:
    """What there is: nodes and pods (``namespace/name``), each with its address ("" while it has none).

    `outside` are networks outside of AWS and their hosts: name → (namespace, address); a network's address is its first host's.
    """

    lab: str
    nodes: Mapping[str, str]
    pods: Mapping[str, str]
    outside: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def find_target(known: Known, word: str) -> Target:
    """The one thing that a word means. Errors: UsageError when it means two, NotFoundError with the nearest names."""
    text, port = _split_port(word)
    try:
        address = str(IPv4Address(text))
    except AddressValueError:
        return _named(known, text, port, word)
    return _by_address(known, address, port)


def _split_port(word: str) -> tuple[str, int | None]:
    text, colon, port = word.rpartition(":")
    if not colon:
        return word, None
    if not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        raise UsageError(f"{word!r}: {port!r} is no port", "ports are 1 to 65535")
    return text, int(port)


def _by_address(known: Known, address: str, port: int | None) -> Target:
    for key, ip in known.pods.items():
        if ip == address and ip != known.nodes.get(key, ""):
            return _pod(known, key, port)
    for node, ip in known.nodes.items():
        if ip == address:
            return Target("node", node, names.node_netns(known.lab, node), ip, port)
    for name, (netns, ip) in reversed(tuple(known.outside.items())):  # hosts stand behind their network
        if ip == address:
            return Target("onprem", name, netns, ip, port)
    return Target("address", address, "", address, port)


def _named(known: Known, text: str, port: int | None, word: str) -> Target:
    if text == "internet":
        return Target("internet", "internet", names.internet_netns(known.lab), INTERNET_ADDRESS, port)
    outside = known.outside.get(text) or (next(iter(known.outside.values()), None) if text == ONPREM else None)
    if outside is not None:
        return Target("onprem", text, *outside, port)
    found: list[Target] = []
    kind, slash, rest = text.partition("/")
    if slash and kind == "node" and rest in known.nodes:
        found.append(_node(known, rest, port))
    if slash and kind == "pod":
        found += [_pod(known, key, port) for key in known.pods if rest in (key, key.partition("/")[2])]
    if text in known.pods:
        found.append(_pod(known, text, port))
    if not slash:
        found += [_node(known, text, port)] if text in known.nodes else []
        found += [_pod(known, key, port) for key in known.pods if key.partition("/")[2] == text]
    if not found:
        candidates = [*known.nodes, *known.outside, *(key.partition("/")[2] for key in known.pods)]
        raise NotFoundError(f"no pod or node is named {word}", _nearest(text, candidates))
    if len({(item.kind, item.name) for item in found}) > 1:
        meant = ", ".join(f"{item.kind} {item.name}" for item in found)
        raise UsageError(f"{word} is ambiguous: {meant}", "say pod/NAME, node/NAME or namespace/NAME")
    return found[0]


def _node(known: Known, name: str, port: int | None) -> Target:
    return Target("node", name, names.node_netns(known.lab, name), known.nodes[name], port)


def _pod(known: Known, key: str, port: int | None) -> Target:
    namespace, _, name = key.partition("/")
    return Target("pod", key, names.pod_netns(known.lab, namespace, name), known.pods[key], port)


def _nearest(text: str, candidates: Iterable[str]) -> str:
    import difflib  # late: only a wrong word needs it

    near = difflib.get_close_matches(text.rpartition("/")[2], list(candidates), n=3)
    return f"did you mean {' or '.join(near)}?" if near else "'labnet status' lists them"
