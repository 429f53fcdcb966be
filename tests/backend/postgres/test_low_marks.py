"""While the claim's index is full of dead entries, claims begin where the last one ended, for a while."""

from collections.abc import AsyncIterator
from datetime import timedelta
from math import inf
from pathlib import Path

import pytest
from msgspec.structs import replace

from rexecutor import PostgresBackend
from rexecutor.backend.messages import Demand
from rexecutor.backend.postgres import listener, low_marks
from rexecutor.backend.postgres.execution import run
from rexecutor.backend.postgres.low_marks import LATE_COMMIT, LONGEST_SECONDS, SHARE, SLOW_SECONDS, LowMarks
from rexecutor.backend.postgres.statements import PACKAGE
from rexecutor.backend.sql import statement
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.outcomes import Interrupted, Settlement
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, NODE, SECOND, new_job
from tests.backend.held_back import PostgresHeld, held_back
from tests.backend.postgres.test_races import without
from tests.backend.test_changed_meanwhile import heartbeat
from tests.postgres import postgres_backend, run_postgres, start_listening
from tests.support import soon, until


def job(number: int, priority: int = 0) -> JobRecord:
    return rules.inserted(new_job(priority=priority), number, START + number * SECOND)


def last(marks: LowMarks, now: float) -> JobId | None:
    """Return the job at which the next claim begins; None if that is the first."""
    wanted = marks.wanted([ALPHA], now)
    return None if wanted is None else wanted["ids"][0]


def test_a_claim_that_was_fast_leaves_no_mark() -> None:
    marks = LowMarks()
    marks.note([job(1)], 0, SLOW_SECONDS / 2, is_marked=False)

    assert marks.wanted([ALPHA], SLOW_SECONDS) is None


def test_after_a_slow_claim_the_next_ones_begin_where_it_ended_for_a_while() -> None:
    marks = LowMarks()
    marks.note([job(1), job(2)], 0, 0.1, is_marked=False)
    assert last(marks, 0.1) == 2
    marks.note([job(3)], 0.1, 0.11, is_marked=True)
    assert last(marks, 0.2) == 3

    assert last(marks, 0.1 + SHARE * 0.1) is None


@pytest.mark.parametrize(("took", "lasts"), [(SLOW_SECONDS, SHARE * SLOW_SECONDS), (60, LONGEST_SECONDS)])
def test_that_lasts_a_hundred_times_as_long_as_the_claim_and_not_too_long(took: float, lasts: float) -> None:
    marks = LowMarks()
    marks.note([job(1)], 0, took, is_marked=False)

    assert last(marks, took + lasts - 0.01) == 1
    assert last(marks, took + lasts + 0.01) is None


def test_a_mark_stands_a_moment_before_its_claim() -> None:
    """A transaction that begins before another may be committed after it."""
    marks = LowMarks()
    marks.note([replace(job(1), attempted_at=START + SECOND)], 0, 1, is_marked=False)

    wanted = marks.wanted([ALPHA], 1)

    assert wanted is not None
    assert wanted["moments"] == [START + SECOND - LATE_COMMIT]
    assert wanted["ids"] == [-(2**63)]


def test_a_mark_in_an_old_backlog_stands_at_the_job_itself() -> None:
    marks = LowMarks()
    marks.note([replace(job(1), attempted_at=START + HOUR)], 0, 1, is_marked=False)

    assert last(marks, 1) == 1


async def test_a_marked_claim_takes_what_was_committed_a_little_late(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_marks, "LATE_COMMIT", HOUR)
    await backend.enqueue([new_job()])
    await claimed(backend, 1)
    late, too_late = await backend.enqueue(
        [new_job(scheduled_at=backend.clock.now() - n * timedelta(minutes=40)) for n in (1, 2)]
    )

    assert await claimed(backend, 2) == [late.id]
    backend._operations.marks.forget(backend.clock.monotonic())
    assert await claimed(backend, 2) == [too_late.id]


def test_a_more_urgent_job_does_not_move_the_mark_back() -> None:
    marks = LowMarks()
    marks.note([job(1, 5)], 0, 1, is_marked=False)
    marks.note([job(2, 1)], 1, 1, is_marked=True)

    assert last(marks, 1) == 1


