"""S24: an executor raises everything there is, and ends its own process."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

from rexecutor import Backend, Executor, JobBuilder, JobStatus, enqueue_many
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.where import Everything, Where
from tests.faults.child_processes import Child, Children, child_processes
from tests.faults.programs.raising_worker import (
    ENDS,
    RAISES,
    Ends,
    Good,
    Raises,
    RaisesInHooks,
    RaisesInProcess,
    RaisesInThread,
    RaisesInTimeout,
)
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at

LEASE = 5.0
"""Seconds, of the worker that must survive."""
LEASE_OF_ENDED = 0.8
"""Seconds, of the workers that are ended: as long as nobody does their jobs."""
LOSSES = 3
IN_PROCESS = ("SystemExit", "KeyboardInterrupt", "__str__ raises")
"""What is raised in child processes in a short run."""
Kind: TypeAlias = type[Executor[str]]
LONGEST_TEXT = 8 * 1024
SHOWN = 10
"""How many kinds of mistakes are told."""


async def run(ground: Ground) -> Report:
    """Let one worker survive all that can be raised; then start another again and again that its jobs end."""
    chance = random.Random(ground.seed)
    report = Report(figures={"outcomes": {}})
    died: dict[int, float] = {}
    async with child_processes(ground.folder) as programs, backend_at(ground.store) as backend:
        builders = [*good(ground), *(one for _ in range(ground.size(10, 1)) for one in raising(ground))]
        ids = await enqueued(backend, chance.sample(builders, len(builders)))
        worker = await started(ground, programs, LEASE)
        await all_ended(report, backend, ground.size(120, 10))
        await judge_worker(report, worker)
        ending = [Ends.builder().with_data(what) for what in ENDS]
        builders = [*good(ground), *ending]
        ids += await enqueued(backend, chance.sample(builders, len(builders)))
        await supervise(report, ground, programs, backend, died)
        await judge(report, backend)
        report.enqueued = report.acknowledged = len(ids)
        lines = ground.lines()
        count_runs(report, lines, died)
        await count_jobs(report, backend, ids, lines)
    report.figures["workers_ended"] = len(died)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


def good(ground: Ground) -> list[JobBuilder[Any, Any, Any]]:
    """Return half of the good jobs: the neighbours."""
    return [Good.builder().with_data("good")] * ground.size(500, 100)


def raising(ground: Ground) -> list[JobBuilder[Any, Any, Any]]:
    """Return a job for everything that can be raised, in each place where it can be."""
    kinds: tuple[Kind, ...] = (Raises, RaisesInThread, RaisesInHooks, RaisesInTimeout)
    pairs: list[tuple[Kind, str]] = [(kind, what) for kind in kinds for what in RAISES]
    # A message of 100 MB takes a second wherever it is raised: once is enough.
    pairs = [(kind, what) for kind, what in pairs if what != "100 MB message" or kind is Raises]
    in_process = [*ENDS, *(RAISES if ground.is_full else IN_PROCESS)]
    pairs += [(RaisesInProcess, what) for what in in_process if what != "100 MB message"]
    return [kind.builder().with_data(what) for kind, what in pairs]


async def enqueued(backend: Backend, builders: Sequence[JobBuilder[Any, Any, Any]]) -> list[JobId]:
    """Enqueue them, and return their ids."""
    return [handle.id for handle in await enqueue_many(builders, backend=backend)]


async def started(ground: Ground, programs: Children, lease: float) -> Child:
    """Start a worker."""
    arguments = (ground.store, str(ground.history), str(lease))
    return await programs.start("-m", "tests.faults.programs.raising_worker", *arguments)


async def all_ended(report: Report, backend: Backend, seconds: float) -> None:
    """Wait until no job is left to be done; note those that do not end."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while any(not count.status.has_ended for count in await backend.count()):
        if loop.time() > ends:
            left = await backend.query(Where.status_in(*(one for one in JobStatus if not one.has_ended)))
            report.wrong += [f"{one.executor}: {one.data} does not end: {outcome_of(one)}" for one in left[:SHOWN]]
            return
        await asyncio.sleep(0.05)


