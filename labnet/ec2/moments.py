"""A short history of the cloud, so that a reader can see it as it was some seconds ago (pure).

EC2's metadata service learns of attached ENIs and assigned addresses seconds after the API has answered. What an instance was
launched with it knows at once: nobody can ask before the instance runs. Source: docs/sources.md#imds
"""

from __future__ import annotations

from bisect import bisect_right

from labnet.model.cloud import CloudState

Moments = tuple[tuple[float, CloudState], ...]
"""States with the time from which each held, oldest first."""


def remember(moments: Moments, now_s: float, state: CloudState, delay_s: float) -> Moments:
    """The history with one more state; what nobody can see any more is left out."""
    oldest = max(0, bisect_right(moments, now_s - delay_s, key=_time) - 1)
    return (*moments[oldest:], (now_s, state))


def seen(moments: Moments, state: CloudState, instance_id: str, now_s: float, delay_s: float) -> CloudState:
    """What the metadata service knows of an instance `delay_s` behind the present `state`.

    An instance that is gone is gone at once; one that is newer than the delay is seen as it was launched.
    """
    last = bisect_right(moments, now_s - delay_s, key=_time)
    if delay_s <= 0 or last == len(moments) or not _runs(state, instance_id):
        return state
    return next((past for _time_s, past in moments[max(0, last - 1):] if _runs(past, instance_id)), state)


def _time(moment: tuple[float, CloudState]) -> float:
    return moment[0]


def _runs(state: CloudState, instance_id: str) -> bool:
    instance = state.instances.get(instance_id)
    return instance is not None and instance.state != "terminated"
