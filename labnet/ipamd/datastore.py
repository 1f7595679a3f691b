"""What the daemon knows of a node's ENIs: their addresses for pods, and who has which (no effects, no clock of its own).

The address that an ENI got first, its primary one, is never here. Order is fixed where the VPC CNI's is random: by device
index, then by address. An address that was given back cools down before it is given away again; it counts as available
all the same, and may be returned to EC2. Source: docs/sources.md#ipamd-datastore
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from labnet.errors import PoolExhausted, UnknownAttachment
from labnet.ipamd.policy import EniStats, PoolStats
from labnet.model.addressing import bounds, contains, prefix_addresses, to_int
from labnet.model.values import frozen

NEVER = float("-inf")


@frozen
class AttachmentKey:
    """Whose an address is."""

    network: str
    container_id: str
    if_name: str


@frozen
class Assignment:
    """An address in use: whose, on which ENI, since when (seconds since the epoch)."""

    key: AttachmentKey
    address: str
    eni_id: str
    pod_namespace: str = ""
    pod_name: str = ""
    assigned_at_s: float = 0.0


@dataclass(slots=True)
class EniEntry:
    """One ENI: `primary` = the node's first; `addresses` are its secondary ones; table 254 = main. An `excluded` one is drained:
    its subnet's tag keeps new pods out.
    """

    id: str
    device_index: int
    table: int
    primary: bool
    added_at_s: float = 0.0
    excluded: bool = False
    addresses: set[str] = field(default_factory=set)
    prefixes: set[str] = field(default_factory=set)


@frozen
class EniUse:
    """How one ENI's addresses are used: `used` and `cooling` of both kinds, `warm` could be given now. Of the kind that pods get are
    `candidates`; `blocks_of_other` counts addresses or prefixes of the other kind, of which pods have `used_of_other` addresses.
    """

    used: int
    warm: int
    cooling: int
    candidates: int
    blocks_of_other: int
    used_of_other: int


class Datastore:
    """The pool of one node. With `prefix_mode` pods get addresses of prefixes alone, else secondary addresses alone."""

    def __init__(self, cooldown_s: float = 30.0, *, prefix_mode: bool = False) -> None:
        self.cooldown_s, self.prefix_mode = cooldown_s, prefix_mode
        self._enis: dict[str, EniEntry] = {}
        self._by_key: dict[AttachmentKey, Assignment] = {}
        self._by_address: dict[str, Assignment] = {}
        self._freed_at_s: dict[str, float] = {}
        self._candidates: dict[str, tuple[str, ...]] = {}

    # ---- ENIs -------------------------------------------------------------------------------------------------------------

    def add_eni(self, entry: EniEntry) -> None:
        """Know an ENI; one that is known already keeps what is known of it."""
        self._enis.setdefault(entry.id, entry)

    def eni(self, eni_id: str) -> EniEntry | None:
        """An ENI by its id."""
        return self._enis.get(eni_id)

    def exclude(self, eni_id: str, excluded: bool) -> None:
        """Keep new pods off an ENI, or let them on; an unknown one went meanwhile."""
        if eni_id in self._enis:
            self._enis[eni_id].excluded = excluded

    def enis(self) -> tuple[EniEntry, ...]:
        """Every ENI by device index."""
        return tuple(sorted(self._enis.values(), key=lambda one: one.device_index))

    def drop_eni(self, eni_id: str) -> tuple[Assignment, ...]:
        """Forget an ENI with all its addresses; what was in use of them."""
        entry = self._enis.get(eni_id)
        if entry is None:
            return ()
        lost = self.remove(eni_id, _in_order(entry))
        del self._enis[eni_id]
        self._candidates.pop(eni_id, None)
        return lost

    def add(self, eni_id: str, addresses: Iterable[str] = (), prefixes: Iterable[str] = ()) -> int:
        """Know addresses and prefixes of a known ENI; how many of them are new. An unknown ENI has none: it went meanwhile."""
        entry = self._enis.get(eni_id)
        if entry is None:
            return 0
        before = len(entry.addresses) + len(entry.prefixes)
        entry.addresses.update(addresses)
        entry.prefixes.update(prefixes)
        self._candidates.pop(eni_id, None)
        return len(entry.addresses) + len(entry.prefixes) - before

    def remove(self, eni_id: str, blocks: Iterable[str]) -> tuple[Assignment, ...]:
        """Forget addresses and prefixes of an ENI; assignments of them end, and are returned."""
        entry = self._enis[eni_id]
        lost: list[Assignment] = []
        for block in blocks:
            entry.addresses.discard(block)
            entry.prefixes.discard(block)
            for address in _addresses_of(block):
                self._freed_at_s.pop(address, None)
                assignment = self._by_address.pop(address, None)
                if assignment is not None:
                    del self._by_key[assignment.key]
                    lost.append(assignment)
        self._candidates.pop(eni_id, None)
        return tuple(lost)

    # ---- pods -------------------------------------------------------------------------------------------------------------

    def assign(self, key: AttachmentKey, now_s: float, *, pod_namespace: str = "", pod_name: str = "") -> Assignment:
        """The address of an attachment: the one it has, else the first free one. Errors: PoolExhausted."""
        held = self._by_key.get(key)
        if held is not None:
            return held
        for entry in self.enis():
            for address in () if entry.excluded else self._of(entry):
                if self._assignable(address, now_s):
                    return self._give(Assignment(key, address, entry.id, pod_namespace, pod_name, now_s))
        raise PoolExhausted("AssignPodIPAddress: no available IP/Prefix addresses")

    def restore(self, assignment: Assignment) -> bool:
        """Take over an assignment of an earlier process; False when its address is unknown here or in use."""
        owner = self.owner_of(assignment.address)
        if owner is None or assignment.address in self._by_address or assignment.key in self._by_key:
            return False
        self._give(Assignment(
            assignment.key, assignment.address, owner.id, assignment.pod_namespace, assignment.pod_name, assignment.assigned_at_s,
        ))
        return True

    def release(self, key: AttachmentKey, now_s: float) -> Assignment:
        """Give an address back; from now it cools down. Errors: UnknownAttachment."""
        held = self._by_key.pop(key, None)
        if held is None:
            raise UnknownAttachment("datastore: unknown pod")
        del self._by_address[held.address]
        self._freed_at_s[held.address] = now_s
        return held

    def forget(self, key: AttachmentKey) -> None:
        """Undo an assignment that was never told to anybody: no cooldown."""
        held = self._by_key.pop(key, None)
        if held is not None:
            del self._by_address[held.address]

    def put_back(self, assignment: Assignment) -> None:
        """Undo a release."""
        self._give(assignment)

    def find(self, key: AttachmentKey) -> Assignment | None:
        """What an attachment has."""
        return self._by_key.get(key)

    def assignments(self) -> tuple[Assignment, ...]:
        """Everything in use, in order of giving."""
        return tuple(self._by_key.values())

    def owner_of(self, address: str) -> EniEntry | None:
        """The ENI that has an address for pods, by itself or in a prefix."""
        for entry in self._enis.values():
            if address in entry.addresses or any(contains(prefix, address) for prefix in entry.prefixes):
                return entry
        return None

    def counts(self) -> tuple[int, int]:
        """How many addresses pods could have, and how many they have; quicker than `stats`."""
        return sum(len(self._of(entry)) for entry in self._enis.values()), len(self._by_key)

    def free_addresses(self, now_s: float) -> tuple[str, ...]:
        """What could be given away now, in the order in which it would be."""
        usable = (entry for entry in self.enis() if not entry.excluded)
        return tuple(address for entry in usable for address in self._of(entry) if self._assignable(address, now_s))

    def idle_blocks(self, eni_id: str, now_s: float, idle_s: float = 0.0) -> tuple[str, ...]:
        """Addresses and prefixes of an ENI that nobody has, and that nobody gave back within the last `idle_s`, ascending."""
        entry = self._enis[eni_id]
        return tuple(
            block for block in _in_order(entry)
            if not self.in_use(block) and all(now_s - self._freed_at_s.get(one, NEVER) >= idle_s for one in _addresses_of(block))
        )

    def stats(self, now_s: float) -> PoolStats:
        """The pool as the policy sees it."""
        return PoolStats(tuple(self._stats(entry, now_s) for entry in self.enis()))

    def use(self, eni_id: str, now_s: float) -> EniUse:
        """How a known ENI is used, for people; the policy has `stats`."""
        entry = self._enis[eni_id]
        candidates, blocks = self._of(entry), entry.addresses if self.prefix_mode else entry.prefixes
        others = [address for block in blocks for address in _addresses_of(block)]
        held, held_of_other = (sum(address in self._by_address for address in listed) for listed in (candidates, others))
        return EniUse(
            used=held + held_of_other, warm=0 if entry.excluded else sum(self._assignable(address, now_s) for address in candidates),
            cooling=sum(self._cooling(address, now_s) for address in (*candidates, *others)), candidates=len(candidates),
            blocks_of_other=len(blocks), used_of_other=held_of_other,
        )

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _give(self, assignment: Assignment) -> Assignment:
        self._by_key[assignment.key] = assignment
        self._by_address[assignment.address] = assignment
        self._freed_at_s.pop(assignment.address, None)
        return assignment

    def _cooling(self, address: str, now_s: float) -> bool:
        freed_at_s = self._freed_at_s.get(address)
        if freed_at_s is None:
            return False
        if now_s - freed_at_s <= self.cooldown_s:
            return True
        del self._freed_at_s[address]
        return False

    def _assignable(self, address: str, now_s: float) -> bool:
        return address not in self._by_address and not self._cooling(address, now_s)

    def _of(self, entry: EniEntry) -> tuple[str, ...]:
        """The addresses of an ENI that the mode lets pods have, ascending; kept until the ENI's change."""
        found = self._candidates.get(entry.id)
        if found is None:
            if self.prefix_mode:
                found = tuple(address for prefix in sorted(entry.prefixes, key=bounds) for address in prefix_addresses(prefix))
            else:
                found = tuple(sorted(entry.addresses, key=to_int))
            self._candidates[entry.id] = found
        return found

    def _stats(self, entry: EniEntry, now_s: float) -> EniStats:
        candidates, given = self._of(entry), self._by_address
        of_mode = sorted(entry.prefixes, key=bounds) if self.prefix_mode else candidates
        of_other = entry.addresses if self.prefix_mode else entry.prefixes
        free = tuple(block for block in of_mode if not self.in_use(block))
        cooling = 0
        if self._freed_at_s:  # most pools have nothing to look for
            cooling = sum(self._cooling(address, now_s) for block in (*of_mode, *of_other) for address in _addresses_of(block))
        return EniStats(
            id=entry.id, primary=entry.primary, age_s=now_s - entry.added_at_s, slots=len(entry.addresses) + len(entry.prefixes),
            total=len(candidates), assigned=len(given.keys() & candidates) if given else 0, cooling=cooling, free_blocks=free,
            has_pods=len(free) < len(of_mode) or any(self.in_use(block) for block in of_other), excluded=entry.excluded,
        )

    def in_use(self, block: str) -> bool:
        """Has a pod this address, or one of this prefix?"""
        return any(address in self._by_address for address in prefix_addresses(block)) if "/" in block else block in self._by_address


def _addresses_of(block: str) -> tuple[str, ...]:
    return prefix_addresses(block) if "/" in block else (block,)


def _in_order(entry: EniEntry) -> tuple[str, ...]:
    return (*sorted(entry.addresses, key=to_int), *sorted(entry.prefixes, key=bounds))
