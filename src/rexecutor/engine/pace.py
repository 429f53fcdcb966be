"""How many jobs a node claims ahead of its free slots: as many as it ends in a moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rexecutor.clock import Clock
from rexecutor.model.job import JobRecord

MOST_JOBS: Final = 1_500
"""Most jobs that are claimed ahead."""
WORK: Final = 0.05
"""Seconds of work that are claimed ahead: so long an urgent job may have to wait for jobs that were claimed before."""
MOST_TEXT: Final = 4 * 1024 * 1024
"""Most characters of data and metadata that are claimed ahead, by the mean size of those claimed last."""
SHORTEST_MEASURE: Final = 0.005
"""A rate that was measured over fewer seconds of work counts as if it were over so many."""
REMEMBERED: Final = 1.0
"""Seconds without a job after which an executor's rate is forgotten."""
SAMPLE: Final = 16
"""How many jobs of a claim tell the size of all."""
SLOW_FOR: Final = 5.0
"""Seconds without claims ahead, after jobs that were claimed ahead had to be given back."""


class Pace:
    """Tells from the rates at which jobs end how many to claim ahead."""

    def __init__(self, executors: Collection[str], clock: Clock) -> None:
        """Make it for the executors whose jobs may be claimed ahead. Nothing is, until jobs have ended."""
        self._executors = frozenset(executors)
        self._clock = clock
        self._rates: dict[str, _Rate] = {}
        self._size = 0.0
        self._slow_until: dict[str, float] = {}

    def started(self, executor: str, jobs: int) -> None:
        """Count jobs whose code begins."""
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
        """Return executor name → how many of its jobs to have claimed ahead; executors with none are left out."""
        now = self._clock.monotonic()
        for executor in [one for one, rate in self._rates.items() if rate.is_old(now)]:
            del self._rates[executor]
        ahead = {
            one: rate.measured(now) * WORK for one, rate in self._rates.items() if self._slow_until.get(one, now) <= now
        }
        share = min(1.0, min(MOST_JOBS, MOST_TEXT / max(self._size, 1.0)) / max(sum(ahead.values()), 1.0))
        return {one: int(number * share) for one, number in ahead.items() if number * share >= 1}

    def note_size(self, jobs: Sequence[JobRecord]) -> None:
        """Note how large claimed jobs are: the mean of the first few of them."""
        sizes = [_size(record) for record in jobs[:SAMPLE]]
        if sizes:
            self._size = sum(sizes) / len(sizes)

    def kept(self, jobs: Sequence[JobRecord]) -> tuple[Sequence[JobRecord], Sequence[JobRecord]]:
        """Divide claimed jobs for which there is no slot into those to keep and those to give back at once.

        Given back is what would take too much memory. So is a job whose node has died before: it may be what killed
        that node, and as long as such jobs come, no others shall be here to lose if it does so again.
        """
        sizes = list(map(_size, jobs))
        total = sum(sizes)
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


def _size(record: JobRecord) -> int:
    return len(record.data) + len(record.metadata or "")


@dataclass(slots=True)
class _Rate:
    """How many jobs of an executor end in a second of work: time in which none of them runs does not count.

    If it did, a node that has to wait for each claim would take itself for slow, claim less, and wait more.
    """

    running: int = 0
    since: float = 0.0
    """Up to when the work is counted."""
    ended: int = 0
    work: float = 0.0
    """Seconds of work since the last measure; `ended` in them."""
    past_ended: float = 0.0
    past_work: float = 0.0

    def work_until(self, now: float) -> None:
        """Count the work up to now."""
        self.work += now - self.since
        self.since = now

    def is_old(self, now: float) -> bool:
        """Return whether no job has run for a while."""
        return not self.running and now - self.since > REMEMBERED

    def measured(self, now: float) -> float:
        """Return the jobs a second of the last `WORK` seconds of work, or more if the last measure was longer.

        What has been measured before counts for what is missing to that. So jobs of 50 ms that end all at once are not
        taken for jobs of 1 ms.
        """
        if self.running:
            self.work_until(now)
        weight = min(1.0, max(0.0, WORK - self.work) / self.past_work) if self.past_work else 1.0
        self.past_ended = self.past_ended * weight + self.ended
        self.past_work = self.past_work * weight + self.work
        self.ended, self.work = 0, 0.0
        return self.past_ended / max(self.past_work, SHORTEST_MEASURE)
