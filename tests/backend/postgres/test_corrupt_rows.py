"""PostgreSQL's rows that somebody has corrupted: they fail no query, no claim and no settlement of the others."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString, cast

import psycopg
import pytest
from msgspec.structs import replace

from rexecutor import Executor, Job, JobStatus, PostgresBackend, Replace, Rexecutor, UniquenessCriteria
from rexecutor.backend.messages import Claim, Demand, Node
from rexecutor.backend.postgres.rows import changed_row
from rexecutor.model.job import ErrorKind, JobError, JobId, NodeId
from rexecutor.model.outcomes import CancelAsked, Complete, Failed, FieldUpdate, Rerun, Settlement, Snooze
from rexecutor.model.stats import HOUR, OutcomeKind, StatRow
from rexecutor.model.where import Everything
from rexecutor.testing.suite.store import ALPHA, NODE, new_job
from tests.postgres import postgres_backend, run_postgres, server_url
from tests.support import record_of, soon, status_of, until

KEY = UniquenessCriteria.by_key("order 7")
FAILED = Failed(JobError(1, ErrorKind.DECODE, "DecodeError", "corrupt", datetime(2026, 1, 1, tzinfo=UTC)), timedelta(0))
MOST = 2**63 - 1

MOMENTS = ("infinity", "-infinity", "4000-01-01 BC", "20000-01-01")
"""What PostgreSQL holds and Python does not."""

UNCLAIMABLE = {f"inserted at {moment}": f"inserted_at = '{moment}'" for moment in MOMENTS}
"""What the schema's own constraints let in, and the claim of a job must return."""

UNREADABLE = {
    **UNCLAIMABLE,
    **{f"attempted at {moment}": f"attempted_at = '{moment}'" for moment in MOMENTS},
    **{f"complete at {moment}": f"completed_at = '{moment}', status = 'complete'" for moment in MOMENTS},
}
"""What the schema's own constraints let in."""

UNCONSTRAINED = {
    "no tags": "tags = NULL",
    "no tag": "tags = '{NULL}'",
    "lists of tags": "tags = '{{a},{b}}'",
    "no moment of its insertion": "inserted_at = NULL",
    "no moment to run at": "scheduled_at = NULL",
    "a moment to run at that never comes": "scheduled_at = 'infinity'",
    "an unknown status": "status = 'sleeping'",
    "an expiry that never comes": "expires_at = 'infinity'",
    "an expiry before all calendars": "expires_at = '4000-01-01 BC'",
    "errors of nonsense": "errors = '[1, null]'",
}
"""What only comes in if somebody has dropped them."""


class Counting(Executor[int]):
    name = "counting"

    async def execute(self, job: Job[int]) -> None: ...


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[PostgresBackend]:
    async with postgres_backend(tmp_path) as made:
        yield made


def corrupt(backend: PostgresBackend, job_id: JobId, change: str, table: str = "stored_jobs") -> None:
    run_postgres(f'UPDATE "{backend.schema}".{table} SET {change} WHERE id = {job_id}')


def drop_constraints(backend: PostgresBackend) -> None:
    table = f'"{backend.schema}".stored_jobs'
    run_postgres(
        f"""DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = '{table}'::regclass LOOP
                EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', name);
            END LOOP;
        END $$""",
        *(
            f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
            for column in ("tags", "inserted_at", "scheduled_at", "attempt", "errors", "revision")
        ),
    )


def heartbeat(backend: PostgresBackend, node_id: NodeId = NODE) -> None:
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node(node_id, node_id, timedelta(seconds=30)))
    heartbeats.close()


async def claim(backend: PostgresBackend) -> Claim:
    heartbeat(backend)
    return await backend.claim(Demand({ALPHA: 10}, 10), NODE)


async def is_discarded(backend: PostgresBackend, job_id: JobId) -> bool:
    return await status_of(backend, job_id) is JobStatus.DISCARDED


async def enqueued(backend: PostgresBackend) -> list[JobId]:
    return [answer.id for answer in await backend.enqueue([new_job(tags=("t",), unique=KEY), new_job(), new_job()])]


def defective(claimed: Claim) -> dict[JobId, bool]:
    return {job.id: job.defect is not None for job in claimed.jobs}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_row_of_a_moment_beyond_python_s_is_answered_with_its_defect(
    backend: PostgresBackend, change: str
) -> None:
    first, *others = await enqueued(backend)
    corrupt(backend, first, change)

    records = {record.id: record for record in await backend.query(Everything())}

    assert "not a moment that Python can hold" in str(records[first].defect)
    assert (records[first].executor, records[first].tags) == (ALPHA, ("t",))
    assert [records[other].defect for other in others] == [None, None]


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_row_of_a_moment_beyond_python_s_fails_no_synchronous_query(
    backend: PostgresBackend, change: str
) -> None:
    first, *_ = await enqueued(backend)
    corrupt(backend, first, change)
    expected = list(await backend.query(Everything()))

    with psycopg.connect(server_url()) as connection:
        assert list(backend.bound_to(connection).query_sync(Everything())) == expected
    async with await psycopg.AsyncConnection.connect(server_url()) as awaited:
        assert list(await backend.bound_to(awaited).query(Everything())) == expected
    assert list(backend.query_sync(Everything())) == expected
    backend._sync.close()


