"""TARGET words: what each means, and what is said when it means nothing or two things."""

from __future__ import annotations

import pytest

from labnet.errors import NotFoundError, UsageError
from labnet.lab.targets import Known, find_target

KNOWN = Known(
    "eks", {"node1": "10.0.0.4", "web": "10.0.0.5"},
    {"default/pod1": "10.0.0.6", "prod/api": "10.0.0.7", "default/web": "10.0.0.8", "default/api": "", "kube-system/agent": "10.0.0.4"},
    {"office": ("eks-onprem", "192.168.0.1"), "db": ("eks-onprem", "192.168.0.1"), "plant": ("eks-onprem.plant", "172.20.0.5")},
)


@pytest.mark.parametrize(
    ("word", "kind", "name", "netns", "address", "port"),
    [
        ("pod1", "pod", "default/pod1", "eks-pod1", "10.0.0.6", None),
        ("pod1:8080", "pod", "default/pod1", "eks-pod1", "10.0.0.6", 8080),
        ("prod/api", "pod", "prod/api", "eks-prod.api", "10.0.0.7", None),
        ("node1", "node", "node1", "eks-node1", "10.0.0.4", None),
        ("node/web", "node", "web", "eks-web", "10.0.0.5", None),
        ("pod/web:80", "pod", "default/web", "eks-web", "10.0.0.8", 80),
        ("internet", "internet", "internet", "eks-internet", "8.8.8.8", None),
        ("onprem", "onprem", "onprem", "eks-onprem", "192.168.0.1", None),
        ("office:8080", "onprem", "office", "eks-onprem", "192.168.0.1", 8080),
        ("plant", "onprem", "plant", "eks-onprem.plant", "172.20.0.5", None),
        ("192.168.0.1", "onprem", "db", "eks-onprem", "192.168.0.1", None),
        ("1.1.1.1:80", "address", "1.1.1.1", "", "1.1.1.1", 80),
        ("10.0.0.7", "pod", "prod/api", "eks-prod.api", "10.0.0.7", None),
        ("10.0.0.5", "node", "web", "eks-web", "10.0.0.5", None),
    ],
)
def test_words(word: str, kind: str, name: str, netns: str, address: str, port: int | None) -> None:
    found = find_target(KNOWN, word)
    assert (found.kind, found.name, found.netns, found.address, found.port) == (kind, name, netns, address, port)


def test_two_things_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="web is ambiguous: node web, pod default/web"):
        find_target(KNOWN, "web")
    with pytest.raises(UsageError, match="api is ambiguous"):
        find_target(KNOWN, "api")


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_target(KNOWN, "pod11")
    assert "did you mean pod1" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("word", ["pod1:0", "pod1:65536", "pod1:http"])
def test_bad_ports(word: str) -> None:
    with pytest.raises(UsageError, match="is no port"):
        find_target(KNOWN, word)
