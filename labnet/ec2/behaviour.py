"""What stands between a caller and the rules: throttling, denials, faults, latency. Set by scenario, command line or Python.

A call is judged when it arrives, in this order: its bucket of tokens, denials, faults; a refusal is told at once. What passes
waits its latency, and only then is carried out, whole: docs/adr/0005-ec2-in-time.md says why. The lab itself (caller `labnet`,
which is `up`) is never judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from labnet.ec2 import throttle
from labnet.ec2.cloud import ACTIONS
from labnet.ec2.faults import Denial, Fault, Origin, check_fault, denied, fault_error, means, meet
from labnet.ec2.latency import draw_s, latency_for
from labnet.ec2.patterns import actions_of
from labnet.ec2.rules.request import Params
from labnet.ec2.throttle import Levels
from labnet.errors import Ec2Error, NotFoundError
from labnet.model.behaviour import DenySpec, Ec2Spec, FaultSpec, Latency, Throttling
from labnet.model.values import frozen

LAB = "labnet"


@frozen
class Verdict:
    """What becomes of a call: refused at once, or carried out after a while; `tokens` left in its bucket, None = not throttled."""

    refusal: Ec2Error | None = None
    latency_s: float = 0.0
    tokens: float | None = None


FREE = Verdict()


class Behaviour:
    """The behaviour of one lab's API. `now_s` tells the lab's time, `seed` decides what chance decides."""

    def __init__(self, now_s: Callable[[], float], seed: object = 0) -> None:
        self._now_s, self._seed = now_s, seed
        self.throttling: Throttling = "off"
        self.levels: Levels = {}
        self.latency: Mapping[str, Latency] = {}
        self.imds_delay_s = 0.0
        self.faults: tuple[Fault, ...] = ()
        self.denials: tuple[Denial, ...] = ()
        self._made = 0
        self._waited: dict[str, int] = {}
        self._idle = True

    # ---- judging ----------------------------------------------------------------------------------------------------------

    def judge(self, caller: str, action: str, params: Mapping[str, object]) -> Verdict:
        """What becomes of a call that arrives now. Buckets, faults and denials change with it."""
        if self._idle or caller == LAB or action not in ACTIONS:
            return FREE
        tokens, passes = self._take(action, params)
        if not passes:
            return Verdict(throttle.limit_exceeded(), tokens=tokens)
        refusal = self._denied(caller, action) or self._fault(caller, action)
        if refusal is not None:
            return Verdict(refusal, tokens=tokens)
        return Verdict(None, self._wait_s(action), tokens)

    def _take(self, action: str, params: Params) -> tuple[float | None, bool]:
        if self.throttling == "off":
            return None, True
        self.levels, tokens, passes = throttle.take(self.levels, action, params, self._now_s())
        return tokens, passes

    def _denied(self, caller: str, action: str) -> Ec2Error | None:
        for place, item in enumerate(self.denials):
            if means(item.spec.action, item.spec.node, caller, action):
                behind = replace(item, fired=item.fired + 1)
                self.denials = (*self.denials[:place], behind, *self.denials[place + 1 :])
                return denied(action, caller)
        return None

    def _fault(self, caller: str, action: str) -> Ec2Error | None:
        """The first fault that makes the call fail; those behind it do not meet it."""
        now_s = self._now_s()
        for place, item in enumerate(self.faults):
            behind, hit = meet(item, caller, action, now_s, self._seed)
            if behind is not item:
                self.faults = (*self.faults[:place], behind, *self.faults[place + 1 :])
            if hit:
                return fault_error(item.spec)
        return None

    def _wait_s(self, action: str) -> float:
        latency = latency_for(self.latency, action)
        if latency is None:
            return 0.0
        count = self._waited[action] = self._waited.get(action, 0) + 1
        return draw_s(latency, self._seed, action, count)

    # ---- setting ----------------------------------------------------------------------------------------------------------

    def set_throttling(self, throttling: Throttling) -> None:
        """Throttle as AWS does, with full buckets, or not at all. What is set already stays as it is."""
        if throttling != self.throttling:
            self.throttling, self.levels = throttling, {}
        self._settle()

    def add_fault(self, spec: FaultSpec, origin: Origin = "added") -> Fault:
        """Make calls fail from now on. Errors: UsageError for a fault that cannot be."""
        check_fault(spec)
        made = Fault(self._next("f"), spec, self._now_s(), origin)
        self.faults = (*self.faults, made)
        self._settle()
        return made

    def fail(
        self, action: str, code: str, *, message: str = "", status: int | None = None, times: int | None = None, rate: float | None = None,
        for_s: float | None = None, node: str = "",
    ) -> Fault:
        """`add_fault` in words: ``lab.ec2.behaviour.fail("Assign*", "InternalError", times=2)``. Errors: UsageError."""
        return self.add_fault(FaultSpec(action, code, message, status, times, rate, for_s, node))

    def deny(self, spec: DenySpec, origin: Origin = "added") -> Denial:
        """Refuse an action to everybody or to one node, as IAM does. Errors: UsageError for an unknown action."""
        actions_of(spec.action)
        made = Denial(self._next("d"), spec, origin)
        self.denials = (*self.denials, made)
        self._settle()
        return made

    def ids(self) -> list[str]:
        """The ids of every fault and denial."""
        return [item.id for item in self.faults] + [item.id for item in self.denials]

    def clear(self, ids: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Take back faults and denials by id, all of them where none is named; the ids taken back. Errors: NotFoundError."""
        known = self.ids()
        for one in ids:
            if one not in known:
                raise NotFoundError(f"there is no fault {one!r}", f"set: {', '.join(known) or 'none'}; 'labnet fault list' shows them")
        gone = tuple(one for one in known if not ids or one in ids)
        self.faults = tuple(item for item in self.faults if item.id not in gone)
        self.denials = tuple(item for item in self.denials if item.id not in gone)
        self._settle()
        return gone

    def configure(self, spec: Ec2Spec) -> None:
        """Make it what a scenario says. Its faults start anew only where they differ; what was added otherwise stays.

        Errors: UsageError.
        """
        self.latency, self.imds_delay_s = spec.latency, spec.imds_delay_s
        self.set_throttling(spec.throttling)
        if tuple(item.spec for item in self.faults if item.origin == "scenario") != spec.faults:
            self.faults = tuple(item for item in self.faults if item.origin != "scenario")
            for fault in spec.faults:
                self.add_fault(fault, "scenario")
        if tuple(item.spec for item in self.denials if item.origin == "scenario") != spec.deny:
            self.denials = tuple(item for item in self.denials if item.origin != "scenario")
            for denial in spec.deny:
                self.deny(denial, "scenario")
        self._settle()

    def _next(self, letter: str) -> str:
        self._made += 1
        return f"{letter}{self._made}"

    def _settle(self) -> None:
        """Calls of a lab that sets none of this are not even looked at."""
        self._idle = self.throttling == "off" and not (self.latency or self.faults or self.denials)
