"""Uses of backends and applications at the wrong time or place.

`python -m tests.faults.programs.lifetimes STORE CASE…` prints lines of JSON: what came of it. `works`, `clear: …` for
an error of ours, `unclear: …` for another, `hangs`.
"""

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from rexecutor import Backend, Executor, Job, JobStatus, Rexecutor, override_global_backend
from tests.faults.outcomes_summary import (
    OutcomesSummary,
    allow_no_hanging,
    awaited,
    in_child,
    outcome_in_thread,
    outcome_of,
)
from tests.faults.stores import backend_at

SHORTLY: Final = timedelta(seconds=3)


Case = Callable[[str], None]


class Brief(Executor[int]):
    name = "brief"

    async def execute(self, job: Job[int]) -> None: ...


async def enqueue(backend: Backend) -> None:
    """Enqueue a job, and look whether it is there."""
    handle = await Brief.builder().with_data(1).enqueue(backend=backend)
    assert (await handle.fetch()).data == 1


async def run_one(backend: Backend) -> None:
    """Enqueue a job and see it run."""
    handle = await Brief.builder().with_data(1).enqueue(backend=backend)
    assert (await handle.wait(SHORTLY)).status is JobStatus.COMPLETE


async def use(backend: Backend) -> None:
    """Use a backend that is not open."""
    async with backend:
        await enqueue(backend)


async def work(backend: Backend) -> None:
    """Be a worker on it."""
    async with app(backend):
        await run_one(backend)


def app(backend: Backend) -> Rexecutor:
    """Return an application."""
    return Rexecutor(backend, lease=timedelta(seconds=3)).with_executor(Brief)


def enqueue_sync(backend: Backend) -> None:
    """Enqueue some jobs without a loop."""
    for number in range(20):
        Brief.builder().with_data(number).enqueue_sync(backend=backend)


def _enqueue_in_loop(backend: Backend) -> None:
    asyncio.run(enqueue(backend))


def _enqueue_globally(backend: Backend) -> None:
    with override_global_backend(backend):
        asyncio.run(_enqueue_somewhere())


async def _enqueue_somewhere() -> None:
    await Brief.builder().with_data(1).enqueue()


def _close(backend: Backend) -> None:
    asyncio.run(backend.close())


def _shut_down(application: Rexecutor) -> None:
    asyncio.run(application.graceful_shutdown(timedelta(seconds=1)))


def _start(application: Rexecutor) -> None:
    asyncio.run(application.start())


def _heartbeats(backend: Backend) -> None:
    backend.heartbeat_connection()


def _use_own(store: str) -> None:
    asyncio.run(use(backend_at(store)))


def _work_on_own(store: str) -> None:
    asyncio.run(work(backend_at(store)))


def fork(store: str) -> None:
    """Fork when an application runs: the child may use nothing of it, and does no harm to it."""

    async def main() -> None:
        backend = backend_at(store)
        answers = OutcomesSummary()
        async with app(backend) as application:
            await run_one(backend)
            enqueue_sync(backend)
            acts: dict[str, tuple[Callable[..., None], object]] = {
                "fork, enqueue": (_enqueue_in_loop, backend),
                "fork, enqueue globally": (_enqueue_globally, backend),
                "fork, close": (_close, backend),
                "fork, a heartbeat connection": (_heartbeats, backend),
                "fork, shut down": (_shut_down, application),
                "fork, start": (_start, application),
                "fork, enqueue_sync": (enqueue_sync, backend),
                "fork, a backend of its own": (_use_own, store),
                "fork, an application of its own": (_work_on_own, store),
            }
            for what, (act, argument) in acts.items():
                answers[what] = await in_child("fork", act, argument)
                answers[f"{what}; the parent goes on"] = await awaited(run_one(backend))
            enqueue_sync(backend)

    asyncio.run(main())


def spawn(store: str) -> None:
    """Start fresh processes when an application runs."""

    async def main() -> None:
        backend = backend_at(store)
        async with app(backend):
            await run_one(backend)
            answers = OutcomesSummary()
            answers["spawn, a backend of its own"] = await in_child("spawn", _use_own, store)
            answers["spawn, an application of its own"] = await in_child("spawn", _work_on_own, store)
            answers["spawn; the parent goes on"] = await awaited(run_one(backend))
            answers["spawn, the parent's backend as an argument"] = outcome_of(lambda: pickle.dumps(backend))

    asyncio.run(main())


