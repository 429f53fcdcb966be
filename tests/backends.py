"""Every backend there is, so that what all of them must do is tested once, on each.

`clock` and `backend` in `conftest.py` are made of this. What a test needs to know of a backend from the inside stands
here too, with one case a backend: add another one here, and to `BACKENDS`.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from rexecutor import Backend, InMemoryBackend, PostgresBackend, SQLiteBackend
from rexecutor.clock import Clock
from rexecutor.model.job import JobId
from tests.postgres import postgres_backend, run_postgres
from tests.sqlite_rows import change_job
from tests.support import record_of

BACKENDS: Final[Mapping[str, Callable[[Path, Clock | None], Backend]]] = {
    "memory": lambda _, clock: InMemoryBackend(clock=clock),
    "sqlite": lambda folder, clock: SQLiteBackend(folder / "jobs.db", clock=clock),
    "postgres": postgres_backend,
}


def made_backend(name: str, folder: Path, clock: Clock | None = None) -> Backend:
    """Return a new backend that keeps its jobs in the folder, not open yet."""
    return BACKENDS[name](folder, clock)


async def corrupt(backend: Backend, job_id: JobId) -> None:
    """Write a priority and numbers of attempts into a waiting job's row that no enqueue lets through."""
    if isinstance(backend, InMemoryBackend):
        record = await record_of(backend, job_id)
        backend._replace(record, replace(record, priority=-1, attempt=70_000, max_attempts=0))
        return
    if isinstance(backend, PostgresBackend):
        jobs = f"{backend.schema}.stored_jobs"
        run_postgres(
            f"ALTER TABLE {jobs} DROP CONSTRAINT jobs_sound",
            f"UPDATE {jobs} SET priority = -1, attempt = 70000, max_attempts = 0 WHERE id = {job_id}",
            f"UPDATE {backend.schema}.queue SET priority = -1 WHERE id = {job_id}",
        )
        return
    assert isinstance(backend, SQLiteBackend)

    await backend._writer.run(
        lambda connection: change_job(connection, job_id, "priority = -1, attempt = 70000, max_attempts = 0")
    )


async def bring_ids_to(backend: Backend, last_id: JobId) -> None:
    """Let the store go on as if it had given out ids up to this one; it has given out one at least."""
    if isinstance(backend, InMemoryBackend):
        backend._last_id = last_id
        return
    if isinstance(backend, PostgresBackend):
        run_postgres(f"ALTER TABLE {backend.schema}.stored_jobs ALTER COLUMN id RESTART WITH {last_id + 1}")
        return
    assert isinstance(backend, SQLiteBackend)

    await run_sql(backend, f"UPDATE sqlite_sequence SET seq = {last_id} WHERE name = 'rexecutor_stored_jobs'")


async def run_sql(backend: SQLiteBackend, *commands: str) -> None:
    """Execute the commands on the backend's own connection, in one transaction."""

    def run(connection: sqlite3.Connection) -> None:
        for command in commands:
            connection.execute(command)

    await backend._writer.run(run)
