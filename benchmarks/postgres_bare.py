"""The measured work, done by pgbench and bare psycopg on the same tables: what the machine and PostgreSQL allow."""

import re
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import psycopg

from benchmarks.ours import pickup_by
from rexecutor.backend.sql import statement

NODE = "bench"
CHANNEL = "bench"
DATA = '{"to":"bob@example.com","order":12345}'
_COLUMNS = "executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key"
_NEW = f"""
WITH new AS (
    INSERT INTO rexecutor.stored_jobs ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, now(), now(), %s)
    RETURNING id, executor, scheduled_at, priority
), queued AS (
    INSERT INTO rexecutor.queue (id, executor, scheduled_at, priority, due)
    SELECT id, executor, scheduled_at, priority, true FROM new
)
"""
_INSERT = f"{_NEW} SELECT id FROM new"
_INSERT_AND_NOTIFY = f"{_NEW} SELECT id, pg_notify('{CHANNEL}', 'stamp') FROM new"


def text_of(name: str) -> str:
    """Return the text of a statement of the backend."""
    return statement("rexecutor.backend.postgres", name)


async def enqueue_one_by_one(url: str, jobs: int) -> float:
    """Insert each job in a transaction of its own. Return the seconds."""
    insert = _INSERT.encode()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        began = perf_counter()
        for _ in range(jobs):
            await (await connection.execute(insert, ("noop", DATA, None, 5, 0, [], None))).fetchone()
        return perf_counter() - began


async def enqueue_many(url: str, jobs: int) -> float:
    """Insert all jobs by one COPY, and queue them. Return the seconds."""
    copied = f"COPY rexecutor.stored_jobs ({_COLUMNS}) FROM STDIN".encode()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        row = await (await connection.execute("SELECT now()")).fetchone()
        assert row is not None
        began = perf_counter()
        async with cursor.copy(copied) as copy:
            for _ in range(jobs):
                await copy.write_row(("noop", DATA, None, 5, 0, [], row[0], row[0], None))
        await connection.execute(
            "INSERT INTO rexecutor.queue (id, executor, scheduled_at, priority, due)"
            " SELECT id, executor, scheduled_at, priority, true FROM rexecutor.stored_jobs"
        )
        return perf_counter() - began


async def pickup(url: str, jobs: int) -> tuple[float, float]:
    """Insert one job at a time, with a NOTIFY in the same transaction. Return p50 and p99 in seconds."""
    insert = _INSERT_AND_NOTIFY.encode()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO rexecutor.nodes VALUES (%s, %s, now(), now() + '1 day') ON CONFLICT DO NOTHING", (NODE, NODE)
        )

        async def enqueue(number: int) -> None:
            await connection.execute(insert, ("stamp", str(number), None, 5, 0, [], None))

        return await pickup_by("benchmarks.listener", url, enqueue, jobs)


def drain(pgbench: Path, url: str, jobs: int, batch: int) -> float:
    """Claim and settle all jobs by pgbench with one client, a batch at a time. Return the seconds."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO rexecutor.nodes VALUES (%s, %s, now(), now() + '1 day')", (NODE, NODE))
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(_script(batch))
            file.flush()
            batches = -(-jobs // batch)
            command = [str(pgbench), "-n", "-M", "prepared", "-c", "1", "-t", str(batches), "-f", file.name, url]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows = connection.execute("SELECT status, count(*) FROM rexecutor.jobs GROUP BY 1").fetchall()
    assert rows == [("complete", jobs)], rows
    found = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", said)
    assert found is not None, said
    return batches / float(found[1])


def _script(batch: int) -> str:
    """Return a pgbench script: a claim whose ids are kept in variables, and their settle."""
    wanted = {"node": f"'{NODE}'", "executors": "'{noop}'", "slots": f"'{{{batch}}}'", "limit": batch, "now": "NULL"}
    wanted |= {"promoted": "false", "epoch": "0"}
    head, found, rows = (text_of("claim_jobs") % wanted).rpartition("\n)\nSELECT")
    assert found
    ids = ", ".join(
        f"coalesce(array_agg({name}) FILTER (WHERE id IS NOT NULL), '{{}}') AS {alias}"
        for name, alias in (("id", "ids"), ("claims", "claims"))
    )
    outcomes = {
        "ids": ":ids",
        "claims": ":claims",
        "results": "NULL",
        "node": "NULL",
        "patience": "'1s'",
        "now": "NULL",
    }
    claim = f"{head}\n), answer AS (SELECT{rows})\nSELECT {ids} FROM answer \\gset"
    return f"{claim}\n{text_of('settle_complete') % outcomes};\n"
