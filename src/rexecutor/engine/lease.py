"""The node's lease.

It is renewed by its own thread over its own connection, so that a job which blocks the event loop does not lose it. The
event loop watches it, and stops the node's work when the lease can no longer be trusted.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import EXPIRED_PER_HEARTBEAT, HEARTBEATS_PER_LEASE, Heartbeat, Node, NodeState
from rexecutor.clock import Clock, Reading, leap
from rexecutor.engine.loop import Emit, first_of
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, LeaseLost, LeaseRegained

HURRIED_INTERVAL: Final = timedelta(milliseconds=100)
"""Shortest time between two heartbeats that are made because a cancel was requested, or more jobs have expired."""


class Lease:
    """The lease: whether the node may work. `step` renews it; the lease thread calls it, and so can a simulation."""

    def __init__(
        self,
        node: Node,
        heartbeats: HeartbeatConnection,
        clock: Clock,
        state: Callable[[], NodeState | None] = lambda: None,
    ) -> None:
        """Make a lease that has not begun.

        Args:
            node: Whose lease it is.
            heartbeats: The connection that renews it.
            clock: The node's clock.
            state: Returns what the node says of itself. Called in the lease's thread for each heartbeat.
        """
        self._state = state
        self._node = node
        self._heartbeats = heartbeats
        self._clock = clock
        self.interval: Final = node.lease / HEARTBEATS_PER_LEASE
        self._trust = (node.lease - self.interval).total_seconds()
        self._length = node.lease.total_seconds()
        self._begun: float | None = None
        self._renewed: float | None = None
        self._has_failed = False
        self._begun_leases = 0
        self.leases = 0
        """Number of leases whose begin was accepted. What was claimed under an earlier one may be lost."""
        self._looked: Reading | None = None
        self._rescues_from = 0.0
        self.is_hurried = False
        """Whether the next step renews the lease even if the last try was just now."""
        self.pending_since: float | None = None
        """When the heartbeat under way began, in the clock's monotonic seconds; None if none is under way."""

    def step(self) -> Heartbeat | None:
        """Renew the lease; return None if the last try is recent and `hurry` was not called.

        The node counts the time from before the request, and the store from later. So the node is the first to give up.

        Raises:
            BackendError: It is not known whether the lease was renewed.
        """
        now = self._clock.monotonic()
        is_recent = self._begun is not None and now - self._begun < 0.9 * self.interval.total_seconds()
        if is_recent and not self.is_hurried:
            return None
        self.is_hurried = False
        self._begun = self.pending_since = now
        try:
            node = replace(self._node, state=self._state())
            heartbeat = self._heartbeats.send(node, rescues=self._may_rescue(now))
        except BaseException:
            self._begun = None  # so that the next step tries again
            self._has_failed = True
            raise
        finally:
            self.pending_since = None
        if self._has_failed and self._renewed is not None and now - self._renewed >= self._length:
            heartbeat = replace(heartbeat, began=True)  # perhaps one of those that seemed to fail began the lease
        self._begun_leases += heartbeat.began  # before it is renewed: the event loop may read it at any moment
        self._renewed, self._has_failed = now, False
        if heartbeat.expired >= EXPIRED_PER_HEARTBEAT:
            self.is_hurried = True  # there may be more
        return heartbeat

    def accept(self) -> None:
        """Trust a lease that has just begun. The caller has stopped the jobs that were claimed under the last one."""
        self.leases += 1

    def tell(self, epoch: int) -> None:
        """Send this epoch of the node with all heartbeats from now on."""
        self._node = replace(self._node, epoch=epoch)

    def hurry(self) -> None:
        """Have the next step renew the lease even if the last try was just now: jobs may have to be cancelled."""
        self.is_hurried = True

    def _may_rescue(self, now: float) -> bool:
        """Return whether leases that look expired may be rescued: not just after the wall clock has leapt ahead."""
        before, self._looked = self._looked, (self._clock.now(), now)
        if before is not None and leap(before, self._looked) > self.interval.total_seconds():
            self._rescues_from = now + self._length  # until all live nodes have renewed their leases on the new time
        return now >= self._rescues_from

    def end(self) -> None:
        """Give up the lease and close the heartbeat connection."""
        self._renewed = None
        try:
            self._heartbeats.deregister(self._node.id)
        finally:
            self._heartbeats.close()

    @property
    def was_held(self) -> bool:
        """Whether there has been a lease."""
        return self._renewed is not None

    @property
    def renewed_at(self) -> float | None:
        """When the heartbeat that last renewed the lease was sent, in the clock's monotonic seconds; None if none has.

        Any thread may read it.
        """
        return self._renewed

    @property
    def is_trusted(self) -> bool:
        """Whether the lease is certain: no other node can have taken this node's jobs."""
        if self._renewed is None or self.leases < self._begun_leases:
            return False
        return self._clock.monotonic() - self._renewed < self._trust