@pytest.mark.parametrize("change", UNCONSTRAINED.values(), ids=UNCONSTRAINED)
async def test_a_row_that_no_constraint_would_let_in_is_answered_with_its_defect(
    backend: PostgresBackend, change: str
) -> None:
    first, *others = await enqueued(backend)
    drop_constraints(backend)
    corrupt(backend, first, change)

    records = {record.id: record for record in await backend.query(Everything())}
    counted = sum(count.jobs for count in await backend.count())
    await backend.cancel(first, "enough")
    after = await status_of(backend, first)

    assert "cannot be read" in str(records[first].defect)
    assert [records[other].defect for other in others] == [None, None]
    assert counted == (2 if "sleeping" in change else 3)
    assert after is (JobStatus.DISCARDED if "sleeping" in change else JobStatus.CANCELLED)


@pytest.mark.parametrize("change", UNCLAIMABLE.values(), ids=UNCLAIMABLE)
async def test_a_row_that_cannot_be_read_is_claimed_and_settled_as_the_others_are(
    backend: PostgresBackend, change: str
) -> None:
    first, *others = await enqueued(backend)
    corrupt(backend, first, f"max_attempts = 1, {change}")

    claimed = await claim(backend)
    refused = await backend.settle(
        [Settlement(job.id, job.claims, FAILED if job.defect else Complete()) for job in claimed.jobs]
    )

    assert defective(claimed) == {first: True, others[0]: False, others[1]: False}
    assert list(refused) == []
    assert await status_of(backend, first) is JobStatus.DISCARDED
    assert {await status_of(backend, other) for other in others} == {JobStatus.COMPLETE}


@pytest.mark.parametrize("change", ["tags = NULL", "inserted_at = NULL", "tags = '{NULL}'", "expires_at = 'infinity'"])
async def test_a_row_without_what_every_row_has_fails_no_claim(backend: PostgresBackend, change: str) -> None:
    first, *others = await enqueued(backend)
    drop_constraints(backend)
    corrupt(backend, first, change)

    assert defective(await claim(backend)) == {first: True, others[0]: False, others[1]: False}


@pytest.mark.parametrize(
    "change",
    [
        f"revision = {MOST}, claims = {MOST}",
        "errors = '7'",
        "errors = NULL",
        "revision = NULL",
        "tags = NULL",
        "inserted_at = 'infinity'",
        "expires_at = '-infinity'",
        "status = 'sleeping'",
    ],
)
async def test_a_corrupt_row_that_has_expired_fails_no_heartbeat(backend: PostgresBackend, change: str) -> None:
    first, *others = [answer.id for answer in await backend.enqueue([replace(new_job(), expires_in=timedelta(0))] * 3)]
    drop_constraints(backend)
    corrupt(backend, first, change)

    heartbeat(backend)

    assert {await status_of(backend, job_id) for job_id in (first, *others)} == {JobStatus.CANCELLED}


GIVEN_BACK = {
    **UNCLAIMABLE,
    "revision at its top": f"revision = {MOST}",
    "an attempt that never began": "attempt = 0",
    "an attempt before all attempts": "attempt = -1",
    "a claim before all claims": "claims = -5",
}


@pytest.mark.parametrize("change", GIVEN_BACK.values(), ids=GIVEN_BACK)
async def test_a_corrupt_row_is_given_back_and_so_are_the_others(backend: PostgresBackend, change: str) -> None:
    ids = await enqueued(backend)
    await claim(backend)
    corrupt(backend, ids[0], change, "running" if change.startswith(("attempt", "claims")) else "stored_jobs")

    assert await backend.release_claims(NODE, ()) == 3
    assert {await status_of(backend, job_id) for job_id in ids} == {JobStatus.SCHEDULED}


@pytest.mark.parametrize("change", ["snoozes = 2147483647", f"revision = {MOST}", "attempt = 0"])
async def test_a_number_at_its_end_fails_no_settlement(backend: PostgresBackend, change: str) -> None:
    ids = await enqueued(backend)
    claimed = await claim(backend)
    corrupt(backend, ids[0], change, "running" if change == "attempt = 0" else "stored_jobs")

    refused = await backend.settle([Settlement(*job.claim_id, Snooze(timedelta(hours=1))) for job in claimed.jobs])

    assert list(refused) == []
    assert {await status_of(backend, job_id) for job_id in ids} == {JobStatus.SCHEDULED}


