"""The instance metadata that EC2's state implies: paths below ``/latest/`` and their exact text (pure), and tokens.

No text ends in a newline; lists have one entry a line, an ENI's primary address first. A path with and without its trailing
slash is the same, except that directories are listed with theirs. What an instance has not (a role, user data, an Auto Scaling
group, a signature, a volume) is in no list and a 404. Source: docs/sources.md#imds
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from labnet.ec2 import limits
from labnet.ec2.rules.shapes import private_dns, shown_public_dns, zone_id
from labnet.errors import ImdsError
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState, Eni, Instance

if TYPE_CHECKING:
    from labnet.ec2.service import Ec2Service

MIN_TTL_S, MAX_TTL_S = 1, 21_600
HYPERVISORS = ("nitro", "xen")
Tree = Mapping[str, "str | Tree | Callable[[], Tree]"]
"""A directory: texts, directories, and directories that are made when somebody looks into them."""


class InProcessImds:
    """The Imds port of one instance, from the running cloud's state."""

    def __init__(self, service: Ec2Service, instance_id: str) -> None:
        self._service, self._instance_id = service, instance_id
        self._seen: CloudState | None = None
        self._root: Tree = {}
        self._texts: dict[str, str] = {}

    async def get(self, path: str) -> str:
        """The text at a path below ``/latest/``. Errors: ImdsError 404."""
        state = self._service.metadata_state(self._instance_id)
        if state is not self._seen:  # a state never changes, and an agent asks it ten things in a row
            self._seen, self._texts, self._root = None, {}, _root(state, self._instance_id)
            self._seen = state
        text = self._texts.get(path)
        if text is None:
            text = self._texts[path] = _text_at(self._root, path)
        return text


def metadata(state: CloudState, instance_id: str, path: str) -> str:
    """The text of one path, a listing where it is a directory. Errors: ImdsError 404."""
    return _text_at(_root(state, instance_id), path)


def _root(state: CloudState, instance_id: str) -> Tree:
    """What stands below ``/latest/``; each directory is made when somebody looks, once. Errors: ImdsError 404."""
    instance = state.instances.get(instance_id)
    if instance is None or instance.state == "terminated":
        raise ImdsError(404, "Not Found")
    return _tree(state, instance)