def second_loop(store: str) -> None:
    """Use from a second loop what the first has opened and still runs."""
    ready: Future[tuple[Backend, Rexecutor]] = Future()
    over = threading.Event()

    async def first() -> None:
        backend = backend_at(store)
        async with app(backend) as application:
            ready.set_result((backend, application))
            await asyncio.to_thread(over.wait)

    ends = ["hangs"]
    thread = threading.Thread(target=lambda: ends.append(outcome_in_thread(first())), daemon=True)
    thread.start()
    backend, application = ready.result(10)
    acts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "second loop, enqueue": lambda: enqueue(backend),
        "second loop, see it run": lambda: run_one(backend),
        "second loop, another application": lambda: app(backend).start(),
        "second loop, shut down": lambda: application.graceful_shutdown(timedelta(seconds=1)),
    }
    answers = OutcomesSummary()
    for what, act in acts.items():
        answers[what] = outcome_of(lambda act=act: asyncio.run(act()))
    over.set()
    thread.join(10)
    answers["second loop; the first ends"] = ends[-1]


def dead_loop(store: str) -> None:
    """Use what a loop has opened that has ended without closing it."""
    backend, application = backend_at(store), app(backend_at(store))
    asyncio.run(backend.open())
    asyncio.run(application.start())
    acts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "dead loop, enqueue": lambda: enqueue(backend),
        "dead loop, close": backend.close,
        "dead loop, open again": lambda: use(backend),
        "dead loop, shut down": lambda: application.graceful_shutdown(timedelta(seconds=1)),
    }
    answers = OutcomesSummary()
    for what, act in acts.items():
        answers[what] = outcome_of(lambda act=act: asyncio.run(act()))


def closed(store: str) -> None:
    """Use what has been closed, and open it again."""

    async def main() -> None:
        answers, backend = OutcomesSummary(), backend_at(store)
        async with backend:
            handle = await Brief.builder().with_data(1).enqueue(backend=backend)
        answers["closed, enqueue"] = await awaited(enqueue(backend))
        answers["closed, wait"] = await awaited(handle.wait(SHORTLY))
        answers["closed, count"] = await awaited(backend.count())
        answers["closed, cancel"] = await awaited(handle.cancel("late"))
        answers["closed, a heartbeat connection"] = outcome_of(backend.heartbeat_connection)
        answers["closed, enqueue_sync"] = outcome_of(lambda: enqueue_sync(backend))
        answers["closed, close"] = await awaited(backend.close())
        answers["closed, open again"] = await awaited(use(backend))
        application = app(backend)
        answers["app, shut down before the start"] = await awaited(application.graceful_shutdown())
        async with application:
            answers["app, start twice"] = await awaited(application.start())
            answers["app; goes on"] = await awaited(run_one(backend))
        answers["app, shut down twice"] = await awaited(application.graceful_shutdown())
        answers["app, start again"] = await awaited(application.start())
        answers["app, works again"] = await awaited(run_one(backend))
        await application.graceful_shutdown()

    asyncio.run(main())
    answers, backend = OutcomesSummary(), backend_at(store)
    for what in ("first", "second"):
        answers[f"closed, a loop for each use, the {what}"] = outcome_of(lambda: asyncio.run(work(backend)))


def uvloop(store: str) -> None:
    """Work in another kind of loop."""
    answers = OutcomesSummary()
    if find_spec("uvloop") is None:
        answers["uvloop"] = "not installed"
        return
    loops: Any = import_module("uvloop")
    answers["uvloop"] = outcome_of(lambda: loops.run(work(backend_at(store))))


CASES: Final[dict[str, Case]] = {one.__name__: one for one in (fork, spawn, second_loop, dead_loop, closed, uvloop)}


def main() -> None:
    """Do the cases that are named."""
    allow_no_hanging()
    for name in sys.argv[2:]:
        CASES[name](sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # whatever a case has left behind


if __name__ == "__main__":
    main()
