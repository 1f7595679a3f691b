"""How many addresses to keep warm, and what to do about it: one look at the pool → decisions (pure).

With `warm_ips` or `minimum_ips` the pool is kept to single addresses (or prefixes) of that target; else to whole ENIs' worth
(or to free prefixes). One look adds at one place only, and gives back once in 30 s at most (`decide`); whether a whole ENI can go
is asked every time, of the pool as it is after that (`decide_eni`). Source: docs/sources.md#ipamd-policy
"""

from __future__ import annotations

from labnet.model.addressing import PREFIX_ADDRESSES
from labnet.model.values import frozen

DECREASE_INTERVAL_S = 30.0
INSUFFICIENT_COOL_OFF_S = 120.0
ENI_MIN_AGE_S = 60.0
NEVER = float("-inf")


@frozen
class EniStats:
    """One ENI's part of the pool. `slots` are held addresses and prefixes of both kinds; `total`, `assigned` and `free_blocks`
    (ascending) are of the kind that pods get; `cooling` and `has_pods` of both. An `excluded` one is drained: nothing of it counts.
    """

    id: str
    primary: bool
    age_s: float
    slots: int
    total: int
    assigned: int = 0
    cooling: int = 0
    free_blocks: tuple[str, ...] = ()
    has_pods: bool = False
    excluded: bool = False


@frozen
class PoolStats:
    """The pool, ENIs by device index, excluded ones too. What cools down is available: EC2 may have it back."""

    enis: tuple[EniStats, ...] = ()

    @property
    def total(self) -> int:
        """Addresses for pods."""
        return sum(one.total for one in self.enis if not one.excluded)

    @property
    def assigned(self) -> int:
        """Addresses that pods have."""
        return sum(one.assigned for one in self.enis if not one.excluded)

    @property
    def cooling(self) -> int:
        """Addresses that were given back a moment ago."""
        return sum(one.cooling for one in self.enis)

    @property
    def available(self) -> int:
        """Addresses that no pod has."""
        return self.total - self.assigned

    @property
    def free_blocks(self) -> int:
        """Addresses, or whole prefixes, of which nothing is in use."""
        return sum(len(one.free_blocks) for one in self.enis if not one.excluded)

    def without(self, eni_id: str) -> PoolStats:
        """The pool on the other ENIs."""
        return PoolStats(tuple(one for one in self.enis if one.id != eni_id))


@frozen
class Targets:
    """What to keep warm. `max_pods` addresses are always enough."""

    warm_enis: int = 1
    warm_ips: int = 0
    minimum_ips: int = 0
    warm_prefixes: int = 1
    prefix_mode: bool = False
    max_pods: int = 110
    skip_first_eni: bool = False
    """Custom networking: nothing is added to the first ENI."""

    @property
    def by_address(self) -> bool:
        """Is an address target set? Then those by ENI and by prefix do not count."""
        return self.warm_ips != 0 or self.minimum_ips != 0

    @property
    def block_size(self) -> int:
        """Addresses in one unit of giving: 16 or 1."""
        return PREFIX_ADDRESSES if self.prefix_mode else 1


@frozen
class Room:
    """What can be had. `slots_per_eni` = the type's addresses per ENI less the primary one; times are seconds since the epoch."""

    max_enis: int
    slots_per_eni: int
    decreased_at_s: float = NEVER
    insufficient_at_s: float = NEVER

    def cools_off(self, now_s: float) -> bool:
        """Did a subnet run out of addresses a moment ago? Then nothing is asked for."""
        return now_s - self.insufficient_at_s <= INSUFFICIENT_COOL_OFF_S


@frozen
class Grow:
    """Ask EC2 for more addresses or prefixes on an ENI."""

    eni_id: str
    count: int
    reason: str


@frozen
class NewEni:
    """Make an ENI with that many secondary addresses or prefixes."""

    count: int
    reason: str


@frozen
class Increase:
    """Places to add at, in the order to try them; the first that adds anything is enough."""

    steps: tuple[Grow | NewEni, ...]


@frozen
class Decrease:
    """Give addresses or prefixes of ENIs back to EC2: (ENI, blocks) …"""

    blocks: tuple[tuple[str, tuple[str, ...]], ...]
    reason: str


@frozen
class FreeEni:
    """Detach and delete an ENI."""

    eni_id: str
    reason: str


def decide(stats: PoolStats, targets: Targets, room: Room, now_s: float) -> Increase | Decrease | None:
    """What one look at the pool adds or gives back; None when it is as it shall be, or has to stay as it is for now."""
    if is_low(stats, targets, room):
        steps = () if room.cools_off(now_s) else _steps(stats, targets, room)
        return Increase(steps) if steps else None
    surplus = over(stats, targets)
    if surplus <= 0 or now_s - room.decreased_at_s <= DECREASE_INTERVAL_S:
        return None
    decrease = _decrease(stats, targets, surplus)
    return decrease if decrease.blocks else None


