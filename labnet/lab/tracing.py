"""`trace` in a running lab: who is where, on a kernel door of its own so that a slow trace stops nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from labnet.errors import LabnetError, UsageError
from labnet.fabric.places import site_netns_of
from labnet.kernel.door import LinuxKernel
from labnet.lab.addressless import addressless
from labnet.lab.explaining import explanation
from labnet.lab.scene import scene
from labnet.lab.sites_setup import outside
from labnet.lab.targets import Known, Target
from labnet.model import names
from labnet.model.packet import Path as PacketPath
from labnet.model.values import frozen
from labnet.trace.load import observed_world
from labnet.trace.world import End, Role, World, wires_of

if TYPE_CHECKING:
    from labnet.explain.verdict import Explanation
    from labnet.lab.world import World as Lab
    from labnet.trace.run import TraceResult

Protocol = Literal["icmp", "tcp", "udp"]


@frozen
class Traced:
    """A trace as people and programs read it; `results` has one entry a direction."""

    path: PacketPath
    text: str
    document: Mapping[str, Any]
    results: tuple[TraceResult, ...]

    def write_pcap(self, path: Path) -> None:
        """One pcapng of the whole trace. Errors: UsageError when the file cannot be written."""
        try:
            path.write_bytes(self.results[0].pcapng())
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", "say another file") from error


class Tracer:
    """Traces in one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def known(self) -> Known:
        """Every target of the lab and its address."""
        cloud = self._lab.ec2.state
        nodes = {
            instance.name: enis[0].primary
            for instance in cloud.instances.values()
            if instance.state == "running" and (enis := cloud.enis_of(instance.id))
        }
        return Known(self._lab.lab, nodes, {pod.key: pod.ip for pod in self._lab.pods()}, outside(cloud))

    def kernel(self) -> LinuxKernel:
        """A door of its own to the lab's namespaces, for a thread."""
        if not isinstance(self._lab.kernel, LinuxKernel):
            raise LabnetError("only a lab on the real kernel can be traced")
        door = LinuxKernel()
        door.learn(self._lab.kernel.known)
        return door

    def scene(self, traced: Traced) -> Mapping[str, Any]:
        """The Scene document around a trace."""
        macs = {mac: owner for result in traced.results for mac, owner in result.macs.items()}
        return scene(self._lab.ec2.state, self._lab.status(), macs)

    async def trace(
        self, source: Target, target: Target, protocol: str, port: int | None, *, both_ways: bool = False,
        verbose: bool = False, size_bytes: int = 0,
    ) -> Traced:
        """Send one probe and follow it; `verbose`: the text tells what was passed over too.

        Errors: UsageError for what cannot be a source or a target.
        """
        for end, what in ((source, "source"), (target, "target")):
            if not end.address:
                raise addressless(self._lab, end)
            if what == "source" and not end.netns:
                hint = "a trace starts at a pod, a node, the internet or a network outside"
                raise UsageError(f"nothing of this lab has the address {end.name}", hint)
        results = [await self._one_way(source, target, cast(Protocol, protocol), port, size_bytes)]
        if both_ways and _is_translated(results[0].path, target):
            from labnet.trace.identity import identified
            from labnet.trace.symmetry import way_back

            frames = results[0].frames
            owners = self._roles({frame.netns for frame in frames})[1]
            back = way_back(results[0].path, identified(frames, results[0].path.probe), owners)
            results += [replace(results[0], path=back)] if back is not None else []
        elif both_ways and target.netns:
            results.append(await self._one_way(target, source, cast(Protocol, protocol), port, size_bytes))
        return self._told(results, verbose)

    async def _one_way(self, source: Target, target: Target, protocol: Protocol, port: int | None, size_bytes: int) -> TraceResult:
        """One probe, followed, and set beside what `explain` says."""
        from labnet.lab.tracing_judge import judged  # late, as all that only a trace needs: the lab comes up without

        result = await asyncio.to_thread(self._run, source, target, protocol, port, size_bytes)
        try:
            asked = source, target, protocol, result.path.probe.dst_port or None, size_bytes
            said: Explanation | None = explanation(self._lab, self.known(), *asked)
        except (UsageError, KeyError):
            said = None  # not every target is one that `explain` judges
        return replace(result, path=judged(result.path, self._lab.ec2.state, said, self._roles({hop.netns for hop in result.path.hops})[0]))

    def _run(self, source: Target, target: Target, protocol: Protocol, port: int | None, size_bytes: int) -> TraceResult:
        from labnet.trace.cloud_changes import cloud_changes
        from labnet.trace.run import TraceRequest, trace

        door = self.kernel()
        try:
            request = TraceRequest(
                source_netns=source.netns, source_name=source.name, target_name=target.name, target_ip=target.address, protocol=protocol,
                port=port or 0, target_netns=target.netns, source_ip=source.address if source.kind == "onprem" else "",
                length=size_bytes, changes=lambda path: cloud_changes(self._lab.ec2.state, path),
            )
            return trace(door, lambda: self.world(door), request)
        finally:
            door.close()

    def world(self, door: LinuxKernel) -> World:
        """Everything of the lab as it is now, read when it is asked for."""
        roles, owners, wires = self.surroundings(door.known)
        return observed_world(door, roles, wires, owners)

    def surroundings(self, namespaces: Iterable[str]) -> tuple[dict[str, Role], dict[str, str], dict[End, End]]:
        """What each namespace is, whose it is, and how the lab is wired."""
        lab = self._lab
        wires = wires_of((netns, lab.slices.desired(netns)) for netns in lab.slices.namespaces())
        return *self._roles(namespaces), wires

    def _roles(self, namespaces: Iterable[str]) -> tuple[dict[str, Role], dict[str, str]]:
        """What each namespace is, and whose."""
        lab = self._lab
        roles: dict[str, Role] = {}
        owners: dict[str, str] = {}
        for name in namespaces:
            roles[name], owners[name] = _place(lab.lab, name)
        for nat in lab.ec2.state.nat_gateways.values():
            owners[names.nat_netns(lab.lab, nat.id)] = nat.tags.get("Name", nat.id)
        for site in lab.ec2.state.sites:
            roles[site_netns_of(lab.ec2.state, site)], owners[site_netns_of(lab.ec2.state, site)] = "onprem", site
        for node in self.known().nodes:
            netns = names.node_netns(lab.lab, node)
            roles[netns], owners[netns] = "node", node
        for pod in lab.pods():
            if not pod.host_network:
                netns = names.pod_netns(lab.lab, pod.namespace, pod.name)
                roles[netns], owners[netns] = "pod", pod.name if pod.namespace == "default" else pod.key
        return roles, owners

    def _told(self, results: list[TraceResult], verbose: bool) -> Traced:
        from labnet.trace.render.json import render_json
        from labnet.trace.render.text import render_symmetry, render_text
        from labnet.trace.symmetry import symmetry

        text = "\n\n".join(render_text(result.path, result.macs, verbose=verbose) for result in results)
        path = results[0].path
        if len(results) > 1:
            back = results[1].path
            way = [(hop.netns, hop.link, hop.direction) for hop in back.hops if hop.frame is not None]
            path = replace(path, back=back, symmetry=path.symmetry or symmetry(path, way))
        if len(results) > 1 and path.symmetry is not None:
            text += f"\n\n{render_symmetry(path.symmetry)}"
        return Traced(path, text, render_json(path), tuple(results))


def _is_translated(path: PacketPath, target: Target) -> bool:
    """Does the target know the source by another address? Then a packet to the source's own says nothing of the answers' way."""
    seen = path.hops[-1].frame if path.hops else None
    return target.kind == "internet" or (path.delivered and seen is not None and seen.src != path.probe.src)


def _place(lab: str, netns: str) -> tuple[Role, str]:
    """What a namespace of the lab's own is, by its name."""
    rest = netns.removeprefix(f"{lab}-")
    word = rest.partition(".")[0]
    if word == "igw":
        return "igw", rest
    if word == "nat":
        return "nat", rest
    if word == "vgw":
        return "vgw", rest
    return ("internet", rest) if word == "internet" else ("vpc", rest)
