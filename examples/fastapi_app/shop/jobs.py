"""What a worker does: `rexecutor worker shop.jobs:worker`."""

import asyncio
import os
from datetime import timedelta

from rexecutor import PostgresBackend, Rexecutor, job

from .database import URL, Order, sessions

LEASE = timedelta(seconds=float(os.environ.get("LEASE", "30")))  # how long until a dead worker's jobs run elsewhere
GATEWAY_SECONDS = float(os.environ.get("GATEWAY_SECONDS", "0.2"))


async def pay(order: int, cents: int) -> str:
    """Stand in for a payment service, which charges an order once, however often it is asked."""
    await asyncio.sleep(GATEWAY_SECONDS)
    return f"receipt {order}: {cents} cents"


@job(max_attempts=5)
async def charge(order_id: int) -> str:
    """Charge an order, and keep the receipt. It may run again from its beginning: if its worker dies, for example."""
    async with sessions() as session:
        order = await session.get_one(Order, order_id)
        order.receipt = receipt = await pay(order_id, order.cents)
        await session.commit()
    return receipt


backend = PostgresBackend(URL)
worker = Rexecutor(backend, executors=[charge], lease=LEASE)
