"""A worker whose executors take whatever is of their type.

`python -m tests.faults.programs.typed_worker STORE HISTORY`. It says "up" once it runs, and logs on standard error.
"""

import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rexecutor import Executor, Job, Rexecutor
from tests.faults.history import History
from tests.faults.stores import backend_at

LEASE = timedelta(seconds=3)

D = TypeVar("D")
M = TypeVar("M")


class Writes(Executor[D, M]):
    """Writes when it starts and ends, and does nothing between."""

    history: ClassVar[History | None] = None

    async def execute(self, job: Job[D, M]) -> None:
        if self.history is not None:
            self.history.write("start", job.id, job.attempt)
            await asyncio.sleep(0)
            self.history.write("end", job.id, job.attempt)


class Text(Writes[str, None]):
    name = "text"


class Number(Writes[int, None]):
    name = "number"


class Real(Writes[float, None]):
    name = "real"


class Mapping(Writes[dict[str, int], None]):
    name = "mapping"


class Anything(Writes[Any, Any]):
    name = "anything"


async def main() -> None:
    """Work until a signal."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    Writes.history = History(Path(sys.argv[2]))
    rexecutor = Rexecutor(backend_at(sys.argv[1]), lease=LEASE)
    for executor in (Text, Number, Real, Mapping, Anything):
        rexecutor = rexecutor.with_executor(executor)
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    while not rexecutor.is_running:
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main())
