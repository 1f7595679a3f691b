"""iptables-save and iptables-restore texts ↔ chains and rules (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labnet.model.netstate import Backend, Change, Family, IptChain, IptPolicy, IptRule

TABLES = ("raw", "mangle", "nat", "filter", "security")


def parse_save(text: str, backend: Backend, family: Family = "inet") -> list[IptChain | IptRule | IptPolicy]:
    """What iptables-save prints: user chains with their rules, rules of built-in chains in place, policies that are not ACCEPT."""
    found: list[IptChain | IptRule | IptPolicy] = []
    table = ""
    chains: dict[str, list[str]] = {}
    rules: list[IptRule] = []
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains, rules = line[1:].strip(), {}, []
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            if policy == "-":
                chains[name] = []
            elif policy != "ACCEPT":
                found.append(IptPolicy(table, name, policy, backend, family))
        elif line.startswith("-A "):
            name, _, spec = line[3:].partition(" ")
            if name in chains:
                chains[name].append(spec)
            else:
                rules.append(IptRule(table, name, spec, backend, family))
        elif line.startswith("COMMIT"):
            found += [IptChain(table, name, tuple(specs), backend, family) for name, specs in chains.items()]
            found += rules
    return found


def render_restore(changes: Iterable[Change]) -> str:
    """Changes of one back end and family as one `iptables-restore --noflush` input: each table is one transaction.

    Declared chains are emptied and written anew; `-D` before `-A`; chains that go are emptied first and deleted last.
    """
    by_table: dict[str, list[Change]] = {}
    for change in changes:
        item = change.object
        assert isinstance(item, IptChain | IptRule)
        by_table.setdefault(item.table, []).append(change)
    return "".join(_table(table, by_table[table]) for table in sorted(by_table, key=TABLES.index))


def _table(table: str, changes: list[Change]) -> str:
    written = [change.object for change in changes if isinstance(change.object, IptChain) and change.op != "remove"]
    gone = [change.object for change in changes if isinstance(change.object, IptChain) and change.op == "remove"]
    lines = [f"*{table}", *(f":{chain.name} - [0:0]" for chain in (*written, *gone))]
    lines += _rules(changes, "-D")
    lines += [f"-A {chain.name} {rule}" for chain in written for rule in chain.rules]
    lines += _rules(changes, "-A")
    lines += [f"-X {chain.name}" for chain in gone]
    return "\n".join([*lines, "COMMIT", ""])


def _rules(changes: list[Change], verb: str) -> Iterator[str]:
    for change in changes:
        item = change.object
        if isinstance(item, IptRule) and (change.op == "remove") == (verb == "-D"):
            yield f"{verb} {item.chain} {item.spec}"
