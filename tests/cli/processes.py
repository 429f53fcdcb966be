"""Runs the command line in a process of its own, as a person does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.messages import Demand, Node, NodeState
from rexecutor.model.job import ErrorKind, JobError, NewJob
from rexecutor.model.outcomes import Complete, Failed, Settlement
from tests.cli.command_line import Answer

NODE: Final = Node("node-1", "here:1", timedelta(minutes=5), state=NodeState("here", 1, "1", (), 1, 0, 0.0))

APPLICATION: Final = """
from dataclasses import dataclass

from rexecutor import Executor, Job, Pruner, PrunerConfig, Rexecutor, UniquenessCriteria, connect, job, JobStatus
from datetime import timedelta

class Email(Executor[str]):
    name = "email"
    max_attempts = 7

    async def execute(self, job: Job[str]) -> None:
        pass

class Once(Executor[int]):
    name = "once"
    uniqueness_criteria = UniquenessCriteria.by_executor()

    async def execute(self, job: Job[int]) -> None:
        pass

@job
async def greet(name: str, times: int = 1) -> None:
    pass

def make() -> Rexecutor:
    made = Rexecutor(connect({url!r}, schema={schema!r}), executors=[Email, Once, greet])
    made.with_cron_executor(Email, "0 3 * * *", "nightly", id="nightly", tags=["cron"])
    made.with_cron_executor(greet, "0 4 * * *", greet.data("ann"))
    pruner = Pruner.max_age(timedelta(0), JobStatus.COMPLETE)
    return made.with_job_pruner(PrunerConfig("0 5 * * *").with_pruner(pruner))

rexecutor = make()
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with an application on a store."""

    folder: Path
    url: str
    schema: str | None
    backend: Callable[[], Backend]

    @property
    def options(self) -> tuple[str, ...]:
        """The options that name the store."""
        return ("--url", self.url, *(() if self.schema is None else ("--schema", self.schema)))

    def __call__(self, *arguments: str, answer: str = "", **environment: str) -> Answer:
        """Run a command in the folder, with nothing of rexecutor in the environment but what is given."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("REXECUTOR_")}
        ended = subprocess.run(
            [sys.executable, "-m", "rexecutor", *arguments],
            cwd=self.folder,
            env=outside | environment,
            input=answer,
            text=True,
            capture_output=True,
            check=False,
            timeout=100,
        )
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def fill(self) -> None:
        """Store jobs of the application: 1 waits, 2 executes, 3 is complete, 4 is discarded."""
        asyncio.run(_fill(self.backend()))


async def _fill(backend: Backend) -> None:
    async with backend:
        await backend.migrate()
        later = NewJob("email", '"later"', None, 5, 0, ("a",), None, timedelta(days=1))
        due = [NewJob("email", f'"{name}"', None, 1, 0, ("a", "b"), None, timedelta(0)) for name in "bcd"]
        await backend.enqueue([later, *due])
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(NODE)
        heartbeats.close()
        await backend.claim(Demand({"email": 3}, 3), NODE.id)
        error = JobError(1, ErrorKind.EXCEPTION, "SmtpError", "no such host", backend.clock.now())
        await backend.settle([Settlement(3, 1, Complete(None)), Settlement(4, 1, Failed(error, timedelta(0)))])
