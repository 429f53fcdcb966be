"""How many jobs a node claims ahead of its free slots: as many as it ends in `WORK` seconds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rexecutor.clock import Clock
from rexecutor.model.job import JobRecord

MOST_JOBS: Final = 1_500
"""Maximum number of jobs claimed ahead, of all executors together."""
WORK: Final = 0.05
"""Seconds of work that are claimed ahead. An urgent job may wait this long for jobs that were claimed before it."""
MOST_TEXT: Final = 4 * 1024 * 1024
"""Maximum number of characters of data and metadata claimed ahead, estimated by the mean size of the last claimed jobs.

Of one claim, no more than this is kept.
"""
SHORTEST_MEASURE: Final = 0.005
"""Seconds of work over which a rate is taken if it was measured over less."""
REMEMBERED: Final = 1.0
"""Seconds without a job after which an executor's rate is forgotten."""
SAMPLE: Final = 16
"""Maximum number of jobs of a claim whose mean size stands for that of all jobs."""
SLOW_FOR: Final = 5.0
"""Seconds for which an executor's jobs are not claimed ahead after `slow_down`."""


class Pace:
    """Measures the rates at which jobs end, by executor, and decides by them how many to claim ahead."""

    def __init__(self, executors: Collection[str], clock: Clock) -> None:
        """Make it for the executors whose jobs may be claimed ahead. None are before the first jobs have ended."""
        self._executors = frozenset(executors)
        self._clock = clock
        self._rates: dict[str, _Rate] = {}
        self._size = 0.0
        self._slow_until: dict[str, float] = {}

    def started(self, executor: str, jobs: int) -> None:
        """Count jobs that are started."""
        if executor in self._executors:
            rate = self._rates.get(executor)
            if rate is None:
                rate = self._rates[executor] = _Rate()
            if not rate.running:
                rate.since = self._clock.monotonic()
            rate.running += jobs

    def ended(self, executor: str) -> None:
        """Count a job whose code has ended."""
        rate = self._rates.get(executor)
        if rate is not None:
            rate.ended += 1
            rate.running -= 1
            if not rate.running:
                rate.work_until(self._clock.monotonic())

    def slow_down(self, executor: str) -> None:
        """Claim none of the executor's jobs ahead for `SLOW_FOR` seconds."""
        self._slow_until[executor] = self._clock.monotonic() + SLOW_FOR

    def ahead(self) -> Mapping[str, int]:
        """Return executor name → how many of its jobs may wait for a slot; executors with none are left out.

        Ends a measurement of the rates. An executor of which fewer than 1 / `WORK` = 20 jobs end in a second of work
        has none.
        """
        now = self._clock.monotonic()
        for executor in [one for one, rate in self._rates.items() if rate.is_old(now)]:
            del self._rates[executor]
        ahead = {
            one: rate.measured(now) * WORK for one, rate in self._rates.items() if self._slow_until.get(one, now) <= now
        }
        share = min(1.0, min(MOST_JOBS, MOST_TEXT / max(self._size, 1.0)) / max(sum(ahead.values()), 1.0))
        return {one: int(number * share) for one, number in ahead.items() if number * share >= 1}

    def note_size(self, jobs: Sequence[JobRecord]) -> None:
        """Note the mean size of the first `SAMPLE` claimed jobs. Does nothing without jobs."""
        sizes = [_size(record) for record in jobs[:SAMPLE]]
        if sizes:
            self._size = sum(sizes) / len(sizes)

    def kept(self, jobs: Sequence[JobRecord]) -> tuple[Sequence[JobRecord], Sequence[JobRecord]]:
        """Divide claimed jobs into those that may wait for a slot, and those to give back if there is none for them.

        Jobs beyond `MOST_TEXT`, except the first, are given back, because they would take too much memory. A job that a
        node has lost before is given back too, because it may have killed that node. Nothing is claimed ahead for a
        while then. So the job comes back when there is a slot for it, and if it kills this node, few jobs are lost.

        Args:
            jobs: At least one job, in claim order.
        """
        sizes = list(map(_size, jobs))
        total = sum(sizes)
        has_losses = any(record.losses for record in jobs)
        if not has_losses and total <= MOST_TEXT:
            return jobs, ()
        for executor in self._executors if has_losses else ():
            self.slow_down(executor)
        kept: list[JobRecord] = []
        refused: list[JobRecord] = []
        for record, size in zip(jobs, accumulate(sizes), strict=True):
            (refused if record.losses or (kept and size > MOST_TEXT) else kept).append(record)
        return kept, refused


def _size(record: JobRecord) -> int:
    return len(record.data or "") + len(record.metadata or "")  # a row written by hand may have no data


@dataclass(slots=True)
class _Rate:
    """How many jobs of an executor end in a second of work. Work is the time in which at least one of them runs.

    If other time counted too, a node that waits for its claims would seem slow, claim fewer jobs, and wait even more.
    """

    running: int = 0
    since: float = 0.0
    """Time up to which the work is counted, in monotonic seconds."""
    ended: int = 0
    work: float = 0.0
    """Seconds of work since the last measurement, in which `ended` jobs have ended."""
    past_ended: float = 0.0
    past_work: float = 0.0
    """Seconds of work that earlier measurements still count for, in which `past_ended` jobs have ended."""

    def work_until(self, now: float) -> None:
        """Count the work up to now."""
        self.work += now - self.since
        self.since = now

    def is_old(self, now: float) -> bool:
        """Return whether no job has run for more than `REMEMBERED` seconds."""
        return not self.running and now - self.since > REMEMBERED

    def measured(self, now: float) -> float:
        """End a measurement. Return the jobs that end in a second, over the last `WORK` seconds of work.

        A measurement over more work counts alone. One over less is completed with earlier ones, so that jobs of 50 ms
        that all end at once are not taken for jobs of 1 ms.
        """
        if self.running:
            self.work_until(now)
        weight = min(1.0, max(0.0, WORK - self.work) / self.past_work) if self.past_work else 1.0
        self.past_ended = self.past_ended * weight + self.ended
        self.past_work = self.past_work * weight + self.work
        self.ended, self.work = 0, 0.0
        return self.past_ended / max(self.past_work, SHORTEST_MEASURE)
