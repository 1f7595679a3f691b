"""The lab of a case: its steps, and the names and numbers that steps and expectations leave open."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Mapping
from typing import Any

import yaml
from corpus_files import Case
from world_runner import RunningWorld

from labnet.ec2.imds_http import ImdsServer
from labnet.lab.imds import new_tokens, serve_imds
from labnet.lab.verbs import Verbs
from labnet.lab.verbs_zones import ZoneVerbs, clear_zone_faults
from labnet.model.names import eni_port
from labnet.model.scenario import PodSpec

PLACEHOLDER = re.compile(r"\$\{([a-z-]+)(?::([^}]*))?\}")
SOCKET_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class CaseLab:
    """A lab under a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        text = case.scenario if isinstance(case.scenario, str) else yaml.safe_dump(case.scenario)
        self.lab = RunningWorld(text, *case.sets)
        self.verbs = Verbs(self.lab.world)
        self.listening: list[tuple[str, str, int, socket.socket]] = []
        self.watching: list[socket.socket] = []
        self._servers: list[ImdsServer] = []
        self._kept: dict[str, str] = {}
        self.probe = dict(case.probe)

    def close(self) -> None:
        """Sockets first: they hold their namespaces."""
        for sock in (*self.watching, *(one[-1] for one in self.listening)):
            sock.close()
        for server in self._servers:
            self.lab.do(server.close())
        self.lab.close()

    # ---- steps ------------------------------------------------------------------------------------------------------------

    def run(self, steps: tuple[Mapping[str, Any], ...]) -> None:
        """A command in a target's namespace, an EC2 API call, or something about the lab. Whatever fails, fails the case."""
        for step in steps:
            if "ec2" in step:
                self.lab.aws(step["ec2"], **self.filled(step["with"]))
            elif "labnet" in step:
                getattr(self, f"_do_{step['labnet'].replace('-', '_')}")(**self.filled(step["with"]))
            else:
                [(target, command)] = step.items()
                done = self.inside(str(target), str(command))
                assert done.exit_code == 0, f"{target}: {command}: {done.stderr or done.stdout}"

    def _do_add_pod(self, name: str, node: str, ready: bool = True) -> None:
        self.lab.world.add_pod(PodSpec(name, node=node))
        self.lab.until(lambda: self.lab.pod(name).phase == "Running" if ready else bool(self.lab.pod(name).reason))

    def _do_delete_pod(self, name: str) -> None:
        self.lab.delete_pods(name)

    def _do_wait_until_running(self, name: str) -> None:
        self.lab.until(lambda: self.lab.pod(name).phase == "Running")

    def _do_wait(self, seconds: float) -> None:
        self.lab.wait(seconds)

    def _do_serve_metadata(self) -> None:
        """The lab's own metadata service, which this kind of lab leaves out."""
        [vpc_id] = self.lab.world.ec2.state.vpcs
        world = self.lab.world
        self._servers.append(self.lab.do(serve_imds(world.ec2, self.lab.kernel, self.lab.clock, new_tokens(), vpc_id)))

    def _do_fault_zone(self, **args: Any) -> None:
        self.lab.do(ZoneVerbs(self.lab.world).fail(args, lambda event: None))

    def _do_fault_link(self, **args: Any) -> None:
        self.lab.do(ZoneVerbs(self.lab.world).link(args, lambda event: None))

    def _do_clear_zones(self, ids: list[str]) -> None:
        clear_zone_faults(self.lab.world, ids)

    def _do_repair(self) -> None:
        self.lab.world.repair()

    def _do_probe(self, **changed: Any) -> None:
        """Another packet from here on: the cause is the packet."""
        self.probe |= changed

    def _do_keep(self, **values: str) -> None:
        """Remember what cannot be told any more after the break: ``${kept:NAME}``."""
        self._kept |= values

    def _do_open(self, **item: Any) -> None:
        """What programs of the lab would do: TCP sockets that accept, UDP sockets whose questions are echoed."""
        kind, place = str(item["protocol"]), str(item["in"])
        sock = self.lab.kernel.open_socket(self.netns(place), socket.AF_INET, SOCKET_TYPES[kind])
        self.listening.append((kind, place, item["port"], sock))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((item.get("address", "0.0.0.0"), item["port"]))
        if kind == "tcp":
            sock.listen()

    def _do_close(self, **item: Any) -> None:
        for one in self.listening:
            if one[1:3] == (item["in"], item["port"]):
                one[-1].close()
        self.listening = [one for one in self.listening if one[-1].fileno() >= 0]

    def inside(self, target: str, command: str) -> Any:
        return self.lab.kernel.run(self.netns(target), shlex.split(self.filled(command)))

    def netns(self, target: str) -> str:
        """The namespace of a pod, a node, or of the fabric (vpc, igw, internet, nat:NAME)."""
        kind, _, name = target.partition(":")
        if kind == "nat":
            nat = self._named(self.lab.world.ec2.state.nat_gateways, name)
            return f"{self.lab.name}-nat.{nat.id.removeprefix('nat-')}"
        return f"{self.lab.name}-{target}"

    # ---- placeholders -----------------------------------------------------------------------------------------------------

    def filled(self, value: Any) -> Any:
        """A value with its placeholders replaced, as deep as it goes."""
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda found: str(self._meant(found[1], found[2] or "")), value)
        if isinstance(value, Mapping):
            return {key: self.filled(item) for key, item in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def _meant(self, kind: str, name: str) -> str:
        cloud = self.lab.world.ec2.state
        things = {
            "subnet": cloud.subnets, "table": cloud.route_tables, "acl": cloud.network_acls, "igw": cloud.internet_gateways, "vpc": cloud.vpcs,
            "nat": cloud.nat_gateways, "peering": cloud.peerings, "group": cloud.security_groups, "vgw": cloud.vpn_gateways,
        }
        if kind in things:
            return str(self._named(things[kind], name).id)
        if kind in ("eni", "mac", "attachment"):
            eni = self._eni(name)
            return str({"eni": eni.id, "mac": eni.mac, "attachment": eni.attachment.id if eni.attachment else ""}[kind])
        if kind in ("natip", "natlink"):
            nat = self._named(cloud.nat_gateways, name)
            return str(nat.private_address) if kind == "natip" else eni_port(str(nat.eni_id))
        if kind == "table-of":  # the main table of a VPC by its name
            vpc_id = self._named(cloud.vpcs, name).id
            return next(str(table.id) for table in cloud.route_tables.values() if table.vpc_id == vpc_id and table.is_main)
        if kind == "instance":
            return next(str(one.id) for one in cloud.instances.values() if one.name == name and one.state == "running")
        if kind == "kept":
            return self._kept[name]
        if kind in ("allocation", "eip-association"):
            [address] = cloud.addresses.values()
            return str(address.id if kind == "allocation" else address.association.id if address.association else "")
        if kind == "port":
            return eni_port(self._eni(name).id)
        if kind == "linkmac":  # NODE/POD: the MAC of the node's end of a pod's veth
            node, _, pod = name.partition("/")
            return self.lab.inside(node, "ip", "-br", "link", "show", self._meant("link", pod)).split()[2]
        if kind == "associations":  # of a subnet: its route table's, its ACL's
            what, _, subnet = name.partition("/")
            owners: Any = {"table": cloud.route_tables, "acl": cloud.network_acls}[what]
            wanted = self._named(cloud.subnets, subnet).id
            return next(str(one.id) for owner in owners.values() for one in owner.associations if one.subnet_id == wanted)
        status = self.lab.world.status()
        key = {"ip": "ip", "link": "hostLink", "public": "publicIp"}[kind]
        return next(str(one[key]) for one in (*status["pods"], *status["nodes"]) if one["name"] == name and key in one)

    def _named(self, things: Mapping[str, Any], name: str) -> Any:
        """The thing with a name or a tag Name; the only one where no name is given; `main` or `default` where one is that."""
        if not name:
            [only] = things.values()
            return only
        for thing in things.values():
            tags = dict(getattr(thing, "tags", {}))
            if name in (tags.get("Name"), getattr(thing, "name", None), getattr(thing, "id", None)):
                return thing
        flags = {"main": "is_main", "default": "is_default"}
        found = [thing for thing in things.values() if getattr(thing, flags.get(name, ""), False)]
        assert len(found) == 1, f"{self.case.name}: {name} is {len(found)} of {[thing.id for thing in things.values()]}"
        return found[0]

    def _eni(self, name: str) -> Any:
        """``node1/eth1``"""
        node, _, link = name.partition("/")
        cloud = self.lab.world.ec2.state
        instance = next(one for one in cloud.instances.values() if one.name == node and one.state == "running")
        return next(eni for eni in cloud.enis_of(instance.id) if eni.attachment and f"eth{eni.attachment.device_index}" == (link or "eth0"))
