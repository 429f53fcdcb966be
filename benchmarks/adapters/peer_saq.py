# pyright: basic, reportMissingImports=false
"""SAQ on Redis: https://saq-py.readthedocs.io. One worker with 100 coroutines, hiredis."""

from saq import Queue, Worker

from benchmarks.adapters.harness import FAIL_EVERY, SLOTS, TO, URL, Adapter, body


async def mail(ctx: object, *, to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class SaqAdapter(Adapter):
    async def open(self) -> None:
        self.queue = Queue.from_url(f"{URL}?max_connections=1000")
        await self.queue.connect()

    async def close(self) -> None:
        await self.queue.disconnect()

    async def enqueue(self, order: int) -> object:
        return await self.queue.enqueue("mail", to=TO, order=order, retries=2 if FAIL_EVERY else 1)

    async def left(self) -> int:
        return await self.queue.count("incomplete")

    async def work(self) -> object:
        return await Worker(self.queue, functions=[("mail", mail)], concurrency=SLOTS).start()


ADAPTER = SaqAdapter
