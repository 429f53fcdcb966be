"""SQLite's rows that somebody has corrupted: they fail no query, no enqueue and no prune of the others."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import JobStatus, Replace, SQLiteBackend, UniquenessCriteria, Where
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete, FieldUpdate, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.stats import HOUR, OutcomeKind, StatRow
from rexecutor.model.where import Everything, ExecutorIn, KeyIs
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import ALPHA, NODE, new_job
from tests.sqlite_rows import change_job, misplaced
from tests.support import record_of

KEY = UniquenessCriteria.by_key("order 7")

CORRUPT = {
    "data that is no JSON": "data = '{'",
    "data that is no UTF-8": "data = CAST(x'22ff22' AS TEXT)",
    "data with a number beyond all numbers": "data = '1e9999999999999999999'",
    "data nested too deeply": f"data = '{'[' * 5_000}'",
    "metadata that is no UTF-8": "metadata = CAST(x'ff' AS TEXT)",
    "metadata that is no JSON": "metadata = 'nope'",
    "tags that are no JSON": "tags = '{{{'",
    "tags that are no list": "tags = '7'",
    "tags that are no UTF-8": "tags = CAST(x'5b22ff225d' AS TEXT)",
    "errors of nonsense": "errors = '[1, null]'",
    "a moment beyond all calendars": "scheduled_at = 9000000000000000000",
    "an expiry beyond all calendars": "expires_at = -9000000000000000000",
    "a result that is no UTF-8": "result = CAST(x'22ff22' AS TEXT)",
    "a result that is no JSON": "result = '{'",
    "an executor that is no UTF-8": "executor = CAST(x'ff' AS TEXT)",
    "a key that is no UTF-8": "unique_key = CAST(x'ff' AS TEXT)",
    "a revision beyond all counting": "revision = 9223372036854775807",
    "an unknown status": "status = 'sleeping'",
}

WHERES = (
    Everything(),
    Where.data_equals(1),
    Where.data_equals(None),
    Where.metadata_equals(None),
    Where.data_at("a.b", 1),
    Where.data_at("0", None),
    Where.error_equals("ValueError"),
    Where.last_error_equals("ValueError"),
    Where.inserted_at_older_than(timedelta(0)),
    Where.tagged_by_one_of("t"),
    Where.tagged_by_all_of("t"),
    Where.scheduled_at_older_than(timedelta(0)),
    Where.status_in(JobStatus.SCHEDULED),
    ExecutorIn(frozenset({"alpha"})),
    KeyIs(KEY.key or ""),
)


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db") as made:
        yield made


async def corrupt(backend: SQLiteBackend, job_id: int, change: str) -> None:
    await backend._writer.run(lambda connection: change_job(connection, job_id, change))


@pytest.mark.parametrize("change", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_row_fails_no_query(backend: SQLiteBackend, change: str) -> None:
    sound = new_job(data="1", tags=("t",), unique=KEY.and_statuses(JobStatus.COMPLETE))
    ids = [answer.id for answer in await backend.enqueue([sound] * 3)]
    await corrupt(backend, ids[1], change)

    for where in WHERES:
        positive = {job.id for job in await backend.query(where)}
        negative = {job.id for job in await backend.query(~where)}

        assert positive | negative == set(ids), where
        assert not positive & negative, where
        assert (ids[0] in positive) is (ids[2] in positive), where


@pytest.mark.parametrize("change", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_row_fails_no_change_of_many(backend: SQLiteBackend, change: str) -> None:
    ids = [answer.id for answer in await backend.enqueue([new_job(tags=("t",), unique=None)] * 3)]
    await corrupt(backend, ids[1], change)
    sound = [ids[0], ids[2]]

    for where in (None, *WHERES, *(~where for where in WHERES)):
        updated = await backend.update_many(ids, FieldUpdate(priority=1), where=where)
        assert ids[1] not in updated or change.startswith(("data", "metadata", "result", "unique", "executor", "rev"))
        assert where is not None or set(updated) >= set(sound)
    assert set(await backend.cancel_many(ids, "enough")) >= set(sound)
    assert set(await backend.rerun_many(ids)) >= set(sound)
    assert {job.status for job in await backend.query(Where.id_in(*sound))} == {JobStatus.SCHEDULED}


@pytest.mark.parametrize(
    "action", [None, Replace.priority(), Replace.data()], ids=["reported", "replaced priority", "replaced data"]
)
@pytest.mark.parametrize("change", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_row_fails_no_enqueue_that_it_stands_in_the_way_of(
    backend: SQLiteBackend, change: str, action: Replace | None
) -> None:
    unique = KEY if action is None else KEY.on_conflict(action)
    [first] = await backend.enqueue([new_job(unique=KEY)])
    await corrupt(backend, first.id, change)

    [plain, answer] = await backend.enqueue([new_job("other"), new_job(unique=unique)])
    [again] = await backend.enqueue([new_job(unique=unique)])

    assert plain.disposition == "inserted"
    assert (answer.id == first.id) is (answer.disposition != "inserted")
    assert again.id == answer.id
    is_anothers = "executor" in change and action == Replace.data()  # whose data are left alone
    assert again.disposition == ("existing" if action is None or is_anothers else "replaced")


async def test_a_row_that_cannot_be_written_back_is_discarded_and_the_new_job_added(backend: SQLiteBackend) -> None:
    unique = KEY.on_conflict(Replace.priority())
    [first] = await backend.enqueue([new_job(unique=unique)])
    await corrupt(backend, first.id, "revision = 9223372036854775807")

    [answer] = await backend.enqueue([new_job(unique=unique)])

    damaged = await record_of(backend, first.id)
    assert answer.disposition == "inserted"
    assert (damaged.status, damaged.errors[-1].type_name) == (JobStatus.DISCARDED, "UnwritableRow")


async def test_a_row_that_cannot_be_written_back_hides_no_other_that_stands_in_the_way(backend: SQLiteBackend) -> None:
    by_executor = UniquenessCriteria.by_executor()
    damaged, sound = await backend.enqueue([new_job(), new_job()])
    await corrupt(backend, damaged.id, "revision = 9223372036854775807")

    [answer] = await backend.enqueue([new_job(unique=by_executor.on_conflict(Replace.priority()))])

    assert (answer.id, answer.disposition) == (sound.id, "replaced")


@pytest.mark.parametrize("number", [-1, -2, -5, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("column", ["attempt", "claims"])
async def test_a_counter_out_of_its_bounds_fails_no_claim(backend: SQLiteBackend, column: str, number: int) -> None:
    answers = await backend.enqueue([new_job()] * 3)
    await corrupt(backend, answers[1].id, f"{column} = {number}")
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node(NODE, NODE, timedelta(seconds=30)))
    heartbeats.close()

    claimed = await backend.claim(Demand({ALPHA: 10}, 10), NODE)

    assert [job.id for job in claimed.jobs] == [answer.id for answer in answers]
    assert all(job.attempt >= 1 and job.claims >= 1 for job in claimed.jobs)
    assert list(await backend.settle([Settlement(*job.claim_id, Complete()) for job in claimed.jobs])) == []


@pytest.mark.parametrize("change", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_row_that_has_expired_fails_no_heartbeat(backend: SQLiteBackend, change: str) -> None:
    answers = await backend.enqueue([new_job(expires_in=timedelta(0))] * 3)
    await corrupt(backend, answers[1].id, change)
    heartbeats = backend.heartbeat_connection()

    heartbeats.send(Node(NODE, NODE, timedelta(seconds=30)))
    again = heartbeats.send(Node(NODE, NODE, timedelta(seconds=30)))

    heartbeats.close()
    jobs = await backend.query(Everything())
    left = [job for job in jobs if job.status is not JobStatus.CANCELLED]
    # What cannot be read is left to a claim, which reports its defect.
    is_left = "sleeping" in change or "expires_at" in change
    assert again.expired == 0
    assert [job.id for job in left] == [answers[1].id] * is_left
    assert all(job.defect for job in left)


@pytest.mark.parametrize("change", ["attempt = 1", "snoozes = 1", "status = 'complete'", "status = 'sleeping'"])
async def test_a_job_that_its_queue_takes_for_expired_and_that_has_started_fails_no_heartbeat(
    backend: SQLiteBackend, change: str
) -> None:
    answers = await backend.enqueue([new_job(expires_in=timedelta(0))] * 2)
    await corrupt(backend, answers[0].id, change)

    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeat = heartbeats.send(Node(NODE, NODE, timedelta(seconds=30)))

    assert heartbeat.expired == 1
    assert (await record_of(backend, answers[1].id)).status is JobStatus.CANCELLED


@pytest.mark.parametrize("change", ["expires_at = -9000000000000000000", "expires_at = 9000000000000000000"])
async def test_an_expiry_that_cannot_be_read_is_a_defect_of_the_claimed_job(
    backend: SQLiteBackend, change: str
) -> None:
    answers = await backend.enqueue([new_job()] * 2)
    await corrupt(backend, answers[0].id, change)
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node(NODE, NODE, timedelta(seconds=30)))
    heartbeats.close()

    claimed = await backend.claim(Demand({ALPHA: 10}, 10), NODE)

    assert [job.defect is not None for job in claimed.jobs] == [True, False]
    assert [job.expires_at for job in claimed.jobs] == [None, None]


@pytest.mark.parametrize("change", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_row_fails_no_prune(backend: SQLiteBackend, change: str) -> None:
    answers = await backend.enqueue([new_job()] * 3)
    for answer in answers:
        await backend.cancel(answer.id, "enough")
    await corrupt(backend, answers[1].id, change)

    deleted = await backend.prune(PruneSpec(JobStatus.CANCELLED, OlderThan(timedelta(0))), 10)
    deleted += await backend.prune(PruneSpec(JobStatus.CANCELLED, BeyondNewest(0)), 10)

    assert deleted == (2 if "sleeping" in change or "executor" in change else 3)


async def test_data_are_compared_in_an_application_s_file_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "utf16.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.execute("CREATE TABLE mine (text TEXT)")
        connection.commit()

    async with SQLiteBackend(path) as backend:
        ids = [answer.id for answer in await backend.enqueue([new_job(data='"ž"', metadata="1.0"), new_job()])]

        assert [job.id for job in await backend.query(Where.data_equals("ž"))] == ids[:1]
        assert [job.id for job in await backend.query(Where.metadata_equals(1))] == ids[:1]
        assert [job.id for job in await backend.query(~Where.metadata_equals(1))] == ids[1:]


async def run_by_hand(backend: SQLiteBackend, command: str) -> None:
    await backend._writer.run(lambda connection: connection.execute(command) and None)


async def claimed_by(backend: SQLiteBackend, node: str) -> list[JobRecord]:
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(Node(node, node, timedelta(seconds=30)))
    return list((await backend.claim(Demand({ALPHA: 10}, 10), node)).jobs)


async def test_a_job_that_was_deleted_by_hand_while_it_waited_is_in_no_ones_way(backend: SQLiteBackend) -> None:
    gone, left = await backend.enqueue([new_job()] * 2)
    await run_by_hand(backend, f"DELETE FROM rexecutor_stored_jobs WHERE id = {gone.id}")

    assert [job.id for job in await claimed_by(backend, NODE)] == [left.id]
    assert misplaced(backend.path) == []


async def test_a_job_that_was_deleted_by_hand_while_it_ran_is_forgotten(backend: SQLiteBackend) -> None:
    await backend.enqueue([new_job()] * 2)
    gone, left = await claimed_by(backend, NODE)
    await run_by_hand(backend, f"DELETE FROM rexecutor_stored_jobs WHERE id = {gone.id}")

    refused = await backend.settle([Settlement(*job.claim_id, Complete()) for job in (gone, left)])
    await claimed_by(backend, NODE)

    assert list(refused) == [gone.id]
    assert misplaced(backend.path) == []


async def test_a_job_that_was_queued_by_hand_while_it_ran_is_run_again_and_its_first_run_fenced_off(
    backend: SQLiteBackend,
) -> None:
    await backend.enqueue([new_job()])
    [first] = await claimed_by(backend, NODE)
    await backend.cancel(first.id, "enough")
    await run_by_hand(
        backend,
        "INSERT INTO rexecutor_queue (id, executor, scheduled_at, priority, due)"
        " SELECT id, executor, scheduled_at, priority, 1 FROM rexecutor_stored_jobs",
    )

    [second] = await claimed_by(backend, "other")

    assert second.claims > first.claims
    assert await record_of(backend, second.id) == second
    assert list(await backend.settle([Settlement(*first.claim_id, Complete())])) == [first.id]
    assert list(await backend.settle([Settlement(*second.claim_id, Complete())])) == []
    assert misplaced(backend.path) == []


@pytest.mark.parametrize("outcome", [Complete(), Complete('"result"')])
@pytest.mark.parametrize("number", [-1, -(2**63), 2**63 - 1])
async def test_an_attempt_out_of_its_bounds_fails_no_success(
    backend: SQLiteBackend, number: int, outcome: Complete
) -> None:
    await backend.enqueue([new_job()] * 3)
    claimed = await claimed_by(backend, NODE)
    await run_by_hand(backend, f"UPDATE rexecutor_running SET attempt = {number} WHERE id = {claimed[1].id}")

    assert list(await backend.settle([Settlement(*job.claim_id, outcome) for job in claimed])) == []

    assert {job.status for job in await backend.query(Everything())} == {JobStatus.COMPLETE}


CORRUPT_STATS = {
    "counts that are no JSON": "waits = '['",
    "counts that are no UTF-8": "runs = CAST(x'ff' AS TEXT)",
    "counts that are no numbers": "waits = '[null]'",
    "too few counts": "runs = '[1, 2]'",
    "negative counts": f"waits = '[-1{', 0' * 19}]'",
    "counts beyond all counting": f"runs = '[{2**70}{', 0' * 19}]'",
    "an unknown outcome": "outcome = 'asleep'",
    "a moment before all calendars": "moment = -9000000000000000000",
    "a moment beyond all calendars": "moment = 9000000000000000000",
    "an executor that is no UTF-8": "executor = CAST(x'ff' AS TEXT)",
    "an unknown span": "minutes = 7",
    "attempts beyond all counting": f"attempts = {2**63 - 1}",
    "negative attempts": "attempts = -1",
}


@pytest.mark.parametrize("change", CORRUPT_STATS.values(), ids=CORRUPT_STATS)
async def test_a_corrupt_row_of_the_history_is_left_out_and_fails_nothing(tmp_path: Path, change: str) -> None:
    clock = FakeClock()
    counts = (1, *[0] * 19)
    sound, other = [StatRow(clock.now(), name, OutcomeKind.COMPLETE, 1, counts, counts) for name in ("sound", "other")]
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        await backend.add_stats([sound, other])
        await backend._writer.run(
            lambda connection: connection.execute(f"UPDATE rexecutor_stats SET {change} WHERE executor = 'other'")
        )

        await backend.add_stats([sound, other])
        clock.advance(timedelta(days=2))
        found = await backend.stats(sound.moment - timedelta(days=999))
        await backend.fold_stats(1_000)
        folded = await backend.stats(sound.moment - timedelta(days=999))

    assert [row.attempts for row in found if row.executor == "sound"] == [2]
    assert [row.attempts for row in found if row.executor == "other"] == [1]  # added since
    assert [(row.executor, row.span) for row in folded] == [("other", HOUR), ("sound", HOUR)]
