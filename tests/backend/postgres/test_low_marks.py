"""While the claim's index is full of dead entries, claims begin where the last one ended, for a while."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from rexecutor import PostgresBackend
from rexecutor.backend.messages import Demand
from rexecutor.backend.postgres import low_marks
from rexecutor.backend.postgres.low_marks import LONGEST_SECONDS, SHARE, SHORTEST_SECONDS, SLOW_SECONDS, LowMarks
from rexecutor.backend.postgres.statements import PACKAGE
from rexecutor.backend.sql import statement
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, NODE, SECOND, new_job
from tests.backend.test_changed_meanwhile import heartbeat
from tests.postgres import postgres_backend


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


@pytest.mark.parametrize(("took", "lasts"), [(SLOW_SECONDS, SHORTEST_SECONDS), (60, LONGEST_SECONDS)])
def test_that_is_neither_too_short_nor_too_long(took: float, lasts: float) -> None:
    marks = LowMarks()
    marks.note([job(1)], 0, took, is_marked=False)

    assert last(marks, took + lasts - 0.01) == 1
    assert last(marks, took + lasts) is None


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
    monkeypatch.setattr(low_marks, "SHORTEST_SECONDS", 3_600)
    monkeypatch.setattr(low_marks, "LONGEST_SECONDS", 3_600)
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
    backend._operations._marks = LowMarks()
    assert await claimed(backend, 4) == [before]


def test_the_marked_claim_is_the_plain_one_but_for_where_it_begins() -> None:
    plain, marked = (
        statement(PACKAGE, name).partition("WITH clock")[2].partition("        SELECT heads.ctid")
        for name in ("claim_jobs", "claim_marked")
    )

    assert plain[0] == marked[0]
    assert plain[2].partition(") AS heads")[2] == marked[2].partition(") AS heads")[2] != ""
