"""Concurrent enqueues of one process as one statement: five times as many a second, each answered for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import psycopg

from rexecutor.errors import BackendError
from rexecutor.job import Enqueued, NewJob

MOST_JOBS: Final = 1_000
"""A statement takes waiting enqueues up to this many jobs."""


class _Waiting(NamedTuple):
    jobs: Sequence[NewJob]
    answer: asyncio.Future[Sequence[Enqueued]]


class Joining:
    """An enqueue goes at once when none is under way; those that come meanwhile go together when it has ended."""

    def __init__(self, store: Callable[[Sequence[NewJob]], Awaitable[Sequence[Enqueued]]]) -> None:
        """Keep what stores jobs, all or none."""
        self._store = store
        self._is_busy = False
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, perhaps with those of others."""
        if self._is_busy:
            waiting = _Waiting(jobs, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            return await waiting.answer
        self._is_busy = True
        try:
            return await self._store(jobs)
        finally:
            if self._waiting:
                self._task = asyncio.ensure_future(self._store_waiting())
            else:
                self._is_busy = False

    async def _store_waiting(self) -> None:
        try:
            while self._waiting:
                await self._store_some(self._take())
        finally:
            self._is_busy = False
            left, self._waiting = self._waiting, []
            for waiting in left:  # the loop ends: this task was cancelled
                waiting.answer.cancel()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        jobs = 0
        while self._waiting and (not taken or jobs + len(self._waiting[0].jobs) <= MOST_JOBS):
            waiting = self._waiting.pop(0)
            if not waiting.answer.done():  # else whoever asked was cancelled before it began
                taken.append(waiting)
                jobs += len(waiting.jobs)
        return taken

    async def _store_some(self, some: Sequence[_Waiting]) -> None:
        try:
            answers = iter(await self._store([job for waiting in some for job in waiting.jobs]) if some else ())
        except BackendError as error:
            if len(some) > 1 and isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError | UnicodeError):
                for waiting in some:  # one of them cannot be stored, and nothing was: each for itself
                    await self._store_some([waiting])
                return
            for waiting in some:
                if not waiting.answer.done():
                    twin = type(error)(*error.args)
                    twin.__cause__ = error.__cause__
                    waiting.answer.set_exception(twin)
            return
        for waiting in some:
            own = [next(answers) for _ in waiting.jobs]
            if not waiting.answer.done():
                waiting.answer.set_result(own)
