"""The tables of `docs/eni-and-ip-target.md` and `docs/prefix-and-ip-target.md` of the VPC CNI, and its rule where they slip."""

from __future__ import annotations

import pytest
from builders_pool import Sim

from labnet.ec2 import limits
from labnet.ipamd.policy import Decrease, EniStats, FreeEni, Grow, Increase, NewEni, PoolStats, Room, Targets, decide, decide_eni, is_low

Steps = list[tuple[int, tuple[int, int]]]


def sim(kind: str, *, max_enis: int | None = None, max_pods: int | None = None, prefix: bool = False, **targets: int) -> Sim:
    limit = limits.load()[kind]
    enis = min(limit.enis, max_enis or limit.enis)
    chosen = Targets(prefix_mode=prefix, max_pods=max_pods or (110 if prefix else limit.max_pods), **targets)
    return Sim(enis, limit.ipv4_per_eni - 1, chosen)


@pytest.mark.parametrize("kind, targets, steps", [
    ("t3.small", {}, [(0, (1, 3)), (5, (3, 9)), (9, (3, 9))]),
    ("t3.small", {"warm_ips": 1, "minimum_ips": 1}, [(0, (1, 1)), (5, (2, 6)), (9, (3, 9))]),
    ("t3.small", {"warm_ips": 2, "minimum_ips": 5}, [(0, (2, 5)), (5, (3, 7))]),
    ("m5.xlarge", {}, [(0, (1, 14)), (1, (2, 28)), (14, (2, 28)), (15, (3, 42)), (29, (4, 56)), (56, (4, 56))]),
    ("p3dn.24xlarge", {"warm_ips": 5, "minimum_ips": 10}, [(0, (1, 10)), (7, (1, 12)), (15, (1, 20)), (45, (2, 50))]),
])
def test_addresses(kind: str, targets: dict[str, int], steps: Steps) -> None:
    one = sim(kind, **targets)
    for pods, shape in steps:
        one.settle_pods(pods)
        one.look(20)
        assert (pods, one.shape) == (pods, shape)


@pytest.mark.parametrize("targets, steps", [
    ({"warm_prefixes": 1}, [(0, (1, 1)), (5, (1, 2)), (16, (1, 2)), (17, (1, 3)), (58, (2, 5))]),
    ({"warm_ips": 7, "minimum_ips": 20}, [(0, (1, 2)), (17, (1, 2)), (58, (2, 5))]),
])
def test_prefixes_of_a_t3_small(targets: dict[str, int], steps: Steps) -> None:
    one = sim("t3.small", prefix=True, **targets)
    for pods, shape in steps:
        one.settle_pods(pods)
        one.look(20)
        assert (pods, one.shape) == (pods, shape)


def test_five_prefixes_of_a_t3_small_are_three_and_two() -> None:
    one = sim("t3.small", prefix=True, warm_prefixes=1)
    one.settle_pods(58)
    one.look(20)
    assert one.spread == [3, 2]


def test_prefixes_of_a_big_node_stay_on_one_eni() -> None:
    """The project's table has a second ENI here; its code has not."""
    one = sim("p3dn.24xlarge", prefix=True, warm_prefixes=1, max_pods=737)
    one.settle_pods(90)
    one.look(20)
    assert one.shape == (1, 7)


# ---- idle nodes: what the integration tests of the VPC CNI expect ----------------------------------------------------------


@pytest.mark.parametrize("warm, most, enis", [(3, 2, 2), (3, None, 3), (2, None, 2)])
def test_enis_of_an_idle_node(warm: int, most: int | None, enis: int) -> None:
    one = sim("m5.xlarge", max_enis=most, warm_enis=warm)
    one.look(40)
    assert one.shape[0] == enis


@pytest.mark.parametrize("warm, minimum, addresses", [(2, 0, 2), (16, 0, 16), (0, 2, 2), (0, 16, 16), (6, 10, 10)])
def test_addresses_of_an_idle_node(warm: int, minimum: int, addresses: int) -> None:
    one = sim("m5.xlarge", warm_ips=warm, minimum_ips=minimum)
    one.look(40)
    assert one.stats.total == addresses


@pytest.mark.parametrize("targets, prefixes", [
    ({"warm_ips": 2}, 1), ({"warm_ips": 16}, 1), ({"minimum_ips": 2}, 1), ({"minimum_ips": 16}, 1), ({"minimum_ips": 6, "warm_ips": 10}, 1),
    ({"warm_prefixes": 2}, 2), ({"warm_prefixes": 2, "warm_ips": 2}, 1),
])
def test_prefixes_of_an_idle_node(targets: dict[str, int], prefixes: int) -> None:
    one = sim("m5.xlarge", prefix=True, **targets)
    one.look(40)
    assert one.shape[1] == prefixes


