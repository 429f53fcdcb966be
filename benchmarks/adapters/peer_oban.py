# pyright: basic, reportMissingImports=false
"""Oban for Python: https://oban.pro/docs/py. One queue with a limit of 100; jobs are kept."""

import asyncio

from oban import Oban, worker
from oban.schema import install

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body


@worker(queue="mail", max_attempts=2)
class Mail:
    async def process(self, job: object) -> None:
        await body(job.args["order"])  # pyright: ignore[reportAttributeAccessIssue]

    def backoff(self, job: object) -> int:  # noqa: ARG002
        return 0


def new(order: int) -> object:
    return Mail.new({"to": TO, "order": order})  # pyright: ignore[reportAttributeAccessIssue] - the decorator adds it


class ObanAdapter(Adapter):
    async def prepare(self) -> None:
        pool = await Oban.create_pool(URL)
        await install(pool)
        await pool.close()

    async def open(self) -> None:
        self.pool = await Oban.create_pool(URL, max_size=20)
        self.oban = Oban(pool=self.pool)

    async def close(self) -> None:
        await self.pool.close()

    async def enqueue(self, order: int) -> object:
        return await self.oban.enqueue(new(order))

    async def enqueue_many(self, orders: range) -> object:
        return await self.oban.enqueue_many([new(order) for order in orders])

    async def left(self) -> int:
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM oban_jobs WHERE state <> 'completed'")
            return (await cursor.fetchone())[0]

    async def work(self) -> object:
        async with Oban(pool=self.pool, name="worker", queues={"mail": SLOTS}, shutdown_grace_period=2):
            await asyncio.Event().wait()


ADAPTER = ObanAdapter
