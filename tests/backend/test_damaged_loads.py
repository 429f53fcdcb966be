"""The load of jobs that somebody has changed by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend import Backend, Demand, Node
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import ALPHA, BETA, new_job
from tests.postgres import postgres_backend, run_postgres
from tests.sqlite_rows import change_job

FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)


async def prepare(backend: Backend) -> None:
    """Let job 1 execute, and jobs 2 and 3 wait."""
    await backend.enqueue([new_job(ALPHA)] * 2 + [new_job(BETA)])
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("n", "n", timedelta(hours=1)))
    heartbeats.close()
    await backend.claim(Demand({ALPHA: 1}, 1), "n")


async def check(backend: Backend) -> None:
    alpha, beta = await backend.load()

    assert (alpha.executor, alpha.waiting, alpha.due, alpha.oldest_due) == (ALPHA, 1, 1, FIRST)
    assert (alpha.executing, alpha.longest) == (1, FIRST)
    assert (beta.executor, beta.waiting) == (BETA, 1)


async def test_moments_that_python_cannot_read_are_told_as_the_nearest_on_postgres(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with postgres_backend(tmp_path, clock=clock) as backend:
        await prepare(backend)
        run_postgres(
            f"UPDATE {backend.schema}.queue SET scheduled_at = '-infinity' WHERE id = 2",
            f"UPDATE {backend.schema}.running SET attempted_at = '-infinity'",
        )

        await check(backend)


async def test_moments_that_python_cannot_read_are_told_as_the_nearest_on_sqlite(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        await prepare(backend)
        await backend._writer.run(lambda connection: change_job(connection, 1, "attempted_at = -9000000000000000000"))
        await backend._writer.run(lambda connection: change_job(connection, 2, "scheduled_at = -9000000000000000000"))

        await check(backend)


@pytest.mark.parametrize("job_id", [1, 2])
async def test_an_executor_that_is_no_utf8_hides_no_other(tmp_path: Path, clock: FakeClock, job_id: int) -> None:
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        await prepare(backend)
        await backend._writer.run(lambda connection: change_job(connection, job_id, "executor = CAST(x'ff' AS TEXT)"))

        loads = await backend.load()

        assert [(load.executor, load.waiting + load.executing) for load in loads][:2] == [(ALPHA, 1), (BETA, 1)]