def test_after_a_rush_addresses_and_enis_are_as_before() -> None:
    """WARM_IP_TARGET=3, WARM_ENI_TARGET=0: half of the capacity comes and goes, and in six minutes nothing is left of it."""
    one = sim("m5.xlarge", warm_ips=3, warm_enis=0)
    one.look(40)
    before = one.shape
    one.settle_pods(28)
    one.look(10)
    assert one.shape[0] > before[0]
    while one.pods:
        one.delete_pod()
    one.look(int(6 * 60 / 5))
    assert one.shape == before == (1, 3)


# ---- is the pool too low? -------------------------------------------------------------------------------------------------

FOURTEEN = Room(4, 14)
THREE = Room(4, 3)


@pytest.mark.parametrize("total, used, targets, room, low", [
    (0, 0, Targets(), FOURTEEN, True),
    (0, 0, Targets(warm_enis=0), FOURTEEN, True),
    (3, 0, Targets(warm_ips=1), THREE, False),
    (3, 1, Targets(), THREE, True),
    (3, 1, Targets(warm_enis=0), THREE, False),
    (3, 3, Targets(warm_enis=0), THREE, True),
    (14, 14, Targets(max_pods=14), FOURTEEN, False),
    (14, 14, Targets(max_pods=15), FOURTEEN, True),
    (14, 14, Targets(warm_ips=5, max_pods=14), FOURTEEN, False),
    (3, 3, Targets(warm_ips=1, minimum_ips=4), THREE, True),
    (3, 2, Targets(warm_ips=1, minimum_ips=4), THREE, True),
    (4, 3, Targets(warm_ips=1, minimum_ips=4), THREE, False),
])
def test_too_low(total: int, used: int, targets: Targets, room: Room, low: bool) -> None:
    stats = PoolStats((EniStats("eni-1", True, 100, total, total, used),))
    assert is_low(stats, targets, room) is low


# ---- when an ENI goes -----------------------------------------------------------------------------------------------------

IDLE = EniStats("eni-2", False, 61, 14, 14, free_blocks=tuple(f"10.0.0.{n}" for n in range(14)))
FIRST = EniStats("eni-1", True, 100, 14, 14, free_blocks=tuple(f"10.0.1.{n}" for n in range(14)))