@pytest.mark.parametrize("change", ["attempt = -1", "attempt = 0"])
async def test_an_attempt_out_of_its_bounds_fails_no_success(backend: PostgresBackend, change: str) -> None:
    ids = await enqueued(backend)
    claimed = await claim(backend)
    corrupt(backend, ids[0], change, "running")

    refused = await backend.settle([Settlement(*job.claim_id, Complete()) for job in claimed.jobs])

    assert list(refused) == []
    assert {await status_of(backend, job_id) for job_id in ids} == {JobStatus.COMPLETE}


@pytest.mark.parametrize(
    "change", ["attempt = -1", "attempt = 2147483647", "claims = -5", f"claims = {MOST}", "attempted_at = 'infinity'"]
)
async def test_a_corrupt_row_of_what_runs_fails_no_heartbeat_that_rescues_it(
    backend: PostgresBackend, change: str
) -> None:
    ids = await enqueued(backend)
    await claim(backend)
    corrupt(backend, ids[0], change, "running")
    run_postgres(f"DELETE FROM {backend.schema}.nodes")

    heartbeat(backend, "other")

    discarded = JobStatus.DISCARDED if "attempt = 2" in change else JobStatus.RETRYABLE
    assert [await status_of(backend, job_id) for job_id in ids] == [discarded, JobStatus.RETRYABLE, JobStatus.RETRYABLE]


async def test_a_row_that_somebody_is_changing_by_hand_holds_up_no_heartbeat(backend: PostgresBackend) -> None:
    expired, lost, other = await enqueued(backend)
    await claim_and_die(backend, expired)

    async with await psycopg.AsyncConnection.connect(server_url()) as by_hand:
        change = f'UPDATE "{backend.schema}".stored_jobs SET priority = 7 WHERE id <> {other}'
        await by_hand.execute(cast("LiteralString", change))
        await soon(asyncio.to_thread(heartbeat, backend, "other"), 5)
        assert [await status_of(backend, job_id) for job_id in (expired, lost, other)] == [
            JobStatus.SCHEDULED,
            JobStatus.EXECUTING,
            JobStatus.RETRYABLE,
        ]
    heartbeat(backend, "other")

    assert [await status_of(backend, job_id) for job_id in (expired, lost)] == [
        JobStatus.CANCELLED,
        JobStatus.RETRYABLE,
    ]


async def test_runs_of_jobs_that_somebody_has_deleted_are_forgotten(backend: PostgresBackend) -> None:
    expired, lost, _ = await enqueued(backend)
    await claim_and_die(backend, expired)
    run_postgres(f"DELETE FROM {backend.schema}.stored_jobs WHERE id IN ({expired}, {lost})")

    heartbeat(backend, "other")

    assert run_postgres(f"SELECT id FROM {backend.schema}.queue WHERE id = {expired}") == []
    assert run_postgres(f"SELECT id FROM {backend.schema}.running") == []
    assert run_postgres(f"SELECT id FROM {backend.schema}.nodes") == [("other",)]


async def claim_and_die(backend: PostgresBackend, expired: JobId) -> None:
    """Have a node claim all jobs but this, and lose its lease. Then this job is one that has expired."""
    corrupt(backend, expired, "due = false, scheduled_at = now() + interval '1 h'", "queue")
    assert expired not in {job.id for job in (await claim(backend)).jobs}
    run_postgres(f"UPDATE {backend.schema}.nodes SET lease_until = now() - interval '1 s'")
    for table in ("stored_jobs", "queue"):
        corrupt(backend, expired, "expires_at = now() - interval '1 s'", table)


@pytest.mark.parametrize("change", [*UNREADABLE.values(), *UNCONSTRAINED.values()], ids=[*UNREADABLE, *UNCONSTRAINED])
async def test_a_corrupt_row_fails_no_change_of_many(backend: PostgresBackend, change: str) -> None:
    ids = await enqueued(backend)
    drop_constraints(backend)
    corrupt(backend, ids[0], change)

    for job_change in (FieldUpdate(priority=1), CancelAsked("enough"), Rerun(), FieldUpdate(tags=())):
        statuses = await backend.apply_many(ids, job_change)
        assert statuses.keys() >= set(ids[1:])
    assert [await status_of(backend, job_id) for job_id in ids[1:]] == [JobStatus.SCHEDULED] * 2


