"""A worker that is told to end, by one to three signals, at some moment of its life."""

import asyncio
import random
import signal
import time
from dataclasses import dataclass
from typing import Final, Literal

from rexecutor import enqueue_many
from rexecutor.backend.base import Backend
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.rows import rows_of
from tests.faults.scenario import Ground
from tests.faults.stores import backend_at
from tests.faults.workers import Member, Workers, started, worker_processes

SITUATIONS: Final = ("start", "claim", "settle", "idle", "busy")
LONG: Final = 60.0
"""Seconds that a job of a busy worker would take."""
PATIENCE: Final = 15.0
"""Seconds beyond its grace after which a worker is killed that does not end."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When and how a worker is told to end."""

    situation: str
    """One of `SITUATIONS`."""
    wait: float
    """Seconds from when it is in that situation to the first signal."""
    signals: tuple[signal.Signals, ...]
    gap: float
    """Seconds between two signals."""
    grace: float
    job: Literal["sleep", "deaf", "block"]
    """What the jobs of a busy worker do: all but the first cannot be cancelled, the last blocks the event loop."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended."""

    moment: Moment
    status: int
    """Of its process; the negative number of the signal that has killed it."""
    took: float
    """Seconds from the last signal that was sent."""
    signals: int
    """How many were sent before it had ended."""
    was_over: bool
    """Whether all was over, and only the process left to end."""
    enqueued: int
    executing: int
    nodes: int
    missing: int
    """Jobs that are neither complete nor wait, all their attempts left."""
    said: str


def random_moment(number: int, chance: random.Random, ground: Ground) -> Moment:
    """Return the moment of that number: each situation in turn with one, two and three signals."""
    situation = SITUATIONS[number % len(SITUATIONS)]
    longest = {"start": 0.1, "claim": 0.02, "settle": 0.2, "idle": 0.5, "busy": 0.2}[situation]
    count = 1 + number // len(SITUATIONS) % 3
    jobs: dict[int, list[Literal["sleep", "deaf", "block"]]] = {
        1: ["sleep"],
        2: ["sleep", "deaf"] if ground.is_full else ["sleep"],
        3: ["deaf", "block"],
    }
    return Moment(
        situation,
        wait=longest * chance.random(),
        signals=tuple(chance.choice((signal.SIGTERM, signal.SIGINT)) for _ in range(count)),
        gap=0.05 + 0.2 * chance.random(),  # one that comes while its like still waits to be heard is lost
        grace=25.0 if ground.is_full and chance.random() < 0.01 else 0.5,
        job=chance.choice(jobs[count]),
    )


async def end_at(moment: Moment, ground: Ground) -> Ending:
    """Start a worker on a store that has no jobs, and end it so."""
    async with worker_processes(ground) as workers:
        if moment.situation == "start" and "#" not in ground.store:
            return await end(moment, ground, await beginning(workers, moment), enqueued=0)
        async with backend_at(ground.store) as backend:
            if moment.situation == "start":
                enqueued = await enqueue(backend, Task("sleep"), 20)
                return await end(moment, ground, await beginning(workers, moment), enqueued)
            member = await workers.joined("--grace", str(moment.grace))
            enqueued = await occupy(workers, backend, moment)
            return await end(moment, ground, member, enqueued)


async def beginning(workers: Workers, moment: Moment) -> Member:
    """Start a worker, and return it as soon as it begins to open its store."""
    member = await workers.start("--grace", str(moment.grace))
    await workers.until(lambda lines: any(line.what == "opening" for line in lines), 30)
    return member


async def occupy(workers: Workers, backend: Backend, moment: Moment) -> int:
    """Give it the jobs of the situation, and return how many."""
    match moment.situation:
        case "claim":
            return await enqueue(backend, Task("sleep", 0.01), 20)
        case "settle":
            enqueued = await enqueue(backend, Task("sleep", 0.005), 300)
        case "busy":
            enqueued = await enqueue(backend, Task(moment.job, LONG), 3)
        case _:
            return 0
    await workers.until(lambda lines: bool(started(lines)), 30)
    return enqueued


async def enqueue(backend: Backend, task: Task, number: int) -> int:
    """Enqueue so many jobs that do the same."""
    return len(await enqueue_many([Tasked.builder().with_data(task)] * number, backend=backend))


async def end(moment: Moment, ground: Ground, member: Member, enqueued: int) -> Ending:
    """Send the signals, and see how the worker ends."""
    await asyncio.sleep(moment.wait)
    sent, at = 0, 0.0
    for number in moment.signals:
        if sent:
            await asyncio.sleep(moment.gap)
        if member.process.returncode is None:
            member.send(number)
            sent, at = sent + 1, time.monotonic()
    try:
        async with asyncio.timeout(moment.grace + PATIENCE):
            status = await member.process.wait()
    except TimeoutError:
        member.send(signal.SIGUSR1)  # it says where it hangs
        await asyncio.sleep(0.5)
        member.send(signal.SIGKILL)
        status = await member.process.wait()
    took = time.monotonic() - at
    was_over = any(line.what == "over" for line in ground.lines())
    fine = "status = 'complete' OR status = 'scheduled' AND attempt = 0"
    [(executing, fine_jobs)] = rows_of(
        ground.store,
        "SELECT coalesce(sum(CASE WHEN status = 'executing' THEN 1 ELSE 0 END), 0),"
        f" coalesce(sum(CASE WHEN {fine} THEN 1 ELSE 0 END), 0) FROM {{}}jobs",
    )
    [(nodes,)] = rows_of(ground.store, "SELECT count(*) FROM {}nodes")
    said = member.output.read_text(errors="replace")
    return Ending(moment, status, took, sent, was_over, enqueued, executing, nodes, enqueued - fine_jobs, said)


def forget_all(store: str) -> None:
    """Take all jobs and nodes away, for the next worker."""
    tables = "stored_jobs", "queue", "running", "nodes"
    for table in (*tables, "ended") if "#" in store else tables:
        rows_of(store, f"DELETE FROM {{}}{table}")