def decide_eni(before: PoolStats, stats: PoolStats, targets: Targets, room: Room) -> FreeEni | None:
    """The last ENI that nobody needs: looked for if the pool `before` what was decided gives reason to, chosen as it is now."""
    if not _looks_for_one(before, targets, room):
        return None
    for one in reversed(stats.enis):
        if is_deletable(one, stats, targets):
            why = "in an excluded subnet" if one.excluded else f"{stats.available} of {stats.total} addresses free"
            return FreeEni(one.id, f"{why}, none of them in use on it")
    return None


def short(stats: PoolStats, targets: Targets) -> int:
    """Addresses (in prefix mode: prefixes) that the address targets lack."""
    lacking = max(max(targets.warm_ips - stats.available, 0), targets.minimum_ips - stats.total)
    return max(-(-lacking // targets.block_size), 0)


def over(stats: PoolStats, targets: Targets) -> int:
    """Addresses or prefixes that could go back."""
    if not targets.prefix_mode:
        if not targets.by_address:
            return 0
        return max(min(max(stats.available - targets.warm_ips, 0), stats.total - targets.minimum_ips), 0)
    if not targets.by_address:
        return max(stats.free_blocks - targets.warm_prefixes, 0)
    held = stats.total // PREFIX_ADDRESSES
    needed = -(-(stats.assigned + targets.warm_ips) // PREFIX_ADDRESSES)
    beyond_warm = max(min(stats.free_blocks, held - needed), 0)
    return max(min(beyond_warm, held - -(-targets.minimum_ips // PREFIX_ADDRESSES)), 0)


def is_low(stats: PoolStats, targets: Targets, room: Room) -> bool:
    """Does the pool lack addresses?"""
    if stats.total >= targets.max_pods:
        return False
    if targets.by_address:
        return short(stats, targets) > 0
    warm = targets.warm_prefixes * PREFIX_ADDRESSES if targets.prefix_mode else targets.warm_enis * room.slots_per_eni
    return stats.available < warm or (warm == 0 and stats.available == 0)


def _wanted(stats: PoolStats, targets: Targets, room: Room) -> tuple[int, str]:
    """How many addresses or prefixes to ask for, and why."""
    if targets.by_address:
        count = short(stats, targets)
        said = f"{stats.available} of {targets.warm_ips} warm addresses, {stats.total} of at least {targets.minimum_ips}"
        return (max(1, count) if targets.prefix_mode else count), said
    if targets.prefix_mode:
        said = f"{stats.free_blocks} free prefixes of {targets.warm_prefixes} to keep"
        return max(1, targets.warm_prefixes - stats.free_blocks), said
    said = f"{stats.available} free addresses, {targets.warm_enis * room.slots_per_eni} to keep for {targets.warm_enis} warm ENI"
    return room.slots_per_eni, said


def _steps(stats: PoolStats, targets: Targets, room: Room) -> tuple[Grow | NewEni, ...]:
    wanted, reason = _wanted(stats, targets, room)
    steps: list[Grow | NewEni] = []
    for one in stats.enis:
        free = room.slots_per_eni - one.slots
        if free > 0 and not one.excluded and not (one.primary and targets.skip_first_eni):
            steps.append(Grow(one.id, min(free, wanted), reason))
    count = min(wanted, room.slots_per_eni)
    if count > 0 and len(stats.enis) < room.max_enis:
        steps.append(NewEni(count, reason))
    return tuple(steps)


def _decrease(stats: PoolStats, targets: Targets, surplus: int) -> Decrease:
    """The last ENI's highest blocks first: what pods get next, the lowest, stays."""
    chosen: list[tuple[str, tuple[str, ...]]] = []
    left = surplus
    for one in reversed(stats.enis):
        blocks = one.free_blocks[len(one.free_blocks) - min(left, len(one.free_blocks)):]
        if blocks and not one.excluded:
            chosen.append((one.id, blocks))
            left -= len(blocks)
    what = "prefixes" if targets.prefix_mode else "addresses"
    return Decrease(tuple(chosen), f"{surplus} {what} beyond the target, {stats.available} addresses free")


def _looks_for_one(stats: PoolStats, targets: Targets, room: Room) -> bool:
    if targets.by_address:
        return True
    an_eni = room.slots_per_eni * targets.block_size
    warm = targets.warm_prefixes if targets.prefix_mode else targets.warm_enis
    idle = targets.prefix_mode and any(not one.primary and not one.has_pods for one in stats.enis)
    return idle or stats.available >= (warm + 1) * an_eni


def is_deletable(one: EniStats, stats: PoolStats, targets: Targets) -> bool:
    """Not the first, old enough, unused, nothing of it cooling, and no target needs it."""
    if one.primary or one.age_s < ENI_MIN_AGE_S or one.cooling or one.has_pods:
        return False
    others = stats.without(one.id)
    warm = -(-targets.warm_ips // targets.block_size) * targets.block_size
    if others.available < warm or others.total < targets.minimum_ips:
        return False
    return not targets.prefix_mode or others.free_blocks >= targets.warm_prefixes
