"""A hundred containers at once, ten rounds over: no address twice, nothing left behind, no error that trying again would not cure."""

import asyncio
import json
import random
import subprocess
import uuid

import pytest
from builders_ipamd import Node as DaemonNode
from cni_builders import Node as PluginNode
from cni_builders import call_of

from labnet.cni import skel
from labnet.cni.spec import NetnsGrant
from labnet.cni.vpc.daemon import DaemonSocket
from labnet.kernel import netns as namespaces
from labnet.kernel import teardown
from labnet.kernel.door import LinuxKernel
from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.alone]

PODS, ROUNDS = 100, 10
NO_ADDRESS = "add cmd: failed to assign an IP address to container"
LAB = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: parallel}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}]
nodes: [{name: node1, instanceType: m5.24xlarge, subnet: a}]
cni: {kind: vpc, dialect: "1.23", env: {MINIMUM_IP_TARGET: "120", WARM_IP_TARGET: "10", IP_COOLDOWN_PERIOD: "0"}}
pods: []
"""


def ip(netns, *words):
    done = subprocess.run(["ip", "-n", netns, *words], capture_output=True, text=True, timeout=60, check=True)
    return sorted(line.rstrip() for line in done.stdout.splitlines())


def network_of(netns):
    """Rules, IPv4 routes of every table, and names of links."""
    links = {line.split()[0] for line in ip(netns, "-br", "link")}
    return {*ip(netns, "rule"), *ip(netns, "-4", "route", "show", "table", "all"), *links}


def rules_to_pods(netns):
    return sorted(line.split()[4] for line in ip(netns, "rule") if line.startswith("512:"))


@pytest.fixture
def spaces():
    """Makes namespaces by the hundred, as a foreign runtime does; removes them, which fails if somebody holds one."""
    prefix = f"lnt-par{uuid.uuid4().hex[:6]}"
    there = {}

    class Spaces:
        def make(self, count):
            names = [f"{prefix}-{number}" for number in range(count)]
            there.update(namespaces.create(names))
            return names

        def remove(self):
            gone = dict(there)
            there.clear()
            teardown.remove(gone, timeout_s=30)

    made = Spaces()
    try:
        yield made
    finally:
        made.remove()


# ---- through the executable -----------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path):
    """A node of a real lab: (its namespace, its files)."""
    labs = Labs(tmp_path / "r")
    try:
        labs.up("-", stdin=LAB)
        yield f"{labs.name}-node1", labs.run_dir / labs.name / "nodes/node1"
        assert sum(eni["addresses"]["used"] for eni in labs.node("node1")["enis"]) == 0
    finally:
        labs.close()


def at_once(files, calls):
    """Start every (verb, container, pod, namespace) as a process before waiting for the first; (exit code, what it said) of each."""
    running = []
    for verb, container, pod, path in calls:
        environ, stdin = call_of(verb, container=container, pod=pod, path=path)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        one = subprocess.Popen([files / "opt/cni/bin/aws-cni"], env=environ, **streams)
        one.stdin.write(stdin)
        one.stdin.close()
        running.append(one)
    answers = []
    for one in running:
        with one:
            stdout, stderr = one.stdout.read(), one.stderr.read()
            one.wait(timeout=60)
        assert stderr == b""
        answers.append((one.returncode, json.loads(stdout) if stdout else None))
    return answers


def added(files, calls):
    """The address of each ADD; one that finds no address is followed by DEL and tried again, as a kubelet does; nothing else may fail."""
    addresses, waiting = {}, list(calls)
    for _attempt in range(30):
        answers = at_once(files, waiting)
        again = []
        for call, (code, document) in zip(waiting, answers, strict=True):
            if code == 0:
                addresses[call[1]] = document["ips"][0]["address"]
            else:
                assert document["msg"] == NO_ADDRESS, document
                again.append(call)
        if not again:
            return addresses
        assert all(code == 0 for code, _document in at_once(files, [("DEL", *call[1:]) for call in again]))
        waiting = again
    raise AssertionError(f"{len(waiting)} containers never got an address")


def allocations(files):
    document = json.loads((files / "var/run/aws-node/ipam.json").read_text())
    return {entry["containerID"]: f"{entry['ipv4']}/32" for entry in document["allocations"]}


def test_a_hundred_processes_at_once(node, spaces):
    netns, files = node
    chance = random.Random(4)
    before = network_of(netns)
    for turn in range(ROUNDS):
        paths = [f"/run/netns/{name}" for name in spaces.make(PODS)]
        pods = [(f"c{turn}-{number}", f"pod-{number}", path) for number, path in enumerate(paths)]
        addresses = added(files, [("ADD", *pod) for pod in pods])
        assert len(set(addresses.values())) == PODS
        assert allocations(files) == addresses
        assert rules_to_pods(netns) == sorted(address.removesuffix("/32") for address in addresses.values())

        gone, again, both = pods[:40], pods[40:60], pods[60:70]
        mixed = [("DEL", *pod) for pod in (*gone, *both)] + [("ADD", *pod) for pod in (*again, *both)]
        mixed += [("DEL", f"x{turn}-{number}", "pod-x", "") for number in range(10)]
        chance.shuffle(mixed)
        for (verb, container, _pod, _path), (code, document) in zip(mixed, at_once(files, mixed), strict=True):
            assert code == 0, document
            if verb == "ADD" and (container, _pod, _path) in again:
                assert document["ips"][0]["address"] == addresses[container]
        held = allocations(files)
        assert len(set(held.values())) == len(held)
        assert set(held).isdisjoint(container for container, _pod, _path in gone)
        assert all(held[container] == addresses[container] for container, _pod, _path in (*again, *pods[70:]))
        assert rules_to_pods(netns) == sorted(address.removesuffix("/32") for address in held.values())

        last = [("DEL", container, pod, path if number % 2 else "") for number, (container, pod, path) in enumerate(pods)]
        chance.shuffle(last)
        assert {(code, document) for code, document in at_once(files, last)} == {(0, None)}
        spaces.remove()
        assert allocations(files) == {}
        assert network_of(netns) == before


# ---- in process -----------------------------------------------------------------------------------------------------------


class InProcessNode:
    """A real daemon on the real EC2 rules, under virtual time, with a plugin that wires the real kernel."""

    def __init__(self, kernel, netns, checkpoint):
        self.daemon = DaemonNode("m5.4xlarge", {"WARM_IP_TARGET": "30"}, checkpoint=checkpoint).start()
        socket = DaemonSocket()
        socket.listen(self.daemon.ipamd)
        self.plugin_node = PluginNode(socket, "1.23", kernel, netns)
        self.checkpoint = checkpoint

    async def call(self, verb, container, pod, netns):
        environ, stdin = call_of(verb, container=container, pod=pod, path=f"/run/netns/{netns}")
        with self.daemon.clock.busy():
            outcome = await skel.run(environ, stdin, self.plugin_node.plugin, netns=NetnsGrant(netns))
        return outcome.exit_code, json.loads(outcome.stdout) if outcome.stdout else None

    async def attach(self, *pod):
        """ADD as a kubelet does it; (address, how often it was tried)."""
        for attempt in range(60):
            code, document = await self.call("ADD", *pod)
            if code == 0:
                return document["ips"][0]["address"], attempt + 1
            assert document["msg"] == NO_ADDRESS, document
            assert await self.call("DEL", *pod) == (0, None)
            await self.daemon.clock.sleep(10)
        raise AssertionError(f"no address for {pod}")


def test_a_hundred_at_once_in_process_outrun_the_pool_and_all_come_up(tmp_path, spaces):
    """A warm pool of thirty, thirty seconds of cooldown: most of them find no address at first, and get one when they try again."""
    kernel, netns = LinuxKernel(), f"lnt-pin{uuid.uuid4().hex[:6]}"
    node = None
    try:
        node = InProcessNode(kernel, netns, tmp_path / "ipam.json")
        before, slices = network_of(netns), node.plugin_node.slices
        for turn in range(ROUNDS):
            names = spaces.make(PODS)
            kernel.learn({name: kernel_inode for name in names if (kernel_inode := namespaces.inode_of(name)) is not None})
            pods = [(f"c{turn}-{number}", f"pod-{number}", name) for number, name in enumerate(names)]

            async def all_of(jobs):
                return await asyncio.gather(*jobs)

            attached = node.daemon.do(all_of([node.attach(*pod) for pod in pods]))
            assert len({address for address, _tries in attached}) == PODS
            assert turn or max(tries for _address, tries in attached) > 1, "the burst was meant to outrun the pool"
            assert rules_to_pods(netns) == sorted(address.removesuffix("/32") for address, _tries in attached)
            assert slices.drift(netns) == ()

            assert node.daemon.do(all_of([node.call("DEL", *pod) for pod in pods])) == [(0, None)] * PODS
            assert node.daemon.ipamd.attachments("aws-cni") == ()
            assert json.loads(node.checkpoint.read_text())["allocations"] == []
            kernel.remove_netns(names)
            spaces.remove()
            for name in names:
                slices.drop(name)
            assert network_of(netns) == before
            assert slices.slices(netns) == {}
    finally:
        if node is not None:
            node.daemon.close()
        kernel.remove_netns([netns])
        kernel.close()