class LeaseThread:
    """Sends heartbeats until it is stopped, whatever a heartbeat raises."""

    def __init__(self, lease: Lease, deliver: Callable[[Heartbeat | BaseException], None]) -> None:
        """Make the thread, not yet started.

        Args:
            lease: The lease that it renews.
            deliver: Called with each heartbeat or error, in the event loop that calls `start`.
        """
        self._lease = lease
        self._deliver = deliver
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rexecutor lease", daemon=True)
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread, which sends the first heartbeat at once."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def kick(self) -> None:
        """Wake the thread so that it reads the clock: a fake clock does not wake threads."""
        self._wake.set()

    def hurry(self) -> None:
        """Have the thread send a heartbeat at once."""
        self._lease.hurry()
        self._wake.set()

    def end(self) -> None:
        """Tell the thread to give up the lease and end."""
        self._stopping = True
        self._wake.set()

    async def stop(self, clock: Clock, timeout: timedelta) -> None:  # noqa: ASYNC109 - passed on to the clock
        """End the thread, and wait at most `timeout` for that; a thread whose heartbeat hangs is left behind."""
        self.end()
        await clock.wait(self._ended, timeout)

    def _run(self) -> None:
        waits = self._lease.interval.total_seconds()
        while not self._stopping:
            self._wake.clear()
            try:
                heartbeat = self._lease.step()
                if heartbeat is not None:
                    self._tell(self._deliver, heartbeat)
                # Never at once: between two heartbeats, others must be able to write to the store.
                waits = (HURRIED_INTERVAL if self._lease.is_hurried else self._lease.interval).total_seconds()
            except BaseException as error:  # noqa: BLE001 - delivered to the loop; the lease outlives a store's errors
                self._tell(self._deliver, error)
                waits = min(waits, 1.0)
            if not self._stopping:
                self._wake.wait(waits)
        try:
            self._lease.end()
        except BaseException as error:  # noqa: BLE001 - the lease then runs out by itself
            self._tell(self._deliver, error)
        self._tell(self._ended.set)

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to inform
            self._stopping = True


class LeaseWatch:
    """The event loop's side: passes heartbeats on, and stops the jobs when the lease cannot be trusted."""

    def __init__(
        self,
        lease: Lease,
        node: Node,
        *,
        backend: Backend,
        emit: Emit,
        on_heartbeat: Callable[[Heartbeat], None],
        on_lost: Callable[[], int],
    ) -> None:
        """Make the watch. `on_lost` is called to stop the running jobs, and returns how many there were."""
        self._node = node
        self.lease: Final = lease
        self._backend = backend
        self._clock = backend.clock
        self._emit = emit
        self._on_heartbeat = on_heartbeat
        self._on_lost = on_lost
        self._failures = 0
        self._fenced = False
        self._has_begun = False
        self._pending_since: float | None = None
        self._cancels = backend.cancels
        self.thread: Final = LeaseThread(lease, self._deliver)
        self._renewed = asyncio.Event()

    async def trusted(self) -> None:
        """Wait until the lease is certain."""
        while not self.lease.is_trusted:
            self._renewed.clear()
            await self._renewed.wait()

    async def step(self, stop: asyncio.Event) -> None:
        """Wait at most 1 s, or until a cancel is requested; then stop the jobs if the lease cannot be trusted."""
        await first_of(self._clock.wait(stop, min(self.lease.interval, timedelta(seconds=1))), self._hear_cancel(stop))
        pending_since, self._pending_since = self._pending_since, self.lease.pending_since
        hangs = pending_since is not None and pending_since == self._pending_since
        self.thread.kick()
        # Time alone does not decide: if the whole process stood still, the next heartbeat shows if the lease ended.
        if self.lease.was_held and not self.lease.is_trusted and not self._fenced and (self._failures or hangs):
            self._fenced = True
            self._emit(LeaseLost(self._node.id, self._on_lost()))

    async def _hear_cancel(self, stop: asyncio.Event) -> None:
        """Hurry the heartbeat when a cancel may have been requested: it names the jobs. Do so every 0.1 s at most."""
        await self._backend.wait_cancel(self._clock.now() + timedelta(minutes=1), since=self._cancels)
        if self._cancels != self._backend.cancels:
            self._cancels = self._backend.cancels
            self.thread.hurry()
        await self._clock.wait(stop, HURRIED_INTERVAL)

    def _deliver(self, heartbeat: Heartbeat | BaseException) -> None:
        if isinstance(heartbeat, BaseException):
            self._failures += 1
            if self._failures == 1:
                self._emit(DutyFailed("heartbeat", heartbeat))
            return
        if self._failures:
            self._emit(DutyRecovered("heartbeat", self._failures))
            self._failures = 0
        if heartbeat.began:
            if self._has_begun and not self._fenced:  # the process stood still, and its lease ran out
                self._fenced = True
                self._emit(LeaseLost(self._node.id, self._on_lost()))
            self.lease.accept()
        if self._fenced:
            self._fenced = False
            self._emit(LeaseRegained(self._node.id))
        self._has_begun = True
        self._on_heartbeat(heartbeat)
        self._renewed.set()