@pytest.mark.parametrize("change", [FieldUpdate(), CancelAsked("enough")], ids=repr)
async def test_a_revision_at_its_top_fails_no_change_of_many(
    backend: PostgresBackend, change: FieldUpdate | CancelAsked
) -> None:
    heartbeat(backend)
    waiting = await enqueued(backend)
    running = [job.id for job in (await claim(backend)).jobs][:1]
    waiting += [answer.id for answer in await backend.enqueue([new_job()])]
    for job_id in (*running, waiting[-1]):
        corrupt(backend, job_id, f"revision = {MOST}")

    assert set(await backend.apply_many([*running, waiting[-1]], change)) == {*running, waiting[-1]}


async def test_a_revision_at_its_top_fails_no_rerun(backend: PostgresBackend) -> None:
    first, *_ = await enqueued(backend)
    await backend.cancel(first, "enough")
    corrupt(backend, first, f"revision = {MOST}")

    await backend.rerun(first)

    assert await status_of(backend, first) is JobStatus.SCHEDULED
    assert (await record_of(backend, first)).revision == MOST


@pytest.mark.parametrize(
    "action", [None, Replace.priority(), Replace.scheduled_at()], ids=["reported", "replaced priority", "replaced time"]
)
@pytest.mark.parametrize("change", UNCLAIMABLE.values(), ids=UNCLAIMABLE)
async def test_a_corrupt_row_fails_no_enqueue_that_it_stands_in_the_way_of(
    backend: PostgresBackend, change: str, action: Replace | None
) -> None:
    first, *_ = await enqueued(backend)
    corrupt(backend, first, change)

    [answer] = await backend.enqueue([new_job(unique=KEY if action is None else KEY.on_conflict(action), priority=7)])

    assert answer.id == first


async def test_a_worker_discards_the_corrupt_job_after_its_attempts_and_runs_the_others(
    backend: PostgresBackend,
) -> None:
    handles = [
        await Counting.builder().with_data(number).with_max_attempts(1).enqueue(backend=backend) for number in range(3)
    ]
    corrupt(backend, handles[0].id, "inserted_at = 'infinity'")

    async with Rexecutor(backend).with_executor(Counting):
        ended = [(await soon(handle.wait())).status for handle in handles[1:]]
        await until(lambda: is_discarded(backend, handles[0].id))
        damaged = await record_of(backend, handles[0].id)

    assert ended == [JobStatus.COMPLETE, JobStatus.COMPLETE]
    assert (damaged.attempt, damaged.errors[-1].kind) == (1, ErrorKind.DECODE)


async def test_what_is_written_back_of_a_corrupt_row_is_within_what_the_columns_hold(backend: PostgresBackend) -> None:
    first, *_ = await enqueued(backend)
    drop_constraints(backend)
    corrupt(backend, first, f"attempt = NULL, losses = -1, snoozes = 2147483647, revision = {MOST}")

    row = changed_row(await record_of(backend, first))

    assert (row["attempt"], row["losses"], row["snoozes"], row["revision"]) == (0, 0, 2**31 - 1, MOST)


CORRUPT_STATS = {
    "no counts": "waits = '{}'",
    "counts that are NULL": "waits = array_fill(NULL::bigint, ARRAY[20])",
    "lists of counts": "runs = '{{1, 2}, {3, 4}}'",
    "too few counts": "runs = '{1, 2}'",
    "negative counts": "waits[1] = -1",
    "counts beyond all counting": f"runs[1] = {MOST}, attempts = {MOST}",
    "an unknown outcome": "outcome = 'asleep'",
    "an unknown span": "minutes = 7",
    **{f"the moment {moment}": f"moment = '{moment}'" for moment in MOMENTS},
}


@pytest.mark.parametrize("change", CORRUPT_STATS.values(), ids=CORRUPT_STATS)
async def test_a_corrupt_row_of_the_history_fails_neither_additions_nor_reads_nor_folding(
    backend: PostgresBackend, change: str
) -> None:
    counts = (1, *[0] * 19)
    moment = backend.clock.now().replace(second=0, microsecond=0) - timedelta(days=3)
    sound, other = [StatRow(moment, name, OutcomeKind.COMPLETE, 1, counts, counts) for name in ("sound", "other")]
    await backend.add_stats([sound, other])
    run_postgres(f"UPDATE \"{backend.schema}\".stats SET {change} WHERE executor = 'other'")

    await backend.add_stats([sound, other])
    found = await backend.stats(moment - timedelta(days=999))
    while await backend.fold_stats(1_000):
        pass
    folded = await backend.stats(moment - timedelta(days=999))

    assert [row.attempts for row in found if row.executor == "sound"] == [2]
    assert [(row.span, row.attempts) for row in folded if row.executor == "sound"] == [(HOUR, 2)]
