# pyright: basic, reportMissingImports=false
"""PgQueuer: https://pgqueuer.readthedocs.io, its guide "Performance Tuning".

asyncpg, one connection for the QueueManager and a pool for producers; tables durable (the default); `autovac`'s table
settings; uvloop.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job

from benchmarks.adapters.harness import OPTIONS, PAUSE, SLOTS, TO, URL, Adapter, BenchmarkError, body

BATCH = SLOTS // 2 if PAUSE else int(OPTIONS.get("batch", 100))
"""Jobs that one claim takes: with slow jobs, the most that this number of jobs at a time allows."""


@dataclass(frozen=True, slots=True)
class Mail:
    to: str
    order: int


def payload(order: int) -> bytes:
    return json.dumps({"to": TO, "order": order}).encode()


class PgQueuerAdapter(Adapter):
    async def prepare(self) -> None:
        connection = await asyncpg.connect(URL)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(URL, min_size=1, max_size=20)
        self.queries = Queries(AsyncpgPoolDriver(self.pool))

    async def close(self) -> None:
        await self.pool.close()

    async def enqueue(self, order: int) -> object:
        return await self.queries.enqueue("mail", payload(order), 0)

    async def enqueue_many(self, orders: range) -> object:
        count = len(orders)
        return await self.queries.enqueue(["mail"] * count, [payload(order) for order in orders], [0] * count)

    async def enqueue_unique(self, order: int) -> object:
        return await self.queries.enqueue(
            ["mail"], [payload(order)], [0], dedupe_key=[f"mail-{order}"], on_conflict="skip"
        )

    async def left(self) -> int:
        return await self.pool.fetchval("SELECT count(*) FROM pgqueuer")

    async def work(self) -> object:
        connection = await asyncpg.connect(URL)
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("mail")
        async def mail(job: Job) -> None:
            assert job.payload is not None
            order = Mail(**json.loads(job.payload)).order
            try:
                await body(order)
            except BenchmarkError as error:
                raise RetryRequested(delay=timedelta(0)) from error

        # A limit of jobs at a time would cost two more looks for each claim: it is set only where it matters.
        limit = SLOTS if PAUSE else None
        await pgq.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=30), max_concurrent_tasks=limit)
        return None


ADAPTER = PgQueuerAdapter
