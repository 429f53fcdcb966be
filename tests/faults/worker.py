"""A worker process for fault tests: `python -m tests.faults.worker STORE HISTORY [LEASE_SECONDS]`."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from rexecutor import Backend, Executor, Job, PostgresBackend, Rexecutor, SQLiteBackend
from rexecutor.backend.messages import Claim, Demand
from rexecutor.model.job import JobId, NodeId
from rexecutor.model.outcomes import Settlement
from tests.faults.answers import Answer, answer
from tests.faults.history import History

_CLAIMS: dict[JobId, int] = {}
"""The number of each claim, which a job itself does not know."""


_DOOMED: set[JobId] = set()
"""Jobs whose outcome kills the process before it is sent."""


class Watched(Backend):
    """Remembers the numbers of claims, and dies of a doomed job's settlement."""

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        claim = await super().claim(demand, node_id)
        _CLAIMS.update({record.id: record.claims for record in claim.jobs})
        return claim

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        if _DOOMED.intersection(one.job_id for one in settlements):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().settle(settlements)


class WatchedSQLite(Watched, SQLiteBackend): ...


class WatchedPostgres(Watched, PostgresBackend): ...


def watched(store: str) -> Backend:
    """Return a backend, as `stores.backend_at` does."""
    url, _, schema = store.partition("#")
    return WatchedPostgres(url, schema=schema) if schema else WatchedSQLite(Path(store))


class Traced(Executor[str, None, Answer]):
    """Writes when it starts and ends, and returns a result that can be checked.

    Its data says what it does between: some milliseconds, `hang`, `deaf` to hang
    and not be cancelled, or `block` to hold the whole event loop. After the first run of `die`, the process
    kills itself when it is about to send the outcome.
    """

    name = "traced"
    max_concurrency = 20

    def __init__(self, note: Callable[[str, JobId], None]) -> None:
        self._note = note

    async def execute(self, job: Job[str]) -> Answer:
        self._note("start", job.id)
        claims = _CLAIMS[job.id]
        if job.data == "die" and claims == 1:
            _DOOMED.add(job.id)
        if job.data == "hang":
            await asyncio.Event().wait()
        if job.data == "block":
            time.sleep(30)  # noqa: ASYNC251 - it blocks the loop, which is the test
        while job.data == "deaf":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        milliseconds = 0.0 if job.data == "die" else float(job.data)
        await asyncio.sleep(milliseconds * random.random() / 1000)
        self._note("end", job.id)
        return answer(job.id, job.executor, claims)


def main() -> None:
    """Work until a signal."""
    history = History(Path(sys.argv[2]))
    lease = timedelta(seconds=float(sys.argv[3]) if len(sys.argv) > 3 else 30)
    traced = Traced(lambda what, job_id: history.write(what, job_id, _CLAIMS[job_id]))
    asyncio.run(Rexecutor(watched(sys.argv[1]), lease=lease).with_executor(traced).run_until_signal())


if __name__ == "__main__":
    main()
