"""The words of a scenario file, as structs: what may stand where, and the JSON Schema that follows from them (pure).

Each key is described where it is declared; `labnet schema` prints the same words. Keys that the format names but this
version does not act on are no fields: they stand in `LATER` and are refused by name, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from labnet.lab.scenario_schema_base import AS_WRITTEN, MARK, Command, Mapping, Name, PodName, Port, Text
from labnet.lab.scenario_schema_vpc import OnPremises, PrefixList, Vpc, ZoneLink

API_VERSION = "labnet/v1"
KIND = "Lab"

LATER: dict[str, str] = {
    "cni.conflist": "conflists of one's own",
}
"""Keys of the format that this version does not act on, by where they stand, with what they will do."""

LATER_CNI_KINDS = ("kubenet", "calico", "multus", "cilium", "ipvlan")
"""Values of `cni.kind` that this version does not have yet."""

LATER_OBJECT_KINDS: dict[str, str] = {
    "Deployment": "controllers", "ReplicaSet": "controllers", "DaemonSet": "controllers", "StatefulSet": "controllers", "Job": "controllers",
    "Service": "services", "Endpoints": "services", "EndpointSlice": "services", "Ingress": "services", "NetworkPolicy": "network policies",
    "PolicyEndpoint": "network policies", "SecurityGroupPolicy": "security groups for pods", "CNINode": "security groups for pods",
    "Namespace": "namespaces as objects", "ConfigMap": "configuration objects", "Secret": "configuration objects",
}
"""Kinds of `objects` that come later, with what they come with."""
OBJECT_ELSEWHERE: dict[str, str] = {"Pod": "write pods below 'pods'", "Node": "write nodes below 'nodes'"}
"""Kinds that have a key of their own, and the way there."""

Dialect = Annotated[Literal["1.6", "1.23"], Meta(
    description='Whose kernel state: "1.6" as the VPC CNI of 2019 left it, "1.23" as the current one does', extra=AS_WRITTEN,
    extra_json_schema={MARK: True},
)]


class Metadata(Mapping, frozen=True):
    """Who the scenario is."""

    name: Annotated[Name, Meta(description="The lab's name, unless `up --name` gives another", examples=["eks-2node"])]
    description: Annotated[str, Meta(description="One line for `labnet scenarios`")] = ""


class Taint(Mapping, frozen=True):
    """A Kubernetes taint: the scheduler places no pod there. Pods with `node` come all the same."""

    key: Annotated[str, Meta(examples=["node.kubernetes.io/unschedulable"])]
    value: Text = ""
    effect: Annotated[Literal["NoSchedule"], Meta(description="Other effects come later")] = "NoSchedule"


class Node(Mapping, frozen=True):
    """An EC2 instance that is a node of the cluster."""

    name: Annotated[Name, Meta(description="Its name; with `count`, name-1 to name-N", examples=["node1"])]
    instance_type: Annotated[str, Meta(description="Its type decides how many ENIs and addresses it has", examples=["t3.nano"])]
    subnet: Annotated[str, Meta(description="The subnet of its first ENI", examples=["public-a"])]
    count: Annotated[int | None, Meta(description="So many of it, always numbered", extra_json_schema={"minimum": 1})] = None
    security_groups: Annotated[list[str], Meta(description="Names of groups of its VPC; none = default")] = field(default_factory=list)
    labels: Annotated[dict[str, str], Meta(description="Kubernetes labels")] = field(default_factory=dict)
    annotations: Annotated[dict[str, str], Meta(description="Kubernetes annotations")] = field(default_factory=dict)
    taints: Annotated[list[Taint], Meta(description="Kubernetes taints")] = field(default_factory=list)
    iptables: Annotated[Literal["nft", "legacy"] | None, Meta(description="Which back end; absent = what the machine has")] = None
    sysctls: Annotated[dict[str, Text], Meta(description="net.* sysctls on top of its own")] = field(default_factory=dict)
    public_ip: Annotated[bool | None, Meta(description="Overrides the subnet's mapPublicIpOnLaunch")] = None
    source_dest_check: Annotated[bool, Meta(description="false for a node that forwards what others send, as a NAT instance")] = True


class Cni(Mapping, frozen=True):
    """Which CNI plugin gives pods their network."""

    kind: Annotated[Literal["vpc", "none"], Meta(description="The VPC CNI, or none: nodes, ENIs and IMDS only")] = "vpc"
    dialect: Dialect = "1.23"
    env: Annotated[dict[str, Text], Meta(
        description="The VPC CNI's own environment variables", examples=[{"WARM_ENI_TARGET": "1"}],
    )] = field(default_factory=dict)


class Container(Mapping, frozen=True):
    """One container of a pod: a program, or the built-in server."""

    name: Annotated[str, Meta(examples=["web"])]
    command: Command | None = None
    serve: Annotated[dict[Literal["tcp", "udp"], Port] | None, Meta(
        description="The built-in server on these ports: HTTP on tcp, echo on udp", examples=[{"tcp": 8080}],
    )] = None


class Pod(Mapping, frozen=True):
    """A pod. Without containers it runs the built-in server: HTTP on 80 and 8080, UDP echo on 7."""

    name: Annotated[PodName, Meta(examples=["pod1"])]
    namespace: PodName = "default"
    node: Annotated[str | None, Meta(description="Its node; absent = the scheduler chooses")] = None
    labels: Annotated[dict[str, str], Meta(description="Kubernetes labels")] = field(default_factory=dict)
    annotations: Annotated[dict[str, str], Meta(description="Kubernetes annotations")] = field(default_factory=dict)
    host_network: Annotated[bool, Meta(description="Does it live in its node's own network namespace?")] = False
    containers: list[Container] = field(default_factory=list)


class ObjectMeta(Mapping, frozen=True):
    """Who an object is."""

    name: Annotated[str, Meta(description="Unique among objects of its kind", examples=["us-west-2a"])]
    labels: Annotated[dict[str, str], Meta(description="Kubernetes labels")] = field(default_factory=dict)
    annotations: Annotated[dict[str, str], Meta(description="Kubernetes annotations")] = field(default_factory=dict)


class EniConfigSpec(Mapping, frozen=True):
    """Where new ENIs go. Names of the scenario become ids when the object is made."""

    subnet: Annotated[str, Meta(description="Name or id of a subnet in the node's zone", examples=["pods-a"])]
    security_groups: Annotated[list[str], Meta(
        description="Names or ids of groups of the subnet's VPC; none = those of the node's first ENI",
    )] = field(default_factory=list)


class KubeObject(Mapping, frozen=True):
    """A Kubernetes object in its own shape. This version acts on ENIConfig."""

    api_version: Literal["crd.k8s.amazonaws.com/v1alpha1"]
    kind: Literal["ENIConfig"]
    metadata: ObjectMeta
    spec: EniConfigSpec


class PodCheck(Mapping, frozen=True):
    """Where a pod stands, or how many do: with `name` that one, without it `count` of those on `node` (absent = of all)."""

    name: Annotated[str | None, Meta(description="A pod", examples=["pod1"])] = None
    node: Annotated[str | None, Meta(description="Only pods of this node are counted")] = None
    phase: Annotated[Literal["Pending", "Running", "Succeeded", "Failed"] | None, Meta(description="Its phase")] = None
    reason: Annotated[str | None, Meta(description="Why it is not Running", examples=["FailedCreatePodSandBox"])] = None
    count: Annotated[int | None, Meta(description="So many pods are as said", extra_json_schema={"minimum": 0})] = None


class EventCheck(Mapping, frozen=True):
    """What must have been told at least once."""

    object: Annotated[str | None, Meta(description="About whom", examples=["node/node1"])] = None
    reason: Annotated[str | None, Meta(description="The event's reason", examples=["FailedCreatePodSandBox"])] = None
    contains: Annotated[str | None, Meta(
        description="A part of its message; placeholders are taken", examples=["InsufficientFreeAddressesInSubnet"],
    )] = None


class Ec2Check(Mapping, frozen=True):
    """What EC2 must say of a node: counts; what is absent is not compared."""

    node: str
    enis: Annotated[int | None, Meta(description="Attached ENIs, the primary one too")] = None
    addresses: Annotated[int | None, Meta(description="Private addresses on them, primary ones too")] = None
    prefixes: Annotated[int | None, Meta(description="/28 prefixes on them")] = None


class KernelCheck(Mapping, frozen=True):
    """What a command must print inside a target. Lines are compared with runs of blanks as one; placeholders may stand in all texts."""

    target: Annotated[str, Meta(description="A node, a pod or internet")]
    command: Command
    contains: Annotated[str | list[str] | None, Meta(description="Lines that must be among those printed")] = None
    equals: Annotated[str | None, Meta(description="All lines that must be printed, in order")] = None


class Through(Mapping, frozen=True):
    """Where a packet must come by on its way."""

    place: Annotated[str, Meta(description="A node, a pod, a NAT gateway, vpc or igw", examples=["nat-a"])]
    source: Annotated[str | None, Meta(description="Its source address as it comes in there; placeholders are taken")] = None


class Check(Mapping, frozen=True):
    """One promise of the scenario: a packet (`from`, `to`), an `ec2` count, a `kernel` listing, a `pod`'s phase or an `event`.

    Placeholders: ${pod1} and ${node1} stand for addresses, ${node1.publicIp} for a field of the target's entry in the status.
    """

    source_target: Annotated[str | None, Meta(description="A node or pod that sends")] = field(name="from", default=None)
    to: Annotated[str | None, Meta(description="A pod, a node, internet or an address")] = None
    protocol: Annotated[Literal["icmp", "tcp", "udp"], Meta(description="What is sent")] = "icmp"
    port: Annotated[int | None, Meta(description="For tcp and udp", extra_json_schema={"minimum": 1, "maximum": 65535})] = None
    expect: Literal["delivered", "dropped"] = "delivered"
    answer: Annotated[Literal["delivered", "dropped"] | None, Meta(
        description="What becomes of the answer to a packet that is delivered; with dropped, dropAt says which check takes it",
    )] = None
    source: Annotated[str | None, Meta(
        description="The source address that the target must see; placeholders are taken", examples=["${node1.publicIp}"],
    )] = None
    drop_at: Annotated[str | None, Meta(
        description="Where a drop must happen (node1, pod1, vpc, igw, nat, internet), or the check that must drop it (source-dest-check)",
    )] = None
    through: Annotated[Through | None, Meta(description="Where the packet must come by")] = None
    ec2: Ec2Check | None = None
    kernel: KernelCheck | None = None
    pod: PodCheck | None = None
    event: EventCheck | None = None


class Latency(Mapping, frozen=True):
    """How long calls take: half of them at most p50 seconds, 95 of 100 at most p95; chance follows the seed."""

    p50: Annotated[float, Meta(description="The median, in seconds", examples=[2.0])]
    p95: Annotated[float | None, Meta(description="In seconds, not less than p50; absent = every call takes p50")] = None


class Fault(Mapping, frozen=True):
    """Calls that fail on purpose. times, rate and for hold together; none of them = every call, for as long as the lab runs."""

    action: Annotated[str, Meta(description="An action of the EC2 API; * stands for any letters", examples=["AssignPrivateIpAddresses"])]
    code: Annotated[str, Meta(description="The error code", examples=["InsufficientFreeAddressesInSubnet"])]
    message: Annotated[str, Meta(description="The text; absent = what EC2 says with that code")] = ""
    status: Annotated[int | None, Meta(
        description="The HTTP status; absent = EC2's own", extra_json_schema={"minimum": 400, "maximum": 599},
    )] = None
    times: Annotated[int | None, Meta(description="The first so many calls", extra_json_schema={"minimum": 1})] = None
    rate: Annotated[float | None, Meta(
        description="That share of the calls, by chance that follows the seed", extra_json_schema={"exclusiveMinimum": 0, "maximum": 1},
    )] = None
    lasts: Annotated[Text | None, Meta(description="For so long: 60s, 2m", examples=["60s"])] = field(name="for", default=None)
    node: Annotated[str | None, Meta(description="Only calls of this node's ipamd")] = None


class Deny(Mapping, frozen=True):
    """An action that is not allowed, as if an IAM policy said so."""

    action: Annotated[str, Meta(description="An action of the EC2 API; * stands for any letters", examples=["CreateNetworkInterface"])]
    node: Annotated[str | None, Meta(description="Only to this node's ipamd; absent = to everybody")] = None


class Ec2(Mapping, frozen=True):
    """How the EC2 API behaves in time. `up` itself is never throttled, delayed or refused."""

    throttling: Annotated[Literal["off", "aws"], Meta(
        description="aws: token buckets for each action, as EC2 documents them", extra=AS_WRITTEN, extra_json_schema={MARK: True},
    )] = "off"
    latency: Annotated[Literal["off", "aws"] | dict[str, float | Latency], Meta(
        description="Seconds for each action (* is taken, the most exact name counts), or aws: a preset where attach takes seconds",
        examples=["{AttachNetworkInterface: {p50: 2.0, p95: 4.0}, 'Describe*': 0.1}"], extra=AS_WRITTEN,
    )] = "off"
    imds_delay: Annotated[float, Meta(
        description="Seconds until the metadata service shows what the API changed", extra_json_schema={"minimum": 0, "maximum": 600},
    )] = 0.0
    faults: Annotated[list[Fault], Meta(description="Calls that fail on purpose")] = field(default_factory=list)
    deny: Annotated[list[str | Deny], Meta(description="Actions that nobody may call, or one node may not")] = field(default_factory=list)


class Kubelet(Mapping, frozen=True):
    """How kubelet calls CNI plugins."""

    exec: Annotated[Literal["auto", "always"], Meta(description="auto: labnet's own plugins in process; always: as programs")] = "auto"


class Time(Mapping, frozen=True):
    """The lab's clock once it is up."""

    factor: Annotated[float, Meta(description="How many seconds of the lab pass in one", extra_json_schema={"exclusiveMinimum": 0})] = 1.0


