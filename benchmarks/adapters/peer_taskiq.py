# pyright: basic, reportMissingImports=false
"""taskiq with the stream broker of taskiq-redis: https://taskiq-python.github.io. 100 jobs at a time."""

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body

broker = RedisStreamBroker(URL or "redis://", consumer_id="0", max_connection_pool_size=20)


@broker.task(task_name="mail")
async def mail(to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class TaskiqAdapter(Adapter):
    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def enqueue(self, order: int) -> object:
        return await mail.kiq(TO, order)

    async def left(self) -> int:
        from redis.asyncio import Redis

        async with Redis(connection_pool=broker.connection_pool) as redis:
            groups = await redis.xinfo_groups(broker.queue_name)
        return sum(group["pending"] + (group["lag"] or 0) for group in groups)

    async def work(self) -> object:
        return await run_receiver_task(broker, max_async_tasks=SLOTS, max_prefetch=SLOTS)


ADAPTER = TaskiqAdapter
