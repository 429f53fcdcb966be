"""The history of a node's attempts: added up in memory, and handed to the store every ten seconds."""

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypeAlias

from rexecutor.backend.base import Backend
from rexecutor.engine.loop import first_of
from rexecutor.engine.store_clock import StoreClock
from rexecutor.model import rules
from rexecutor.model.job import NodeId
from rexecutor.model.stats import BUCKETS, EPOCH, MINUTE, OutcomeKind, StatRow, bucket_of

FLUSH_INTERVAL: Final = timedelta(seconds=10)
"""Time between two additions to the store; what ended within it is lost if the node is killed."""
FOLD_INTERVAL: Final = 3_600.0
"""Seconds between two times at which a node folds old rows."""
FOLD_BATCH: Final = 1_000
"""Maximum number of rows folded in one transaction, to keep it short."""
MOST_MINUTES: Final = 60
"""How many minutes are kept while the store cannot be reached; older ones are dropped."""
HISTORY_LOCK: Final = "history"
"""Name of the lock in the store that lets one node fold at a time."""

_MINUTE: Final = 60.0
_COMPLETE: Final = OutcomeKind.COMPLETE

Tally: TypeAlias = tuple[list[int], list[int]]
"""Number of attempts in each bucket, by how long their jobs waited, and by how long they ran."""


class History:
    """Counts attempts by executor, outcome and minute, and by how long their jobs waited and how long they ran.

    Minutes are those of the store's clock.
    """

    def __init__(self, store_clock: StoreClock) -> None:
        self._store_clock = store_clock
        self._minute: int = 0
        self._minute_ends = -math.inf  # on the monotonic clock; found anew after each `take`
        self._successes: dict[str, Tally] = {}  # apart, as the hash of an enum's member takes long
        self._others: dict[tuple[str, OutcomeKind], Tally] = {}
        self._rows: list[StatRow] = []
        self.has_news: Final = asyncio.Event()
        """Set while there is something to hand to the store."""

    def note(self, executor: str, kind: OutcomeKind, waited: float, began: float, ended: float) -> None:
        """Count an attempt.

        Args:
            executor: The name of the job's executor.
            kind: How the attempt ended.
            waited: Seconds from the job's due time until its code began.
            began: When its code began, on the monotonic clock.
            ended: When its outcome was known, on that clock.
        """
        if ended >= self._minute_ends:
            self._turn(ended)
        tally = self._successes.get(executor) if kind is _COMPLETE else self._others.get((executor, kind))
        if tally is None:
            tally = self._new_tally(executor, kind)
        waits, runs = tally
        waits[bucket_of(waited)] += 1
        runs[bucket_of(ended - began)] += 1

    def take(self) -> list[StatRow]:
        """Return all that was counted since the last call, and forget it."""
        self._close_minute()
        rows, self._rows = rules.merged(self._rows), []
        self._minute_ends = -math.inf
        self.has_news.clear()
        return rows

    def put_back(self, rows: Sequence[StatRow]) -> None:
        """Keep rows for the next `take` because the store failed. Rows older than `MOST_MINUTES` are dropped."""
        oldest = EPOCH + (self._minute - MOST_MINUTES) * MINUTE
        self._rows += [row for row in rows if row.moment > oldest]
        if self._rows:
            self.has_news.set()

    def _new_tally(self, executor: str, kind: OutcomeKind) -> Tally:
        tally = [0] * BUCKETS, [0] * BUCKETS
        if kind is _COMPLETE:
            self._successes[executor] = tally
        else:
            self._others[executor, kind] = tally
        self.has_news.set()
        return tally

    def _turn(self, now: float) -> None:
        """Find out which minute it is on the store's clock. If it is another one, close the last."""
        since_epoch = self._store_clock.seconds_since(EPOCH, now)
        minute = math.floor(since_epoch / _MINUTE)
        if minute != self._minute:
            self._close_minute()
            self._minute = minute
        self._minute_ends = now + (minute + 1) * _MINUTE - since_epoch

    def _close_minute(self) -> None:
        moment = EPOCH + self._minute * MINUTE
        tallies = {**{(executor, _COMPLETE): tally for executor, tally in self._successes.items()}, **self._others}
        self._rows += [
            StatRow(moment, executor, kind, sum(runs), tuple(waits), tuple(runs))
            for (executor, kind), (waits, runs) in tallies.items()
        ]
        self._successes.clear()
        self._others.clear()


class HistoryLoop:
    """Hands the history to the store, and folds what is old there."""

    def __init__(self, backend: Backend, node_id: NodeId, history: History, stop: asyncio.Event) -> None:
        self._backend = backend
        self._node_id = node_id
        self._history = history
        self._stop = stop
        self._folds_at = -math.inf

    async def step(self) -> None:
        """Wait until something has ended and ten seconds more, or for the stop, and hand over what was counted.

        Raises:
            BackendError: The store failed. What was counted is kept for the next step. If it was stored all the same,
                and only the response was lost, it counts twice.
        """
        if not self._history.has_news.is_set():
            await first_of(self._history.has_news.wait(), self._stop.wait())
        await self._backend.clock.wait(self._stop, FLUSH_INTERVAL)
        rows = self._history.take()
        if rows:
            try:
                await self._backend.add_stats(rows)
            except BaseException:
                self._history.put_back(rows)
                raise
            await self._fold()

    async def _fold(self) -> None:
        """Fold old rows, unless this node has just done so, or another one does it now."""
        now = self._backend.clock.monotonic()
        if now < self._folds_at or self._stop.is_set():
            return
        if await self._backend.acquire_lock(HISTORY_LOCK, self._node_id):
            try:
                while await self._backend.fold_stats(FOLD_BATCH) and not self._stop.is_set():
                    pass
            finally:
                await self._backend.release_lock(HISTORY_LOCK, self._node_id)
        self._folds_at = now + FOLD_INTERVAL