def test_an_executor_of_which_nothing_was_claimed_has_the_lowest_mark() -> None:
    marks = LowMarks()
    marks.note([job(1), replace(job(7), defect="damaged")], 0, 1, is_marked=False)

    wanted = marks.wanted([BETA, ALPHA], 1)

    assert wanted is not None
    assert (wanted["priorities"], wanted["ids"]) == ([-(2**31), 0], [-(2**63), 1])


@pytest.fixture
async def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresBackend]:
    """A backend of which each claim counts as slow, on the database's own time."""
    monkeypatch.setattr(low_marks, "SLOW_SECONDS", 0)
    monkeypatch.setattr(low_marks, "SHARE", inf)
    monkeypatch.setattr(low_marks, "LONGEST_SECONDS", 3_600)
    monkeypatch.setattr(low_marks, "LATE_COMMIT", timedelta(0))
    async with postgres_backend(tmp_path) as made:
        heartbeat(made, NODE)
        yield made


async def claimed(backend: PostgresBackend, slots: int) -> list[JobId]:
    claim = await backend.claim(Demand({ALPHA: slots, BETA: 1}, slots), NODE)
    return [one.id for one in claim.jobs]


async def test_a_marked_claim_takes_what_is_more_urgent_and_what_stands_after_the_mark(
    backend: PostgresBackend,
) -> None:
    first, second, third = [
        one.id for one in await backend.enqueue([new_job(priority=5, delay=n * timedelta(0)) for n in range(3)])
    ]
    assert await claimed(backend, 2) == [first, second]
    long_ago = backend.clock.now() - HOUR
    [urgent, before, other] = [
        one.id
        for one in await backend.enqueue(
            [new_job(priority=4), new_job(priority=5, scheduled_at=long_ago), new_job(BETA, priority=9)]
        )
    ]

    assert await claimed(backend, 1) == [urgent]
    assert await claimed(backend, 4) == [third, other]
    assert await claimed(backend, 4) == []
    backend._operations.marks.forget(backend.clock.monotonic())
    assert await claimed(backend, 4) == [before]


def test_a_slow_claim_leaves_no_mark_if_jobs_were_given_back_while_it_was_under_way() -> None:
    marks = LowMarks()
    marks.forget(0.5)
    marks.note([job(1)], 0, 1, is_marked=False)
    assert last(marks, 1) is None

    marks.note([job(2)], 1, 2, is_marked=False)
    assert last(marks, 2) == 2


async def test_jobs_that_this_node_gives_back_are_claimed_at_once_though_they_stand_before_the_mark(
    backend: PostgresBackend,
) -> None:
    await backend.enqueue([new_job(), new_job(), new_job()])
    [first, *_] = (await backend.claim(Demand({ALPHA: 2}, 2), NODE)).jobs
    await backend.settle([Settlement(*first.claim_id, Interrupted())])

    assert first.id in await claimed(backend, 2)


async def test_so_are_those_whose_claim_was_given_up(backend: PostgresBackend) -> None:
    ids = [one.id for one in await backend.enqueue([new_job(), new_job(), new_job()])]
    assert await claimed(backend, 2) == ids[:2]
    await backend.release_claims(NODE, [], epoch=0)

    assert await claimed(backend, 3) == ids


