"""Fabric on the in-memory kernel: increments end where whole plans end, only what changed is touched, failures leave nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace

import pytest
from builders_cloud import (
    ALL_IN,
    a_cloud,
    assigned,
    associated,
    changed,
    entry,
    terminated,
    unassigned,
    with_acl,
    with_eni,
    with_group,
    with_node,
    with_subnet,
    with_table,
    with_vpc,
)
from builders_routes import routing_steps

from labnet.errors import KernelError, TeardownError
from labnet.fabric import tables
from labnet.fabric.plan import plan_all
from labnet.fabric.reconcile import Fabric
from labnet.fabric.routing import plan_routes
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import CloudState
from labnet.model.netstate import Change, NftElement


class Lab:
    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.changes: list[tuple[str, str, Change]] = []
        self.book = SliceBook(self.kernel, lambda netns, name, change: self.changes.append((netns, name, change)))
        self.heard: list[tuple[str, str]] = []
        self.fabric = Fabric("lnt-cloud", self.kernel, self.book, lambda name, what: self.heard.append((name, what)))
        self.cloud = CloudState("lnt-cloud")

    def go(self, cloud: CloudState) -> None:
        self.changes.clear()
        self.fabric(self.cloud, cloud)
        self.cloud = cloud

    def check(self) -> None:
        """What is claimed is the whole plan, in the kernel and in the book, and nothing else."""
        plan = plan_all(self.cloud)
        assert set(self.kernel.known) == set(plan)
        for netns, slices in plan.items():
            assert self.book.slices(netns) == {part.name: part for part in slices}
            assert self.book.drift(netns) == ()
        assert set(self.book.namespaces()) <= set(plan)


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_every_step_ends_where_the_whole_plan_ends(lab: Lab) -> None:
    one = with_node(a_cloud(), "node1", "10.10.0.10")
    two = with_eni(one, "node1", 1, "10.10.0.11", prefixes=("10.10.8.0/28",))
    three = with_node(two, "node2", "10.10.0.20", public={"10.10.0.20": "203.0.113.2"})
    four = changed(with_group(three, "sg-y", ingress=(ALL_IN,)), "eni-node2-0", security_groups=("sg-y",))
    five = with_subnet(with_vpc(four, "vpc-2", "10.20.0.0/16", name="blue"), "subnet-z", "vpc-2", "10.20.0.0/24")
    six = with_node(five, "node3", "10.20.0.4", subnet="subnet-z", public={"10.20.0.4": "203.0.113.3"})
    gateway = six.internet_gateways["igw-vpc-2"]
    seven = replace(six, internet_gateways={**six.internet_gateways, gateway.id: replace(gateway, vpc_id=None)})
    eight = replace(seven, vpcs={**seven.vpcs, "vpc-1": replace(seven.vpcs["vpc-1"], cidrs=("10.10.0.0/16", "100.64.0.0/16"))})
    for cloud in (one, two, three, four, five, six, seven, six, eight, terminated(eight, "node1"), six, CloudState("lnt-cloud"), six):
        lab.go(cloud)
        lab.check()


def test_routes_gateways_and_peerings_end_where_the_whole_plan_ends(lab: Lab) -> None:
    for cloud in routing_steps(a_cloud()):
        lab.go(cloud)
        lab.check()


def test_an_address_on_an_eni_that_no_route_names_plans_no_routes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "box", "10.10.0.20", check=False)
    lab.go(with_table(cloud, "rtb-vpc-1", "vpc-1", {"10.99.0.0/16": "eni-box-0"}, main=True))
    planned: list[str] = []
    from labnet.fabric import reconcile

    real = reconcile.plan_routes
    monkeypatch.setattr(reconcile, "plan_routes", lambda state, key: planned.append(key) or real(state, key))
    lab.go(assigned(lab.cloud, "eni-node1-0", "10.10.0.11"))
    assert planned == []
    lab.go(assigned(lab.cloud, "eni-box-0", "10.10.0.21"))
    assert planned == ["vpc-1"] * 2


def test_the_same_state_does_nothing(lab: Lab) -> None:
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))
    lab.go(lab.cloud)
    lab.go(replace(lab.cloud, counters={"eni": 7}))
    assert lab.changes == []


def test_an_assigned_address_touches_its_slice_only(lab: Lab) -> None:
    lab.go(with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "node2", "10.10.0.20"))
    lab.go(assigned(lab.cloud, "eni-node1-0", "10.10.0.11"))
    assert {(netns, name) for netns, name, _change in lab.changes} == {("lnt-cloud-vpc", "eni:eni-node1-0")}
    kinds = [change.object.kind for _netns, _name, change in lab.changes]
    assert kinds == ["neigh", "route", *["nft-element"] * 4], "grant: what delivers before what lets in"
    lab.go(unassigned(lab.cloud, "eni-node1-0", "10.10.0.11"))
    kinds = [change.object.kind for _netns, _name, change in lab.changes]
    assert kinds == [*["nft-element"] * 4, "route", "neigh"], "revoke: the other way round"
    assert lab.kernel.forgotten == [("lnt-cloud-vpc", "10.10.0.11")]


def test_planning_does_not_walk_over_other_enis(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = a_cloud()
    for number in range(30):
        cloud = with_node(cloud, f"n{number}", f"10.10.1.{number}")
    lab.go(cloud)
    planned: list[str] = []
    from labnet.fabric import reconcile

    real = reconcile.plan_eni
    monkeypatch.setattr(reconcile, "plan_eni", lambda state, key: planned.append(key) or real(state, key))
    lab.go(assigned(lab.cloud, "eni-n3-0", "10.10.2.1"))
    assert set(planned) == {"eni-n3-0"}


def test_an_address_that_moves_leaves_before_it_comes(lab: Lab) -> None:
    cloud = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "node2", "10.10.0.20")
    for one, other in (("node1", "node2"), ("node2", "node1")):
        lab.go(assigned(cloud, f"eni-{one}-0", "10.10.0.50"))
        lab.go(assigned(cloud, f"eni-{other}-0", "10.10.0.50"))
        assert [change.op for _netns, _name, change in lab.changes] == ["remove"] * 6 + ["add"] * 6
        lab.check()
    assert ("lnt-cloud-vpc", "10.10.0.50") in lab.kernel.forgotten


def test_associations_forget_both_addresses_in_gateway_and_fabric(lab: Lab) -> None:
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))
    lab.go(associated(lab.cloud, "eni-node1-0", "10.10.0.10", "203.0.113.1"))
    assert set(lab.kernel.forgotten) == {("lnt-cloud-igw", "10.10.0.10"), ("lnt-cloud-igw", "203.0.113.1")}
    lab.go(associated(lab.cloud, "eni-node1-0", "10.10.0.10", "203.0.113.2"))
    assert set(lab.kernel.forgotten) >= {("lnt-cloud-igw", "203.0.113.2"), ("lnt-cloud-vpc", "10.10.0.10"), ("lnt-cloud-vpc", "203.0.113.1")}
    lab.check()


def test_an_eni_that_comes_with_its_association_costs_no_walk_over_flows(lab: Lab) -> None:
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"}))
    assert lab.kernel.forgotten == []


def test_detaching_forgets_what_the_eni_had_and_takes_the_link(lab: Lab) -> None:
    lab.go(with_eni(with_node(a_cloud(), "node1", "10.10.0.10"), "node1", 1, "10.10.0.11", prefixes=("10.10.8.0/28",)))
    lab.go(with_eni(lab.cloud, "node1", 1, "10.10.0.11", prefixes=("10.10.8.0/28",), attached=False))
    assert {address for _netns, address in lab.kernel.forgotten} == {"10.10.0.11", *(f"10.10.8.{number}" for number in range(16))}
    lab.check()


def test_a_group_of_rules_changes_alone(lab: Lab) -> None:
    lab.go(with_node(with_group(a_cloud(), "sg-x"), "node1", "10.10.0.10", groups=("sg-x",)))
    lab.go(with_group(lab.cloud, "sg-x", ingress=(ALL_IN,)))
    assert {name for _netns, name, _change in lab.changes} == {"groups"}
    lab.check()


def test_new_groups_of_an_eni_replace_without_a_gap(lab: Lab) -> None:
    lab.go(with_node(with_group(a_cloud(), "sg-x"), "node1", "10.10.0.10"))
    lab.go(changed(lab.cloud, "eni-node1-0", security_groups=("sg-x",)))
    ports = [change for _netns, name, change in lab.changes if name == "eni:eni-node1-0"]
    assert [change.op for change in ports] == ["replace", "replace"]
    lab.check()


def test_namespaces_are_told_of(lab: Lab) -> None:
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))
    assert lab.heard == [(f"lnt-cloud-{name}", "made") for name in ("vpc", "igw", "internet", "node1")]
    lab.go(terminated(lab.cloud, "node1"))
    assert lab.heard[-1] == ("lnt-cloud-node1", "gone")


@pytest.mark.parametrize("method", ["apply", "forget_flows"])
def test_a_failure_leaves_everything_as_before(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    lab.go(with_node(assigned(with_node(a_cloud(), "node1", "10.10.0.10"), "eni-node1-0", "10.10.0.50"), "node2", "10.10.0.20"))
    before = lab.cloud
    real, calls = getattr(lab.kernel, method), []

    def refuse(*args: Iterable[object]) -> object:
        calls.append(args)
        if len(calls) == 1:
            raise KernelError(method, "lnt-cloud-vpc", "test", errno.EPERM)
        return real(*args)

    monkeypatch.setattr(lab.kernel, method, refuse)
    wanted = with_node(unassigned(terminated(before, "node2"), "eni-node1-0", "10.10.0.50"), "node3", "10.10.0.30")
    with pytest.raises(KernelError):
        lab.go(wanted)
    lab.check()
    assert lab.heard[-1] == ("lnt-cloud-node3", "gone")
    lab.go(wanted)
    lab.check()


def test_a_namespace_that_is_taken_leaves_nothing(lab: Lab) -> None:
    lab.kernel.create_netns(["lnt-cloud-internet"])
    with pytest.raises(KernelError):
        lab.go(a_cloud())
    assert set(lab.kernel.known) == {"lnt-cloud-internet"}
    assert lab.book.namespaces() == ()


def test_taking_over_touches_nothing(lab: Lab) -> None:
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))
    book = SliceBook(lab.kernel)
    fabric = Fabric("lnt-cloud", lab.kernel, book)
    fabric.assume(lab.cloud)
    assert {netns: book.slices(netns) for netns in fabric.namespaces(lab.cloud)} == {
        netns: lab.book.slices(netns) for netns in lab.fabric.namespaces(lab.cloud)
    }


def test_a_scenarios_sysctls_reach_the_node(lab: Lab) -> None:
    fabric = Fabric("lnt-cloud", lab.kernel, lab.book, sysctls={"node1": {"net.ipv4.ip_forward": "0"}})
    fabric(lab.cloud, with_node(a_cloud(), "node1", "10.10.0.10"))
    claimed = lab.book.claimed("lnt-cloud-node1", "os")
    assert claimed is not None
    assert "net.ipv4.ip_forward = 0" in [item.text for item in claimed.objects]


def test_a_port_without_a_check_is_told_to_packets_of_its_vpc_alone(lab: Lab) -> None:
    """With it a flow may pass the router twice, and each pass is judged by itself; else a known flow needs no look at its ports."""

    def once() -> list[bool]:
        found = [item for item in plan_routes(lab.cloud, "vpc-1")[1].objects if isinstance(item, NftElement)]
        return [bool(int(str(item.value), 16) & tables.ONCE_BIT) for item in found]

    checked = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "box", "10.10.0.20")
    unchecked = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "box", "10.10.0.20", check=False)
    for step, expected in ((checked, True), (unchecked, False), (checked, True), (unchecked, False), (terminated(unchecked, "box"), True)):
        lab.go(step)
        lab.check()
        assert once() == [expected] * 2
    lab.go(unchecked)
    lab.check()
    lab.go(with_node(lab.cloud, "node2", "10.10.0.30"))
    assert "routes" not in {part for _netns, part, _change in lab.changes}, "one more that is checked changes nothing"


def test_acls_by_steps_and_as_a_whole_plan(lab: Lab) -> None:
    one = with_node(a_cloud(), "node1", "10.10.0.10")
    for step in (
        one,
        two := with_acl(one, "acl-x", entry(1), entry(2, "deny", out=True), subnets=("subnet-a",)),
        three := with_acl(two, "acl-x", entry(1), entry(2, out=True), subnets=("subnet-a",)),
        four := with_acl(three, "acl-y", subnets=("subnet-b",)),
        five := with_subnet(four, "subnet-b", "vpc-1", "10.10.64.0/19"),
        with_acl(with_acl(five, "acl-x"), "acl-y"),
    ):
        lab.go(step)
        lab.check()
    borders = [("routes", "subnet_table")] * 2
    lab.go(with_acl(lab.cloud, "acl-x", entry(1), subnets=("subnet-a",)))
    assert [(part, change.object.set) for _netns, part, change in lab.changes if part != "acls"] == borders, "from now on borders count"
    lab.go(with_acl(lab.cloud, "acl-x", entry(1), entry(2, "deny", out=True), subnets=("subnet-a",)))
    assert {part for _netns, part, _change in lab.changes} == {"acls"}, "a change of ACLs touches nothing else"
    lab.go(with_acl(lab.cloud, "acl-x", entry(1), entry(2, out=True), subnets=("subnet-a",)))
    assert [change.op for *_place, change in lab.changes] == ["remove", "replace", "replace"], "and goes where nothing is refused any more"


def test_a_namespace_that_something_holds_takes_nothing_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has followed by then: the cloud that asked for it must not hear of a failure, and go back alone."""
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))

    def held(names: Iterable[str]) -> None:
        FakeKernel.remove_netns(lab.kernel, names)
        raise TeardownError([KernelError("remove", "lnt-cloud-node1", "namespace", errno.EBUSY)])

    monkeypatch.setattr(lab.kernel, "remove_netns", held)
    lab.go(terminated(lab.cloud, "node1"))
    assert lab.heard[-1] == ("lnt-cloud-node1", "held")
    lab.check()


def test_where_no_namespace_goes_none_is_asked_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps a list of them writes it anew each time."""
    asked: list[object] = []
    monkeypatch.setattr(lab.kernel, "remove_netns", asked.append)
    lab.go(with_node(a_cloud(), "node1", "10.10.0.10"))
    lab.go(assigned(lab.cloud, "eni-node1-0", "10.10.0.50"))
    assert asked == []
