"""Any pods on any node with any targets: what the policy and the datastore promise whatever happens."""

from __future__ import annotations

from builders_pool import Sim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from labnet.errors import PoolExhausted
from labnet.ipamd.datastore import AttachmentKey, Datastore, EniEntry
from labnet.ipamd.policy import Decrease, Increase, NewEni, Targets, decide, decide_eni, is_low, over, short
from labnet.model.addressing import prefix_addresses

CALM = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

targets = st.builds(
    Targets, warm_enis=st.integers(0, 3), warm_ips=st.integers(0, 20), minimum_ips=st.integers(0, 40), warm_prefixes=st.integers(0, 3),
    prefix_mode=st.booleans(), max_pods=st.integers(4, 60), skip_first_eni=st.booleans(),
)
shapes = st.tuples(st.integers(2, 4), st.integers(1, 14))


class Pool(RuleBasedStateMachine):
    """Pods come and go while the pool is looked at; excluded ENIs come and go too."""

    @initialize(shape=shapes, chosen=targets)
    def begin(self, shape: tuple[int, int], chosen: Targets) -> None:
        self.sim = Sim(*shape, chosen)
        self.rested: dict[str, float] = {}

    @rule(pods=st.integers(1, 6))
    def come(self, pods: int) -> None:
        before = {one.address for one in self.sim.store.assignments()}
        for _ in range(pods):
            address = self.sim.add_pod()
            if address is None:
                assert self.sim.store.free_addresses(self.sim.now_s) == ()
                return
            assert address not in before, "nobody shares an address"
            assert self.sim.now_s - self.rested.get(address, -1e9) > 30, "and it has rested"
            before.add(address)

    @precondition(lambda self: self.sim.pods)
    @rule(place=st.integers(0, 1000))
    def go(self, place: int) -> None:
        address = self.sim.delete_pod(place % len(self.sim.pods))
        self.rested[address] = self.sim.now_s

    @rule(steps=st.integers(1, 12))
    def look(self, steps: int) -> None:
        held = {one.key: one.address for one in self.sim.store.assignments()}
        self.sim.look(steps)
        assert {one.key: one.address for one in self.sim.store.assignments()} == held, "a look at the pool changes nobody's address"

    @rule(place=st.integers(0, 3), excluded=st.booleans())
    def exclude(self, place: int, excluded: bool) -> None:
        enis = self.sim.store.enis()
        self.sim.store.exclude(enis[place % len(enis)].id, excluded)

    @invariant()
    def sums_are_right(self) -> None:
        if not hasattr(self, "sim"):
            return
        store, stats, mode = self.sim.store, self.sim.stats, self.sim.targets.prefix_mode
        entries = store.enis()
        counted = [one for one in entries if not one.excluded]
        total = sum(16 * len(one.prefixes) if mode else len(one.addresses) for one in counted)
        assigned = {one.address for one in store.assignments()}
        assert len(assigned) == len(store.assignments()) == len(self.sim.pods)
        assert stats.total == total and 0 <= stats.assigned <= total
        assert stats.available == total - stats.assigned
        assert stats.assigned == sum(store.owner_of(address) in counted for address in assigned)
        for entry in entries:
            assert len(entry.addresses) + len(entry.prefixes) <= self.sim.room.slots_per_eni
        assert len(entries) <= self.sim.room.max_enis
        assert [one.primary for one in entries].count(True) == 1, "the first one never goes"

    @invariant()
    def what_is_decided_can_be_done(self) -> None:
        if not hasattr(self, "sim"):
            return
        stats, chosen, room, now_s = self.sim.stats, self.sim.targets, self.sim.room, self.sim.now_s
        by_id = {one.id: one for one in stats.enis}
        decision = decide(stats, chosen, room, now_s)
        if isinstance(decision, Increase):
            assert stats.total < chosen.max_pods and is_low(stats, chosen, room)
            for step in decision.steps:
                if isinstance(step, NewEni):
                    assert 0 < step.count <= room.slots_per_eni and len(stats.enis) < room.max_enis
                else:
                    one = by_id[step.eni_id]
                    assert 0 < step.count <= room.slots_per_eni - one.slots and not one.excluded
                    assert not (one.primary and chosen.skip_first_eni)
        elif isinstance(decision, Decrease):
            assert 0 < sum(len(blocks) for _, blocks in decision.blocks) <= over(stats, chosen)
            for eni_id, blocks in decision.blocks:
                assert set(blocks) <= set(by_id[eni_id].free_blocks) and not by_id[eni_id].excluded
        freed = decide_eni(stats, stats, chosen, room)
        if freed is not None:
            one = by_id[freed.eni_id]
            assert not (one.primary or one.has_pods or one.cooling) and one.age_s >= 60


