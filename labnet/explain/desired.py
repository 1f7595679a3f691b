"""The state that nodes and pods shall have, made whole: what the kernel adds by itself to what the actors claim (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from labnet.model.addressing import bounds, to_text
from labnet.model.netstate import TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, Addr, KernelObject, KernelState, Link, LinkUp, Route, Rule
from labnet.trace.world import Role, World, wires_of

BORN_WITH = (Rule(0, TABLE_LOCAL), Rule(32766, TABLE_MAIN), Rule(32767, TABLE_DEFAULT))
HOST_BITS = 32


def whole(claimed: KernelState) -> KernelState:
    """A claimed state with the kernel's own rules, table local, connected routes and the loopback."""
    up = {item.name for item in claimed.all(LinkUp)}
    derived: list[KernelObject] = [*BORN_WITH, Link("lo", type="loopback", made_by="kernel"), LinkUp("lo")]
    derived.append(Route("127.0.0.0/8", dev="lo", table=TABLE_LOCAL, type="local", scope="host", protocol="kernel"))
    for address in claimed.all(Addr):
        derived += _of_address(address, up)
    return KernelState((*claimed.objects, *(item for item in derived if claimed.find(item.key) is None)))


def _of_address(item: Addr, up: set[str]) -> Iterator[KernelObject]:
    if item.family != "inet":
        return
    yield Route(f"{item.address}/32", dev=item.link, table=TABLE_LOCAL, type="local", scope="host", protocol="kernel")
    if item.connected_route and item.prefixlen < HOST_BITS and item.link in up:
        network = f"{to_text(bounds(f'{item.address}/{item.prefixlen}')[0])}/{item.prefixlen}"
        yield Route(network, dev=item.link, scope="link", src=item.address, protocol="kernel")


def desired_world(
    claimed: Mapping[str, KernelState], roles: Mapping[str, Role], owners: Mapping[str, str], wiring: Iterable[tuple[str, KernelState]] = (),
) -> World:
    """Nodes and pods as they shall be; `wiring`: further namespaces (the VPCs') whose links say what is behind an ENI."""
    wires = wires_of([*claimed.items(), *wiring])
    return World({netns: whole(state) for netns, state in claimed.items()}, wires, dict(owners), dict(roles))