def changed(one: EniStats, **fields: object) -> EniStats:
    from dataclasses import replace

    return replace(one, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("second, targets, goes", [
    (IDLE, Targets(), True),
    (changed(IDLE, age_s=59), Targets(), False),
    (changed(IDLE, age_s=60), Targets(), True),
    (changed(IDLE, cooling=1), Targets(), False),
    (changed(IDLE, has_pods=True), Targets(warm_enis=0), False),
    (changed(IDLE, primary=True), Targets(), False),
    (IDLE, Targets(warm_ips=14), True),
    (IDLE, Targets(warm_ips=15), False),
    (IDLE, Targets(minimum_ips=14), True),
    (IDLE, Targets(minimum_ips=15), False),
    (IDLE, Targets(warm_enis=2), False),
])
def test_which_eni_goes(second: EniStats, targets: Targets, goes: bool) -> None:
    stats = PoolStats((FIRST, second))
    freed = decide_eni(stats, stats, targets, FOURTEEN)
    assert (freed is not None and freed.eni_id == "eni-2") is goes


PREFIXES = tuple(f"10.0.{n}.0/28" for n in range(2))


@pytest.mark.parametrize("warm, free_on_first, goes", [(1, 1, True), (1, 0, False), (2, 1, False), (0, 0, True)])
def test_prefixes_on_others_decide_whether_an_eni_goes(warm: int, free_on_first: int, goes: bool) -> None:
    first = EniStats("eni-1", True, 100, 2, 32, 32 - 16 * free_on_first, free_blocks=PREFIXES[:free_on_first])
    second = EniStats("eni-2", False, 100, 1, 16, free_blocks=("10.0.9.0/28",))
    stats = PoolStats((first, second))
    freed = decide_eni(stats, stats, Targets(prefix_mode=True, warm_prefixes=warm), Room(3, 3))
    assert (freed is not None) is goes


def test_warm_addresses_on_others_count_in_whole_prefixes() -> None:
    second = EniStats("eni-2", False, 100, 1, 16, free_blocks=("10.0.9.0/28",))
    targets = Targets(prefix_mode=True, warm_ips=3, warm_prefixes=0)
    for used, goes in ((0, True), (1, False)):  # 15 free ones elsewhere are not the 16 that three warm ones need
        stats = PoolStats((EniStats("eni-1", True, 100, 1, 16, used), second))
        assert (decide_eni(stats, stats, targets, Room(3, 3)) is not None) is goes


# ---- what is asked for ----------------------------------------------------------------------------------------------------


def test_one_step_fills_one_eni_and_the_next_place_waits() -> None:
    decision = decide(PoolStats((EniStats("eni-1", True, 0, 12, 12, 12),)), Targets(warm_ips=5), FOURTEEN, 0)
    assert isinstance(decision, Increase)
    assert [(type(step), step.count) for step in decision.steps] == [(Grow, 2), (NewEni, 5)]


def test_an_excluded_eni_and_the_first_with_custom_networking_get_nothing_but_take_their_places() -> None:
    excluded = changed(IDLE, slots=0, total=0, free_blocks=(), excluded=True)
    targets = Targets(skip_first_eni=True)
    stats = PoolStats((changed(FIRST, slots=0, total=0, free_blocks=()), excluded))
    decision = decide(stats, targets, Room(3, 14), 0)
    assert isinstance(decision, Increase) and [type(step) for step in decision.steps] == [NewEni]
    assert decide(stats, targets, Room(2, 14), 0) is None


def test_what_is_on_an_excluded_eni_counts_for_nothing() -> None:
    stats = PoolStats((changed(FIRST, total=0, slots=0, free_blocks=()), changed(IDLE, excluded=True, assigned=3, has_pods=True)))
    assert (stats.total, stats.assigned, stats.available, stats.free_blocks) == (0, 0, 0, 0)
    assert is_low(stats, Targets(warm_enis=0), FOURTEEN)
    assert decide(stats, Targets(warm_ips=1), FOURTEEN, 0) is not None


def test_no_increase_within_two_minutes_of_an_empty_subnet() -> None:
    empty = PoolStats((EniStats("eni-1", True, 0, 0, 0),))
    assert decide(empty, Targets(), Room(4, 14, insufficient_at_s=0), 120) is None
    assert isinstance(decide(empty, Targets(), Room(4, 14, insufficient_at_s=0), 121), Increase)


def test_two_decreases_are_more_than_thirty_seconds_apart() -> None:
    many = PoolStats((FIRST,))
    assert decide(many, Targets(warm_ips=2), Room(4, 14, decreased_at_s=0), 30) is None
    assert isinstance(decide(many, Targets(warm_ips=2), Room(4, 14, decreased_at_s=0), 31), Decrease)


# ---- the timeline of an m5.xlarge -----------------------------------------------------------------------------------------


def test_the_timeline_of_an_m5_xlarge() -> None:
    one = sim("m5.xlarge")
    assert one.shape == (1, 14) and one.stats.available == 14
    one.look(10)
    assert one.shape == (1, 14), "steady"
    one.settle_pods(1)
    one.look(1)
    assert one.shape == (2, 28) and one.stats.available == 27
    one.settle_pods(14)
    one.look(10)
    assert one.shape == (2, 28)
    one.settle_pods(15)
    one.look(1)
    assert one.shape == (3, 42)
    one.look(20)
    one.log.clear()
    gone_at_s = one.now_s
    while one.pods:
        one.delete_pod()
    one.look(30)
    assert one.shape == (1, 14), "back to the first"
    freed = [(at_s - gone_at_s, decision) for at_s, decision in one.log if isinstance(decision, FreeEni)]
    assert [at_s for at_s, _ in freed] == [0, 35], "the third had no pod; the second waits until nothing cools"


def test_a_warm_address_goes_back_while_it_cools() -> None:
    one = sim("m5.xlarge", warm_ips=2)
    one.settle_pods(3)
    one.look(10)
    assert one.stats.total == 5
    cooling = [one.delete_pod() for _ in range(3)]
    assert one.stats.available == 5, "what cools is available"
    one.look(1)
    decision = one.log[-1][1]
    assert isinstance(decision, Decrease)
    assert cooling[0] in {block for _, blocks in decision.blocks for block in blocks}, "and what goes back may cool"
    assert (one.stats.total, one.stats.available, one.stats.cooling) == (2, 2, 2)
