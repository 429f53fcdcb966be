# pyright: basic, reportMissingImports=false
"""ArdiQ: https://ardiq.bytay.dev. Its Rust core does the worker's loop and all of Redis."""

from ardiq import Ardiq

from benchmarks.adapters.harness import FAIL_EVERY, SLOTS, TO, URL, Adapter, body

app = Ardiq(redis_url=URL or None, queue_name="bench", concurrency=SLOTS)


@app.task(max_retries=1 if FAIL_EVERY else 0, backoff_ms=1)
async def mail(to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class ArdiqAdapter(Adapter):
    async def enqueue(self, order: int) -> object:
        return await mail.enqueue(TO, order)

    async def enqueue_many(self, orders: range) -> object:
        return await app.enqueue_many(mail.prepare(TO, order) for order in orders)

    async def left(self) -> int:
        return await app.queue_size()

    async def work(self) -> object:
        return await app.run()


ADAPTER = ArdiqAdapter
