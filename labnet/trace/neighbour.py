"""Which MAC a packet is sent to: the neighbour table, or the answer that the other end of the wire would give (pure)."""

from __future__ import annotations

from collections.abc import Callable

from labnet.model.values import frozen
from labnet.trace.flight import BROADCAST_MAC
from labnet.trace.hooks import Netfilter
from labnet.trace.nft_fields import Fields
from labnet.trace.routing import LOOPBACK, Question, lookup
from labnet.trace.world import End, Host, World


@frozen
class Resolved:
    """The MAC for a next hop ("" = nobody answers) and how it is known, as `ip neigh` would say it."""

    mac: str
    text: str


def resolve(
    world: World, host: Host, link: str, address: str, visit: Callable[[str], tuple[Host, Netfilter]], source: str = ""
) -> Resolved:
    """Find the MAC of a next hop on a link: an entry that is there, else ARP to the other end.

    `visit` gives a namespace by name. The question names the packet's `source` as its sender where that is an address of the
    namespace (arp_announce 0), whatever link it is on.
    """
    entry = host.neighbour(link, address)
    if entry is not None:
        return Resolved(entry.mac, entry.text)
    peer = world.wires.get((host.netns, link))
    if peer is None:
        return Resolved("", f"{address} dev {link}: nothing is known behind this link")
    sender = source if source and host.is_local(source) else _own_address(host, link)
    request: Fields = {
        "iifname": peer[1], "ether type": "arp", "meta protocol": "arp", "meta pkttype": "broadcast",
        "ether saddr": host.mac(link), "ether daddr": BROADCAST_MAC, "meta mark": 0,
        "arp operation": "request", "arp daddr ip": address, "arp saddr ip": sender, "arp saddr ether": host.mac(link),
    }
    mac = _asked(peer, address, *visit(peer[0]), request)
    return Resolved(mac, f"{address} dev {link} lladdr {mac} (by ARP)" if mac else f"{address} dev {link}: nobody answers ARP")


def _own_address(host: Host, link: str) -> str:
    """The sender address of an ARP question: the link's own, else any other of the namespace."""
    here = [item.address for item in host.addresses if item.link == link]
    elsewhere = [item.address for item in host.addresses if item.link != LOOPBACK]
    return next(iter([*here, *elsewhere]), "0.0.0.0")


def _asked(peer: End, address: str, host: Host, netfilter: Netfilter, request: Fields) -> str:
    """The MAC with which a namespace answers an ARP question that comes in on a link, "" for silence."""
    link = peer[1]
    if link not in host.up or netfilter.arp("input", link, request) is None:
        return ""
    if not host.is_local(address) and not _proxies(host, link, address):
        return ""
    mac = host.mac(link)
    answer: Fields = {
        "oifname": link, "ether type": "arp", "meta protocol": "arp", "ether saddr": mac, "ether daddr": str(request["ether saddr"]),
        "meta mark": 0, "arp operation": "reply", "arp saddr ip": address, "arp saddr ether": mac, "arp daddr ip": str(request["arp saddr ip"]),
    }
    reply = netfilter.arp("output", link, answer)
    return "" if reply is None else str(reply["arp saddr ether"])


def _proxies(host: Host, link: str, address: str) -> bool:
    """Does proxy ARP answer: switched on, forwarding, and the address routed out of another link."""
    if not host.conf(link, "proxy_arp") or not host.sysctl("net/ipv4/ip_forward"):
        return False
    route = lookup(host, Question(address, "0.0.0.0", iif=link)).route
    return route is not None and route.type == "unicast" and route.dev != link
