"""A worker whose jobs count in the transaction that completes them: `python -m tests.faults.programs.counting X`."""

import asyncio
import random
import sqlite3
import sys
import time
from contextlib import closing
from datetime import timedelta

import psycopg

from rexecutor import Executor, Job, Limits, Rexecutor
from tests.faults.stores import backend_at

MOST_WORK = 0.2
"""Seconds between the first write and the completion."""
LEASE = timedelta(seconds=2)
COUNT = "UPDATE public.counted SET number = number + 1"
NOTE = "INSERT INTO public.done (job) VALUES (%s)"


class Counting(Executor[str]):
    """Adds one to the counter, notes which job did, and completes the job: all of it, or nothing."""

    name = "counting"
    max_attempts = 1_000
    max_concurrency = 8

    async def execute(self, job: Job[str]) -> None:
        url, _, schema = job.data.partition("#")
        if not schema:
            with closing(sqlite3.connect(job.data, timeout=30)) as connection, connection:
                connection.execute(COUNT.replace("public.", ""))
                connection.execute(NOTE.replace("public.", "").replace("%s", "?"), (job.id,))
                time.sleep(MOST_WORK / 10 * random.random())  # noqa: ASYNC251 - it holds the file's lock, like other code
                await job.complete_in(connection)
            return
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute(NOTE, (job.id,))
            await asyncio.sleep(MOST_WORK * random.random())
            await connection.execute(COUNT)
            await job.complete_in(connection)

    def backoff(self, job: Job[str]) -> timedelta:
        return timedelta(seconds=0.1)


if __name__ == "__main__":
    often = Limits(losses=1_000)  # of ten jobs one loses its node: some lose three, and are no poison
    worker = Rexecutor(backend_at(sys.argv[1], limits=often), lease=LEASE).with_executor(Counting)
    asyncio.run(worker.run_until_signal())
