"""An application that asks for everything at once, beside a node with a schedule for each second.

`python -m tests.faults.programs.loaded STORE HISTORY --operations FILE --rest FILE`. It notes each call with what came
of it, each acknowledged job, and each run. Once the file of `--rest` is there, it makes no more calls, and the node
goes on until a signal comes. The library's own words go to stderr, each line with the machine's monotonic seconds.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from rexecutor import Executor, Job, JobHandle, Rexecutor, UniquenessCriteria, Where
from rexecutor.backend.base import Backend
from rexecutor.backend.postgres import heartbeat as heartbeats
from rexecutor.backend.postgres import listener, liveness, pool, sync
from rexecutor.model.job import JobId
from tests.faults.history import History
from tests.faults.operations import Operations
from tests.faults.programs.scripted_worker import Timed
from tests.faults.worker import _CLAIMS, watched

CALLERS_SECONDS: Final = 2.0
"""How long a caller with a timeout of its own waits."""
THREADS: Final = 8
KEYS: Final = 40
"""How many keys the unique enqueues have: enough that one of a connection that is silent rarely stops another."""

PLAIN: Final = "plain"
UNIQUE: Final = "unique"
SYNC: Final = "sync"
SYNC_UNIQUE: Final = "sync unique"
QUERY: Final = "query"
WAIT: Final = "wait"
NAP: Final = "nap"
"""A wait of `NAP_SECONDS`: how much longer it takes is what the process and the machine are late by."""
NAP_SECONDS: Final = 0.05
PATIENT: Final = ("patient plain", "patient unique", "patient query", "patient count", "patient cancel")
"""Calls whose caller has no timeout."""


class Loaded(Executor[str]):
    """Notes `start` and `end` of each run."""

    name = "loaded"
    max_concurrency = 20

    def __init__(self, note: Callable[[str, JobId], None]) -> None:
        self._note = note

    async def execute(self, job: Job[str]) -> None:
        self._note("start", job.id)
        await asyncio.sleep(0.005)
        self._note("end", job.id)


class Ticking(Loaded):
    """What each tick enqueues."""

    name = "ticking"


class Load:
    """The calls, from many tasks and threads."""

    def __init__(self, backend: Backend, history: History, operations: Operations, seed: int) -> None:
        self._backend = backend
        self._history = history
        self._operations = operations
        self._chance = random.Random(seed)
        self._is_over = False

    async def run(self, rest: Path) -> None:
        """Call until the file is there, and until all calls have ended."""
        waiting = (
            await Loaded.builder().with_data("by-hand").schedule_in(timedelta(hours=1)).enqueue(backend=self._backend)
        )
        threads = [threading.Thread(target=self._call_sync, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(self._repeat(0.1, lambda: asyncio.gather(*(self._plain() for _ in range(4)))))
            for _ in range(2):
                group.create_task(self._repeat(0.1, self._unique))
                group.create_task(self._repeat(0.1, self._wait))
                group.create_task(self._repeat(0.1, lambda: self._call(QUERY, self._query)))
            group.create_task(self._repeat(0, self._nap))
            patient = (self._enqueue_plain, self._enqueue_unique, self._query, self._backend.count)
            for kind, act in zip(PATIENT, (*patient, lambda: waiting.cancel("enough")), strict=True):
                group.create_task(self._repeat(0.2, lambda kind=kind, act=act: self._call(kind, act, seconds=None)))
            while not rest.exists():
                await asyncio.sleep(0.05)
            self._is_over = True
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.05)

    async def _repeat(self, pause: float, act: Callable[[], Awaitable[object]]) -> None:
        while not self._is_over:
            await act()
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))

    async def _call(
        self, kind: str, act: Callable[[], Awaitable[Any]], *, seconds: float | None = CALLERS_SECONDS
    ) -> None:
        with self._operations.noted(kind):
            async with asyncio.timeout(seconds):
                await act()

    async def _plain(self) -> None:
        await self._call(PLAIN, self._enqueue_plain)

    async def _unique(self) -> None:
        await self._call(UNIQUE, self._enqueue_unique)

    async def _wait(self) -> None:
        """Enqueue a job and wait for its end."""
        handles: list[JobHandle[str, Any]] = []

        async def enqueue() -> None:
            handles.append(await self._enqueue_plain())

        await self._call(PLAIN, enqueue)
        for handle in handles:
            with self._operations.noted(WAIT):
                await handle.wait(timeout=timedelta(seconds=CALLERS_SECONDS))

    async def _nap(self) -> None:
        with self._operations.noted(NAP):
            await asyncio.sleep(NAP_SECONDS)

    async def _query(self) -> None:
        await Loaded.query_jobs(Where.data_equals("by-query"), limit=1, backend=self._backend)

    async def _enqueue_plain(self) -> JobHandle[str, Any]:
        return self._acknowledged(await Loaded.builder().with_data("by-plain").enqueue(backend=self._backend))

    async def _enqueue_unique(self) -> None:
        builder = (
            Loaded.builder().with_data("by-unique").unique(UniquenessCriteria.by_key(self._chance.randrange(KEYS)))
        )
        self._acknowledged(await builder.enqueue(backend=self._backend))

    def _call_sync(self) -> None:
        chance = random.Random(threading.get_ident())
        while not self._is_over:
            if chance.random() < 0.3:
                criteria = UniquenessCriteria.by_key(KEYS + chance.randrange(KEYS))
                builder, kind = Loaded.builder().with_data("by-unique-sync").unique(criteria), SYNC_UNIQUE
            else:
                builder, kind = Loaded.builder().with_data("by-sync"), SYNC
            with self._operations.noted(kind):
                self._acknowledged(builder.enqueue_sync(backend=self._backend))
            time.sleep(chance.uniform(0.1, 0.3))

    def _acknowledged(self, handle: JobHandle[str, Any]) -> JobHandle[str, Any]:
        if handle.disposition == "inserted":
            self._history.write("ack", handle.id, 0)
        return handle


def hasten(pace: float, bound: float) -> None:
    """Shorten what the library waits for in fixed seconds: an operation's bound, and what else takes longer."""
    configured = liveness.SESSION_SETTINGS.replace("'10s'", f"'{10 / pace:.1f}s'")
    changed = {
        "OPERATION_SECONDS": bound,
        "POOL_WAIT_SECONDS": bound,
        "CONNECTION_WAIT_SECONDS": bound,
        "SESSION_SETTINGS": configured,
        "LISTEN_CHECK_SECONDS": listener.LISTEN_CHECK_SECONDS / pace,
        "REPLY_SECONDS": listener.REPLY_SECONDS / pace,
    }
    for module in (heartbeats, listener, liveness, pool, sync):
        for name in changed.keys() & vars(module).keys():
            setattr(module, name, changed[name])


async def work(options: argparse.Namespace) -> None:
    """Be a node and call, until a signal comes."""
    history, backend = History(options.history), watched(options.store)

    def note(what: str, job_id: JobId) -> None:
        history.write(what, job_id, _CLAIMS[job_id])

    node = Rexecutor(backend, lease=timedelta(seconds=options.lease)).with_executor(Loaded(note))
    running = asyncio.ensure_future(node.with_cron_executor(Ticking(note), "* * * * * *", "by-tick").run_until_signal())
    while not node.is_running:
        await asyncio.sleep(0.01)
    await Load(backend, history, Operations(options.operations), options.seed).run(options.rest)
    history.write("rested", 0, 0)
    await running


def main() -> None:
    """Work as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("history", type=Path)
    parser.add_argument("--operations", type=Path, required=True)
    parser.add_argument("--rest", type=Path, required=True)
    parser.add_argument("--bound", type=float, default=30.0)
    parser.add_argument("--lease", type=float, default=30.0)
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    handler = logging.StreamHandler()
    handler.setFormatter(Timed("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    faulthandler.register(signal.SIGUSR1)  # where a program hangs can be asked
    hasten(options.pace, options.bound)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work(options))


if __name__ == "__main__":
    main()
