# pyright: basic, reportMissingImports=false
"""docket (pydocket): https://docket.lol. One worker with 100 jobs at a time."""

from docket import Docket, Worker

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body


async def mail(to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class DocketAdapter(Adapter):
    async def open(self) -> None:
        self.docket = Docket("bench", f"{URL}?max_connections=1000")
        await self.docket.__aenter__()
        self.docket.register(mail)

    async def close(self) -> None:
        await self.docket.__aexit__(None, None, None)

    async def enqueue(self, order: int) -> object:
        return await self.docket.add(mail)(to=TO, order=order)

    async def left(self) -> int:
        async with self.docket.redis() as redis:
            return await redis.xlen(self.docket.stream_key) + await redis.zcard(self.docket.queue_key)

    async def work(self) -> object:
        async with Worker(self.docket, concurrency=SLOTS) as worker:
            await worker.run_forever()


ADAPTER = DocketAdapter
