"""Who stands in the picture of a trace: of the lab's nodes, pods and gateways those on the path, with their neighbours (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labnet.model import names
from labnet.model.addressing import contains
from labnet.model.values import frozen
from labnet.trace.render.story import Doc, Leg

NOBODY = "0.0.0.0"
"""The source of a packet that the kernel had no address for."""


@frozen
class Subnet:
    """A subnet's name and block, as the strip above its ENIs says it."""

    name: str = ""
    cidr: str = ""
    route_table: str = ""


@frozen
class Eni:
    """An ENI on its node: `port` is the fabric's end of its wire."""

    name: str
    ip: str
    table: int
    port: str
    subnet: Subnet


@frozen
class Pod:
    """A pod with a network namespace of its own."""

    name: str
    ip: str
    netns: str
    host_link: str
    device: str


@frozen
class Column:
    """What hangs below a VPC's router: a node with its ENIs and pods, or a NAT gateway with its one ENI and no pods."""

    kind: str
    name: str
    detail: str
    netns: str
    enis: tuple[Eni, ...]
    pods: tuple[Pod, ...] = ()
    more_pods: int = 0
    more_enis: int = 0


@frozen
class Vpc:
    """A VPC on the path; `igw` is the namespace of its internet gateway where the packet came there."""

    name: str
    cidrs: tuple[str, ...]
    netns: str
    igw: str
    columns: tuple[Column, ...]


@frozen
class Peering:
    """A link between two VPCs, by their namespaces; it has the same name at both ends."""

    port: str
    left: str
    right: str


@frozen
class Cast:
    """The whole picture's persons; `others` are namespaces that nothing is known about, with their owners."""

    vpcs: tuple[Vpc, ...]
    internet: str
    internet_detail: str
    peerings: tuple[Peering, ...]
    others: tuple[tuple[str, str], ...]


@frozen
class Room:
    """How many siblings a node may show."""

    pods: int
    enis: int


