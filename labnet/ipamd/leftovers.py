"""What an earlier daemon left on a node, by its names and comments: the daemon takes it over and away when it starts (pure).

Chains and rules are known by the words that no one else uses; of packet filters it looks at its own back end alone, but the
mark for outbound traffic exists in three forms (iptables of either back end, table ``aws-cni``), of which one may stay.
Policy rules are known by their priority. Dialect 1.6 knows of SNAT and mangle alone. Source: docs/sources.md#ipamd-leftovers
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from labnet.ipamd.routes import MARK_PRIORITY, NFT_TABLE, SERVICE_PRIORITY, EniWiring
from labnet.ipamd.settings import Settings
from labnet.kernel.diff import canonical, index
from labnet.model.names import eni_link
from labnet.model.netstate import Addr, Backend, IptChain, IptRule, KernelObject, NftTable, Rule, Slice

_SNAT_CHAIN = re.compile(r"AWS-SNAT-CHAIN-\d+")
_CONNMARK_CHAIN = re.compile(r"AWS-CONNMARK-CHAIN-\d+")
_TARGET = re.compile(r"-j (\S+)")
_SNAT_RULES = ('--comment "AWS SNAT CHAIN"', '--comment "AWS SNAT CHAN"')
_CONNMARK_RULES = ('--comment "AWS, outbound connections"', '--comment "AWS, CONNMARK"')
_MANGLE_RULES = ('--comment "AWS, primary ENI"',)


def standing_node(
    seen: Iterable[KernelObject], claimed: Slice | None, plan: Slice, settings: Settings, backend: Backend
) -> tuple[KernelObject, ...]:
    """What of `seen` the daemon answers for: what it `claimed` until now, what its plan names, and leftovers of others."""
    known = index((*(claimed.objects if claimed is not None else ()), *plan.objects))
    return tuple(item for item in seen if canonical(item).key in known or _is_leftover(item, settings, backend))


def standing_eni(seen: Iterable[KernelObject], plan: Slice, wiring: EniWiring) -> tuple[KernelObject, ...]:
    """What of `seen` gives way when an ENI is set up: what its plan names, and every global IPv4 address on its link."""
    planned, link = index(plan.objects), eni_link(wiring.device_index)
    return tuple(item for item in seen if item.key in planned or _is_address(item, link))


def _is_address(item: KernelObject, link: str) -> bool:
    return isinstance(item, Addr) and (item.link, item.family, item.scope) == (link, "inet", "global")


def _is_leftover(item: KernelObject, settings: Settings, backend: Backend) -> bool:
    current = settings.dialect != "1.6"
    if isinstance(item, NftTable):
        return current and (item.family, item.name) == ("ip", NFT_TABLE)
    if isinstance(item, Rule):
        mark = settings.connmark
        marked = (item.priority, item.fwmark, item.fwmask or mark) == (MARK_PRIORITY, mark, mark)
        return item.family == "inet" and (marked or (current and item.priority == SERVICE_PRIORITY))
    if isinstance(item, IptChain | IptRule) and item.family == "inet":
        return (item.backend == backend and _is_own(item)) or (current and _is_connmark(item))
    return False


def _is_own(item: IptChain | IptRule) -> bool:
    if isinstance(item, IptChain):
        return item.table == "nat" and _SNAT_CHAIN.fullmatch(item.name) is not None
    if item.table == "mangle":
        return item.chain == "PREROUTING" and _says(item, _MANGLE_RULES)
    return item.table == "nat" and (_says(item, _SNAT_RULES) or _jumps(item, _SNAT_CHAIN))


def _is_connmark(item: IptChain | IptRule) -> bool:
    if item.table != "nat":
        return False
    if isinstance(item, IptChain):
        return _CONNMARK_CHAIN.fullmatch(item.name) is not None
    return _says(item, _CONNMARK_RULES) or _jumps(item, _CONNMARK_CHAIN)


def _says(rule: IptRule, comments: Iterable[str]) -> bool:
    return any(comment in rule.spec for comment in comments)


def _jumps(rule: IptRule, chains: re.Pattern[str]) -> bool:
    return any(chains.fullmatch(target) for target in _TARGET.findall(rule.spec))
