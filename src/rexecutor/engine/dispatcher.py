"""Claims due jobs whenever slots are free or short jobs run out, and hands them to the buffer."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.messages import Claim, Demand
from rexecutor.clock import random_between
from rexecutor.engine.buffer import Buffer
from rexecutor.engine.health import Doing
from rexecutor.engine.lease import LeaseWatch
from rexecutor.engine.loop import first_of
from rexecutor.engine.runner import Runner
from rexecutor.engine.settler import Settler
from rexecutor.engine.store_clock import StoreClock
from rexecutor.model.job import NodeId

POLL_INTERVAL: Final = 1.0
"""Poll interval, in seconds, when no hint comes; jittered by a tenth."""

MAX_UNSETTLED: Final = 10_000
"""Nothing is claimed while more outcomes than this wait for the store."""


class Dispatcher:
    """Makes one claim at a time, for all executors. It never cancels a claim, so that no response is lost."""

    def __init__(
        self,
        backend: Backend,
        node_id: NodeId,
        *,
        executors: Collection[str],
        buffer: Buffer,
        runner: Runner,
        settler: Settler,
        watch: LeaseWatch,
        stop: asyncio.Event,
        store_clock: StoreClock,
    ) -> None:
        self._backend = backend
        self._node_id = node_id
        self._executors = executors
        self._buffer = buffer
        self._runner = runner
        self._settler = settler
        self._watch = watch
        self._lease = watch.lease
        self._stop = stop
        self._store_clock = store_clock
        self._claims_confirmed = True
        self._epoch = 0
        self.doing: tuple[Doing, float] = (Doing.LEASE, backend.clock.monotonic())
        """What it does, and since when, in the clock's monotonic seconds. Any thread may read it."""
        self.claimed: float | None = None
        """When the store last answered a claim, in the clock's monotonic seconds; None if it has not yet."""

    async def step(self) -> None:
        """Claim jobs for the free slots and ahead of them, and wait unless there is a reason to claim again at once.

        Raises:
            BackendError: The store failed. The next step first calls `release_unconfirmed_claims`.
        """
        if not self._lease.is_trusted:
            self._note(Doing.LEASE)
            await first_of(self._watch.trusted(), self._stop.wait())
            return
        self._note(Doing.OUTCOMES)
        await self._settler.relieved(MAX_UNSETTLED)
        if self._stop.is_set():
            return
        self._note(Doing.STORE)
        await self.release_unconfirmed_claims()
        demand = self._buffer.demand(self._epoch)
        if demand is None:
            self._note(Doing.SLOTS)
            await self._buffer.hungry.wait()
            return
        since = self._backend.change_count
        claim, given = await self._take(demand)
        if len(claim.jobs) == demand.limit:
            others = self._buffer.demand(self._epoch, threaded=False)
            if others is not None and not self._stop.is_set():  # slots are left, for jobs that need no thread
                await self._take(others)
        elif not self._stop.is_set():
            # An executor that got fewer jobs than it had asked for has no more due jobs: its next free slot can wait.
            self._buffer.note_drained({executor for executor, slots in demand.slots.items() if given[executor] < slots})
            self._note(Doing.HINT)
            await first_of(self._buffer.hungry.wait(), self._hint(claim, since))

    async def _take(self, demand: Demand) -> tuple[Claim, Mapping[str, int]]:
        leases = self._lease.leases
        claim = await self._claim(demand)
        if self._lease.leases == leases:
            self._buffer.take(claim.jobs)
        else:  # the jobs may be lost with the lease under which they were claimed
            self._buffer.give_back(claim.jobs)
        return claim, Counter(record.executor for record in claim.jobs)

    async def _claim(self, demand: Demand) -> Claim:
        self._claims_confirmed = False
        claim = await self._backend.claim(demand, self._node_id)
        self._claims_confirmed = True
        self.claimed = self._backend.clock.monotonic()
        self._store_clock.note_claim(claim.jobs)
        return claim

    async def release_unconfirmed_claims(self) -> None:
        """Give back the jobs of a claim whose response was lost. Does nothing if no response was lost.

        Raises:
            BackendError: The store failed; call again.
        """
        if not self._claims_confirmed:
            held = {*self._runner.held, *self._buffer.held, *self._settler.held}
            await self._backend.release_claims(self._node_id, held, epoch=self._epoch + 1)
            self._epoch += 1
            self._lease.tell(self._epoch)
            self._claims_confirmed = True

    def _note(self, doing: Doing) -> None:
        self.doing = doing, self._backend.clock.monotonic()

    async def _hint(self, claim: Claim, since: int) -> None:
        clock = self._backend.clock
        until = clock.now() + timedelta(seconds=POLL_INTERVAL * random_between(0.9, 1.1))
        if claim.next_due is not None:
            until = min(until, claim.next_due)
        await self._backend.wait_ready(self._executors, until, since=since)
