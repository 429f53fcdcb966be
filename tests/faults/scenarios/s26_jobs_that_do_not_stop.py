"""S26: jobs that do not stop when their time is over."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rexecutor import Backend, Executor, Job, JobBuilder, JobStatus, Rexecutor, enqueue_many
from rexecutor.engine.deadlines import STOP_GRACE
from rexecutor.model.job import ErrorKind, JobId, JobRecord
from rexecutor.model.where import IdIn
from tests.faults.log_lines import kept_lines
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at
from tests.support import until_no_threads_of_ours

LIMIT = timedelta(milliseconds=300)
LATE = 1.0
"""How many seconds later than it must a timeout may be recorded."""
STUCK = "does not stop and holds its slot"


class Release:
    """Ends what hangs, in threads and in the loop."""

    def __init__(self) -> None:
        self.in_threads = threading.Event()
        self.in_loop = asyncio.Event()

    def set(self) -> None:
        """Let all go on."""
        self.in_threads.set()
        self.in_loop.set()


class Hangs(Executor[None]):
    """Goes on long beyond its limit."""

    max_attempts = 1

    def __init__(self, release: Release) -> None:
        self._release = release

    def timeout(self, job: Job[None]) -> timedelta:
        return LIMIT


class Deaf(Hangs):
    """Swallows each cancel."""

    name = "deaf"

    async def execute(self, job: Job[None]) -> None:
        while not self._release.in_loop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self._release.in_loop.wait()


class InThread(Hangs):
    """Blocks a thread, which nothing can end."""

    name = "in_thread"
    blocking = True

    def execute(self, job: Job[None]) -> None:
        self._release.in_threads.wait()


class InProcess(Executor[bool]):
    """Hangs in a process of its own if its data are true, and does not hear a SIGTERM.

    Else it ends as soon as there are as many processes as are wanted.
    """

    name = "in_process"
    max_attempts = 1
    max_concurrency = 100
    blocking = "process"

    def __init__(self, pids: Path, wanted: int) -> None:
        self._pids = pids
        self._wanted = wanted

    def timeout(self, job: Job[bool]) -> timedelta | None:
        return LIMIT if job.data else None

    def execute(self, job: Job[bool]) -> None:
        with self._pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if job.data:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while job.data or len(self._pids.read_text().split()) < self._wanted:
            time.sleep(0.1)


class Swift(Executor[None]):
    """Wants a slot."""

    name = "swift"

    async def execute(self, job: Job[None]) -> None:
        """Do nothing."""


STUCK_KINDS = (Deaf, InThread)
GIVEN = {Deaf.name: STOP_GRACE, InThread.name: 0.0, InProcess.name: STOP_GRACE}
"""How many seconds each is given beyond its limit."""


@dataclass
class Seen:
    """What was seen of the jobs, at their timeout and after all."""

    timed_out: Sequence[JobRecord] = ()
    waiting: Sequence[JobRecord] = ()
    """Those that want a slot, while all are held."""
    afterwards: Sequence[JobRecord] = ()
    """Those that hung, once their code had ended."""
    stuck: Sequence[JobId] = ()
    """Those that were reported."""
    children: Sequence[int] = ()
    """The processes that were made for jobs."""
    recovery_s: float = 0.0


async def run(ground: Ground) -> Report:
    """Fill all slots with jobs that hang; see their timeouts recorded, their slots held, and freed when they end."""
    number, children = ground.size(100, 6), ground.size(100, 2)
    seen = await hung(ground, number, children)
    await until_no_threads_of_ours()
    stuck = [one.id for one in seen.timed_out if one.executor != InProcess.name]
    alive = sum(Path(f"/proc/{pid}").exists() for pid in seen.children)
    report = Report(enqueued=len(seen.timed_out) + len(seen.waiting), recovery_s=round(seen.recovery_s, 2))
    report.late_outcomes = sum(old != new for old, new in zip(seen.timed_out, seen.afterwards, strict=True))
    report.figures = {
        "timeout_s": LIMIT.total_seconds(),
        "hung": len(seen.timed_out),
        "hung_in_processes": children,
        "stuck_reported": len(seen.stuck),
        "children_left": alive,
    }
    for name, given in GIVEN.items():
        longest = max(excess(one) for one in seen.timed_out if one.executor == name)
        report.figures[f"recorded_after_limit_{name}_max_s"] = round(longest, 2)
        report.expect(f"{name}: recorded {longest:.2f} s after the limit", longest <= given + LATE)
    report.expect(
        "each hung job is discarded by a timeout",
        all(one.status is JobStatus.DISCARDED and one.errors[-1].kind is ErrorKind.TIMEOUT for one in seen.timed_out),
    )
    told = f"{len(seen.stuck)} of {len(stuck)} jobs were reported as stuck, once each"
    report.expect(told, sorted(seen.stuck) == stuck)
    report.expect("a stuck job keeps its slot", all(one.status is JobStatus.SCHEDULED for one in seen.waiting))
    report.expect("freed slots are used within 2 s", seen.recovery_s <= 2)
    report.expect(f"{alive} of {len(seen.children)} child processes were not killed", alive == 0)
    report.expect_no("late_outcomes")
    return report


async def hung(ground: Ground, number: int, children: int) -> Seen:
    """Let so many of each kind hang beyond their limit, while others want their slots; then release them."""
    seen, release, pids = Seen(), Release(), ground.folder / "pids"
    async with backend_at(ground.store) as backend:
        node = Rexecutor(backend, max_concurrency=number * len(STUCK_KINDS), max_threads=number)
        node.with_executor(Swift)
        for kind in STUCK_KINDS:
            node.with_executor(kind(release))
        beside = Rexecutor(backend, max_concurrency=children).with_executor(InProcess(pids, children))
        with kept_lines() as lines:
            async with beside, node:
                try:
                    # The start of a process takes longer than the limit, and does not count.
                    await all_ended(backend, await enqueued(backend, [InProcess.builder().with_data(False)] * children))
                    hanging = [InProcess.builder().with_data(True)] * children
                    ids = await enqueued(backend, [*[one.builder() for one in STUCK_KINDS] * number, *hanging])
                    await all_ended(backend, ids)
                    swift = await enqueued(backend, [Swift.builder()] * number)
                    await asyncio.sleep(1.2)  # longer than the poll: a free slot would be used by now
                    seen.waiting, seen.timed_out = await records_of(backend, swift), await records_of(backend, ids)
                finally:
                    release.set()
                freed = asyncio.get_running_loop().time()
                await all_ended(backend, swift)
                seen.recovery_s = asyncio.get_running_loop().time() - freed
            seen.stuck = [line.__dict__["job_id"] for line in lines if STUCK in line.getMessage()]
        seen.afterwards = await records_of(backend, ids)
    seen.children = [int(pid) for pid in pids.read_text().split()]
    return seen


async def enqueued(backend: Backend, builders: Sequence[JobBuilder[Any, Any, Any]]) -> list[JobId]:
    """Enqueue the jobs."""
    return [one.id for one in await enqueue_many(builders, backend=backend)]


async def records_of(backend: Backend, ids: Sequence[JobId]) -> Sequence[JobRecord]:
    """Return what the store holds of these jobs, in the order of their ids."""
    return await backend.query(IdIn(frozenset(ids)), limit=len(ids))


async def all_ended(backend: Backend, ids: Sequence[JobId]) -> None:
    """Wait until all of these jobs have ended."""
    async with asyncio.timeout(120):
        while not all(one.status.has_ended for one in await records_of(backend, ids)):
            await asyncio.sleep(0.02)


def excess(record: JobRecord) -> float:
    """Return how many seconds after its limit a timeout was recorded, by the store's clock."""
    if record.attempted_at is None or record.discarded_at is None:
        return float("inf")
    return (record.discarded_at - record.attempted_at - LIMIT).total_seconds()


SCENARIO = Scenario("S26", "jobs that do not stop when their time is over", ("Timeout",), run)
