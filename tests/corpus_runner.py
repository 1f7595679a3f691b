"""Break a lab as a case says, prove the drop point without labnet's tracer, then hear what `explain` and `trace` say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import select
import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from corpus_files import Case
from world_runner import RunningWorld

from labnet.ec2.imds_http import ImdsServer
from labnet.errors import LabnetError
from labnet.lab.imds import new_tokens, serve_imds
from labnet.lab.targets import find_target
from labnet.lab.tracing import Tracer
from labnet.lab.verbs import Verbs
from labnet.model.names import eni_port
from labnet.model.scenario import PodSpec

PLACEHOLDER = re.compile(r"\$\{([a-z-]+)(?::([^}]*))?\}")
AGAIN_S = (0.0, 0.7, 1.5)
"""Where a packet must arrive it is asked so often; where silence is expected once."""
ETH_P_ALL = 0x0003


class Broken:
    """A lab under a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        text = case.scenario if isinstance(case.scenario, str) else yaml.safe_dump(case.scenario)
        self.lab = RunningWorld(text, *case.sets)
        self.verbs = Verbs(self.lab.world)
        self._listening: list[tuple[str, str, int, socket.socket]] = []
        self._watching: list[socket.socket] = []
        self._servers: list[ImdsServer] = []
        self._kept: dict[str, str] = {}
        self.probe = dict(case.probe)

    def close(self) -> None:
        """Sockets first: they hold their namespaces."""
        for sock in (*self._watching, *(one[-1] for one in self._listening)):
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

    def _do_fault(self, **args: Any) -> None:
        asyncio.run(self.verbs.table()["fault-api"](args, lambda event: None))

    def _do_serve_metadata(self) -> None:
        """The lab's own metadata service, which this kind of lab leaves out."""
        [vpc_id] = self.lab.world.ec2.state.vpcs
        world = self.lab.world
        self._servers.append(self.lab.do(serve_imds(world.ec2, self.lab.kernel, self.lab.clock, new_tokens(), vpc_id)))

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
        sock = self.lab.kernel.open_socket(self.netns(place), socket.AF_INET, _TYPES[kind])
        self._listening.append((kind, place, item["port"], sock))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((item.get("address", "0.0.0.0"), item["port"]))
        if kind == "tcp":
            sock.listen()

    def _do_close(self, **item: Any) -> None:
        for one in self._listening:
            if one[1:3] == (item["in"], item["port"]):
                one[-1].close()
        self._listening = [one for one in self._listening if one[-1].fileno() >= 0]

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
            "nat": cloud.nat_gateways, "peering": cloud.peerings, "group": cloud.security_groups,
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

    # ---- packets by other means -------------------------------------------------------------------------------------------

    def asks(self, again_s: tuple[float, ...] = (0.0,)) -> tuple[bool, str]:
        """Does the probe's question get an answer? By ping or a socket; with what was said."""
        said = ""
        for pause_s in again_s:
            time.sleep(pause_s)
            answered, said = self._ask()
            if answered:
                return True, said
        return False, said

    def _ask(self) -> tuple[bool, str]:
        probe = self.probe
        source, target = (find_target(Tracer(self.lab.world).known(), str(self.filled(probe[end]))) for end in ("from", "to"))
        protocol = probe.get("protocol", "tcp" if "port" in probe else "icmp")
        if "asks" in probe:
            words = shlex.split(self.filled(probe["asks"]))
            done = self.lab.do(asyncio.to_thread(self.lab.kernel.run, source.netns, words))  # the lab's services answer meanwhile
            return done.exit_code == 0, done.stdout + done.stderr
        if protocol == "icmp":
            words = ["ping", "-n", "-c1", "-W1", *(["-M", "do", "-s", str(probe["size"] - 28)] if "size" in probe else [])]
            words += ["-t", str(probe["ttl"])] if "ttl" in probe else []
            done = self.lab.kernel.run(source.netns, [*words, target.address])
            return done.exit_code == 0, done.stdout + done.stderr
        with self.lab.kernel.open_socket(source.netns, socket.AF_INET, _TYPES[protocol]) as sock:
            sock.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                try:
                    sock.connect((target.address, probe["port"]))
                    sock.send(b"?")
                except BlockingIOError:
                    pass
                except OSError as error:
                    if not isinstance(error, TimeoutError):
                        return False, str(error)
            return self._answered(sock, protocol)

    def _answered(self, sock: socket.socket, protocol: str) -> tuple[bool, str]:
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            for kind, _place, _port, server in self._listening:
                if kind == "udp" and select.select([server], [], [], 0)[0]:
                    data, sender = server.recvfrom(2048)
                    with contextlib.suppress(OSError):  # its own way back may be what is broken
                        server.sendto(data, sender)
            try:
                if protocol == "tcp":
                    sock.getpeername()
                    return True, ""
                if sock.recv(64) == b"?":
                    return True, ""
            except TimeoutError:
                pass
            except OSError as error:
                if protocol == "udp":
                    return False, str(error)
                failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    return False, f"error {failed}"
                time.sleep(0.01)
        return False, "silence"

    # ---- what the kernel says ---------------------------------------------------------------------------------------------

    def prove(self, asking: bool = True) -> None:
        """The probe is lost, and the kernel says where."""
        watching = [self._watched(item) for item in self.case.evidence]
        before = [self._measured(item) for item in self.case.evidence]
        answered, said = self.asks() if asking else (False, "")
        assert not answered, f"the probe is answered although the lab is broken: {said}"
        time.sleep(0.05)
        for item, watch, was in zip(self.case.evidence, watching, before, strict=True):
            self._holds(item, watch, was, said)

    def _measured(self, item: Mapping[str, Any]) -> int:
        if "counter" in item:
            counters = self.lab.kernel.counters(self.netns(item["in"])).items()
            return sum(packets for comment, packets in counters if self.filled(item["counter"]) in comment)
        if "stat" in item:
            group, _, name = item["stat"].partition(".")
            return _statistics(self.inside(item["in"], "cat /proc/net/snmp /proc/net/netstat").stdout)[group, name]
        if "rule" in item:
            program = "iptables-legacy-save" if item["table"].startswith("legacy ") else "iptables-nft-save"
            lines = self.inside(item["in"], f"{program} -c -t {item['table'].split()[-1]}").stdout.splitlines()
            found = [line for line in lines if self.filled(item["rule"]) in line]
            assert len(found) == 1, f"{item['rule']!r} is in {len(found)} rules: {lines}"
            return int(found[0].lstrip("[").partition(":")[0])
        return 0

    def _watched(self, item: Mapping[str, Any]) -> socket.socket | None:
        if "seen" not in item:
            return None
        sock = self.lab.kernel.open_socket(self.netns(item["in"]), socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        if item["link"] != "any":
            sock.bind((self.filled(item["link"]), ETH_P_ALL))
        sock.setblocking(False)
        self._watching.append(sock)
        return sock

    def _holds(self, item: Mapping[str, Any], watch: socket.socket | None, was: int, said: str) -> None:
        if "says" in item:
            assert item["says"] in said, f"{item['says']!r} is not in: {said}"
        elif "prints" in item:
            printed = self.inside(item["in"], item["command"]).stdout
            wanted = self.filled(item["prints"])
            assert wanted in printed, f"{item['in']}: {item['command']}: {wanted!r} is not in: {printed}"
        elif watch is not None:
            ends = self.filled(item["src"]), self.filled(item["dst"])
            seen = ends in list(_packets(watch))
            assert seen is item["seen"], f"{' → '.join(ends)} on {item['link']} of {item['in']}: seen {seen}"
        else:
            now = self._measured(item)
            assert now > was, f"{dict(item)} did not move: {was} → {now}"

    # ---- what labnet says -------------------------------------------------------------------------------------------------

    def asked(self, verb: str) -> dict[str, Any]:
        """The document of `trace` or `explain`; with `error` what it refused."""
        args = {key: self.filled(value) for key, value in self.probe.items() if key != "asks"}
        try:
            answer = asyncio.run(getattr(self.verbs, verb)(args, lambda event: None))
        except LabnetError as error:
            return {"error": f"{error.message}; {error.hint}"}
        return dict(answer["json"]) if verb == "trace" else dict(answer)

    def expect_arrival(self, when: str) -> None:
        """No false alarm: it arrives, and both verbs say so."""
        answered, said = self.asks(AGAIN_S)
        assert answered, f"{when}: the probe is not answered: {said}"
        explained = self.asked("explain")
        assert explained.get("reachable"), f"{when}: explain: {_brief(explained)}"
        traced: dict[str, Any] = {}
        for pause_s in AGAIN_S:
            time.sleep(pause_s)
            traced = self.asked("trace")
            if traced.get("delivered") and traced["answer"] != "lost":
                return
        raise AssertionError(f"{when}: trace: {_brief(traced)}")

    def expect_explanation(self) -> None:
        wanted, said = self.filled(self.case.explain), self.asked("explain")
        if "error" in wanted:
            assert wanted["error"] in said.get("error", ""), f"explain: {_brief(said)}"
            return
        assert said.get("reachable") is False, f"explain says reachable: {_brief(said)}"
        found = said["explanation"]
        for key in ("kind", "code", "way"):
            assert wanted.get(key, found[key] if key != "way" else "there") == found[key], f"explain: {key}: {_brief(said)}"
        for key in ("id", "reason"):
            assert wanted.get(key, "") in found[key], f"explain: {key}: {_brief(said)}"
        if "difference" in wanted:
            told = [f"{one['owner']} {one['what']} {one['text']}" for one in said["differences"]]
            assert any(wanted["difference"] in line for line in told), f"explain: no difference {wanted['difference']!r} in {told}"

    def expect_trace(self) -> None:
        wanted, said = self.filled(self.case.trace), self.asked("trace")
        if "error" in wanted:
            assert wanted["error"] in said.get("error", ""), f"trace: {_brief(said)}"
            return
        if "finding" in wanted:
            assert any(wanted["finding"] in one["text"] for one in said["findings"]), f"trace: no such finding: {said['findings']}"
            return
        back = wanted.get("way") == "back"
        if back:
            assert said.get("answer") == "lost", f"trace does not say that the answer was lost: {_brief(said)}"
        else:
            assert said.get("delivered") is False, f"trace says delivered: {_brief(said)}"
        drop = said["answerDrop" if back else "drop"]
        assert drop is not None, f"trace names no drop: {_brief(said)}"
        assert drop["check"] == wanted["check"], f"trace: {_brief(said)}"
        assert wanted.get("text", "") in drop["text"], f"trace: text: {_brief(said)}"
        hop = said["hops"][drop["hop"] - 1]
        at = (drop.get("owner") or hop["owner"]) if back else hop["owner"]
        assert at == wanted["at"], f"trace: at {at}, not {wanted['at']}: {_brief(said)}"
        if "link" in wanted:
            assert hop["link"] == wanted["link"], f"trace: link: {_brief(said)}"


_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def run_case(case: Case) -> None:
    """The whole life of a case. Errors: AssertionError saying which step is not as the file says."""
    broken = Broken(case)
    try:
        for item in case.listen:
            broken.run(({"labnet": "open", "with": item},))
        broken.run(case.prepare)
        if case.works_before:
            broken.expect_arrival("before the break")
        broken.run(case.breaks)
        if "error" not in case.trace:
            broken.prove()
        else:
            broken.prove(asking=False)
        broken.expect_explanation()
        broken.expect_trace()
        broken.run(case.mend)
        broken.expect_arrival("after the mend")
    finally:
        broken.close()


def _brief(said: Mapping[str, Any]) -> str:
    if "error" in said:
        return str(said["error"])
    if "hops" in said:
        way = [f"{hop['n']} {hop['owner']} {hop['link']} {hop['direction']}" for hop in said["hops"]]
        told = {key: said.get(key) for key in ("delivered", "answer", "drop", "answerDrop", "notes")}
        return json.dumps(told | {"way": way}, ensure_ascii=False)
    return json.dumps({key: said.get(key) for key in ("reachable", "explanation", "differences")}, ensure_ascii=False)


def _statistics(text: str) -> dict[tuple[str, str], int]:
    """/proc/net/snmp and netstat: lines in pairs, names and numbers."""
    found: dict[tuple[str, str], int] = {}
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=True):
        group = names.partition(":")[0]
        found |= {(group, name): int(number) for name, number in zip(names.split()[1:], numbers.split()[1:], strict=True)}
    return found


def _packets(sock: socket.socket) -> Iterator[tuple[str, str]]:
    """(source, destination) of every IPv4 packet that a packet socket holds."""
    while select.select([sock], [], [], 0)[0]:
        data = sock.recv(4096)
        if len(data) >= 20 and data[0] >> 4 == 4:
            yield socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])

