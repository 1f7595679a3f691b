"""The verbs of a running lab: what the control socket serves."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labnet.errors import LabnetError, NotFoundError, UsageError
from labnet.kernel import descriptors
from labnet.lab import checks, kube_list, served
from labnet.lab.control import Emit, Verb
from labnet.lab.explaining import explained
from labnet.lab.places import places, watched
from labnet.lab.targets import Known, Target, find_target
from labnet.lab.tracing import Tracer
from labnet.lab.verbs_ec2 import Ec2Verbs
from labnet.lab.verbs_settings import SettingsVerbs
from labnet.lab.verbs_zones import ZoneVerbs
from labnet.lab.world import World
from labnet.model import codec
from labnet.model.scenario import Check, Ec2Check, EventCheck, KernelCheck, PacketCheck, PodCheck, Scenario

Args = Mapping[str, Any]
Answer = Mapping[str, Any]


class Verbs:
    """One method a verb: arguments and a way to tell events → the answer. Errors: LabnetError."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tracer = Tracer(world)

    def table(self) -> dict[str, Verb]:
        """Verb → what serves it."""
        return {
            "status": self.status, "trace": self.trace, "check": self.check, "repair": self.repair, "plan": self.plan,
            "events": self.events, "env": self.env, "reconcile": self.reconcile, "target": self.target, "get": self.get,
            **Ec2Verbs(self._world).table(), **ZoneVerbs(self._world).table(),
            **SettingsVerbs(self._world).table(), "logs": self.logs, "explain": self.explain, "places": self.places,
        }

    async def status(self, args: Args, emit: Emit) -> Answer:
        """The Status document."""
        return self._world.status()

    async def events(self, args: Args, emit: Emit) -> Answer:
        """What happened, oldest first."""
        return {"events": self._world.events.all()}

    async def get(self, args: Args, emit: Emit) -> Answer:
        """The Kubernetes objects of a kind, or of a name: a List."""
        return kube_list.listed(self._world.kube, str(args["kind"]), args.get("name"))

    async def plan(self, args: Args, emit: Emit) -> Answer:
        """What `repair` would change."""
        from labnet.lab import planning  # late, here and below: it brings the in-memory kernel

        changes = [planning.describe(netns, part, change) for netns, part, change in self._world.drift()]
        return {"apiVersion": "labnet/v1", "kind": "Plan", "lab": self._world.lab, "changes": changes}

    async def repair(self, args: Args, emit: Emit) -> Answer:
        """Put back what was broken; what was changed."""
        from labnet.lab import planning

        changes = [planning.describe(netns, "", change) for netns, change in self._world.repair()]
        return {"apiVersion": "labnet/v1", "kind": "Plan", "lab": self._world.lab, "changes": changes}

    async def reconcile(self, args: Args, emit: Emit) -> Answer:
        """Make the lab what a scenario says, a parsed one or the text of a file (`other`: it names another lab): `up` on a running lab."""
        if "text" in args:
            from labnet.lab import scenario_file  # late: loaded in the background once the lab is up

            scenario = scenario_file.parse(
                str(args["text"]), str(args["file"]), overrides=tuple(args.get("sets", ())), source=str(args["source"])
            )
            if not args.get("named") and scenario.name != self._world.lab:
                return {"other": scenario.name}
        else:
            scenario = codec.from_document(args["scenario"], Scenario)

        def tell(stage: str, text: str, done: int = 0, total: int = 0) -> None:
            emit({"stage": stage, "text": text, "done": done, "total": total})

        count = served.descriptors(scenario)
        descriptors.check(count)
        descriptors.make_room(count)
        waiting = await self._world.reconcile(scenario, float(args.get("timeout", 120)), tell)
        said = [{"field": one.field, "message": one.message} for one in scenario.cautions]
        return {"status": self._world.status(), "waitingFor": waiting, "cautions": said}

    async def env(self, args: Args, emit: Emit) -> Answer:
        """Settings for AWS clients: `env` and `unset`; `inside` for programs in nodes and pods."""
        if self._world.endpoint is None:
            raise NotFoundError("the EC2 API does not listen yet", "wait until the lab is up")
        return self._world.endpoint.environment(inside=bool(args.get("inside")))

    async def target(self, args: Args, emit: Emit) -> Answer:
        """Which namespace, node and address a word means."""
        found = find_target(self.known(), str(args["target"]))
        node = found.name if found.kind == "node" else ""
        return {
            "kind": found.kind, "name": found.name, "netns": found.netns, "address": found.address, "node": node, "hosts": self._hosts(),
            "onNode": next((pod.node for pod in self._world.pods() if found.kind == "pod" and pod.key == found.name), ""),
        }

    async def logs(self, args: Args, emit: Emit) -> Answer:
        """The file with a target's log: of a node its daemon's, or with `plugin` its plugin's; of a pod what its programs print."""
        found = find_target(self.known(), str(args["target"]))
        if found.kind == "node":
            return {"path": str(self._world.log_of_node(found.name, plugin=bool(args.get("plugin"))))}
        if found.kind != "pod":
            raise UsageError(f"{args['target']} has no log", "name a node or a pod")
        return {"path": str(self._world.log_of_pod(found.netns))}

    async def trace(self, args: Args, emit: Emit) -> Answer:
        """Send one probe and follow it; with `bothWays` the way back too, with `pcap` a capture file, with `scene` what stands around, with
        `path` the Path itself too.
        """
        source, target, protocol, port = self._asked(args)
        traced = await self._tracer.trace(
            source, target, protocol, port, both_ways=bool(args.get("bothWays")), verbose=bool(args.get("rules")),
            size_bytes=_size(args, protocol),
        )
        if args.get("pcap"):
            traced.write_pcap(Path(str(args["pcap"])))
        itself = {"path": codec.to_document(traced.path)} if args.get("path") else {}
        around = {"scene": self._tracer.scene(traced)} if args.get("scene") else {}
        return {"text": traced.text, "json": traced.document, **itself, **around}

    async def explain(self, args: Args, emit: Emit) -> Answer:
        """Whether one reaches the other: by the desired state and by what is there now, or with `desired` by the desired state alone."""
        asked = self._asked(args)
        return await explained(
            self._world, self._tracer, *asked, size_bytes=_size(args, asked[2]), desired_only=bool(args.get("desired"))
        )

    async def places(self, args: Args, emit: Emit) -> Answer:
        """Where packets can be listened to, and which of that the words of `targets` choose; with `watch` what a pod's flows may look like."""
        found = places(self._world, self._tracer, [str(word) for word in args.get("targets", ())])
        return {**found, "watched": watched(self._world, self._tracer, str(args["watch"]))} if args.get("watch") else found

    async def check(self, args: Args, emit: Emit) -> Answer:
        """Run the checks of the lab's scenario, or of the one given."""
        scenario = codec.from_document(args["scenario"], Scenario) if args.get("scenario") else self._world.scenario
        results = [await self._one_check(item) for item in scenario.checks]
        return checks.report(self._world.lab, scenario.source or scenario.name, results)

    def _asked(self, args: Args) -> tuple[Target, Target, str, int | None]:
        """Source, target, protocol and port of a question about a packet."""
        source, target = find_target(self.known(), str(args["from"])), find_target(self.known(), str(args["to"]))
        port = args.get("port") or target.port
        protocol = str(args.get("protocol") or ("tcp" if port else "icmp"))
        return source, target, protocol, None if protocol == "icmp" else port

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def known(self) -> Known:
        """The targets of this lab."""
        return self._tracer.known()

    def _hosts(self) -> dict[str, str]:
        return {item["name"]: item["ip"] for item in self._world.status()["nodes"]}

    async def _one_check(self, asked: Check) -> checks.CheckResult:
        try:
            check = checks.resolve(asked, self._world.status())
            if isinstance(check, PacketCheck):
                source, target = find_target(self.known(), check.source_target), find_target(self.known(), check.target)
                traced = await self._tracer.trace(source, target, check.protocol, check.port or target.port)
                return checks.judge_packet(check, traced.path, self._world.lab, asked)
            if isinstance(check, Ec2Check):
                return checks.judge_ec2(check, self._enis(check.node))
            if isinstance(check, PodCheck):
                return checks.judge_pods(check, self._world.status())
            if isinstance(check, EventCheck):
                return checks.judge_event(check, self._world.events.all())
            return await self._kernel_check(check, asked)
        except LabnetError as error:
            return checks.failed(asked, error.message)

    def _enis(self, node: str) -> list[dict[str, int]]:
        cloud = self._world.ec2.state
        found = [instance for instance in cloud.instances.values() if instance.name == node and instance.state == "running"]
        return [
            {"addresses": len(eni.addresses), "prefixes": len(eni.prefixes)} for instance in found for eni in cloud.enis_of(instance.id)
        ]

    async def _kernel_check(self, check: KernelCheck, asked: Check) -> checks.CheckResult:
        target: Target = find_target(self.known(), check.target)
        command = list(check.command) if len(check.command) > 1 else shlex.split(check.command[0])
        done = await asyncio.to_thread(self._tracer.kernel().run, target.netns, command)
        return checks.judge_kernel(check, done.stdout or done.stderr, done.exit_code, asked)


def _size(args: Args, protocol: str) -> int:
    """How long the packet is, from the IP header on; 0 = no longer than it must be. Errors: UsageError."""
    size = int(args.get("size") or 0)
    if size and protocol == "tcp":
        raise UsageError("the first packet of a TCP connection carries no data: it has no size to choose", "ask with --protocol icmp or udp")
    return size
