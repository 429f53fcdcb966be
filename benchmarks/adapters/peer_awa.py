# pyright: basic, reportMissingImports=false
"""awa: https://github.com/hardbyte/awa. Its Rust core does the worker's loop; 100 workers; COPY in bulk."""

import asyncio
from dataclasses import dataclass

from awa import AsyncClient

from benchmarks.adapters.harness import SLOTS, TO, URL, Adapter, body

QUEUE = {"name": "mail", "max_workers": SLOTS}

ADDRESS = URL.replace("postgres@/", "/", 1) + "&user=postgres"
"""The same URL without a user before the empty host, which its parser refuses."""


@dataclass
class Mail:
    to: str
    order: int


class AwaAdapter(Adapter):
    async def prepare(self) -> None:
        client = AsyncClient(ADDRESS)
        await client.migrate()
        await client.install_queue_storage()
        await client.close()

    async def open(self) -> None:
        self.client = AsyncClient(ADDRESS, max_connections=20)

    async def close(self) -> None:
        await self.client.close()

    async def enqueue(self, order: int) -> object:
        return await self.client.insert(Mail(TO, order), queue="mail")

    async def enqueue_many(self, orders: range) -> object:
        return await self.client.enqueue_many_copy([Mail(TO, order) for order in orders], queue="mail")

    async def left(self) -> int:
        stats = await self.client.queue_stats()
        return sum(stat.total_queued for stat in stats)

    async def work(self) -> object:
        @self.client.task(Mail, queue="mail")
        async def mail(job: object) -> None:
            await body(job.args.order)  # pyright: ignore[reportAttributeAccessIssue]

        await self.client.start([QUEUE])
        try:
            await asyncio.Event().wait()
        finally:
            await self.client.shutdown()


ADAPTER = AwaAdapter
