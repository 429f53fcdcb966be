"""An application with secrets: `rexecutor worker tests.faults.programs.secretive:rexecutor --log-level debug`.

Its store is `REXECUTOR_URL`; `WRONG_URL` is one that cannot be reached. All that is logged anywhere in the process is
written, each record after the number of its level.
"""

import asyncio
import logging
import os
from datetime import timedelta
from typing import Final

from rexecutor import Cancel, ExecutionResult, Executor, Job, Rexecutor, Snooze, connect

AT_ONCE: Final = timedelta(0)
MARK: Final = "level="


class Secretive(Executor[str, str]):
    """Says its data where nobody listens by default: at the level of debugging."""

    name = "secretive"
    max_attempts = 1

    async def execute(self, job: Job[str, str]) -> ExecutionResult:
        logging.getLogger("application").debug("data %s, metadata %s", job.data, job.metadata)
        return await self.act(job)

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        return None

    def backoff(self, job: Job[str, str]) -> timedelta:
        return AT_ONCE


class Fails(Secretive):
    name = "fails"
    max_attempts = 2

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        raise ValueError(job.data, job.metadata)


class FailsTwice(Secretive):
    """Fails, and so does its backoff."""

    name = "fails_twice"

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        raise ValueError("once")

    def backoff(self, job: Job[str, str]) -> timedelta:
        raise ValueError(job.data, job.metadata)


class TimesOut(Secretive):
    name = "times_out"

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        await asyncio.Event().wait()

    def timeout(self, job: Job[str, str]) -> timedelta:
        return timedelta(seconds=0.05)


class Snoozes(Secretive):
    name = "snoozes"

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        return None if job.errors or job.scheduled_at != job.inserted_at else Snooze(AT_ONCE)


class Cancels(Secretive):
    name = "cancels"

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        return Cancel(job.data)


class Connects(Secretive):
    """Uses a store that cannot be reached, and lets the error through: it is recorded."""

    name = "connects"

    async def act(self, job: Job[str, str]) -> ExecutionResult:
        await connect(os.environ["WRONG_URL"]).open()


KINDS: Final = (Secretive, Fails, FailsTwice, TimesOut, Snoozes, Cancels, Connects)


def rexecutor() -> Rexecutor:
    """Return the application."""
    logging.basicConfig(level=logging.DEBUG, format=f"{MARK}%(levelno)s %(name)s: %(message)s", force=True)
    made = Rexecutor(connect(os.environ["REXECUTOR_URL"]), lease=timedelta(seconds=3))
    for kind in KINDS:
        made = made.with_executor(kind)
    return made
