"""The verbs of a running lab about its EC2 API: the ledger of calls, subnets, throttling, faults and denials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from labnet.ec2 import ledger, throttle
from labnet.ec2.cloud import ACTIONS
from labnet.ec2.faults import Denial, Fault, fault_error
from labnet.ec2.patterns import actions_of
from labnet.ec2.service import LEDGER
from labnet.ec2.subnet_report import subnet_reports
from labnet.errors import NotFoundError, UsageError
from labnet.lab.control import Emit, Verb
from labnet.lab.scenario_problems import nearest
from labnet.lab.verbs_zones import clear_zone_faults, zone_fault_ids, zone_fault_list
from labnet.lab.world import World
from labnet.model.behaviour import DenySpec, FaultSpec, Throttling

Args = Mapping[str, Any]
Answer = dict[str, Any]


class Ec2Verbs:
    """One method a verb, as `Verbs` has them. Errors: LabnetError."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._behaviour = world.ec2.behaviour

    def table(self) -> dict[str, Verb]:
        """Verb → what serves it."""
        return {
            "ec2-calls": self.calls, "ec2-subnets": self.subnets, "ec2-throttle": self.throttle, "fault-api": self.fault_api,
            "fault-deny": self.fault_deny, "fault-list": self.fault_list, "fault-clear": self.fault_clear,
        }

    async def calls(self, args: Args, emit: Emit) -> Answer:
        """The ledger, oldest first: `action`, `caller`, `errors` choose, `last` cuts (0 = all), `by` sums up."""
        if args.get("action"):
            actions_of(str(args["action"]))
        chosen = ledger.choose(
            self._world.store.read(LEDGER), action=str(args.get("action") or ""), caller=str(args.get("caller") or ""),
            errors=bool(args.get("errors")),
        )
        last = int(args.get("last") or 0)
        shown = chosen[-last:] if last else chosen
        by = args.get("by")
        if by in ("action", "node"):
            rows = ledger.sums(shown, cast(Literal["action", "node"], by))
            return self._document("Ec2CallSums", by=by, sums=rows, total=len(chosen))
        nodes = set(self._nodes())
        return self._document("Ec2CallList", calls=[ledger.told(item, nodes) for item in shown], total=len(chosen))

    async def subnets(self, args: Args, emit: Emit) -> Answer:
        """Every subnet's addresses; with `blocks` down to the /28."""
        return self._document("SubnetList", subnets=subnet_reports(self._world.ec2.state, blocks=bool(args.get("blocks"))))

    async def throttle(self, args: Args, emit: Emit) -> Answer:
        """Turn throttling on (`set` aws) or off, or leave it; the buckets as they are then."""
        wanted = args.get("set")
        if wanted not in (None, "aws", "off"):
            raise UsageError(f"{wanted!r} is no throttling", "aws or off")
        if wanted is not None:
            self._behaviour.set_throttling(cast(Throttling, wanted))
        now_s, levels = self._world.clock.now_s(), self._behaviour.levels
        buckets = [
            {
                "bucket": bucket, "tokens": round(throttle.tokens_in(levels, bucket, now_s), 3), "burst": throttle.limit_of(bucket).burst,
                "refillPerSecond": throttle.limit_of(bucket).refill_per_s,
            }
            for action in sorted(ACTIONS) for bucket in throttle.buckets_of(action)
        ] if self._behaviour.throttling == "aws" else []
        return self._document("Ec2Throttling", throttling=self._behaviour.throttling, buckets=buckets)

    async def fault_api(self, args: Args, emit: Emit) -> Answer:
        """Make calls fail; the fault as it stands."""
        node = self._node(args)
        spec = FaultSpec(
            action=str(args["action"]), code=str(args["code"]), message=str(args.get("message") or ""), status=args.get("status"),
            times=args.get("times"), rate=args.get("rate"), for_s=args.get("for"), node=node,
        )
        return self._document("Fault", **self._fault(self._behaviour.add_fault(spec)))

    async def fault_deny(self, args: Args, emit: Emit) -> Answer:
        """Deny an action; the denial as it stands."""
        return self._document("Fault", **_denial(self._behaviour.deny(DenySpec(str(args["action"]), self._node(args)))))

    async def fault_list(self, args: Args, emit: Emit) -> Answer:
        """Every fault and denial with what it did."""
        faults = [self._fault(item) for item in self._behaviour.faults] + [_denial(item) for item in self._behaviour.denials]
        return self._document("FaultList", faults=faults, zones=zone_fault_list(self._world))

    async def fault_clear(self, args: Args, emit: Emit) -> Answer:
        """Take back faults and denials: `ids`, or all of them with `all`."""
        ids = tuple(str(one) for one in args.get("ids") or ())
        if not ids and not args.get("all"):
            raise UsageError("which fault?", "give its id, or --all")
        set_for_zones = zone_fault_ids(self._world)
        of_zones = [one for one in set_for_zones if not ids or one in ids]
        of_calls = tuple(one for one in ids if one not in of_zones)
        known = [*self._behaviour.ids(), *set_for_zones]
        unknown = next((one for one in ids if one not in known), None)
        if unknown is not None:
            raise NotFoundError(f"there is no fault {unknown!r}", f"set: {', '.join(known) or 'none'}; 'labnet fault list' shows them")
        cleared = list(self._behaviour.clear(of_calls)) if of_calls or not ids else []
        clear_zone_faults(self._world, of_zones)
        return self._document("FaultsCleared", cleared=[*cleared, *of_zones])

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _fault(self, fault: Fault) -> Answer:
        spec, error = fault.spec, fault_error(fault.spec)
        return {
            "id": fault.id, "type": "api", "action": spec.action, "node": spec.node, "code": error.code, "message": error.message,
            "status": error.status, "times": spec.times, "rate": spec.rate, "for": spec.for_s,
            "origin": fault.origin, "met": fault.met, "fired": fault.fired, "state": fault.state(self._world.clock.now_s()),
        }

    def _node(self, args: Args) -> str:
        """The node that is named, if any. Errors: NotFoundError."""
        node = str(args.get("node") or "")
        if node and node not in self._nodes():
            raise NotFoundError(f"there is no node {node!r}", nearest(node, self._nodes()))
        return node

    def _nodes(self) -> list[str]:
        return list(self._world.fleet.agents)

    def _document(self, kind: str, **members: Any) -> Answer:
        return {"apiVersion": "labnet/v1", "kind": kind, "lab": self._world.lab, **members}


def _denial(denial: Denial) -> Answer:
    return {
        "id": denial.id, "type": "deny", "action": denial.spec.action, "node": denial.spec.node, "code": "UnauthorizedOperation",
        "status": 403, "origin": denial.origin, "fired": denial.fired, "state": "active",
    }
