"""S29: settle, rescue, prune, cancel, rerun, update and query at once.

The clients ask about each refused outcome: no job may execute under its claim. Without that question they would hide a
wrong refusal: it would be one more late outcome, and the next `give_back` or rescue would free the row.
"""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress

from rexecutor import Backend, JobStateError, JobStatus, Replace, StaleJobError, UniquenessCriteria
from rexecutor.model.job import JobId, JobRecord, NewJob
from rexecutor.model.status import OPEN
from rexecutor.model.where import Everything, ExecutorIn, IdIn, StatusIn
from rexecutor.testing.suite.store import new_job
from tests.faults.child_processes import Child, Children, child_processes
from tests.faults.manual_sql import ManualSql
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at
from tests.faults.worker import Traced
from tests.faults.workers import REFUSED

CLIENTS = 8
TRACED = Traced.name
PATIENCE = 15
"""Seconds until a job must have ended: less than a lease, so that no other node can have given it on."""
HOW = ("cancel", "update", "replace")
FEW = 30
"""So few may all be changed in the same way. If jobs are found by polling alone, few are met while they run."""
TIMES = {
    JobStatus.COMPLETE: "completed_at",
    JobStatus.CANCELLED: "cancelled_at",
    JobStatus.DISCARDED: "discarded_at",
}