async def supervise(
    report: Report, ground: Ground, programs: Children, backend: Backend, died: dict[int, float]
) -> None:
    """Start a worker whenever there is none, until no job is left."""
    loop = asyncio.get_running_loop()
    ended = asyncio.ensure_future(all_ended(report, backend, ground.size(60, 30)))
    while not ended.done():
        worker = await started(ground, programs, LEASE_OF_ENDED)
        exited = asyncio.ensure_future(worker.process.wait())
        await asyncio.wait((ended, exited), return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            died[worker.process.pid] = loop.time()
        else:
            await worker.end()
            await exited
    await ended


async def judge_worker(report: Report, worker: Child) -> None:
    """The worker has lived through all of it, and said nothing that nobody expected."""
    report.expect("the worker survives all that can be raised", worker.is_alive)
    status = await worker.end()
    report.expect(f"the worker ends with {status}, 0 expected", status == 0)
    said = worker.said()
    for word in ("never retrieved", "ERROR asyncio", "failed and will be retried", "could not renew"):
        report.expect(f"the worker's log holds {word!r}", word not in said)


async def judge(report: Report, backend: Backend) -> None:
    """Compare how each job has ended with what it did; make the table of outcomes."""
    outcomes: dict[str, Counter[str]] = {}
    mistaken = Counter[str]()
    good = lost = 0
    for record in await backend.query(Everything(), limit=1_000_000):
        what = "good" if record.executor == Good.name else f"{record.executor}: {record.data[1:-1]}"
        outcome = outcome_of(record)
        outcomes.setdefault(what, Counter())[outcome] += 1
        good += record.executor == Good.name
        if record.executor == Good.name and record.losses == LOSSES:
            lost += 1  # it ran beside one that ended its process, three times over
        elif not is_right(record):
            mistaken[f"{what}: {outcome}"] += 1
        if any(len(one.details) > LONGEST_TEXT for one in record.errors):
            mistaken[f"{what}: an error of more than {LONGEST_TEXT} characters"] += 1
    report.wrong += [f"{number} of {what}" for what, number in mistaken.most_common(SHOWN)]
    report.figures |= {"good": good, "good_lost_with_a_neighbour": lost}
    report.expect(f"{lost} of {good} good jobs were lost with a neighbour, a tenth at most expected", lost <= good / 10)
    report.figures["outcomes"] = {what: dict(found) for what, found in sorted(outcomes.items())}


def outcome_of(record: JobRecord) -> str:
    """Return how a job has ended, in a few words."""
    if not record.errors:
        return str(record.status)
    kinds = "+".join(f"{one.kind} {one.type_name}" for one in record.errors)
    return f"{record.status} after {record.attempt}: {kinds}"


def is_right(record: JobRecord) -> bool:
    """Whether it has ended as a job of its kind must."""
    what = record.data[1:-1]
    if record.executor == Good.name:
        return record.status is JobStatus.COMPLETE
    if record.executor == Ends.name:
        kinds = [one.kind for one in record.errors]
        return (record.status, record.losses, kinds) == (JobStatus.DISCARDED, LOSSES, ["lost"] * LOSSES)
    if record.executor == RaisesInProcess.name and what in ENDS:
        return (record.status, record.losses, record.errors[-1].type_name) == (JobStatus.DISCARDED, 0, "ProcessDied")
    if what == "no answer" and record.executor in (Raises.name, RaisesInThread.name, RaisesInProcess.name):
        return (record.status, record.attempt, record.errors) == (JobStatus.COMPLETE, 1, ())
    if record.executor == RaisesInHooks.name:
        allowed = ["ValueError"]
    elif record.executor == RaisesInTimeout.name and what in ("no answer", "StopIteration"):
        allowed = ["ConfigurationError", "StopIteration"]
    else:
        allowed = RAISES[what][1].split()
    attempts = Raises.max_attempts if record.executor in (Raises.name, RaisesInThread.name) else 1
    is_recorded = all(one.kind == "exception" and one.type_name in allowed for one in record.errors)
    counted = (record.status, record.attempt, len(record.errors))
    return is_recorded and counted == (JobStatus.DISCARDED, attempts, attempts)


SCENARIO = Scenario("S24", "jobs that raise everything, and end their process", ("Poison", "Attempts"), run)
