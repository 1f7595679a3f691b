"""What stands against the verdict of the desired state: what nodes, pods and the fabric hold at this moment (pure).

The claims of the actors say how it shall be. Somebody may have changed what they made, or a program may not listen: then the
way is not as claimed, and the cause is in the difference, which is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.explain.verdict import Component, Explanation
from labnet.model.packet import Path
from labnet.model.values import frozen

KINDS = {"igw": "internet-gateway", "nat": "nat-gateway", "vgw": "vpn-gateway"}
INSIDE = ("pod", "node")
"""Kinds of component in which the kernel decides."""


@frozen
class Difference:
    """Something that is not as claimed, in whose namespace: `what` is missing, other or foreign; `text` as `ip` would print it."""

    owner: str
    netns: str
    what: str
    text: str

    def document(self) -> Mapping[str, str]:
        """As part of the Explanation document."""
        return {"owner": self.owner, "netns": self.netns, "what": self.what, "text": self.text}


@frozen
class Observed:
    """The same way by what was observed: nodes and pods both ways, and everything there as a walk.

    `walked` None where no walk begins there; `listens` None where no port was asked for.
    """

    explanation: Explanation
    walked: Path | None = None
    roles: Mapping[str, str] | None = None
    listens: bool | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def stopped(self) -> Component | None:
        """What stops it now, if anything does."""
        judged, dropped = self.explanation.stopped, self._dropped()
        if judged is not None and not (judged.kind == "eni" and judged.way == "there" and dropped is not None and dropped.kind in INSIDE):
            return judged
        return dropped or self._unheard()  # a node that cannot send has no ENI refuse it

    def _dropped(self) -> Component | None:
        path = self.walked
        if path is None or path.drop is None:
            return None
        hop = path.hops[min(path.drop.hop, len(path.hops)) - 1]
        packet = f"{hop.frame.src} → {hop.frame.dst}" if hop.frame else f"{path.probe.src} → {path.probe.dst}"
        role = (self.roles or {}).get(hop.netns, "node")
        return Component("there", KINDS.get(role, role), hop.owner, False, path.drop.text, packet=packet)

    def _unheard(self) -> Component | None:
        if self.listens is not False:
            return None
        one = self.explanation
        return Component("there", "program", one.target, False, f"nothing listens on {one.protocol} {one.port}")


def judged(desired: Explanation, now: Observed) -> dict[str, Any]:
    """The Explanation document: reachable is what is so now. `desired` keeps the verdict of the claims beside it.

    Where both stop it, what the claims say is shown: it would be so after `labnet repair` too.
    """
    stopped = now.stopped
    differences = [one.document() for one in now.differences]
    shown = desired if stopped is not None and not desired.reachable else now.explanation
    if stopped is not None and desired.reachable:
        shown = replace(shown, components=_up_to(shown, stopped))
    return {**shown.document(), "desired": {"reachable": desired.reachable}, "differences": differences}


def _up_to(explanation: Explanation, stopped: Component) -> tuple[Component, ...]:
    """The components before the one that stops it, which comes last."""
    if explanation.stopped is stopped:
        return explanation.components
    before = [one for one in explanation.components if one.way == "there"]
    place = next((number for number, one in enumerate(before) if (one.kind, one.id) == (stopped.kind, stopped.id)), len(before))
    return (*before[:place], stopped)
