"""EC2 in process: one state, pure rules, a journal, and effects on the kernel.

A call that changes something is computed first, then written to the store, then made true in the kernel, then answered; when
the kernel refuses, the store gets the old objects back and the caller an InternalError: state, store and kernel agree.
Before that `behaviour` may refuse it or make it wait.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import compress
from operator import is_not
from typing import Any

import msgspec

from labnet.ec2 import moments
from labnet.ec2.behaviour import Behaviour, Verdict
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.ec2.sdk import Retries
from labnet.errors import Ec2Error, KernelError
from labnet.model import codec
from labnet.model.addressing import bounds, to_int
from labnet.model.cloud import SHELVES, CloudState, InstanceType
from labnet.ports import Clock, Store

Effects = Callable[[CloudState, CloudState], None]
Observer = Callable[[CloudState, CloudState], None]
LEDGER = "ec2-calls"
COUNTERS = "counters"


class Ec2Service:
    """The one cloud of a lab. `effects` makes a change of state true in the kernel; None for none.

    `name_taken` says whether something that is no instance has the name of a node. `observers` hear of every change that was
    made, before its answer is given.
    """

    def __init__(
        self, state: CloudState, limits: Mapping[str, InstanceType], clock: Clock, store: Store | None = None, effects: Effects | None = None,
        name_taken: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.state = state
        self.observers: list[Observer] = []
        self._limits, self._clock, self._store, self._effects = limits, clock, store, effects
        self._name_taken = name_taken
        self.behaviour = Behaviour(clock.now_s, (state.seed, state.lab))
        self._moments: moments.Moments = ()

    def client(self, caller: str) -> Ec2Client:
        """The Ec2Api port for one caller."""
        return Ec2Client(self, caller, self._clock)

    def call(self, caller: str, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request, whole before the next begins, at once whatever latency is set. Errors: Ec2Error."""
        return self._carry_out(caller, action, params, self._clock.now_s(), self.behaviour.judge(caller, action, params))

    async def acall(self, caller: str, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request after its latency; then whole before the next begins. Errors: Ec2Error."""
        start_s, verdict = self._clock.now_s(), self.behaviour.judge(caller, action, params)
        if verdict.latency_s > 0:
            await self._clock.sleep(verdict.latency_s)
        return self._carry_out(caller, action, params, start_s, verdict)

    def metadata_state(self, instance_id: str | None) -> CloudState:
        """The cloud as the metadata service knows it for an instance."""
        delay_s = self.behaviour.imds_delay_s
        if delay_s <= 0 or not self._moments or instance_id is None:
            return self.state
        return moments.seen(self._moments, self.state, instance_id, self._clock.now_s(), delay_s)

    def _carry_out(self, caller: str, action: str, params: Mapping[str, Any], start_s: float, verdict: Verdict) -> dict[str, Any]:
        try:
            if verdict.refusal is not None:
                raise verdict.refusal
            answer = self._serve(caller, action, params, self._clock.now_s())
        except Ec2Error as error:
            self._note(caller, action, params, start_s, error.code, verdict)
            raise
        self._note(caller, action, params, start_s, "OK", verdict)
        return answer

    def _serve(self, caller: str, action: str, params: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        old = self.state
        new, answer = execute(old, action, params, Context(now_s, self._limits, caller, self._name_taken))
        if new is not old:
            try:
                self._make_true(old, new, now_s)
            except KernelError as error:  # all else is a fault of ours, not the kernel's word: told as it is
                raise Ec2Error("InternalError", f"An internal error has occurred: {error.message}", 500) from error
        return answer

    def change(self, rule: Callable[[CloudState], CloudState]) -> None:
        """What no call does happens to the cloud: a zone fails. Carried out as a call is. Errors: those of the rule; KernelError."""
        old = self.state
        new = rule(old)
        if new is not old:
            self._make_true(old, new, self._clock.now_s())

    def _make_true(self, old: CloudState, new: CloudState, now_s: float) -> None:
        """Journal, kernel, whoever looks on. Errors: KernelError, and all is as before."""
        self._write(old, new)
        if self._effects is not None:
            if self._store is not None:
                self._store.flush()  # the journal stands before the kernel changes
            try:
                self._effects(old, new)
            except Exception:
                self._write(new, old)
                raise
        self.state = new
        for observer in self.observers:
            observer(old, new)
        if self.behaviour.imds_delay_s > 0:
            self._remember(old, new, now_s)

    def _remember(self, old: CloudState, new: CloudState, now_s: float) -> None:
        kept = self._moments and self._moments[-1][1] is old  # else the delay was off for a while
        before = self._moments if kept else ((float("-inf"), old),)
        self._moments = moments.remember(before, now_s, new, self.behaviour.imds_delay_s)

    def _write(self, old: CloudState, new: CloudState) -> None:
        """Put what differs into the store; unchanged objects are the same objects."""
        if self._store is None:
            return
        for shelf in SHELVES:
            before: Mapping[str, object] = getattr(old, shelf)
            after: Mapping[str, object] = getattr(new, shelf)
            if before is after:
                continue
            fresh = list(compress(after, map(is_not, after.values(), map(before.get, after))))  # among thousands of ENIs, for each call
            for key in fresh:
                self._store.put(f"ec2/{shelf}", key, codec.to_document(after[key]))
            if len(before) + sum(key not in before for key in fresh) > len(after):
                for key in before.keys() - after.keys():
                    self._store.remove(f"ec2/{shelf}", key)
        if old.counters is not new.counters:
            self._store.put("ec2/meta", COUNTERS, dict(new.counters))

    def _note(self, caller: str, action: str, params: Mapping[str, Any], start_s: float, result: str, verdict: Verdict) -> None:
        if self._store is None:
            return
        said = msgspec.json.encode(params, enc_hook=str, order="sorted")
        digest = hashlib.sha256(said).hexdigest()[:12]
        record: dict[str, Any] = {"time": start_s, "caller": caller, "action": action, "result": result, "digest": digest}
        record["latency"] = round(self._clock.now_s() - start_s, 6)
        if verdict.tokens is not None:
            record["tokens"] = round(verdict.tokens, 3)
        self._store.append(LEDGER, record)


class Ec2Client:
    """The Ec2Api port, in process: a caller with an AWS SDK, which tries again as SDKs do."""

    def __init__(self, service: Ec2Service, caller: str, clock: Clock) -> None:
        self._service, self._caller = service, caller
        self._retries = Retries(clock, (service.state.seed, service.state.lab, caller))

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One action in boto3's shapes. Errors: Ec2Error, after three tries where trying again may help."""
        return await self._retries.run(lambda: self._service.acall(self._caller, action, params))


def restore(store: Store, fresh: CloudState) -> CloudState:
    """The state that an earlier process wrote; what can be derived (taken addresses) is derived. Errors: CodecError."""
    shelves: dict[str, Any] = {
        shelf: {key: codec.from_document(document, cls) for key, document in store.load(f"ec2/{shelf}").items()}
        for shelf, cls in SHELVES.items()
    }
    counters = {key: int(value) for key, value in store.load("ec2/meta").get(COUNTERS, {}).items()}
    taken: dict[str, set[int]] = {}
    public: set[str] = {one.public_ip for one in shelves["addresses"].values()}
    for eni in shelves["enis"].values():
        used = taken.setdefault(eni.subnet_id, set())
        used.update(to_int(item.address) for item in eni.addresses)
        public.update(item.public for item in eni.addresses if item.public)
        for prefix in eni.prefixes:
            first, last = bounds(prefix)
            used.update(range(first, last + 1))
    return replace(
        fresh, **shelves, counters=counters, public_taken=frozenset(public), taken={key: frozenset(used) for key, used in taken.items()},
    )
