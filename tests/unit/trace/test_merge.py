"""One order of time out of many sockets."""

from __future__ import annotations

from labnet.trace.dissect import Captured
from labnet.trace.merge import Merge


def seen(time_ns: int, netns: str = "a") -> Captured:
    return Captured(netns, "eth0", "in", time_ns, b"")


def test_only_what_is_due_goes_in_order_of_time() -> None:
    merge = Merge()
    merge.put([seen(5), seen(9)])
    merge.put([seen(7, "b"), seen(5, "b")])
    assert [(one.time_ns, one.netns) for one in merge.until(9)] == [(5, "a"), (5, "b"), (7, "b")]
    assert len(merge) == 1 and merge.until(9) == []
    merge.put([seen(8, "b")])
    assert [one.time_ns for one in merge.rest()] == [8, 9] and merge.rest() == []
