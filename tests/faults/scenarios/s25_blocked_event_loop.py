"""S25: a job blocks its worker's event loop, and another holds the GIL."""

import asyncio
import math
import time

from rexecutor import JobStatus
from rexecutor.model.job import JobId
from tests.faults.history import Line
from tests.faults.outcomes import Seen, doubled, seen, watch
from tests.faults.programs.scripted_worker import Task, named, search
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.workers import REFUSED, Member, started, until, worker_processes
from tests.support import record_of, soon


def letters_for(seconds: float) -> int:
    """Return how many letters make the search take so long on this machine, on at least half a processor."""
    letters, took = 18, 0.0
    while took < 0.05:
        letters += 1
        begun = time.thread_time()
        search(letters)
        took = time.thread_time() - begun
    while 2 * took <= seconds:
        letters, took = letters + 1, 2 * took
    return letters


async def run(ground: Ground) -> Report:
    """Let one worker block its loop for longer than its lease, and another hold the GIL for less than its own.

    A third holds the GIL for longer than its lease: its job may be rescued, which is counted. A fourth watches over
    all. No job may be run twice, so each that is rescued is discarded.
    """
    lease, gil_lease = (30.0, 30.0) if ground.is_full else (1.2, 20.0)
    works = [
        (named("overlong"), Task("search", letters_for(3 * lease)), lease),
        (named("blocking"), Task("block", 2.5 * lease), lease),
        (named("short"), Task("search", letters_for(15 if ground.is_full else 2)), gil_lease),
    ]
    async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
        watch(ground.store)
        joining = [workers.joined("--lease", str(length), "--runs", kind.name) for kind, _, length in works]
        members = await asyncio.gather(*joining, workers.joined("--lease", str(lease)))
        handles = [
            await kind.builder().with_data(task).with_max_attempts(1).enqueue(backend=backend)
            for kind, task, _ in works
        ]
        overlong, blocking, short = ids = [handle.id for handle in handles]
        for handle in handles:
            await soon(handle.wait(), 300)
        lines = await workers.until(lambda lines: sum(line.what == "end" for line in lines) == len(works), 300)
        report = Report(enqueued=len(works), acknowledged=len(ids))
        count_runs(report, lines)
        await count_jobs(report, backend, ids, lines)
        for job_id in (blocking, short):
            record = await record_of(backend, job_id)
            report.expect(f"the worker of {record.executor!r} lost no job", record.status is JobStatus.COMPLETE)
        found = seen(ground.store)
        rescues = [one.job_id for one in found if one.is_rescue]
        await until(lambda: len(workers.said(REFUSED)) >= len(rescues), 20)
        report.late_outcomes = len(workers.said(REFUSED))
        told = told_after(members[1], next(line for line in started(lines) if line.job_id == blocking))
    lasted = lengths(lines)
    report.figures = {
        "lease_s": lease,
        "blocked_s": lasted[blocking],
        "stack_told_after_s": round(told, 2),
        "false_rescues": sum(job_id != overlong for job_id in rescues),
        "held_gil_s": lasted[short],
        "held_gil_for_longer_than_the_lease_s": lasted[overlong],
        "rescued_from_that": rescues.count(overlong),
    }
    judge(report, found)
    return report


def judge(report: Report, found: list[Seen]) -> None:
    """Note what is not as promised."""
    figures = report.figures
    rescues = sum(one.is_rescue for one in found)
    report.expect("nothing was rescued from workers that kept their lease", figures["false_rescues"] == 0)
    report.expect("every late outcome was refused", report.late_outcomes == rescues and not doubled(found))
    report.expect("it was told within 2 s who blocks the loop", figures["stack_told_after_s"] <= 2)
    held, blocked = figures["held_gil_for_longer_than_the_lease_s"], figures["blocked_s"]
    report.expect("loop and GIL were held for longer than the lease", min(held, blocked) > figures["lease_s"])
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")


def told_after(member: Member, begun: Line) -> float:
    """Return after how many seconds the worker logged that the job blocks its event loop."""
    said = f"job {begun.job_id} (blocking) has blocked the event loop"
    return min((at - begun.at for at, _ in member.said(said)), default=math.inf)


def lengths(lines: list[Line]) -> dict[JobId, float]:
    """Return how many seconds each job ran."""
    begun = {line.job_id: line.at for line in started(lines)}
    return {line.job_id: round(line.at - begun[line.job_id], 2) for line in lines if line.what == "end"}


SCENARIO = Scenario("S25", "a job blocks the event loop, or holds the GIL", ("Overlap", "Lease"), run)
