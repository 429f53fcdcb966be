# pyright: basic, reportMissingImports=false
"""arq: https://arq-docs.helpmanual.io. One worker with 100 jobs at a time, which looks every 10 ms; no results kept."""

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body


async def mail(ctx: object, to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class ArqAdapter(Adapter):
    async def open(self) -> None:
        self.pool = await create_pool(RedisSettings.from_dsn(URL))

    async def close(self) -> None:
        await self.pool.aclose()

    async def enqueue(self, order: int) -> object:
        return await self.pool.enqueue_job("mail", TO, order)

    async def left(self) -> int:
        return await self.pool.zcard("arq:queue")

    async def work(self) -> object:
        worker = Worker(
            functions=[func(mail, name="mail")],
            redis_settings=RedisSettings.from_dsn(URL),
            max_jobs=SLOTS,
            poll_delay=0.01,
            keep_result=0,
            log_results=False,
            handle_signals=False,
        )
        return await worker.async_run()


ADAPTER = ArqAdapter
