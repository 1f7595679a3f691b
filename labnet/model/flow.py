"""A tracked flow as its first packet was (pure)."""

from __future__ import annotations

from labnet.model.values import frozen


@frozen
class Flow:
    """Who began it and towards what; ports are 0 where the protocol has none."""

    protocol: int
    source: str
    destination: str
    source_port: int = 0
    destination_port: int = 0


@frozen
class TrackedFlow:
    """A flow as a namespace's connection tracking has it: as its first packet came, and as answers to it come.

    The two differ where addresses are translated. For ICMP both ports hold the echo's identifier.
    """

    began: Flow
    answers: Flow

    @property
    def went_on(self) -> Flow:
        """The first packet as it left: what answers answer to."""
        answers = self.answers
        return Flow(answers.protocol, answers.destination, answers.source, answers.destination_port, answers.source_port)

    @property
    def translated(self) -> bool:
        """Is an address or a port another one behind this namespace?"""
        return self.went_on != self.began
