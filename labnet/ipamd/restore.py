"""What a new daemon takes over from the checkpoint of an earlier one, and the rules of the pods that are still there.

An entry is dropped when its pod has no veth on the node any more (its rules 512 and 1536 go with it), or when no ENI of the
node has its address; two entries that stay with one address are fatal. Then, for every pod that was taken over and has rules
by its source (one of a secondary ENI)::

    1536: from 10.10.2.6 lookup 2          one rule, whatever there was; the table is that of the last rule seen

Release 1.6, with SNAT on the node, writes one ``from POD to BLOCK`` for every block of the VPC and every excluded one instead.
Rules that the plugin's slice of the pod claims are changed there; others, which nobody claims, are removed as what was seen.
Source: docs/sources.md#ipamd-checkpoint
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from labnet.errors import BadCheckpoint
from labnet.ipamd.datastore import Assignment, AttachmentKey, Datastore
from labnet.ipamd.routes import rule_destinations
from labnet.model import names
from labnet.model.netstate import TABLE_MAIN, Rule, Slice
from labnet.model.values import frozen
from labnet.ports import Slices

TO_POD_PRIORITY, FROM_POD_PRIORITY = 512, 1536
STRAY = "ipamd:stray"
"""The slice that holds rules of nobody for as long as it takes to remove them."""


@frozen
class Restored:
    """What became of the entries of a checkpoint."""

    kept: tuple[Assignment, ...] = ()
    without_veth: tuple[Assignment, ...] = ()
    unknown: tuple[Assignment, ...] = ()

    @property
    def gone(self) -> int:
        """How many entries do not hold any more."""
        return len(self.without_veth) + len(self.unknown)


def restore(entries: Sequence[Assignment], links: Iterable[str], datastore: Datastore) -> Restored:
    """Give `datastore` what still holds; `links` are the node's. Errors: BadCheckpoint, when two have one address."""
    hashes = {link[-names.VETH_HASH_DIGITS:] for link in links}
    kept: list[Assignment] = []
    without_veth: list[Assignment] = []
    unknown: list[Assignment] = []
    seen: set[str] = set()
    for one in entries:
        if one.pod_name and names.pod_hash(one.pod_namespace, one.pod_name) not in hashes:
            without_veth.append(one)
        elif datastore.owner_of(one.address) is None:
            unknown.append(one)
        elif one.address in seen:
            raise BadCheckpoint(f"the checkpoint gives {one.address} twice", "remove the file, or end the lab with 'labnet down'")
        elif datastore.restore(one):
            seen.add(one.address)
            kept.append(one)
    return Restored(tuple(kept), tuple(without_veth), tuple(unknown))


class PodRules:
    """The rules of pods in one node's namespace, which is looked at once, when the first is asked for."""

    def __init__(self, netns: str, slices: Slices) -> None:
        self._netns, self._slices = netns, slices
        self._seen: tuple[Rule, ...] | None = None

    def remove(self, one: Assignment) -> None:
        """The pod's veth is gone: so go its rules 512 (to main) and 1536 (to any table). Errors: KernelError."""
        pod = f"{one.address}/32"

        def of_pod(rule: Rule) -> bool:
            to_pod = rule.priority == TO_POD_PRIORITY and rule.dst == pod and rule.table == TABLE_MAIN
            return to_pod or (rule.priority == FROM_POD_PRIORITY and rule.src == pod)

        self._replace(one.key, of_pod, ())
        self._slices.assume(self._netns, Slice(pod_slice(one.key)))  # what else it claimed went with the veth

    def normalise(self, one: Assignment, blocks: Sequence[str] | None) -> bool:
        """Make the rules from a pod what this release writes; `blocks` None = one for every destination. Was anything changed?

        Errors: KernelError.
        """
        pod = f"{one.address}/32"
        seen = [rule for rule in self._rules() if rule.src == pod]
        if not seen:
            return False
        table = seen[-1].table
        destinations = (None,) if blocks is None else rule_destinations(blocks)
        wanted = tuple(Rule(FROM_POD_PRIORITY, table, src=pod, dst=dst) for dst in destinations)
        if sorted(map(repr, seen)) == sorted(map(repr, wanted)):
            return False
        self._replace(one.key, lambda rule: rule.src == pod, wanted)
        return True

    def _replace(self, key: AttachmentKey, gone: Callable[[Rule], bool], wanted: tuple[Rule, ...]) -> None:
        """Remove rules, then add: twice over the slice, so that what it claims but the kernel has lost is added too."""
        name = pod_slice(key)
        standing = self._slices.claimed(self._netns, name) or Slice(name)
        kept = tuple(item for item in standing.objects if not (isinstance(item, Rule) and gone(item)))
        stray = tuple(rule for rule in self._rules() if gone(rule) and rule not in standing.objects)
        if stray:
            self._slices.assume(self._netns, Slice(STRAY, stray))
            self._slices.set([(self._netns, Slice(STRAY))])
        self._slices.set([(self._netns, Slice(name, kept)), (self._netns, Slice(name, (*kept, *wanted)))])

    def _rules(self) -> tuple[Rule, ...]:
        if self._seen is None:
            self._seen = self._slices.observe(self._netns, packet_filter=False, routing=False, sysctls=()).all(Rule)
        return self._seen


def pod_slice(key: AttachmentKey) -> str:
    """The slice that the plugin claims for an attachment on the node."""
    return f"cni:{key.network}/{key.container_id}/{key.if_name}"
