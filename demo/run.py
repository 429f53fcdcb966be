"""The demo itself: enqueues jobs, starts workers, kills one half-way, waits for the end, checks the results."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from demo.display import Display, Tally
from demo.figures import Account, computed
from demo.fleet import Fleet, Worker
from demo.history import History, Started
from demo.work import ExamineFile, SourceFile
from rexecutor.app.connect import connect, sqlite_path
from rexecutor.backend.base import Backend
from rexecutor.cli.failure import FailedError, note
from rexecutor.clock import SystemClock
from rexecutor.jobs.enqueue import JobBuilder, enqueue_many
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.status import JobStatus
from rexecutor.model.where import And, ExecutorIn, StatusIn, Where

POLL_INTERVAL: Final = timedelta(milliseconds=50)
PAGE: Final = 1_000
MIN_TIMEOUT: Final = 120.0
"""Seconds after which a run of up to 1,200 files has failed; larger runs have a tenth of a second for each file."""

_OURS: Final = ExecutorIn(frozenset({ExamineFile.name}))
_AT_WORK: Final = And((_OURS, StatusIn(frozenset({JobStatus.EXECUTING}))))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo will do."""

    jobs: Sequence[SourceFile]
    workers: int
    url: str
    folder: Path
    """Folder for the history and the workers' logs."""


async def run_demo(plan: Plan, display: Display) -> Account:
    """Run the whole demo and return its account. Every process that it started has ended by then.

    Raises:
        FailedError: A worker ended by itself, or did not end when told to.
        RexecutorError: The store failed.
    """
    history_path = plan.folder / "history.jsonl"
    history = History(history_path)
    try:
        async with connect(plan.url) as backend:
            are_hosts = sqlite_path(plan.url) is None  # PostgreSQL serves many machines, a file only one
            with Fleet(plan.url, history_path, plan.folder, are_hosts=are_hosts) as fleet, display:
                demo = _Demo(plan, display, backend, fleet, history)
                jobs, seconds = await demo.run()
                if demo.has_ended:  # otherwise the fleet kills the workers
                    fleet.end()
            records = await _all_of(backend, jobs)
        note("checking every result against a direct computation")
        truth = await asyncio.to_thread(computed, [job.path for job in plan.jobs])
        return Account(jobs, records, history.read(), truth, seconds)
    finally:
        history.close()


class _Demo:
    def __init__(self, plan: Plan, display: Display, backend: Backend, fleet: Fleet, history: History) -> None:
        self._plan = plan
        self._display = display
        self._backend = backend
        self._fleet = fleet
        self._history = history
        self._clock = SystemClock()
        self._lingering: set[JobId] = set()
        self.has_ended = False
        """Whether all jobs have ended."""

    async def run(self) -> tuple[Mapping[JobId, SourceFile], float]:
        """Return the enqueued jobs, by id, and how many seconds it took until all had ended."""
        before = await self._counts()
        if any(before[status] for status in JobStatus if not status.has_ended):
            raise FailedError("the store holds jobs of a demo that has not ended; give another --url")
        began = self._clock.monotonic()
        handles = await enqueue_many(map(_builder, self._plan.jobs), backend=self._backend)
        jobs = dict(zip([handle.id for handle in handles], self._plan.jobs, strict=True))
        self._lingering = {job_id for job_id, job in jobs.items() if job.trouble == "lingers"}
        workers = [self._fleet.start() for _ in range(self._plan.workers)]
        self._display.say(f"started workers {', '.join(map(self._fleet.named, workers))}")
        await self._watch(before, began)
        return jobs, self._clock.monotonic() - began

    async def _watch(self, before: Mapping[JobStatus, int], began: float) -> None:
        enqueued = len(self._plan.jobs)
        deadline = began + max(MIN_TIMEOUT, enqueued / 10)
        struck = False
        while self._clock.monotonic() < deadline:
            tally = await self._tally(before, began)
            self._display.show(tally)
            if tally.ended >= enqueued:
                self.has_ended = True
                return
            if not struck and tally.ended * 2 >= enqueued:
                struck = await self._strike()
            self._fleet.check()
            await self._clock.sleep(POLL_INTERVAL)
        self._display.say(f"gave up after {deadline - began:.0f} s")

    async def _strike(self) -> bool:
        """Kill a worker that runs jobs, and start another. Return whether there was one."""
        for worker in list(self._fleet.workers):
            with self._fleet.held(worker):
                held = await self._held_by(worker)
                if held:
                    self._fleet.kill(worker)
            if held:
                successor = self._fleet.start()
                self._display.say(
                    f"killed worker {self._fleet.named(worker)}, which was running {held} jobs;"
                    f" started worker {self._fleet.named(successor)}"
                )
                return True
        return False

    async def _held_by(self, worker: Worker) -> int:
        """Return how many jobs the worker runs; 0 if another worker runs the job that lingers to be killed."""
        starters = {entry.id: entry.pid for entry in self._history.read() if isinstance(entry, Started)}
        found = await self._backend.query(_AT_WORK)
        held = {record.id for record in found if starters.get(record.id) == worker.pid}
        return len(held) if self._lingering <= held else 0

    async def _tally(self, before: Mapping[JobStatus, int], began: float) -> Tally:
        counts = await self._counts()
        return Tally(
            len(self._plan.jobs),
            counts[JobStatus.SCHEDULED],
            counts[JobStatus.EXECUTING],
            counts[JobStatus.RETRYABLE],
            counts[JobStatus.COMPLETE] - before[JobStatus.COMPLETE],
            counts[JobStatus.DISCARDED] - before[JobStatus.DISCARDED],
            counts[JobStatus.CANCELLED] - before[JobStatus.CANCELLED],
            self._clock.monotonic() - began,
        )

    async def _counts(self) -> Mapping[JobStatus, int]:
        counts = dict.fromkeys(JobStatus, 0)
        for count in await self._backend.count():
            if count.executor == ExamineFile.name:
                counts[count.status] += count.jobs
        return counts


def _builder(job: SourceFile) -> JobBuilder[SourceFile, None]:
    return ExamineFile.new(job, max_attempts=2 if job.trouble == "always fails" else None)


async def _all_of(backend: Backend, jobs: Mapping[JobId, SourceFile]) -> dict[JobId, JobRecord]:
    """Return the jobs as they are stored, read page by page."""
    where: Where = _OURS
    records: dict[JobId, JobRecord] = {}
    after: JobId | None = min(jobs) - 1
    while after is not None:
        page = await backend.query(where, limit=PAGE, after=after)
        records |= {record.id: record for record in page if record.id in jobs}
        after = page[-1].id if len(page) == PAGE else None
    return records
