"""The figures of PostgreSQL, on a server of the benchmark's own with durable settings."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import ours, postgres_bare
from benchmarks.report import Report
from demo.postgres_server import NEWEST, PostgresServer, binaries
from rexecutor import PostgresBackend

SETTINGS = ("fsync=on", "synchronous_commit=on", "shared_buffers=512MB", "max_wal_size=4GB")
SLOTS = 100
BATCH = SLOTS  # jobs that a worker with this many slots claims and settles at a time, if they take no time
MANY = 1_000_000
_WAITING = """
WITH stored AS (
    INSERT INTO {schema}.stored_jobs (executor, data, max_attempts)
    SELECT 'noop', '{data}', 5 FROM generate_series(1, {jobs})
    RETURNING id, executor, scheduled_at, priority
)
INSERT INTO {schema}.queue (id, executor, scheduled_at, priority, due)
SELECT id, executor, scheduled_at, priority, true FROM stored
"""
_FINISHED = """
WITH stored AS (
    INSERT INTO {schema}.stored_jobs (executor, data, max_attempts, status, attempt, claims, completed_at)
    SELECT 'noop', '{data}', 5, 'complete', 1, 1, now() FROM generate_series(1, {jobs})
    RETURNING id, completed_at
)
INSERT INTO {schema}.ended (executor, status, ended_at, ids)
SELECT 'noop', 'complete', completed_at, array_agg(id ORDER BY id) FROM stored GROUP BY completed_at, id / 100
"""


def measure(report: Report, scale: float) -> None:
    """Print all figures."""
    installed = sorted(path.name for path in Path("/usr/lib/postgresql").glob("*") if (path / "bin/pgbench").exists())
    version = installed[-1] if installed else NEWEST
    one, many, all_jobs = (int(number * scale) for number in (2_000, 10_000, 20_000))
    with PostgresServer(version, SETTINGS) as server:
        url = server.url
        print(f"PostgreSQL {version}, {', '.join(SETTINGS)}; bare: pgbench (1 client) for drains, else psycopg")
        report.compare(
            "postgres: enqueue one by one",
            one,
            lambda: asyncio.run(ours.enqueue_one_by_one(fresh(url), one)),
            lambda: asyncio.run(postgres_bare.enqueue_one_by_one(fresh_url(url), one)),
            goal=0.8,
        )
        report.compare(
            f"postgres: enqueue, {one:,} at once",
            one,
            lambda: asyncio.run(ours.enqueue_at_once(fresh(url), one)),
            lambda: asyncio.run(postgres_bare.enqueue_one_by_one(fresh_url(url), one)),
        )
        report.compare(
            f"postgres: enqueue_many of {many:,}",
            many,
            lambda: asyncio.run(ours.enqueue_in_bulk(fresh(url), many)),
            lambda: asyncio.run(postgres_bare.enqueue_many(fresh_url(url), many)),
            goal=0.6,
        )
        report.compare(
            f"postgres: drain of {all_jobs:,}, {SLOTS} slots",
            all_jobs,
            lambda: asyncio.run(ours.drain(fresh(url, waiting=all_jobs), all_jobs, SLOTS)),
            lambda: postgres_bare.drain(
                binaries(version) / "pgbench", fresh_url(url, waiting=all_jobs), all_jobs, BATCH
            ),
            goal=0.5,
        )
        for what, reporting in (("text", ours.Writing), ("struct", ours.Reporting)):
            report.compare(
                f"postgres: drain, 200-byte {what} (bare: none)",
                all_jobs,
                _drain(url, all_jobs, reporting),
                _drain(url, all_jobs, ours.Noop),
                goal=0.9,
            )
        _compare_tables(report, url, all_jobs, int(MANY * scale))
        _compare_latencies(report, url, int(300 * scale))


def _drain(url: str, jobs: int, executor: ours.Kind) -> Callable[[], float]:
    return lambda: asyncio.run(ours.drain(fresh(url, waiting=jobs), jobs, SLOTS, executor))


def _compare_tables(report: Report, url: str, jobs: int, many: int) -> None:
    """Print the speed of a run with many more jobs in the table, waiting or finished; bare is an empty table."""
    empty = fresh(url, schema="empty")
    waiting = fresh(url, schema="waiting", waiting=many)
    finished = fresh(url, schema="finished", finished=many)
    seconds: dict[str, list[float]] = {backend.schema: [] for backend in (empty, waiting, finished)}
    for _ in range(report.rounds):
        for backend in (empty, waiting, finished):
            if backend is not waiting:
                _load(url, backend.schema, _WAITING, jobs)
            seconds[backend.schema].append(asyncio.run(ours.run_some(backend, jobs, SLOTS)))
    rates = {schema: jobs / median(some) for schema, some in seconds.items()}
    for schema in ("waiting", "finished"):
        name = f"postgres: first {jobs:,}, {many:,} {schema} (bare: none), jobs/s"
        report.line(name, rates[schema], rates["empty"], ">= 0.8")


def _compare_latencies(report: Report, url: str, jobs: int) -> None:
    """Print how soon an idle worker in another process gets a job, and how soon its result is back."""
    mine: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    results: list[tuple[float, float]] = []
    for _ in range(report.rounds):
        mine.append(asyncio.run(ours.pickup(fresh_url(url), jobs)))
        bare.append(asyncio.run(postgres_bare.pickup(fresh_url(url), jobs)))
        results.append(asyncio.run(ours.result(fresh_url(url), jobs)))
    for place, (name, goal) in enumerate((("p50", "<= 1.6"), ("p99", ""))):
        picked, picked_bare, returned = (median(one[place] for one in some) * 1e3 for some in (mine, bare, results))
        report.line(f"postgres: pickup by another process, {name}, ms", picked, picked_bare, goal, digits=2)
        report.line(f"postgres: result of one (bare: pickup by ours), {name}, ms", returned, picked, digits=2)
    for waits in (1, 1_000):
        looks = asyncio.run(ours.looks_a_change(fresh(url), PostgresBackend(url), waits, min(waits, 20)))
        report.line(f"postgres: {waits:,} results awaited (bare: 1), looks a change", looks, 1, digits=2)


def fresh_url(url: str, *, waiting: int = 0) -> str:
    """Return the URL of a server with the tables in the schema `rexecutor` and this many due jobs."""
    fresh(url, waiting=waiting)
    return url


def fresh(url: str, *, schema: str = "rexecutor", waiting: int = 0, finished: int = 0) -> PostgresBackend:
    """Return a backend on a new schema with this many due and this many finished jobs."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
    backend = PostgresBackend(url, schema=schema)

    async def make() -> None:
        async with backend:
            await backend.migrate()

    asyncio.run(make())
    _load(url, schema, _FINISHED, finished)
    _load(url, schema, _WAITING, waiting)
    return backend


def _load(url: str, schema: str, text: str, jobs: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        load = text.replace("{schema}", schema).replace("{data}", postgres_bare.DATA).replace("{jobs}", str(jobs))
        connection.execute(load.encode())
        connection.execute(f"VACUUM ANALYZE {schema}.stored_jobs, {schema}.queue, {schema}.ended".encode())
        connection.execute("CHECKPOINT")