class _Once:
    """A directory that is made at the first look and stays as it is."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Tree]) -> None:
        self._make = make
        self._made: Tree | None = None

    def __call__(self) -> Tree:
        if self._made is None:
            self._made = self._make()
        return self._made


def _text_at(root: Tree, path: str) -> str:
    node: object = root
    for word in [unquote(part) for part in path.split("/") if part]:  # decoded after the split: %2f is no way into a directory
        if not isinstance(node, Mapping) or word not in node:
            raise ImdsError(404, "Not Found")
        node = node[word]
        node = node() if callable(node) else node
    if isinstance(node, Mapping):
        if not path.strip("/"):
            return "\n".join(sorted(node))  # the one directory whose entries EC2 lists without their slashes
        return "\n".join(f"{key}/" if _is_directory(item) else key for key, item in node.items())
    return str(node)


def _is_directory(item: object) -> bool:
    return not isinstance(item, str)


def who_has(state: CloudState, vpc_id: str, address: str) -> str | None:
    """The instance whose ENI carries an address of a VPC, by itself or in a prefix; None when nobody does."""
    for eni in state.enis.values():
        if eni.vpc_id == vpc_id and eni.attachment is not None and _carries(eni, address):
            return eni.attachment.instance_id
    return None


def _carries(eni: Eni, address: str) -> bool:
    return any(item.address == address for item in eni.addresses) or any(contains(prefix, address) for prefix in eni.prefixes)


def _tree(state: CloudState, instance: Instance) -> Tree:
    return {
        "meta-data": _Once(partial(_meta_data, state, instance)),
        "dynamic": {
            "fws": {"instance-monitoring": "disabled"}, "instance-identity": lambda: {"document": _identity(state, instance)},
        },
    }


def _meta_data(state: CloudState, instance: Instance) -> Tree:
    enis = state.enis_of(instance.id)
    primary = enis[0]
    public = primary.addresses[0].public
    dns = private_dns(state, primary.primary)
    zone = instance.availability_zone
    groups = "\n".join(state.security_groups[one].name for one in primary.security_groups)
    out: dict[str, str | Tree | Callable[[], Tree]] = {
        "ami-id": instance.image_id, "ami-launch-index": str(instance.launch_index), "ami-manifest-path": "(unknown)",
        "events": {"maintenance": {"history": "[]", "scheduled": "[]"}}, "hibernation": {"configured": "false"}, "hostname": dns,
        "instance-action": "none", "instance-id": instance.id, "instance-life-cycle": "on-demand", "instance-type": instance.instance_type,
        "local-hostname": dns, "local-ipv4": primary.primary, "mac": primary.mac,
        "metrics": {"vhostmd": '<?xml version="1.0" encoding="UTF-8"?>'},
        "network": {"interfaces": {"macs": {eni.mac: _Once(partial(_interface, state, eni)) for eni in enis}}},
        "placement": {"availability-zone": zone, "availability-zone-id": zone_id(zone), "region": state.region}, "profile": "default-hvm",
    }
    if public is not None:
        out |= _public_name(state, primary, public) | {"public-ipv4": public}
    out |= {
        "reservation-id": instance.reservation_id, "security-groups": groups,
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    kind = limits.load().get(instance.instance_type)
    if kind is not None and kind.hypervisor in HYPERVISORS:
        out["system"] = kind.hypervisor
    if instance.metadata.instance_tags == "enabled" and instance.tags:
        out["tags"] = {"instance": dict(instance.tags)}
    return out


def _public_name(state: CloudState, eni: Eni, public: str) -> dict[str, str]:
    name = shown_public_dns(state, eni.vpc_id, public)
    return {"public-hostname": name} if name else {}  # the category is only there where the VPC gives host names


def _interface(state: CloudState, eni: Eni) -> Tree:
    assert eni.attachment is not None
    subnet, vpc = state.subnets[eni.subnet_id], state.vpcs[eni.vpc_id]
    public = [item for item in eni.addresses if item.public]
    out: dict[str, str | Tree | Callable[[], Tree]] = {"device-number": str(eni.attachment.device_index), "interface-id": eni.id}
    if public:
        out["ipv4-associations"] = {str(item.public): item.address for item in public}
    if eni.prefixes:
        out["ipv4-prefix"] = "\n".join(eni.prefixes)
    out |= {
        "local-hostname": private_dns(state, eni.primary), "local-ipv4s": "\n".join(item.address for item in eni.addresses),
        "mac": eni.mac, "network-card": str(eni.attachment.network_card_index), "owner-id": state.account_id,
    }
    if public:
        out |= _public_name(state, eni, str(public[0].public)) | {"public-ipv4s": "\n".join(str(item.public) for item in public)}
    return {
        **out, "security-group-ids": "\n".join(eni.security_groups),
        "security-groups": "\n".join(state.security_groups[one].name for one in eni.security_groups),
        "subnet-id": subnet.id, "subnet-ipv4-cidr-block": subnet.cidr, "vpc-id": vpc.id, "vpc-ipv4-cidr-block": vpc.cidrs[0],
        "vpc-ipv4-cidr-blocks": "\n".join(vpc.cidrs),
    }


def _identity(state: CloudState, instance: Instance) -> str:
    document = {
        "accountId": state.account_id, "architecture": "x86_64", "availabilityZone": instance.availability_zone, "billingProducts": None,
        "devpayProductCodes": None, "marketplaceProductCodes": None, "imageId": instance.image_id, "instanceId": instance.id,
        "instanceType": instance.instance_type, "kernelId": None, "pendingTime": _iso(instance.launched_at_s),
        "privateIp": state.enis_of(instance.id)[0].primary, "ramdiskId": None, "region": state.region, "version": "2017-09-30",
    }
    return json.dumps(document, indent=2, separators=(",", " : "))


def _iso(now_s: float) -> str:
    from labnet.ec2.rules.shapes import time_of

    return time_of(now_s).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class TokenBook:
    """Session tokens of all instances of a lab; they end with their time. `seed` makes them hard to guess from outside."""

    seed: bytes
    _made: int = 0
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)

    def issue(self, instance_id: str, ttl_s: int, now_s: float) -> str:
        """A new token. Errors: ImdsError 400 for a TTL outside 1 to 21600 seconds."""
        if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
            raise ImdsError(400, "Bad Request")
        self._known = {token: item for token, item in self._known.items() if item[1] > now_s}
        self._made += 1
        token = hashlib.sha256(self.seed + f"{instance_id} {self._made}".encode()).hexdigest()[:54] + "=="
        self._known[token] = (instance_id, now_s + ttl_s)
        return token

    def left_s(self, token: str, instance_id: str, now_s: float) -> int | None:
        """Whole seconds that a token of that instance is still good for; None when it is not."""
        known = self._known.get(token)
        if known is None or known[0] != instance_id or known[1] <= now_s:
            return None
        return int(known[1] - now_s)

    def holds(self, token: str, instance_id: str, now_s: float) -> bool:
        """Is it a token of that instance, and still good?"""
        return self.left_s(token, instance_id, now_s) is not None
