"""S35: pruning, while jobs run, retry and are rerun, and of very many rows."""

import asyncio
import contextlib
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg

from rexecutor import Backend, JobStatus
from rexecutor.model.pruning import BATCH, BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.where import ExecutorIn
from rexecutor.testing.suite.store import new_job
from tests.faults.log_lines import kept_lines
from tests.faults.pruning import Churn
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

EXECUTORS = [f"bulk_{number}" for number in range(10)]
KEPT = 100
LONGEST_MS = (200, 1_000)
"""How long a batch may take on PostgreSQL; longer at the short size, which is run beside other tests."""
OLD, YOUNG = timedelta(days=2), timedelta(hours=1)
"""How long ago the first half of the rows ended, and the second."""
IN_POSTGRES = """
WITH stored AS (
    INSERT INTO "{schema}".stored_jobs (
        executor, data, max_attempts, status, attempt, claims, attempted_at, completed_at
    )
    SELECT 'bulk_' || (n %% 10), n::text::json, 5, 'complete', 1, 1, now() - interval '3 days',
        now() - CASE WHEN n < %(rows)s / 2 THEN %(old)s ELSE %(young)s END + n * interval '1 microsecond'
    FROM generate_series(0, %(rows)s - 1) AS n
    RETURNING id, executor, completed_at
)
INSERT INTO "{schema}".ended (executor, status, ended_at, ids)
SELECT executor, 'complete', completed_at, ARRAY[id] FROM stored
"""
IN_SQLITE = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows - 1)
INSERT INTO rexecutor_stored_jobs (
    executor, data, max_attempts, status, attempt, claims, inserted_at, scheduled_at, attempted_at, completed_at
)
SELECT 'bulk_' || (n % 10), n, 5, 'complete', 1, 1, 0, 0, 0, :now - iif(n < :rows / 2, :old, :young) + n FROM numbers
"""


async def run(ground: Ground) -> Report:
    """Churn and prune at once; then prune many rows by age, and what is left by length."""
    rows = ground.size(1_000_000, 20_000)
    churn = Churn(ground.seed)
    with kept_lines() as lines:
        keeps_exactly = await churn.run(ground.store, ground.size(60, 1))
    refused = sum("no longer belongs to this node" in line.getMessage() for line in lines)
    report = Report(enqueued=len(churn.wanted), acknowledged=len(churn.wanted), lost=churn.lost, late_outcomes=refused)
    await asyncio.to_thread(fill, ground.store, rows)
    async with backend_at(ground.store) as backend:
        by_age = await pruned(backend, OlderThan(timedelta(days=1)))
        halved = sum(count.jobs for count in await backend.count() if count.executor in EXECUTORS)
        by_length = await pruned(backend, BeyondNewest(KEPT))
        left = await backend.query(ExecutorIn(frozenset(EXECUTORS)), limit=2 * KEPT * len(EXECUTORS))
    report.figures = {
        "reruns": churn.reruns,
        "pruned_in_churn": churn.pruned,
        "rows": rows,
        **{f"by_age_{name}": value for name, value in by_age.items()},
        **{f"by_length_{name}": value for name, value in by_length.items()},
    }
    report.expect_no("lost", "late_outcomes")
    report.expect("something was pruned and rerun meanwhile", churn.pruned > 0 and churn.reruns > 0)
    report.expect("the newest of each executor were kept, no others, after the churn", keeps_exactly)
    report.expect(f"by age {halved} of {rows} rows were kept, half expected", halved == rows // 2)
    newest = range(rows - KEPT * len(EXECUTORS), rows)
    report.expect(
        f"by length the newest {KEPT} of each executor were kept, no others",
        sorted(int(record.data) for record in left) == list(newest),
    )
    if "#" in ground.store:
        longest, most = max(by_age["longest_batch_ms"], by_length["longest_batch_ms"]), ground.size(*LONGEST_MS)
        report.expect(f"a batch took {longest} ms, {most} at the most expected", longest <= most)
    return report


async def pruned(backend: Backend, what: OlderThan | BeyondNewest) -> dict[str, Any]:
    """Delete all there are of our executors, in batches, while another enqueues, and return how fast that was."""
    spec = PruneSpec(JobStatus.COMPLETE, what, frozenset(EXECUTORS), is_except=False)
    batches: list[float] = []
    rows = 0
    producer = asyncio.create_task(enqueued_meanwhile(backend))
    begun = time.monotonic()
    while True:
        at = time.monotonic()
        number = await backend.prune(spec, BATCH)
        batches.append(time.monotonic() - at)
        rows += number
        if number < BATCH:
            break
    took = time.monotonic() - begun
    producer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await producer
    ordered = [round(1000 * seconds, 1) for seconds in sorted(batches)]
    return {
        "rows_per_s": round(rows / took),
        "p99_batch_ms": ordered[len(ordered) * 99 // 100],
        "longest_batch_ms": ordered[-1],
    }


async def enqueued_meanwhile(backend: Backend) -> None:
    """Enqueue jobs until cancelled."""
    while True:
        await backend.enqueue([new_job("beside")])
        await asyncio.sleep(0.005)


def fill(store: str, rows: int) -> None:
    """Put ended jobs into the tables; each one's data are its number, in the order in which they ended."""
    url, _, schema = store.partition("#")
    if schema:
        with psycopg.connect(url, autocommit=True) as connection:
            text = IN_POSTGRES.replace("{schema}", schema).encode()
            connection.execute(text, {"rows": rows, "old": OLD, "young": YOUNG})
        return
    with closing(sqlite3.connect(store)) as connection, connection:
        times = {"now": time.time() * 10**6, "old": OLD.total_seconds() * 10**6, "young": YOUNG.total_seconds() * 10**6}
        connection.execute(IN_SQLITE, {"rows": rows, **{name: int(value) for name, value in times.items()}})


SCENARIO = Scenario("S35", "pruning while jobs run, and of many rows", ("Pruning",), run)
