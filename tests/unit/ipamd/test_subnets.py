"""Which subnets a new ENI may go to, by their tags."""

from __future__ import annotations

from typing import Any

import pytest

from labnet.ipamd.subnets import choose, is_excluded, is_valid, tags_of

ROLE = "kubernetes.io/role/cni"
MINE, THEIRS = "cni.networking.k8s.aws/cluster/mine", "cni.networking.k8s.aws/cluster/theirs"


def subnet(name: str = "subnet-b", free: int = 10, **tags: str) -> dict[str, Any]:
    names = {"role": ROLE, "mine": MINE, "theirs": THEIRS, "legacy": "kubernetes.io/cluster/theirs"}
    return {
        "SubnetId": name, "AvailableIpAddressCount": free, "Tags": [{"Key": names[key], "Value": value} for key, value in tags.items()],
    }


@pytest.mark.parametrize("tags, own, cluster, valid", [
    ({}, True, "mine", True),
    ({}, False, "mine", False),
    ({"role": "0"}, True, "mine", False),
    ({"role": "0"}, False, "mine", False),
    ({"role": "1"}, False, "mine", True),
    ({"role": "anything"}, False, "mine", True),
    ({"role": ""}, False, "mine", True),
    ({"role": "1", "mine": "shared"}, False, "mine", True),
    ({"role": "1", "theirs": "shared"}, False, "mine", False),
    ({"role": "1", "theirs": "shared", "mine": ""}, False, "mine", True),
    ({"role": "1", "theirs": "shared"}, False, "", True),
    ({"role": "1", "legacy": "shared"}, False, "mine", True),
])
def test_valid(tags: dict[str, str], own: bool, cluster: str, valid: bool) -> None:
    assert is_valid(subnet(**tags), "subnet-b" if own else "subnet-a", cluster) is valid


def test_the_emptiest_comes_first_and_ids_decide_a_draw() -> None:
    listed = [subnet("subnet-c", 5, role="1"), subnet("subnet-b", 9, role="1"), subnet("subnet-a", 5), subnet("subnet-d", 50)]
    assert choose(listed, "subnet-a", "") == ("subnet-b", "subnet-a", "subnet-c")


def test_only_the_value_zero_excludes() -> None:
    assert is_excluded(subnet(role="0"))
    assert not is_excluded(subnet(role="1")) and not is_excluded(subnet())
    assert tags_of({"TagSet": [{"Key": "a", "Value": "b"}]}) == {"a": "b"} and tags_of({}) == {}