class Document(Mapping, frozen=True):
    """A labnet scenario file."""

    api_version: Literal["labnet/v1"]
    kind: Literal["Lab"]
    metadata: Metadata
    vpc: Annotated[Vpc | None, Meta(description="The lab's VPC; short for `vpcs` with one entry")] = None
    vpcs: Annotated[list[Vpc] | None, Meta(description="Several VPCs; the first is the lab's main one")] = None
    on_premises: Annotated[list[OnPremises], Meta(
        description="Networks outside of AWS, each behind a VPC's vpnGateway",
    )] = field(default_factory=list)
    prefix_lists: Annotated[list[PrefixList], Meta(description="Managed prefix lists")] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    cni: Cni = field(default_factory=Cni)
    pods: list[Pod] = field(default_factory=list)
    objects: Annotated[list[KubeObject], Meta(description="Kubernetes objects in their own shape")] = field(default_factory=list)
    checks: Annotated[list[Check], Meta(description="What `labnet check` proves")] = field(default_factory=list)
    ec2: Ec2 = field(default_factory=Ec2)
    zone_links: Annotated[list[ZoneLink], Meta(description="Latency and loss between availability zones")] = field(default_factory=list)
    kubelet: Kubelet = field(default_factory=Kubelet)
    time: Time = field(default_factory=Time)
    seed: Annotated[int, Meta(description="Ids and MACs follow from it")] = 0
    pending: Annotated[Literal["allowed"] | None, Meta(description="allowed: more pods than there is room for; they stay Pending")] = None


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a scenario file."""
    made = msgspec.json.schema(Document)
    _widen(made)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "labnet scenario",
        "description": "A labnet scenario file, version labnet/v1. Unknown keys are errors.", **made,
    }


def _unquoted(word: str) -> Any:
    """What YAML makes of a word without quotes: a number, or false of `off`."""
    if word == "off":
        return False
    return float(word) if word.replace(".", "", 1).isdigit() else word


def _widen(part: Any) -> None:
    """Where text is taken as it was written, numbers and true or false are fine too."""
    if isinstance(part, dict):
        if part.pop(MARK, False):
            if "enum" in part:
                part["enum"] = [*part["enum"], *(_unquoted(word) for word in part["enum"] if _unquoted(word) != word)]
            else:
                part["type"] = ["string", "number", "boolean"]
        for inner in part.values():
            _widen(inner)
    elif isinstance(part, list):
        for inner in part:
            _widen(inner)
