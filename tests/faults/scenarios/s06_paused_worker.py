"""S6: a worker stands still for longer than its lease, and then goes on."""

import asyncio
import random
import signal
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from rexecutor import enqueue_many
from rexecutor.model.job import JobId
from tests.faults.answers import count_answers
from tests.faults.outcomes import Seen, doubled, seen, watch
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at, prepare
from tests.faults.workers import (
    FENCED,
    REFUSED,
    STARTED,
    Member,
    as_runs,
    has_ended,
    is_stopped,
    started,
    until,
    worker_processes,
)

JOBS = 50

Stop: TypeAlias = Callable[[Member, str], Awaitable[int]]
"""Stops a worker on a store, and returns how many times it had to be stopped."""


async def run(ground: Ground) -> Report:
    """Pause a worker at a random moment; on PostgreSQL another one too, in the middle of a heartbeat."""
    if "#" not in ground.store:
        return await pause_one(ground, stop)
    url, _, schema = ground.store.partition("#")
    folder = ground.folder / "in a beat"
    folder.mkdir()
    second = replace(ground, folder=folder, store=f"{ground.store}_beat")
    await prepare(second.store)
    with Proxy(url) as proxy:
        in_heartbeat = pause_one(second, partial(stop_in_heartbeat, proxy), f"{proxy.url}#{schema}_beat")
        report, other = await asyncio.gather(pause_one(ground, stop), in_heartbeat)
    report.figures |= {f"{name}_in_a_beat": other.figures[name] for name in ("rescued", "cancelled_by_the_fence")}
    report.wrong += [f"stopped in a beat: {text}" for text in other.wrong]
    return report


async def pause_one(ground: Ground, stop_it: Stop, its_store: str | None = None) -> Report:
    """Stop a worker that runs 50 jobs until another has taken all of them over; then let it go on.

    Half of the jobs would have ended while it stood still, and end as soon as it goes on: their results come too late.
    The other half would go on for long, and are cancelled by the worker when it notices that they are lost.
    """
    lease, pause = (30.0, 45.0) if ground.is_full else (1.5, 3.5)
    chance = random.Random(ground.seed)
    async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
        watch(ground.store)
        gate = ground.folder / "gate"
        other = await workers.start("--lease", str(lease), "--after", str(gate))
        paused = await workers.joined("--lease", str(lease), store=its_store)
        tasks = [Task("linger", pause - 0.2 if number % 2 else pause * 3) for number in range(JOBS)]
        ids = [
            one.id for one in await enqueue_many([Tasked.builder().with_data(one) for one in tasks], backend=backend)
        ]
        await workers.until(lambda lines: len(started(lines)) == JOBS, 20)
        gate.touch()
        await until(lambda: bool(other.said(STARTED)), 30)
        await asyncio.sleep(lease / 6 * chance.random())
        stops = await stop_it(paused, ground.store)
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(pause)
        taken = [line.at - begun for line in started(ground.lines(), other.pid)]
        fenced = len(other.said(FENCED))
        paused.send(signal.SIGCONT)
        await until(lambda: len(paused.said(REFUSED)) >= JOBS and has_ended(ground.lines(), paused.pid), 10 + lease)
        lines = as_runs(ground.lines())
        report = Report(enqueued=JOBS, acknowledged=len(ids), late_outcomes=len(paused.said(REFUSED)))
        count_runs(report, lines)
        await count_jobs(report, backend, ids, lines)
        await count_answers(report, backend)
        report.recovery_s = round(max(taken, default=pause), 2)
        found = seen(ground.store)
    report.figures |= {
        "lease_s": lease,
        "pause_s": pause,
        "rescued": other.rescued(),
        "cancelled_by_the_fence": paused.cancelled_by_fence(),
        "wrong_outcomes": wrong_outcomes(ids, found) + doubled(found),
        "stops_needed": stops,
    }
    report.expect("the other worker kept its lease", fenced == 0)
    judge(report)
    return report


def judge(report: Report) -> None:
    """Note what is not as promised."""
    lease, rescued = report.figures["lease_s"], report.figures["rescued"]
    report.expect(f"{rescued} jobs were rescued, {JOBS} expected", rescued == JOBS == report.recovered)
    report.expect("rescued within 6/5 of the lease and 1.5 s", (report.recovery_s or 0) <= 1.2 * lease + 1.5)
    report.expect(f"{report.late_outcomes} late outcomes were refused and told", report.late_outcomes == JOBS)
    report.expect("what would have gone on was cancelled", report.figures["cancelled_by_the_fence"] >= JOBS // 2)
    report.expect("no wrong outcome", report.figures["wrong_outcomes"] == 0)
    report.expect_no("lost", "unexpected", "duplicate_starts")


def wrong_outcomes(ids: list[JobId], found: list[Seen]) -> int:
    """Return the number of jobs whose first claim did not end by a rescue, or whose second claim failed."""
    right = {(job_id, 1, True, "retryable") for job_id in ids} | {(job_id, 2, False, "complete") for job_id in ids}
    wrong = right ^ {(one.job_id, one.claims, one.is_rescue, one.status) for one in found}
    return len({job_id for job_id, *_ in wrong})


async def stop(paused: Member, store: str) -> int:
    """Stop the worker, but not while it holds the lock of an SQLite file, without which nobody can do anything.

    Return how many times it had to be stopped.
    """
    stops = 0
    while True:
        stops += 1
        paused.send(signal.SIGSTOP)
        await until(lambda: is_stopped(paused.pid), 5)
        if "#" in store or is_free(store):
            return stops
        paused.send(signal.SIGCONT)
        await asyncio.sleep(0.01)


async def stop_in_heartbeat(proxy: Proxy, paused: Member, _: str) -> int:
    """Stop the worker when it has sent the first part of a heartbeat: the server has that, and waits for the rest."""
    stopped = threading.Event()
    name = f":{paused.pid}".encode()  # the end of the node's name, which nothing but a heartbeat tells

    def sees(message: bytes) -> bool:
        if name in message and not stopped.is_set():
            paused.send(signal.SIGSTOP)
            stopped.set()
        return False

    proxy.cuts_before_answer = sees
    await until(stopped.is_set, 20)
    proxy.cuts_before_answer = None
    return 1


def is_free(file: str) -> bool:
    """Whether the file's lock can be had."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=0.2)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


SCENARIO = Scenario("S6", "a worker paused for longer than its lease", ("Start", "Overlap", "Lease", "Results"), run)
