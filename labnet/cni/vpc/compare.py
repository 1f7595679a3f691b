"""What CHECK compares: a remembered result with what is attached, and a planned slice with the kernel (pure).

Each answers with the first difference in words, or None.
"""

from __future__ import annotations

from dataclasses import asdict

from labnet.cni.result import Result
from labnet.kernel.diff import canonical, index, matches
from labnet.model.netstate import KernelState, Slice, Sysctl


def result_difference(attached: Result, remembered: Result) -> str | None:
    """The first place at which the remembered result differs; what chained plugins appended behind it is theirs."""
    ours, theirs = asdict(attached), asdict(remembered)
    for word in ("interfaces", "ips"):
        for place, item in enumerate(ours[word]):
            there = theirs[word][place] if place < len(theirs[word]) else {}
            for key, value in item.items():
                if there.get(key) != value:
                    return f"prevResult {word}[{place}].{key}: {there.get(key, '')!r}, attached {value!r}"
    return None


def kernel_difference(netns: str, part: Slice, state: KernelState) -> str | None:
    """The first object of the slice that the kernel does not hold. A sysctl that the kernel does not know (no IPv6) is no difference."""
    held = index(state)
    for item in part.objects:
        there = held.get(canonical(item).key)
        if there is None and not isinstance(item, Sysctl):
            return f"{netns}: missing: {item.text}"
        if there is not None and not matches(there, item):
            return f"{netns}: {there.text}, planned {item.text}"
    return None
