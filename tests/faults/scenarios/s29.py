"""S29: settle, rescue, prune, cancel, rerun, update and query at once."""

import asyncio
import json
from collections import Counter

from rexecutor import Backend, JobStatus
from rexecutor.job import JobId, JobRecord
from rexecutor.where import Everything
from tests.faults.by_hand import Hand
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at
from tests.faults.witnessed import Child, witnessed

CLIENTS = 8
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
    async with witnessed(ground.folder) as programs:
        arguments = (ground.store, str(ground.history), str(seconds))
        rivals = [
            await programs.start(
                *("-m", "tests.faults.programs.rivals", *arguments, str(ground.seed + place), str(CLIENTS // processes))
            )
            for place in range(processes)
        ]
        done = sum([await what_it_did(report, rival, seconds) for rival in rivals], Counter[str]())
    note(report, ground, done)
    report.figures["deadlocks"] = count_deadlocks(ground.store) - deadlocks
    report.expect(f"{report.figures['deadlocks']} deadlocks", report.figures["deadlocks"] == 0)
    async with backend_at(ground.store) as backend:
        await check_rows(report, ground, backend)
    return report


async def what_it_did(report: Report, rival: Child, seconds: float) -> Counter[str]:
    """Answer how often a process did what, once it has ended."""
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
    for what in ("claim", "settle", "cancel", "rerun", "update", "give_back", "rescued", "pruned"):
        report.expect(f"none of it was ever done: {what}", done[what] > 0)
    report.expect_no("duplicate_starts")


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
    """Answer what of a row cannot be."""
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
    """Answer how many the server has ever had; SQLite has none."""
    with Hand(store) as hand:
        if not hand.is_postgres:
            return 0
        return hand.run("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


SCENARIO = Scenario("S29", "everything at once by eight clients", ("Start", "Schema", "Pruning", "Cancel"), run)
