"""Combines concurrent enqueues into one statement, for about five times the throughput."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import psycopg

from rexecutor.backend.postgres.rows import MOST_TEXT, Batch
from rexecutor.background import start_task
from rexecutor.errors import BackendError
from rexecutor.model.job import Enqueued

MOST_COMBINED_JOBS: Final = 1_000
"""Maximum number of jobs in a statement that combines several enqueues."""
LATE_SECONDS: Final = 1.0
"""Seconds that enqueues wait for the statement under way, whose reply may never come."""


class _Waiting(NamedTuple):
    batch: Batch
    answer: asyncio.Future[Sequence[Enqueued]]


class EnqueueBatcher:
    """Runs an enqueue at once if none is under way, and combines those that arrive until it has ended.

    They wait at most `LATE_SECONDS`. Then they run beside it, on another connection: a lost reply delays only the
    enqueues whose jobs were in that statement.
    """

    def __init__(self, store: Callable[[Batch], Awaitable[Sequence[Enqueued]]]) -> None:
        """Make a batcher without enqueues.

        Args:
            store: Stores a batch, all or none, within a limited time.
        """
        self._store = store
        self._under_way: object | None = None
        """Identifies the statement that new enqueues wait for; None if there is none, or if it is late."""
        self._late_timer: asyncio.TimerHandle | None = None
        """Timer that ends this wait; None while no enqueue waits."""
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def enqueue(self, batch: Batch) -> Sequence[Enqueued]:
        """Store the batch, all or none, perhaps in one statement with those of other callers."""
        if self._under_way is not None:
            waiting = _Waiting(batch, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            self._limit_wait()
            return await waiting.answer
        turn = self._begin()
        try:
            return await self._store(batch)
        finally:
            self._end(turn)

    def _begin(self) -> object:
        self._under_way = object()
        return self._under_way

    def _end(self, turn: object) -> None:
        if self._under_way is turn:  # otherwise it was late, and the next has begun beside it
            self._let_go()

    def _let_go(self) -> None:
        """Store the jobs of the waiting enqueues in one statement, as many as fit; the rest wait for it."""
        self._under_way = None
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None
        if taken := self._take():
            task = start_task(self._store_waiting(taken, self._begin()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._limit_wait()

    def _limit_wait(self) -> None:
        if self._waiting and self._late_timer is None:
            self._late_timer = asyncio.get_running_loop().call_later(LATE_SECONDS, self._let_go)

    async def _store_waiting(self, taken: Sequence[_Waiting], turn: object) -> None:
        try:
            await self._store_some(taken)
        except asyncio.CancelledError:  # the loop ends
            for waiting in taken:
                waiting.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - even then, each caller gets an answer
            for waiting in taken:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        finally:
            self._end(turn)

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        jobs = text = 0
        while self._waiting:
            batch, answer = waiting = self._waiting[0]
            if not answer.done():  # otherwise its caller was cancelled before it began
                jobs, text = jobs + len(batch.jobs), text + batch.text
                if taken and (jobs > MOST_COMBINED_JOBS or text > MOST_TEXT):
                    break
                taken.append(waiting)
            del self._waiting[0]
        return taken

    async def _store_some(self, some: Sequence[_Waiting]) -> None:
        try:
            answers = iter(await self._store(_combined([waiting.batch for waiting in some])))
        except BackendError as error:
            if len(some) > 1 and isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError | UnicodeError):
                # One of the jobs cannot be stored, so none was. Repeated one by one, only that enqueue fails.
                for waiting in some:
                    await self._store_some([waiting])
                return
            for waiting in some:
                if not waiting.answer.done():
                    copy = type(error)(*error.args)
                    copy.__cause__ = error.__cause__
                    waiting.answer.set_exception(copy)
            return
        for waiting in some:
            own = [next(answers) for _ in waiting.batch.jobs]
            if not waiting.answer.done():
                waiting.answer.set_result(own)


def _combined(batches: Sequence[Batch]) -> Batch:
    return Batch([job for batch in batches for job in batch.jobs], sum(batch.text for batch in batches))