async def run(ground: Ground) -> Report:
    """Let eight clients in some processes do all of it at once; compare what they remember with what is stored."""
    processes, seconds = ground.size(4, 2), ground.size(600, 3)
    report = Report(figures={})
    deadlocks = count_deadlocks(ground.store)
    async with child_processes(ground.folder) as programs:
        arguments = (ground.store, str(ground.history), str(seconds))
        rivals = [
            await programs.start(
                *("-m", "tests.faults.programs.rivals", *arguments, str(ground.seed + place), str(CLIENTS // processes))
            )
            for place in range(processes)
        ]
        done = sum([await what_it_did(report, rival, seconds) for rival in rivals], Counter[str]())
        await change_at_the_end(report, ground, programs)
    note(report, ground, done)
    report.figures["deadlocks"] = count_deadlocks(ground.store) - deadlocks
    report.expect(f"{report.figures['deadlocks']} deadlocks", report.figures["deadlocks"] == 0)
    async with backend_at(ground.store) as backend:
        await check_rows(report, ground, backend)
    return report


async def what_it_did(report: Report, rival: Child, seconds: float) -> Counter[str]:
    """Return how often a process did what, once it has ended."""
    async with asyncio.timeout(seconds + 60):
        status = await rival.process.wait()
    report.expect(f"a process of clients ends with {status}: {rival.said()[-300:]}", status == 0)
    return Counter(json.loads(rival.said().splitlines()[-1]) if status == 0 else {})


def note(report: Report, ground: Ground, done: Counter[str]) -> None:
    """Put what they did into the report; each claim must be had once and settled once."""
    lines = ground.lines()
    claims = Counter((line.job_id, line.claims) for line in lines if line.what == "claim")
    settled = Counter((line.job_id, line.claims) for line in lines if line.what == "settled")
    sent = {(line.job_id, line.claims): line.at for line in lines if line.what == "sent"}
    latest: dict[JobId, tuple[int, float]] = {}
    for line in lines:
        if line.what == "claim" and line.claims > latest.get(line.job_id, (0, 0.0))[0]:
            latest[line.job_id] = (line.claims, line.at)
    late = [one for one in settled if one[1] < latest[one[0]][0] and sent[one] > latest[one[0]][1]]
    report.expect(f"{len(late)} outcomes were sent and recorded after another had the job", not late)
    report.executed = len(claims)
    report.duplicate_starts = sum(claims.values()) - len(claims)
    wrongly = done.pop("refused while ours", 0)
    report.expect(f"{wrongly} outcomes were refused while the job ran under their claim", wrongly == 0)
    report.late_outcomes = done.pop("refused: late outcome", 0)
    report.recovered = done["rescued"]
    errors = {what.partition(": ")[2]: number for what, number in done.items() if what.startswith("error: ")}
    report.figures |= {
        "acts": {what: number for what, number in sorted(done.items()) if not what.startswith("error: ")},
        "outcomes": sum(settled.values()),
        "claims_with_two_outcomes": sum(number > 1 for number in settled.values()),
        "serialization_failures": sum(number for what, number in errors.items() if "SerializationFailure" in what),
    }
    report.wrong += [f"{number} times {what}" for what, number in errors.items()]
    report.expect("no claim has two outcomes", report.figures["claims_with_two_outcomes"] == 0)
    report.expect("outcomes are those of claims", settled.keys() <= claims.keys())
    for what in ("claim", "settle", "cancel", "rerun", "update", "release_claims", "rescued", "pruned", "contend"):
        report.expect(f"none of it was ever done: {what}", done[what] > 0)
    report.expect_no("duplicate_starts")


async def change_at_the_end(report: Report, ground: Ground, programs: Children) -> None:
    """Cancel, update and replace jobs of a few milliseconds at about the time when a worker records their ends."""
    chance = random.Random(ground.seed)
    number = ground.size(20_000, 400)
    worker = await programs.start("-m", "tests.faults.worker", ground.store, str(ground.folder / "runs"))
    done = Counter[str]()
    async with backend_at(ground.store) as backend:
        await backend.enqueue([traced("first")])
        await until_ended(backend)
        async with asyncio.TaskGroup() as changes:
            for name in range(number):
                changes.create_task(enqueue_and_change(backend, str(name), chance, done))
                await asyncio.sleep(0.004)
        left = await until_ended(backend)
    report.expect(f"{left} jobs have not ended after {PATIENCE} s, and their worker is alive", left == 0)
    await worker.end()
    words = worker.said()
    refused = words.count(REFUSED) + words.count("the store refused outcomes")
    report.figures |= {"changed_at_their_end": done.total()}
    report.expect(f"{refused} outcomes of a worker were refused: {words[-300:]}", refused == 0)
    fewest = min(done[how] for how in HOW) if done.total() > FEW else done.total()
    report.expect(f"nothing was changed at its end: {done}", fewest > 0)


def traced(key: str, priority: int = 0) -> NewJob:
    """Return a job of up to 6 ms. A second one with its key replaces its priority, also while it runs."""
    unique = UniquenessCriteria.by_key(key).on_conflict(Replace.priority().for_statuses(JobStatus.EXECUTING))
    return new_job(TRACED, data='"6"', priority=priority, unique=unique)


async def enqueue_and_change(backend: Backend, key: str, chance: random.Random, done: Counter[str]) -> None:
    """Enqueue a job and change it within 20 ms; count it if it ran by then."""
    how = chance.choice(HOW)
    [new] = await backend.enqueue([traced(key)])
    await asyncio.sleep(chance.uniform(0, 0.02))
    [job] = await backend.query(IdIn(frozenset({new.id})))
    if job.status is not JobStatus.EXECUTING:
        return
    with suppress(JobStateError, StaleJobError):
        match how:
            case "cancel":
                await backend.cancel(job.id, "enough")
            case "update":
                await backend.update(job.id, traced(key, 7), version=job.version)
            case _:
                await backend.enqueue([traced(key, 7)])
        done[how] += 1


async def until_ended(backend: Backend) -> int:
    """Wait until all jobs of the worker have ended, but not for ever, and return how many have not."""
    ends = asyncio.get_running_loop().time() + PATIENCE
    while left := len(await backend.query(ExecutorIn(frozenset({TRACED})) & StatusIn(OPEN))):
        if asyncio.get_running_loop().time() > ends:
            break
        await asyncio.sleep(0.02)
    return left


async def check_rows(report: Report, ground: Ground, backend: Backend) -> None:
    """No row may contradict itself, or what the clients remember of it."""
    claims: dict[JobId, int] = {}
    for line in ground.lines():
        claims[line.job_id] = max(claims.get(line.job_id, 0), line.claims)
    found = Counter[str]()
    after: JobId | None = None
    while page := await backend.query(Everything(), limit=10_000, after=after):
        after = page[-1].id
        for record in page:
            found["rows"] += 1
            found.update(contradictions(record))
            found["fewer claims than were had"] += record.claims < claims.get(record.id, 0)
    report.figures["rows_at_the_end"] = found.pop("rows", 0)
    report.wrong += [f"{number} rows: {what}" for what, number in found.items() if number]


def contradictions(record: JobRecord) -> list[str]:
    """Return what is impossible in a row."""
    found = [
        f"{record.status} and {field} is {'not ' * is_so}set"
        for status, field in TIMES.items()
        if (getattr(record, field) is not None) != (is_so := record.status is status)
    ]
    if (record.node is not None) != (record.status is JobStatus.EXECUTING):
        found.append("a node and not executing, or the other way")
    if not 0 <= record.attempt <= record.max_attempts:
        found.append("attempt beyond max_attempts")
    if record.attempt > record.claims:
        found.append("more attempts than claims")
    if record.cancel_reason is not None and record.status is not JobStatus.EXECUTING:
        found.append("a cancel that nobody is told of")
    return found + (["cannot be read"] if record.defect else [])


def count_deadlocks(store: str) -> int:
    """Return how many the server has ever had. SQLite has none."""
    with ManualSql(store) as manual_sql:
        if not manual_sql.is_postgres:
            return 0
        return manual_sql.run("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


SCENARIO = Scenario("S29", "everything at once by eight clients", ("Start", "Schema", "Pruning", "Cancel"), run)
