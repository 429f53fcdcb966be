# pyright: basic, reportMissingImports=false
"""Chancy: https://tkte.ch/chancy. The asyncio executor with 100 jobs at a time, eager polling and notifications."""

import logging

from chancy import Chancy, Job, Queue, Worker

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body


async def mail(*, to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


def new(order: int) -> Job:
    return Job.from_func(mail, queue="mail").with_kwargs(to=TO, order=order)


class ChancyAdapter(Adapter):
    async def prepare(self) -> None:
        async with self._connect() as chancy:
            await chancy.migrate()
            executor = Chancy.Executor.Async
            await chancy.declare(Queue("mail", concurrency=SLOTS, executor=executor, eager_polling=True))

    def _connect(self) -> Chancy:
        return Chancy(URL, max_connection_pool_size=20, log=logging.getLogger("chancy"))

    async def open(self) -> None:
        self.chancy = self._connect()
        await self.chancy.__aenter__()

    async def close(self) -> None:
        await self.chancy.__aexit__(None, None, None)

    async def enqueue(self, order: int) -> object:
        return await self.chancy.push(new(order))

    async def enqueue_many(self, orders: range) -> object:
        async for _ in self.chancy.push_many([new(order) for order in orders]):
            pass
        return None

    async def left(self) -> int:
        async with self.chancy.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM chancy_jobs WHERE state IN ('pending', 'running', 'retrying')"
            )
            return (await cursor.fetchone())[0]

    async def work(self) -> object:
        async with Worker(self.chancy, register_signal_handlers=False, shutdown_timeout=2) as worker:
            await worker.wait_for_shutdown()


ADAPTER = ChancyAdapter
