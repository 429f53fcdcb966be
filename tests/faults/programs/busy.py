"""Enqueues and works at the same time: `python -m tests.faults.programs.busy STORE HISTORY LEASE BATCH [DIE_AT]`.

It enqueues BATCH jobs again and again (0 for none), whatever fails, and notes each that is acknowledged. To each line
it says how many those are, and how many enqueues have failed; after the line `"rest"` it enqueues no more. At SQLite's
statement of the number DIE_AT, or the first one after it that is within a transaction, it kills itself.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from rexecutor import Backend, BackendError, Executor, Job, PostgresBackend, Rexecutor, SQLiteBackend, enqueue_many
from rexecutor.backend.messages import Claim, Demand
from rexecutor.backend.sqlite.forks import TrackedConnection
from rexecutor.model.job import JobId, NodeId
from tests.faults.children import say
from tests.faults.connections import connecting_as
from tests.faults.history import History

PAUSE = 0.01
"""Seconds between two enqueues."""


class Remembering(Backend):
    """Keeps the numbers of claims, which a job itself does not know."""

    claims: dict[JobId, int]

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        claim = await super().claim(demand, node_id)
        self.claims.update({record.id: record.claims for record in claim.jobs})
        return claim


class RememberingSQLite(Remembering, SQLiteBackend): ...


class RememberingPostgres(Remembering, PostgresBackend): ...


def remembering(store: str) -> Remembering:
    """Return a backend, as `stores.backend_at` does."""
    url, _, schema = store.partition("#")
    backend = RememberingPostgres(url, schema=schema) if schema else RememberingSQLite(Path(store))
    backend.claims = {}
    return backend


class Busy(Executor[float]):
    """Writes when it starts and ends; takes as many seconds as its data say."""

    name = "busy"

    def __init__(self, history: History, claims: dict[JobId, int]) -> None:
        self._history = history
        self._claims = claims

    async def execute(self, job: Job[float]) -> None:
        claims = self._claims[job.id]
        self._history.write("start", job.id, claims)
        await asyncio.sleep(job.data)
        self._history.write("end", job.id, claims)


async def produce(backend: Backend, batch: int, history: History, counts: Counter[str]) -> None:
    """Enqueue until cancelled."""
    while batch:
        try:
            handles = await enqueue_many([Busy.builder().with_data(0.001)] * batch, backend=backend)
        except BackendError:
            counts["failed"] += 1
            history.write("unknown", 0, 0)
        else:
            counts["acknowledged"] += batch
            for handle in handles:
                history.write("ack", handle.id, 0)
        await asyncio.sleep(PAUSE)


@contextmanager
def dying(at: int) -> Generator[None]:
    """Kill this process at a statement within a transaction; never if `at` is 0."""
    left = [at]

    class Mortal(TrackedConnection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            left[0] -= 1
            if left[0] <= 0 and self.in_transaction:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().execute(*arguments)

    with connecting_as(Mortal) if at else nullcontext():
        yield


async def main(store: str, path: str, lease: float, batch: int) -> None:
    """Work until the standard input ends, or a signal comes."""
    counts = Counter[str](acknowledged=0, failed=0)
    history, backend = History(Path(path)), remembering(store)
    node = Rexecutor(backend, lease=timedelta(seconds=lease)).with_executor(Busy(history, backend.claims))
    async with node, asyncio.TaskGroup() as group:
        producer = group.create_task(produce(backend, batch, history, counts))
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            if json.loads(line) == "rest":
                producer.cancel()
            say(counts)
        producer.cancel()


if __name__ == "__main__":
    with dying(int(sys.argv[5]) if len(sys.argv) > 5 else 0):
        asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
