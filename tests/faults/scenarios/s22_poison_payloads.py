"""S22: poison payloads, through the API and by hand."""

import asyncio
import random
from collections import Counter
from typing import Any

from rexecutor import Backend, InvalidJobError, JobHandle, enqueue_many
from rexecutor.model.job import JobId
from rexecutor.model.where import Everything
from tests.faults.child_processes import Child, child_processes
from tests.faults.manual_sql import ManualSql, Refused
from tests.faults.poison import STORED_BAD, STORED_GOOD, Make, given, kept
from tests.faults.programs.typed_worker import Text
from tests.faults.scenario import Ground, Report, Scenario, count_jobs
from tests.faults.stores import backend_at

ATTEMPTS = 2
LONGEST_MESSAGE = 1_000
LONGEST_DELAY = 5.0


async def run(ground: Ground) -> Report:
    """Give the API what it must refuse; then put into the store what it refused, among good jobs."""
    report = Report(enqueued=0, acknowledged=0, figures={})
    chance = random.Random(ground.seed)
    async with child_processes(ground.folder) as programs, backend_at(ground.store) as backend:
        for _ in range(ground.size(20, 1)):
            await offer(report, backend, chance)
        report.expect("what was refused has left nothing behind", await count_stored(backend) == 0)
        worker = await programs.start("-m", "tests.faults.programs.typed_worker", ground.store, str(ground.history))
        await worker.says("up")
        await keep(report, backend, chance)
        await plant(report, ground, backend, worker)
    report.wrong = list(dict.fromkeys(report.wrong))
    return report


async def offer(report: Report, backend: Backend, chance: random.Random) -> None:
    """Enqueue each poison alone and in a batch of good jobs; note whatever is not refused clearly."""
    answers = Counter[str]()
    for label, make in given(chance).items():
        for is_batch in (False, True):
            answer = await answered(make, backend, is_batch=is_batch)
            answers[answer] += 1
            report.expect(f"{label}, {'in a batch' if is_batch else 'alone'}: {answer}", answer == "refused")
            report.enqueued = (report.enqueued or 0) + 1
    for answer, number in answers.items():
        name = f"api_{answer.partition(':')[0]}"
        report.figures[name] = report.figures.get(name, 0) + number


async def answered(make: Make, backend: Backend, *, is_batch: bool) -> str:
    """Return what becomes of a job that no store may hold."""
    good = Text.builder().with_data("good")
    try:
        builder = make()
        await enqueue_many([good, builder, good] if is_batch else [builder], backend=backend)
    except InvalidJobError as error:
        return "refused" if 0 < len(str(error)) <= LONGEST_MESSAGE else f"unclear: a message of {len(str(error)):,}"
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        return f"unclear: {type(error).__name__}: {str(error)[:100]}"
    return "accepted"


async def keep(report: Report, backend: Backend, chance: random.Random) -> None:
    """Enqueue what may be refused; what is not must come back as it was."""
    handles: dict[str, JobHandle[Any, Any, Any]] = {}
    builders = kept(chance)
    for label, builder in builders.items():
        try:
            handles[label] = await builder.enqueue(backend=backend)
        except InvalidJobError:
            report.figures["api_refused"] += 1
    report.figures["api_kept"] = len(handles)
    jobs = await asyncio.gather(*(handle.wait() for handle in handles.values()))
    for label, job in zip(handles, jobs, strict=True):
        report.expect(f"{label} comes back as it was", job.data == builders[label].data)


async def plant(report: Report, ground: Ground, backend: Backend, worker: Child) -> None:
    """Write poison into the table, with good jobs before, between and after; wait until all have ended."""
    rounds = ground.size(20, 1)
    good: dict[JobId, float] = {}
    bad: dict[JobId, str] = {}
    odd: dict[JobId, str] = {}
    refused = Counter[str]()
    loop = asyncio.get_running_loop()
    with ManualSql(ground.store) as manual_sql:
        for number in range(rounds):
            for kind, entries in ((bad, STORED_BAD), (odd, STORED_GOOD)):
                for label, executor, data in entries:
                    if number > 1 and label.startswith("10 MB"):  # of these a few are enough for any disk
                        continue
                    begun = loop.time()
                    good[(await Text.builder().with_data("good").enqueue(backend=backend)).id] = begun
                    try:
                        kind[manual_sql.put(executor, data, max_attempts=ATTEMPTS)] = f"{executor}: {label}"
                    except Refused:
                        refused[label] += 1
            try:
                kind_of_metadata = manual_sql.put("text", '"good"', max_attempts=ATTEMPTS, metadata='{"a": 7}')
                bad[kind_of_metadata] = "text: metadata where none belongs"
            except Refused:
                refused["metadata"] += 1
        await ended(manual_sql, [*good, *bad, *odd])
        judge(report, manual_sql, bad, "discarded")
        judge(report, manual_sql, odd, "complete")
        judge(report, manual_sql, dict.fromkeys(good, "a good job"), "complete")
    delays = [line.at - good[line.job_id] for line in ground.lines() if line.what == "start" and line.job_id in good]
    report.executed, report.acknowledged = len(delays), len(good)
    await count_jobs(report, backend, good, ground.lines())
    report.figures |= {
        "stored_bad": len(bad),
        "stored_refused_by_the_store": sum(refused.values()),
        "stored_odd_and_complete": len(odd),
        "neighbours_delay_max_s": round(max(delays, default=0.0), 3),
    }
    report.expect_no("lost", "unexpected")
    report.expect("neighbours go on", len(delays) == len(good) and max(delays) <= LONGEST_DELAY)
    await leave(report, worker)


async def ended(manual_sql: ManualSql, ids: list[JobId]) -> None:
    """Wait until all of them have, with no pause between attempts."""
    async with asyncio.timeout(60):
        while any(
            status in ("scheduled", "executing", "retryable") for status, _, _ in manual_sql.statuses(ids).values()
        ):
            manual_sql.make_retries_due()
            await asyncio.sleep(0.05)


def judge(report: Report, manual_sql: ManualSql, jobs: dict[JobId, str], expected: str) -> None:
    """Note which of the jobs have not ended as expected."""
    for job_id, (status, attempt, kind) in manual_sql.statuses(list(jobs)).items():
        is_right = status == expected
        if expected == "discarded":
            is_right = is_right and (attempt, kind) == (ATTEMPTS, "decode")
        report.expect(f"{jobs[job_id]}: {status}, attempt {attempt}, {kind}; {expected} expected", is_right)


async def leave(report: Report, worker: Child) -> None:
    """The worker must be alive, end when it is told to, and have said nothing that nobody expected."""
    report.expect("the worker is alive", worker.is_alive)
    status = await worker.end()
    report.expect(f"the worker ends with {status}, 0 expected", status == 0)
    for word in ("never retrieved", "Traceback", "failed and will be retried"):
        report.expect(f"the worker's log holds {word!r}", word not in worker.said())


async def count_stored(backend: Backend) -> int:
    """Return how many jobs there are, at most a thousand."""
    return len(await backend.query(Everything(), limit=1_000))


SCENARIO = Scenario("S22", "poison payloads, by the API and by hand", ("Limits", "Accepted"), run)
