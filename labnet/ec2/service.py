"""EC2 in process: one state, pure rules, a journal, and effects on the kernel.

A call that changes something is computed first, then written to the store, then made true in the kernel, then answered; when
the kernel refuses, the store gets the old objects back and the caller an InternalError: state, store and kernel agree.
Before that `behaviour` may refuse it or make it wait. Calls of one turn of the loop that only add are made true in one go (`queue`),
and of many the first are made true by the kernel while the others are decided (`ahead`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from operator import is_not
from typing import Any

import msgspec

from labnet.ec2 import moments
from labnet.ec2.ahead import PART, Ahead, Background
from labnet.ec2.behaviour import Behaviour
from labnet.ec2.cloud import execute
from labnet.ec2.queue import TOGETHER, Outcome, Queue, Request, Round, told
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

    `background` begins to do so while more is decided; None where nothing can.
    `name_taken` says whether something that is no instance has the name of a node. `observers` hear of every change that was
    made, before its answer is given.
    """

    def __init__(
        self, state: CloudState, limits: Mapping[str, InstanceType], clock: Clock, store: Store | None = None, effects: Effects | None = None,
        name_taken: Callable[[str], bool] = lambda name: False, background: Background | None = None,
    ) -> None:
        self.state = state
        self.observers: list[Observer] = []
        self._limits, self._clock, self._store, self._effects = limits, clock, store, effects
        self._name_taken, self._background = name_taken, background
        self.behaviour = Behaviour(clock.now_s, (state.seed, state.lab))
        self._moments: moments.Moments = ()
        self._queue = Queue(self._begin)

    def client(self, caller: str) -> Ec2Client:
        """The Ec2Api port for one caller."""
        return Ec2Client(self, caller, self._clock)

    def call(self, caller: str, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request, whole before the next begins, at once whatever latency is set. Errors: Ec2Error."""
        return self._alone(Request(caller, action, params, self._clock.now_s(), self.behaviour.judge(caller, action, params)))

    async def acall(self, caller: str, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request after its latency; then whole before the next begins, or together with others that only add. Errors: Ec2Error."""
        request = Request(caller, action, params, self._clock.now_s(), self.behaviour.judge(caller, action, params))
        if request.verdict.latency_s > 0:
            await self._clock.sleep(request.verdict.latency_s)
        return await self._queue.join(request) if action in TOGETHER else self._alone(request)

    def metadata_state(self, instance_id: str | None) -> CloudState:
        """The cloud as the metadata service knows it for an instance."""
        delay_s = self.behaviour.imds_delay_s
        if delay_s <= 0 or not self._moments or instance_id is None:
            return self.state
        return moments.seen(self._moments, self.state, instance_id, self._clock.now_s(), delay_s)

    def _alone(self, request: Request) -> dict[str, Any]:
        """Carry one request out, after those that were asked before; who only reads need not wait for what nobody was told yet.

        Errors: Ec2Error.
        """
        if not request.action.startswith("Describe"):
            self._queue.settle()
        return told(self._outcome(request))

    def _outcome(self, request: Request) -> Outcome:
        """Carry one request out: its answer or its error."""
        old = self.state
        new, outcome = self._decided(old, request)
        if new is not old and not isinstance(outcome, Exception):
            try:
                self._make_true(old, new, self._clock.now_s())
            except KernelError as error:  # all else is a fault of ours, not the kernel's word: told as it is
                outcome = Ec2Error("InternalError", f"An internal error has occurred: {error.message}", 500)
                outcome.__cause__ = error
            except Exception as error:  # noqa: BLE001 - it goes to the caller, here or in the next turn of the loop
                return error
        self._note(request, outcome)
        return outcome

    def _begin(self, requests: Sequence[Request]) -> Round:
        """Carry requests out, at once, or many of them part by part, if there is something that works in the background."""
        if self._background is None or len(requests) <= PART:
            outcomes = self._together(requests)
            return Round(lambda: outcomes)
        ahead = Ahead(self.state, requests, self._decided, self._record, self._background)
        return Round(lambda: self._finished(ahead), ahead.pending)

    def _finished(self, ahead: Ahead) -> list[Outcome]:
        """What became of requests that were carried out part by part; if the kernel refused anything, each alone."""
        if not ahead.settle():
            return [self._outcome(request) for request in ahead.requests]
        done, left = ahead.done, ahead.left
        if ahead.state is not self.state:
            self._became(self.state, ahead.state, self._clock.now_s())
        for request, outcome in done:
            self._note(request, outcome)
        return [*(outcome for _request, outcome in done), *(self._together(left) if left else ())]

    def _together(self, requests: Sequence[Request]) -> list[Outcome]:
        """Decide requests one after the other and make all true in one go; if that fails, each alone, to know which it is."""
        if len(requests) == 1:
            return [self._outcome(requests[0])]
        old = new = self.state
        outcomes: list[Outcome] = []
        for request in requests:
            new, outcome = self._decided(new, request)
            outcomes.append(outcome)
        if new is not old:
            try:
                self._make_true(old, new, self._clock.now_s())
            except Exception:  # noqa: BLE001 - whoever causes it hears of it below
                return [self._outcome(request) for request in requests]
        for request, outcome in zip(requests, outcomes, strict=True):
            self._note(request, outcome)
        return outcomes

    def _decided(self, state: CloudState, request: Request) -> tuple[CloudState, Outcome]:
        """The state after a request, and its answer or error; nothing happens yet."""
        if request.verdict.refusal is not None:
            return state, request.verdict.refusal
        context = Context(self._clock.now_s(), self._limits, request.caller, self._name_taken)
        try:
            return execute(state, request.action, request.params, context)
        except Exception as error:  # noqa: BLE001 - an Ec2Error mostly; a fault of ours is told to this caller alone
            return state, error

    def change(self, rule: Callable[[CloudState], CloudState]) -> None:
        """What no call does happens to the cloud: a zone fails. Carried out as a call is. Errors: those of the rule; KernelError."""
        self._queue.settle()
        old = self.state
        new = rule(old)
        if new is not old:
            self._make_true(old, new, self._clock.now_s())

    def _make_true(self, old: CloudState, new: CloudState, now_s: float) -> None:
        """Journal, kernel, whoever looks on. Errors: KernelError, and all is as before."""
        if self._effects is None:
            self._write(old, new)
        else:
            self._record(old, new)
            try:
                self._effects(old, new)
            except Exception:
                self._write(new, old)
                raise
        self._became(old, new, now_s)

    def _record(self, old: CloudState, new: CloudState) -> None:
        """The journal stands before the kernel changes."""
        self._write(old, new)
        if self._store is not None:
            self._store.flush()

    def _became(self, old: CloudState, new: CloudState, now_s: float) -> None:
        """It is so: whoever looks on hears of it."""
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

    def _note(self, request: Request, outcome: Outcome) -> None:
        if self._store is None or (isinstance(outcome, Exception) and not isinstance(outcome, Ec2Error)):
            return
        said = msgspec.json.encode(request.params, enc_hook=str, order="sorted")
        record: dict[str, Any] = {
            "time": request.start_s, "caller": request.caller, "action": request.action,
            "result": outcome.code if isinstance(outcome, Ec2Error) else "OK", "digest": hashlib.sha256(said).hexdigest()[:12],
        }
        record["latency"] = round(self._clock.now_s() - request.start_s, 6)
        if request.verdict.tokens is not None:
            record["tokens"] = round(request.verdict.tokens, 3)
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
