"""The life of ipamd on one node: the container of the daemon set aws-node. It starts, ends and starts again, or rolls to other settings.

A daemon whose start fails is started again after a pause, as the kubelet starts a container again. A roll ends the daemon (which
may finish the step that it is in), leaves a moment without one, in which the plugin is answered by nobody, and starts the
next with the new environment; pods stay, and are taken over by the checkpoint. Source: docs/sources.md#ipamd-start
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from labnet.cni.vpc.daemon import DaemonSocket
from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError
from labnet.ipamd.daemon import Ipamd
from labnet.ports import Clock, Events

RESTART_S, MAX_RESTART_S = 10.0, 300.0
"""Between two starts of a container that ends again and again: at first, doubled each time, at most. Source: docs/sources.md#kubelet"""
GRACE_S = 10.0
"""How long a daemon may go on with what it is doing before it is killed (terminationGracePeriodSeconds)."""
DOWN_S = 2.0
"""How long a node is without a daemon while it rolls: labnet's estimate of what a container's end and start take."""
DAEMON_SET = "daemonset/kube-system/aws-node"
Env = Mapping[str, str]
Ready = Callable[[Env], Awaitable[None]]
Tell = Callable[[str], None]


class AwsNode:
    """Keeps one node's daemon alive. `make` builds one for an environment, `ready` is called each time that one answers."""

    def __init__(self, node: str, env: Env, make: Callable[[Env], Ipamd], ready: Ready, *, clock: Clock, events: Events) -> None:
        self._node, self._make, self._ready, self._clock, self._events = node, make, ready, clock, events
        self.env = env
        self.ipamd = make(env)
        self.socket = DaemonSocket()
        self.trouble = ""
        """Why the daemon is not up; empty when it is."""
        self._up, self._go = asyncio.Event(), asyncio.Event()
        self._go.set()
        self._pause_s = 0.0
        self._life: asyncio.Task[None] | None = None
        self._tell: Tell = lambda text: None

    @property
    def up(self) -> bool:
        """Does a daemon answer?"""
        return self._up.is_set()

    async def start(self) -> None:
        """The first start. What EC2 refuses ends the daemon, and `run` starts it again later. Errors: KernelError."""
        self._pause_s = RESTART_S
        try:
            await self._start()
        except (Ec2Error, ImdsError, IpamError) as error:
            self._back_off(error, RESTART_S)

    async def run(self) -> None:
        """Keep a daemon running until cancelled, whichever `roll` brings."""
        while True:
            self._life = asyncio.get_running_loop().create_task(self._live(), name=f"ipamd of {self._node}")
            try:
                await self._life
            except asyncio.CancelledError:
                ours = asyncio.current_task()
                if ours is None or ours.cancelling():
                    raise

    async def roll(self, env: Env, tell: Tell) -> None:
        """Replace the daemon by one with this environment; returns once it answers, and `tell` hears when its start fails.

        May be cancelled, and called again: then the last environment counts.
        """
        following = self._make(env)
        self._tell = tell
        await self._end()
        self._events.record(DAEMON_SET, "SuccessfulDelete", f"Deleted pod: aws-node on {self._node}")
        await self._clock.sleep(DOWN_S)
        self.ipamd, self.env, self._pause_s = following, env, 0.0
        self._events.record(DAEMON_SET, "SuccessfulCreate", f"Created pod: aws-node on {self._node}")
        self._go.set()
        await self._up.wait()

    async def stop(self) -> None:
        """No more changes of the cloud."""
        await self.ipamd.stop()

    async def _end(self) -> None:
        """The end of a container: it is asked to end, and killed when its step takes too long."""
        await self.ipamd.stop()
        loop = asyncio.get_running_loop()
        waits = {loop.create_task(self.ipamd.idle()), loop.create_task(self._clock.sleep(GRACE_S))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        self.socket.close()
        self._go.clear()
        self._up.clear()
        self.trouble = "its daemon has ended"
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})

    async def _live(self) -> None:
        await self._go.wait()
        while not self.up:
            await self._clock.sleep(self._pause_s)
            if self._pause_s:
                self.ipamd = self._make(self.env)  # a new container, which knows nothing of the one before
            self._pause_s = min(max(self._pause_s * 2, RESTART_S), MAX_RESTART_S)
            try:
                await self._start()
            except (Ec2Error, ImdsError, IpamError, KernelError, OSError) as error:
                self._back_off(error, self._pause_s)
        await self.ipamd.run()

    async def _start(self) -> None:
        await self.ipamd.start()
        self.socket.listen(self.ipamd)
        await self._ready(self.env)
        self.trouble = ""
        self._up.set()

    def _back_off(self, error: Exception, again_in_s: float) -> None:
        self.trouble = f"ipamd ended: {error}; it starts again in {again_in_s:g} s"
        self._events.record(f"node/{self._node}", "BackOff", self.trouble)
        self._tell(f"{self._node}: {self.trouble}")
