"""Delivers outcomes to the store, in batches, until each is recorded or refused."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Final, TypeAlias

from rexecutor.backend.base import Backend
from rexecutor.engine.loop import Emit, first_of, keep_going
from rexecutor.errors import BackendError
from rexecutor.model.job import ClaimId, JobId
from rexecutor.model.outcomes import Settlement
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn
from rexecutor.telemetry.events import OutcomeRefused

MAX_BATCH: Final = 1_000
"""Largest number of outcomes in one statement."""

Told: TypeAlias = Callable[[bool], None]
"""Is told whether the store has recorded an outcome, or has refused it."""


class Settler:
    """Delivers outcomes as soon as there are any, without a timer.

    Outcomes that arrive during a delivery form the next batch.
    """

    def __init__(self, backend: Backend, emit: Emit, stop: asyncio.Event) -> None:
        self._backend = backend
        self._emit = emit
        self._stop = stop
        self._waiting: deque[Settlement] = deque()
        self._under_way: Sequence[Settlement] = ()
        self._given = asyncio.Event()
        self._delivered = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._limit = MAX_BATCH
        self._commit_unknown: dict[JobId, Told | None] = {}  # jobs that may have their outcome in the store already

    def put(self, settlement: Settlement, told: Told | None = None) -> None:
        """Queue an outcome for delivery.

        Args:
            settlement: The outcome and the claim that it belongs to.
            told: Called once the store has recorded or refused the outcome; only for one with `commit_unknown`.
        """
        if not self._waiting:
            self._given.set()
            self._empty.clear()
        if settlement.commit_unknown:
            self._commit_unknown[settlement.job_id] = told
        self._waiting.append(settlement)

    @property
    def backlog(self) -> int:
        """Number of outcomes that are not yet recorded or refused."""
        return len(self._waiting) + len(self._under_way)

    @property
    def held(self) -> Collection[ClaimId]:
        """Claims whose outcome is not yet recorded or refused."""
        return [(one.job_id, one.claims) for one in (*self._waiting, *self._under_way)]

    async def relieved(self, limit: int) -> None:
        """Wait until at most `limit` outcomes are left to deliver."""
        while self.backlog > limit:
            self._delivered.clear()
            await self._delivered.wait()

    def close(self) -> None:
        """Wake the step, so that it notices the stop event."""
        self._given.set()

    async def emptied(self, timeout: timedelta) -> bool:  # noqa: ASYNC109 - passed on to the clock
        """Wait until nothing is left to deliver, at most `timeout`. Return whether nothing is left."""
        return await self._backend.clock.wait(self._empty, timeout)

    async def deliver_rest(self, timeout: timedelta) -> None:  # noqa: ASYNC109 - passed on to the clock
        """Deliver what is left, for at most `timeout`, after the duty that repeats `step` has ended."""
        clock = self._backend.clock
        steps = keep_going("settle", self.step, self._empty, clock=clock, emit=self._emit)
        await first_of(steps, clock.sleep(timeout))

    async def step(self) -> None:
        """Wait for outcomes, and deliver one batch.

        After a failure the batch goes to the end of the queue, and the next batch is at most half as large. So an
        outcome that the store cannot take is alone in its batch in the end, and does not hold up the others.

        Raises:
            BackendError: The store failed, or refused outcomes of jobs that still execute here. These outcomes are
                queued again.
        """
        await self._given.wait()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]
        if batch:
            self._under_way = batch
            try:
                refused = set(await self._backend.settle(batch))
                wrongly_refused = await self._wrongly_refused(batch, refused)
            except BaseException:
                # Even a cancel must lose no outcome. The store may have committed the batch before it failed. It then
                # refuses the batch at the next try, which is no error. So that refusal is not reported.
                self._waiting.extend(batch)
                for settlement in batch:
                    self._commit_unknown.setdefault(settlement.job_id, None)
                self._limit = max(1, len(batch) // 2)
                raise
            finally:
                self._under_way = ()
            self._limit = min(MAX_BATCH, self._limit * 2)
            # Outcomes that were refused by mistake are delivered again; the error below makes the duty wait first.
            kept = {one.job_id for one in wrongly_refused}
            self._waiting.extend(wrongly_refused)
            self._report([one for one in batch if one.job_id not in kept] if kept else batch, refused - kept)
            self._delivered.set()
            if kept:
                raise BackendError(f"the store refused outcomes of jobs that still execute here: {sorted(kept)}")
        if not self._waiting:
            self._empty.set()
            if not self._stop.is_set():
                self._given.clear()

    async def _wrongly_refused(self, batch: Sequence[Settlement], refused: Collection[JobId]) -> Sequence[Settlement]:
        """Return the outcomes that were refused although their jobs still execute under their claims.

        A claim that has ended never comes back, so such a refusal is a fault of the store. If it were believed, the job
        would stay executing for as long as this node lives. Jobs that called `complete_in` are left out: most are
        complete.
        """
        asked = {one.job_id for one in batch if one.job_id in refused and not one.commit_unknown} if refused else ()
        if not asked:
            return ()
        records = await self._backend.query(IdIn(frozenset(asked)), limit=len(asked))
        executing = {record.claim_id for record in records if record.status is JobStatus.EXECUTING}
        return [one for one in batch if one.job_id in asked and (one.job_id, one.claims) in executing]

    def _report(self, batch: Sequence[Settlement], refused: Collection[JobId]) -> None:
        for job_id in refused:
            if job_id not in self._commit_unknown:  # otherwise an earlier try, or the job itself, may have recorded it
                self._emit(OutcomeRefused(job_id))
        if self._commit_unknown:
            for settlement in batch:
                told = self._commit_unknown.pop(settlement.job_id, None)
                if told is not None:
                    told(settlement.job_id not in refused)