Pool.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestPool = Pool.TestCase


@CALM
@given(shape=shapes, chosen=targets, pods=st.integers(0, 40), gone=st.integers(0, 40))
def test_a_pool_that_is_left_alone_comes_to_rest(shape: tuple[int, int], chosen: Targets, pods: int, gone: int) -> None:
    sim = Sim(*shape, chosen)
    for _ in range(pods):
        sim.add_pod()
        sim.look(1)
    for _ in range(min(gone, len(sim.pods))):
        sim.delete_pod()
    sim.look(200)
    rest = sim.shape, sim.spread
    sim.log.clear()
    sim.look(60)
    assert (sim.shape, sim.spread, sim.log) == (rest[0], rest[1], [])


@CALM
@given(shape=shapes, chosen=targets, pods=st.integers(0, 30))
def test_at_rest_the_targets_are_met_or_there_is_no_room(shape: tuple[int, int], chosen: Targets, pods: int) -> None:
    sim = Sim(*shape, chosen)
    for _ in range(pods):
        sim.add_pod()
        sim.look(1)
    sim.look(200)
    stats, room = sim.stats, sim.room
    usable = [one for one in stats.enis if not (one.primary and chosen.skip_first_eni)]
    full = len(stats.enis) == room.max_enis and all(one.slots == room.slots_per_eni for one in usable)
    assert not is_low(stats, chosen, room) or full
    if chosen.by_address:
        assert short(stats, chosen) == 0 or full or stats.total >= chosen.max_pods
        assert over(stats, chosen) == 0 or stats.total >= chosen.max_pods or not stats.free_blocks


@CALM
@given(
    blocks=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.booleans()), max_size=12), mode=st.booleans(),
    acts=st.lists(st.tuples(st.sampled_from(["assign", "release", "remove", "drop", "wait"]), st.integers(0, 40)), max_size=60),
)
def test_the_datastore_gives_no_address_twice(
    blocks: list[tuple[int, int, bool]], mode: bool, acts: list[tuple[str, int]]
) -> None:
    store = Datastore(30.0, prefix_mode=mode)
    for index in range(3):
        store.add_eni(EniEntry(f"eni-{index}", index, index + 1, index == 0))
    for eni, number, is_prefix in blocks:
        if is_prefix:
            store.add(f"eni-{eni}", prefixes=[f"10.{eni}.{number}.0/28"])
        else:
            store.add(f"eni-{eni}", [f"10.{eni}.{number}.200"])
    now_s, keys = 0.0, [AttachmentKey("n", f"c{number}", "eth0") for number in range(41)]
    for act, number in acts:
        if act == "wait":
            now_s += number
        elif act == "drop" and number < 3:
            store.drop_eni(f"eni-{number}")
        elif act == "remove":
            remove_one(store, number)
        else:
            come_or_go(store, keys[number], now_s, come=act == "assign")
        taken = [one.address for one in store.assignments()]
        assert len(taken) == len(set(taken)) and all(store.owner_of(address) is not None for address in taken)
        assert not set(taken) & set(store.free_addresses(now_s))
        stats = store.stats(now_s)
        assert stats.total >= stats.assigned >= 0 and stats.cooling >= 0


def come_or_go(store: Datastore, key: AttachmentKey, now_s: float, *, come: bool) -> None:
    held = store.find(key)
    if not come:
        if held is not None:
            store.release(key, now_s)
        return
    try:
        given_now = store.assign(key, now_s)
    except PoolExhausted:
        assert held is None and store.free_addresses(now_s) == ()
    else:
        assert held is None or held == given_now


def remove_one(store: Datastore, number: int) -> None:
    """A block of an ENI goes: exactly the pods that live in it lose their addresses."""
    entries = [one for one in store.enis() if one.addresses or one.prefixes]
    if not entries:
        return
    entry = entries[number % len(entries)]
    block = sorted([*entry.addresses, *entry.prefixes])[number % (len(entry.addresses) + len(entry.prefixes))]
    inside = {block} if "/" not in block else set(prefix_addresses(block))
    before = {one.address for one in store.assignments()} & inside
    assert {one.address for one in store.remove(entry.id, [block])} == before
