"""Large batches: several statements in one transaction, and little memory beside the jobs themselves."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor import BackendError
from rexecutor.backend.postgres import rows
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.execution import run_steps
from rexecutor.backend.postgres.rows import MOST_JOBS, MOST_TEXT, batches_of, text_length
from rexecutor.backend.postgres.statements import Statements
from rexecutor.model.job import NewJob
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Everything
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, new_job
from tests.backend.postgres.test_app_transaction import connect_asyncpg
from tests.postgres import Migrated, postgres_backend, run_postgres, server_url
from tests.support import soon

MEGABYTE = 1_000_000
UNIQUE = UniquenessCriteria.by_key("one")
Enqueue = Callable[[Migrated, Sequence[NewJob]], Awaitable[object]]


def job(data: str = "null", *, metadata: str | None = None) -> NewJob:
    return NewJob("batch", data, metadata, 1, 0, (), None, timedelta(0))


def large() -> str:
    return f'"{"x" * MEGABYTE}"'


async def alone(backend: Migrated, jobs: Sequence[NewJob]) -> object:
    return await backend.enqueue(jobs)


async def combined(backend: Migrated, jobs: Sequence[NewJob]) -> object:
    return await asyncio.gather(*(backend.enqueue([one]) for one in jobs))


async def without_a_loop(backend: Migrated, jobs: Sequence[NewJob]) -> object:
    return await asyncio.to_thread(backend.enqueue_sync, jobs)


async def bound_to_psycopg(backend: Migrated, jobs: Sequence[NewJob]) -> object:
    async with await psycopg.AsyncConnection.connect(server_url(), autocommit=True) as connection:
        return await backend.bound_to(connection).enqueue(jobs)


async def bound_to_asyncpg(backend: Migrated, jobs: Sequence[NewJob]) -> object:
    connection = await connect_asyncpg()
    try:
        return await cast("Any", backend).bound_to(connection).enqueue(jobs)
    finally:
        await connection.close()


WAYS: list[Enqueue] = [alone, combined, without_a_loop, bound_to_psycopg, bound_to_asyncpg]
AS_ONE: list[Enqueue] = [alone, without_a_loop, bound_to_psycopg, bound_to_asyncpg]


@pytest.mark.parametrize("enqueue", WAYS)
async def test_a_batch_needs_no_memory_of_its_size(enqueue: Enqueue, tmp_path: Path) -> None:
    data = large()  # the same text for all jobs
    async with postgres_backend(tmp_path) as backend:
        await enqueue(backend, [job()])
        tracemalloc.start()
        try:
            await soon(enqueue(backend, [job(data)] * 50), 60)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert len(await backend.query(Everything())) == 51
    assert peak < 35 * MEGABYTE


@pytest.mark.parametrize("bad", ["not JSON", '"\ud800"'])
@pytest.mark.parametrize("enqueue", AS_ONE)
async def test_of_a_batch_of_several_statements_all_is_stored_or_nothing(
    enqueue: Enqueue, bad: str, tmp_path: Path
) -> None:
    async with postgres_backend(tmp_path) as backend:
        with pytest.raises(BackendError):
            await enqueue(backend, [*[job()] * (MOST_JOBS + 1), job(bad), job()])

        assert await backend.query(Everything()) == []


async def test_a_unique_job_behind_a_large_batch_is_stored_with_it(tmp_path: Path) -> None:
    unique = NewJob("batch", "1", None, 1, 0, (), None, timedelta(0), UNIQUE)
    async with postgres_backend(tmp_path) as backend:
        answers = await backend.enqueue([unique, *[job()] * (MOST_JOBS + 1), unique])

    ids = [answer.id for answer in answers]
    assert ids[:-1] == sorted(set(ids[:-1]))
    assert (answers[-1].id, answers[-1].disposition) == (ids[0], "existing")


def test_an_enqueue_in_one_statement_stays_one() -> None:
    steps = Statements("jobs").enqueue([job()] * MOST_JOBS, None)

    next(steps)
    with pytest.raises(StopIteration):
        steps.send([(f"{{{','.join(map(str, range(MOST_JOBS)))}}}",)])


ALIKE: dict[str, dict[str, Any]] = {
    "due at once": {},
    "due later": {"delay": HOUR, "priority": 3},
    "due in the past": {"scheduled_at": START - HOUR, "expires_at": START + HOUR},
    "due in the future, and expiring": {"scheduled_at": START + HOUR, "expires_in": 2 * HOUR},
    "with everything else": {"metadata": '"m"', "max_attempts": 7, "tags": ("a", "b"), "unique": UNIQUE},
}


@pytest.mark.parametrize("settings", ALIKE.values(), ids=ALIKE.keys())
async def test_jobs_that_differ_only_in_their_data_have_the_same_rows_as_any_others(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """`Statements.insert` is called alone, because an enqueue of unique jobs inserts them one by one."""
    alike = [new_job(data=f'"{data}"', **settings) for data in "ab"]
    rows_of: list[object] = []
    async with postgres_backend(tmp_path) as backend:
        for batch in (alike, [*alike, new_job("another")]):

            async def insert(connection: Connection, batch: Sequence[NewJob] = batch) -> object:
                return await run_steps(connection, backend._statements.insert(batches_of(batch), START))

            await backend._connections.run(insert)
            rows_of.append(
                run_postgres(
                    "SELECT to_jsonb(job) - 'id', to_jsonb(waiting) - 'id'"
                    f" FROM {backend.schema}.stored_jobs AS job JOIN {backend.schema}.queue AS waiting USING (id)"
                    " WHERE job.executor <> 'another' ORDER BY id"
                )
            )
            run_postgres(f"DELETE FROM {backend.schema}.stored_jobs")
            run_postgres(f"DELETE FROM {backend.schema}.queue")

    assert len(cast("list[Any]", rows_of[0])) == 2
    assert rows_of[0] == rows_of[1]


@given(st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 5)), max_size=30))
def test_statements_hold_all_jobs_in_their_order_and_few_enough(sizes: list[tuple[int, int | None]]) -> None:
    jobs = [job("x" * data, metadata=None if more is None else "y" * more) for data, more in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "MOST_JOBS", 4)
        patch.setattr(rows, "MOST_TEXT", 10)

        batches = batches_of(jobs)

        assert [one for batch in batches for one in batch.jobs] == jobs
        assert [batch.text for batch in batches] == [text_length(batch.jobs) for batch in batches]
        assert all(len(batches_of(batch.jobs)) == 1 for batch in batches)
        assert all(len(batches_of([*batch.jobs, after.jobs[0]])) > 1 for batch, after in pairwise(batches))


def test_the_limits_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "enqueuing.md").read_text()

    assert f"at most {MOST_JOBS:,} jobs and about {MOST_TEXT // 1_000_000} MB in one statement" in page
