"""A warm pool without EC2: the real policy and the real datastore, and a subnet that never ends. Time moves by looks of 5 s."""

from __future__ import annotations

from itertools import count

from labnet.errors import PoolExhausted
from labnet.ipamd.datastore import AttachmentKey, Datastore, EniEntry
from labnet.ipamd.policy import Decrease, FreeEni, Grow, Increase, NewEni, PoolStats, Room, Targets, decide, decide_eni
from labnet.model.addressing import to_int, to_text

LOOK_S = 5.0
SUBNET = to_int("10.0.0.0")


class Sim:
    """One node: `enis` places of `slots` addresses or prefixes each. `log` has every decision with its time."""

    def __init__(self, enis: int, slots: int, targets: Targets, cooldown_s: float = 30.0) -> None:
        self.room = Room(enis, slots)
        self.targets = targets
        self.store = Datastore(cooldown_s, prefix_mode=targets.prefix_mode)
        self.now_s = 1000.0
        self.log: list[tuple[float, Increase | Decrease | FreeEni]] = []
        self.assigned_blocks: set[str] = set()
        self._blocks = count()
        self._pods = count()
        self.pods: list[AttachmentKey] = []
        self._attach(0)
        self.look(steps=1)

    # ---- what happens -----------------------------------------------------------------------------------------------------

    def add_pod(self) -> str | None:
        """A pod; its address, or None."""
        key = AttachmentKey("aws-cni", f"c{next(self._pods)}", "eth0")
        try:
            address = self.store.assign(key, self.now_s).address
        except PoolExhausted:
            return None
        self.pods.append(key)
        return address

    def settle_pods(self, wanted: int) -> None:
        """As many pods as wanted, each as soon as it gets an address."""
        for _ in range(500):
            while len(self.pods) < wanted and self.add_pod() is not None:
                pass
            if len(self.pods) >= wanted:
                return
            self.look(1)
        raise AssertionError(f"only {len(self.pods)} of {wanted} pods got an address")

    def delete_pod(self, place: int = -1) -> str:
        """The end of a pod; its address."""
        return self.store.release(self.pods.pop(place), self.now_s).address

    def look(self, steps: int) -> None:
        """That many looks at the pool, time moving behind each."""
        for _ in range(steps):
            before = self.stats
            decision = decide(before, self.targets, self.room, self.now_s)
            if decision is not None:
                self.log.append((self.now_s, decision))
            if isinstance(decision, Increase):
                self._increase(decision)
            elif isinstance(decision, Decrease):
                self._decrease(decision)
            freed = decide_eni(before, self.stats, self.targets, self.room)
            if freed is not None:
                self.log.append((self.now_s, freed))
                assert self.store.drop_eni(freed.eni_id) == (), "no pod loses its address"
            self.now_s += LOOK_S

    def _increase(self, decision: Increase) -> None:
        step = decision.steps[0]
        if isinstance(step, Grow):
            self._give(step.eni_id, step.count)
        else:
            assert isinstance(step, NewEni)
            used = {one.device_index for one in self.store.enis()}
            self._attach(next(index for index in count() if index not in used), step.count)

    def _decrease(self, decision: Decrease) -> None:
        self.room = Room(self.room.max_enis, self.room.slots_per_eni, decreased_at_s=self.now_s)
        for eni_id, blocks in decision.blocks:
            assert self.store.remove(eni_id, blocks) == (), "no pod loses its address"

    def _attach(self, index: int, blocks: int = 0) -> None:
        eni_id = f"eni-{next(self._blocks)}"
        self.store.add_eni(EniEntry(eni_id, index, index + 1 if index else 254, primary=index == 0, added_at_s=self.now_s))
        self._give(eni_id, blocks)

    def _give(self, eni_id: str, blocks: int) -> None:
        names = [to_text(SUBNET + 16 * next(self._blocks)) for _ in range(blocks)]
        if self.targets.prefix_mode:
            self.store.add(eni_id, prefixes=[f"{name}/28" for name in names])
        else:
            self.store.add(eni_id, addresses=names)

    # ---- looking ----------------------------------------------------------------------------------------------------------

    @property
    def stats(self) -> PoolStats:
        return self.store.stats(self.now_s)

    @property
    def shape(self) -> tuple[int, int]:
        """(ENIs, addresses or prefixes)."""
        return len(self.stats.enis), self.stats.total // self.targets.block_size

    @property
    def spread(self) -> list[int]:
        """Addresses or prefixes by ENI."""
        return [one.slots for one in self.stats.enis]
