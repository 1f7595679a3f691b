"""Break a lab as a case says, prove the drop point without labnet's tracer, then hear what `explain` and `trace` say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from corpus_files import Case
from corpus_lab import SOCKET_TYPES, CaseLab

from labnet.errors import LabnetError
from labnet.lab.targets import find_target
from labnet.lab.tracing import Tracer

AGAIN_S = (0.0, 0.7, 1.5)
"""Where a packet must arrive it is asked so often; where silence is expected once."""
ETH_P_ALL = 0x0003


class Broken(CaseLab):
    """The lab of a case while it is asked: by other means, by the kernel's counters, by labnet."""

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
        with self.lab.kernel.open_socket(source.netns, socket.AF_INET, SOCKET_TYPES[protocol]) as sock:
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
            for kind, _place, _port, server in self.listening:
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
        self.watching.append(sock)
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
                return self.agrees_with_the_kernel(traced)
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

    def agrees_with_the_kernel(self, said: Mapping[str, Any]) -> None:
        """The kernel's own route lookups are those of the walk, break or no break."""
        lookups = [one["text"] for one in said["findings"] if one["kind"] == "lookup"]
        assert not lookups, f"the walk and the kernel's lookup differ: {lookups}"

    def expect_trace(self) -> None:
        wanted, said = self.filled(self.case.trace), self.asked("trace")
        if "error" in wanted:
            assert wanted["error"] in said.get("error", ""), f"trace: {_brief(said)}"
            return
        self.agrees_with_the_kernel(said)
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

