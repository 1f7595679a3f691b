"""What contract tests of kernels do again and again, on either of them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.kernel.fake import FakeKernel
from labnet.model.netstate import Change, KernelObject, Neigh

Kernel = FakeKernel | LinuxKernel


def add(kernel: Kernel, netns: str, *items: KernelObject) -> None:
    kernel.apply([(netns, tuple(Change("add", item) for item in items))])


def remove(kernel: Kernel, netns: str, *items: KernelObject) -> None:
    kernel.apply([(netns, tuple(Change("remove", item) for item in items))])


def refused(kernel: Kernel, netns: str, *items: KernelObject) -> int:
    with pytest.raises(KernelError) as caught:
        add(kernel, netns, *items)
    return caught.value.errno


def settled(kernel: Kernel, netns: str, sysctls: Iterable[str] = ()) -> tuple[KernelObject, ...]:
    """All but learned neighbours and IPv6, which move by themselves; in the order of their keys."""
    found = [
        item
        for item in kernel.observe(netns, sysctls)
        if getattr(item, "family", "inet") != "inet6" and not (isinstance(item, Neigh) and item.derived)
    ]
    return tuple(sorted(found, key=lambda item: repr(item.key)))
