"""A worker whose jobs do what their data say, and note it: `python -m tests.faults.programs.scripted_worker …`.

The library's own words go to stderr, each line with the machine's monotonic seconds before it.
"""

import argparse
import asyncio
import faulthandler
import logging
import re
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec

from rexecutor import Executor, Job, PostgresBackend, Rexecutor
from rexecutor.backend.base import Backend
from rexecutor.backend.postgres import listener, liveness
from rexecutor.backend.postgres.listener import Listener
from rexecutor.cli.run_worker import _leave_soon
from rexecutor.model.job import JobId
from tests.faults.answers import Answer, answer
from tests.faults.history import History
from tests.faults.worker import _CLAIMS, watched


class Task(msgspec.Struct, frozen=True):
    """What a job does before it ends well; `linger` sleeps in its first attempt alone, and `fail` raises in that."""

    do: Literal["sleep", "linger", "block", "search", "deaf", "fail"]
    amount: float = 0.0
    """Seconds; for `search` the letters of a text that a bad regular expression searches while it holds the GIL."""


class Tasked(Executor[Task, None, Answer]):
    """Notes `start`, and `end`, `failed` or `cancelled`, of each run. Returns a result that can be checked."""

    name = "tasked"

    def __init__(self, note: Callable[[str, JobId], None] = lambda _, __: None) -> None:
        self._note = note

    async def execute(self, job: Job[Task]) -> Answer:
        self._note("start", job.id)
        claims = _CLAIMS[job.id]
        try:
            await self._do(job)
        except asyncio.CancelledError:
            self._note("cancelled", job.id)
            raise
        except RuntimeError:
            self._note("failed", job.id)
            raise
        self._note("end", job.id)
        return answer(job.id, job.executor, claims)

    async def _do(self, job: Job[Task]) -> None:
        amount = job.data.amount
        match job.data.do:
            case "sleep":
                await asyncio.sleep(amount)
            case "linger":
                await asyncio.sleep(amount if job.attempt == 1 else 0)
            case "block":
                time.sleep(amount)  # noqa: ASYNC251 - it blocks the loop, which is the fault
            case "search":
                search(int(amount))
            case "deaf":
                await sleep_on(amount)
            case "fail":
                if job.attempt == 1:
                    raise RuntimeError("as told")

    def backoff(self, job: Job[Task]) -> timedelta:
        return timedelta(milliseconds=100)


def named(given: str) -> type[Tasked]:
    """Return the same executor under another name, for jobs that not every worker takes."""

    class Named(Tasked):
        name = given

    return Named


def search(letters: int) -> None:
    """Hold the GIL for a time that doubles with each letter."""
    re.match(r"(a+)+$", "a" * letters + "b")


async def sleep_on(seconds: float) -> None:
    """Sleep so long, whatever cancels it."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


class Timed(logging.Formatter):
    """Puts the machine's monotonic seconds before each line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{time.monotonic():.3f} {super().format(record)}"


def hasten(pace: float) -> None:
    """Shorten what the library waits for in fixed seconds, as a lease that is `pace` times shorter than 30 s needs."""
    for module, names in ((liveness, ["OPERATION_SECONDS"]), (listener, ["LISTEN_CHECK_SECONDS", "REPLY_SECONDS"])):
        for name in names:
            vars(module)[name] /= pace


def backend_of(store: str, listens_at: str | None) -> Backend:
    """Return a backend that counts claims. Its listener may connect to another address than the rest."""
    backend = watched(store)
    if listens_at is not None:
        assert isinstance(backend, PostgresBackend)
        backend._hearing.listener = Listener(listens_at, backend.schema, backend._hearing.hear)
    return backend


async def work(options: argparse.Namespace, history: History) -> None:
    """Work until a signal; note when it begins to open the store, and when all is over."""
    backend = backend_of(options.store, options.listens_at)
    executor = named(options.runs)(lambda what, job_id: history.write(what, job_id, _CLAIMS[job_id]))
    while options.after is not None and not options.after.exists():
        await asyncio.sleep(0.01)
    lease = timedelta(seconds=options.lease)
    made = Rexecutor(backend, lease=lease, max_concurrency=options.slots).with_executor(executor)
    history.write("opening", 0, 0)
    await made.run_until_signal(grace=timedelta(seconds=options.grace))
    _leave_soon()  # as `rexecutor worker` does
    history.write("over", 0, 0)


def main() -> None:
    """Work as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("history", type=Path)
    parser.add_argument("--runs", default=Tasked.name)
    parser.add_argument("--lease", type=float, default=30.0)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--grace", type=float, default=25.0)
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--listens-at")
    parser.add_argument("--after", type=Path, help="begin when this file is there: sooner than a new process could")
    options = parser.parse_args()
    handler = logging.StreamHandler()
    handler.setFormatter(Timed("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("rexecutor.jobs").setLevel(logging.WARNING)  # the history tells of each job
    faulthandler.register(signal.SIGUSR1)  # a worker that hangs can be asked where
    hasten(options.pace)
    asyncio.run(work(options, History(options.history)))


if __name__ == "__main__":
    main()