@pytest.mark.parametrize("is_lost", [False, True])
async def test_so_are_those_that_another_node_gives_back(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    monkeypatch.setattr(listener, "LISTEN_CHECK_SECONDS", 3_600)  # its own notifications make the marks forgotten, too
    await start_listening(backend)
    await until(lambda: backend._hearing.listener is not None and backend._hearing.listener.is_hearing)
    await backend.enqueue([new_job(), new_job(), new_job()])
    [first, *_] = (await backend.claim(Demand({ALPHA: 2}, 2), NODE)).jobs
    async with PostgresBackend(backend._connections.conninfo, schema=backend.schema) as other:
        since = backend.change_count
        if is_lost:  # the answer to its claim
            await other.release_claims(NODE, [])
        else:
            await other.settle([Settlement(*first.claim_id, Interrupted())])
        await soon(backend.wait_ready([ALPHA], backend.clock.now() + HOUR, since=since))

        async def claims_it() -> bool:
            return first.id in await claimed(backend, 2)

        await until(claims_it)


async def test_a_marked_claim_takes_the_job_at_the_mark_if_it_was_given_back(backend: PostgresBackend) -> None:
    await backend.enqueue([new_job()])
    [job] = (await backend.claim(Demand({ALPHA: 1}, 1), NODE)).jobs
    await backend.settle([Settlement(*job.claim_id, Interrupted())])

    assert await claimed(backend, 1) == [job.id]


async def test_a_marked_claim_takes_no_more_than_there_are_slots_for(backend: PostgresBackend) -> None:
    await backend.enqueue([new_job(priority=5), new_job(priority=5)])
    await claimed(backend, 1)
    urgent, other = await backend.enqueue([new_job(priority=4), new_job(BETA, priority=9)])

    claim = await backend.claim(Demand({ALPHA: 1, BETA: 1}, 3), NODE)

    assert [one.id for one in claim.jobs] == [urgent.id, other.id]


async def test_a_marked_claim_does_not_wait_for_a_job_that_somebody_changes(backend: PostgresBackend) -> None:
    _, second, third = await backend.enqueue([new_job(), new_job(), new_job()])
    await claimed(backend, 1)

    async with held_back(backend) as held:
        await held.select_for_update(second.id)
        assert await soon(claimed(backend, 1)) == [third.id]


async def test_a_marked_claim_locks_no_more_jobs_than_it_takes(backend: PostgresBackend) -> None:
    first, second, third = [one.id for one in await backend.enqueue([new_job(), new_job(), new_job()])]
    assert await claimed(backend, 1) == [first]

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        [job] = (await backend._operations.claim(held._connection, Demand({ALPHA: 1}, 1), NODE, None)).jobs
        assert [job.id, *await soon(claimed(backend, 1))] == [second, third]


@pytest.mark.parametrize("off", [0, 1])
async def test_a_marked_claim_takes_what_is_due_at_its_moment_and_nothing_later(
    backend: PostgresBackend, off: int
) -> None:
    [enqueued] = await backend.enqueue([new_job(scheduled_at=START)])
    marks = {"priorities": [0], "moments": [START], "ids": [enqueued.id]}
    now = START - off * timedelta(microseconds=1)
    wanted = {"executors": [ALPHA], "slots": [1], "limit": 1, "node": NODE, "epoch": 0, "promoted": True, "now": now}
    run_postgres(f"UPDATE {backend.schema}.nodes SET lease_until = '{START + HOUR}'")

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        rows = await run(held._connection, backend._statements.of("claim_marked", **wanted, **marks))

    assert [row[2] for row in rows] == ([None] if off else [enqueued.id])


SCANS = [("indexscan", "indexonlyscan", "bitmapscan"), ("indexscan", "indexonlyscan", "seqscan")]


@pytest.mark.parametrize("scans", SCANS)
@pytest.mark.parametrize("is_marked", [False, True])
async def test_jobs_are_claimed_in_order_whatever_the_plan(
    backend: PostgresBackend, scans: tuple[str, ...], is_marked: bool
) -> None:
    few, moment = [3, 2, 1], backend.clock.now() - HOUR
    made = [
        (await backend.enqueue([new_job(priority=priority, scheduled_at=moment)]))[0].id for priority in [*few, 1, 2, 0]
    ]
    expected = [made[place] for place in (5, 2, 3, 1, 4, 0)]
    if is_marked:
        backend._operations.marks.note([job(0)], 0, 1, is_marked=False)
    backend._operations.marks._until = inf if is_marked else -inf

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        for scan in scans:
            await held._connection.execute(without(scan))
        found = [await backend._operations.claim(held._connection, Demand({ALPHA: n}, n), NODE, None) for n in (1, 5)]

    assert [[one.id for one in claim.jobs] for claim in found] == [expected[:1], expected[1:]]


def test_the_marked_claim_is_the_plain_one_but_for_where_it_begins() -> None:
    plain, marked = (
        statement(PACKAGE, name).partition("WITH clock")[2].partition("        SELECT heads.ctid")
        for name in ("claim_jobs", "claim_marked")
    )

    assert plain[0] == marked[0]
    assert plain[2].partition(") AS heads")[2] == marked[2].partition(") AS heads")[2] != ""
