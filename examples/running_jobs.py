"""Run jobs from an SQLite file: typed data, a collaborator, and all that an executor may return.

`execute` returns None if the work is done, `Cancel` to give it up, or `Snooze` to run again later. An exception is a
failed attempt, which is repeated after `backoff` until `max_attempts` are used up.
"""

import asyncio
import logging
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rexecutor import BackoffStrategy, Cancel, ExecutionResult, Executor, Job, Rexecutor, Snooze, SQLiteBackend

BACKOFF = BackoffStrategy.exponential(timedelta(milliseconds=10)).with_max(timedelta(seconds=1))


@dataclass(frozen=True)
class Order:
    """What a customer has bought."""

    id: int
    total_cents: int


class Gateway:
    """Charges cards. It is busy at the first call, and fails with free orders."""

    def __init__(self) -> None:
        self.is_busy = True

    async def charge(self, order: Order) -> str:
        """Charge the card, and return what happened."""
        if order.total_cents == 0:
            raise ConnectionError("the gateway does not respond")
        if order.total_cents > 100_000:
            return "declined"
        self.is_busy, was_busy = False, self.is_busy
        return "busy" if was_busy else "charged"


class ChargeOrder(Executor[Order]):
    """Charges the card of an order."""

    name = "charge_order"
    max_attempts = 3
    max_concurrency = 10

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def execute(self, job: Job[Order]) -> ExecutionResult:
        """Charge the card."""
        match await self._gateway.charge(job.data):
            case "declined":
                return Cancel("card declined")
            case "busy":
                return Snooze(timedelta(milliseconds=10))
            case _:
                return None

    def backoff(self, job: Job[Order]) -> timedelta:
        """Wait 10 ms, 20 ms, …; a real executor would wait for seconds."""
        return BACKOFF(job.attempt)

    def timeout(self, job: Job[Order]) -> timedelta:
        """Give up after 20 s."""
        return timedelta(seconds=20)


async def main() -> None:
    """Run three jobs, which end in three ways."""
    logging.getLogger("rexecutor").setLevel(logging.CRITICAL)  # the failures here are on purpose
    with tempfile.TemporaryDirectory() as folder:
        backend = SQLiteBackend(Path(folder) / "jobs.db")
        async with Rexecutor(backend, executors=[ChargeOrder(Gateway())]).set_global_backend():
            for order in (Order(1, 1_999), Order(2, 500_000), Order(3, 0)):
                job = await (await ChargeOrder.enqueue(order)).wait()
                reason = job.errors[-1].details.splitlines()[-1] if job.errors else "no errors"
                print(f"order {job.data.id}: {job.status} after {job.attempt} attempts, {reason}")


asyncio.run(main())