class _Path:
    """What the legs touch, in order."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        steps = [step for leg in legs for step in leg.steps]
        self.owners = {step.netns: step.owner for step in reversed(steps)}
        self.places = list(dict.fromkeys(step.netns for step in steps))
        self.links = {step.link for step in steps}
        self.ends = {str(leg.probe[side]) for leg in legs for side in ("src", "dst")} - {NOBODY}

    def first(self, *places: str) -> int:
        """When the packet first came to one of these; behind everything for those it never came to."""
        return min((self.places.index(place) for place in places if place in self.places), default=len(self.places))


def cast_of(scene: Doc, legs: Sequence[Leg], room: Room) -> Cast:
    """The persons in the order of the path, from left to right."""
    path = _Path(legs)
    columns = [(vpc, column) for vpc, column in (*_nodes(scene, path, room), *_nats(scene, path))]
    vpcs = []
    for vpc in sorted(scene.get("vpcs", ()), key=lambda item: path.first(item["netns"])):
        own = sorted((column for owner, column in columns if owner == vpc["id"]), key=lambda one: path.first(one.netns, *_pod_places(one)))
        if vpc["netns"] in path.places or own:
            igw = vpc["igw"] if vpc["igw"] in path.places else ""
            vpcs.append(Vpc(vpc["name"], tuple(vpc["cidrs"]), vpc["netns"], igw, tuple(own)))
    internet = scene.get("internet", "")
    outwards = internet in path.places or any(vpc.igw for vpc in vpcs)
    shown = {internet, *(place for vpc in vpcs for place in (vpc.netns, vpc.igw))}
    shown |= {place for vpc in vpcs for column in vpc.columns for place in (column.netns, *_pod_places(column))}
    outside = sorted(path.ends - set(scene.get("addresses", ())))
    return Cast(
        vpcs=tuple(vpcs), internet=internet if outwards else "", internet_detail=" ".join(outside),
        peerings=tuple(_peerings(scene, path)),
        others=tuple((place, path.owners[place]) for place in path.places if place not in shown),
    )


def _peerings(scene: Doc, path: _Path) -> Iterator[Peering]:
    netns = {vpc["id"]: vpc["netns"] for vpc in scene.get("vpcs", ())}
    for one in scene.get("peerings", ()):
        if one["port"] in path.links:
            yield Peering(one["port"], *(netns[vpc] for vpc in one["vpcs"]))


def _pod_places(column: Column) -> tuple[str, ...]:
    return tuple(pod.netns for pod in column.pods)


def _nodes(scene: Doc, path: _Path, room: Room) -> list[tuple[str, Column]]:
    found = []
    for node in scene.get("nodes", ()):
        pods = [pod for pod in scene["pods"] if pod["node"] == node["name"] and pod["netns"] != node["netns"] and pod["ip"]]
        on_path = [pod for pod in pods if pod["netns"] in path.places or pod["ip"] in path.ends]
        touched = node["netns"] in path.places or any(names.eni_port(eni["id"]) in path.links or eni["ip"] in path.ends for eni in node["enis"])
        if touched or on_path:
            found.append((_vpc_of(scene, node["enis"]), _node(scene, node, pods, on_path, path, room)))
    return found


def _node(scene: Doc, node: Doc, pods: list[Doc], on_path: list[Doc], path: _Path, room: Room) -> Column:
    shown_pods = _chosen(pods, on_path, room.pods)
    devices = {pod["device"] for pod in shown_pods}
    wanted = [eni for eni in node["enis"] if eni["name"] in path.links or names.eni_port(eni["id"]) in path.links]
    wanted += [eni for eni in node["enis"] if eni["deviceIndex"] == 0 or eni["name"] in devices]
    enis = _chosen(node["enis"], wanted[: room.enis], room.enis)
    return Column(
        kind="node", name=node["name"], detail=node["instanceType"], netns=node["netns"],
        enis=tuple(
            Eni(eni["name"], eni["ip"], eni["table"], names.eni_port(eni["id"]), _subnet(scene, eni["subnet"], eni["ip"])) for eni in enis
        ),
        pods=tuple(Pod(pod["name"], pod["ip"], pod["netns"], pod["hostLink"], pod["device"]) for pod in shown_pods),
        more_pods=len(pods) - len(shown_pods), more_enis=len(node["enis"]) - len(enis),
    )


def _chosen(everything: Sequence[Doc], first: Sequence[Doc], most: int) -> list[Doc]:
    """Those that must be there and as many others as there is room for, in the order of the whole."""
    kept = list(first)
    kept += [item for item in everything if item not in kept][: max(0, most - len(kept))]
    return [item for item in everything if item in kept]


def _nats(scene: Doc, path: _Path) -> list[tuple[str, Column]]:
    found = []
    for nat in scene.get("natGateways", ()):
        if nat["netns"] in path.places:
            eni = Eni("vpc", nat["ip"], 0, names.nat_port(nat["id"]), _subnet(scene, nat["subnet"], nat["ip"]))
            found.append((_vpc_of(scene, [nat]), Column("nat", nat["name"], nat["publicIp"], nat["netns"], (eni,))))
    return found


def _subnet(scene: Doc, name: str, address: str) -> Subnet:
    found = _subnet_of(scene, name, address)
    return Subnet(found["name"], found["cidr"], found["routeTable"]) if found else Subnet(name)


def _subnet_of(scene: Doc, name: str, address: str) -> Doc | None:
    """The subnet of that name which holds the address: two VPCs may each have one."""
    named = [one for one in scene["subnets"] if one["name"] == name]
    return next((one for one in named if contains(one["cidr"], address)), named[0] if named else None)


def _vpc_of(scene: Doc, enis: Sequence[Doc]) -> str:
    """The VPC of the first ENI's subnet; the first VPC for what has none."""
    found = _subnet_of(scene, enis[0]["subnet"], enis[0]["ip"]) if enis else None
    return str(found["vpc"]) if found else str(scene["vpcs"][0]["id"])
