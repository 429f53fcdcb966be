"""How many jobs a node claims ahead of its free slots: as many as it ends in a moment."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Final

from rexecutor.clock import Clock
from rexecutor.model.job import JobRecord

MOST_JOBS: Final = 1_000
"""Most jobs that are claimed ahead."""
WORK: Final = 0.05
"""Seconds of work that are claimed ahead: so long an urgent job may have to wait for jobs that were claimed before."""
MOST_TEXT: Final = 4 * 1024 * 1024
"""Most characters of data and metadata that are claimed ahead, by the mean size of those that came last."""
SHORTEST_MEASURE: Final = 0.005
"""Least seconds over which a rate is measured."""
SLOW_FOR: Final = 5.0
"""Seconds without claims ahead, after jobs that were claimed ahead had to be given back."""


class Pace:
    """Counts the jobs that end, by executor, and tells from their rate how many to claim ahead."""

    def __init__(self, executors: Collection[str], clock: Clock) -> None:
        """Make it for the executors whose jobs may be claimed ahead. Nothing is, until jobs have ended."""
        self._executors = executors
        self._clock = clock
        self._since = clock.monotonic()
        self._rates: dict[str, float] = {}
        self._size = 0.0
        self._slow_until: dict[str, float] = {}
        self.ended: Final[defaultdict[str, int]] = defaultdict(int)
        """Executor name → how many of its jobs have ended since the last measure; add 1 for each."""

    def slow_down(self, executor: str) -> None:
        """Claim none of the executor's jobs ahead for `SLOW_FOR` seconds."""
        self._slow_until[executor] = self._clock.monotonic() + SLOW_FOR

    def ahead(self) -> Mapping[str, int]:
        """Return executor name → how many of its jobs to have claimed ahead; executors with none are left out."""
        now = self._clock.monotonic()
        elapsed = now - self._since
        if elapsed >= SHORTEST_MEASURE:
            self._rates = {one: self.ended[one] / elapsed for one in self._executors if one in self.ended}
            self.ended.clear()
            self._since = now
        ahead = {one: rate * WORK for one, rate in self._rates.items() if self._slow_until.get(one, now) <= now}
        share = min(1.0, min(MOST_JOBS, MOST_TEXT / max(self._size, 1.0)) / max(sum(ahead.values()), 1.0))
        return {one: int(number * share) for one, number in ahead.items() if number * share >= 1}

    def kept(self, jobs: Sequence[JobRecord]) -> tuple[Sequence[JobRecord], Sequence[JobRecord]]:
        """Divide claimed jobs for which there is no slot into those to keep and those to give back at once.

        Given back is what would take too much memory. So is a job whose node has died before: it may be what killed
        that node, and as long as such jobs come, no others shall be here to lose if it does so again.
        """
        sizes = [len(record.data) + len(record.metadata or "") for record in jobs]
        total = sum(sizes)
        self._size = total / len(sizes)
        lost = {record.executor for record in jobs if record.losses}
        if not lost and total <= MOST_TEXT:
            return jobs, ()
        for executor in lost:
            self.slow_down(executor)
        kept: list[JobRecord] = []
        refused: list[JobRecord] = []
        for record, size in zip(jobs, accumulate(sizes), strict=True):
            (refused if record.losses or size > MOST_TEXT else kept).append(record)
        return kept, refused
