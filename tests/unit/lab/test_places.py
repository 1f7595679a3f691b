"""What the words of `capture` choose."""

from __future__ import annotations

import pytest

from labnet.errors import NotFoundError, UsageError
from labnet.lab.places import chosen
from labnet.lab.targets import Known

KNOWN = Known("lab", {"node1": "10.0.0.4"}, {"default/pod1": "10.0.0.5", "default/agent": "10.0.0.4", "shop/web": ""})
THERE = {"lab-node1", "lab-pod1", "lab-vpc", "lab-igw", "lab-internet", "lab-nat.012"}
ENDS = {"eni-1": (("lab-node1", "eth1"), ("lab-vpc", "p1")), "eni-2": (("lab-node1", "eth2"), ("lab-vpc", "p2"))}


def of(*words: str) -> dict[str, list[str]]:
    return chosen(words, KNOWN, THERE, ENDS, {"lab-agent": "lab-node1"})


def test_words() -> None:
    assert of("pod1", "node/node1") == {"lab-pod1": [], "lab-node1": []}
    assert of("10.0.0.5", "vpc", "igw", "nat.012", "internet") == {
        "lab-pod1": [], "lab-vpc": [], "lab-igw": [], "lab-nat.012": [], "lab-internet": [],
    }
    assert of("all") == dict.fromkeys(sorted(THERE), []) and of() == {}  # noqa: RUF024
    assert of("agent") == {"lab-node1": []}  # a pod of the host network lives in its node's namespace


def test_an_eni_is_its_two_ends_and_less_than_its_whole_node() -> None:
    assert of("eni-1") == {"lab-node1": ["eth1"], "lab-vpc": ["p1"]}
    assert of("eni-1", "eni-2") == {"lab-node1": ["eth1", "eth2"], "lab-vpc": ["p1", "p2"]}
    assert of("node1", "eni-1") == of("eni-1", "node1") == {"lab-node1": [], "lab-vpc": ["p1"]}


@pytest.mark.parametrize(("word", "kind", "said"), [
    ("pod9", NotFoundError, "pod9"), ("eni-9", NotFoundError, "eni-9"), ("1.2.3.4", UsageError, "1.2.3.4"), ("pod1:80", UsageError, "port"),
    ("web", NotFoundError, "no namespace now"),
])
def test_what_cannot_be_listened_to(word: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        of(word)
