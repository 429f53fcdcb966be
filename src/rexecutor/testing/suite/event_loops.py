"""One backend used from several event loops, as when each thread of an application calls `asyncio.run`."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from rexecutor.backend.base import Backend
from rexecutor.errors import BackendClosedError
from rexecutor.model.where import Everything
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, HOUR, Store, new_job

_PATIENCE: Final = 20.0
"""Seconds of real time after which a thread counts as hanging."""
_MANY: Final = 6

_Use = Callable[[Backend], Awaitable[object]]
_USES: Final[dict[str, _Use]] = {
    "open": lambda backend: backend.open(),
    "enqueue": lambda backend: backend.enqueue([new_job()]),
    "query": lambda backend: backend.query(Everything()),
    "count": lambda backend: backend.count(),
    "schedules": lambda backend: backend.schedules(),
    "close": lambda backend: backend.close(),
}


async def _in_threads(act: Callable[[], Coroutine[Any, Any, object]], threads: int = 1) -> list[Exception | None]:
    """Run `act` in new threads at the same moment, each with its own event loop. Return what each raised, or None.

    Fail if a thread hangs.
    """
    together = threading.Barrier(threads)
    raised: list[Exception | None] = []

    def run() -> None:
        together.wait(_PATIENCE)
        try:
            asyncio.run(act())
        except Exception as error:  # noqa: BLE001 - the case looks at it
            raised.append(error)
        else:
            raised.append(None)

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        await asyncio.to_thread(thread.join, _PATIENCE)
    assert len(raised) == threads, f"{threads - len(raised)} of {threads} threads hang"
    return raised


def _refused(raised: list[Exception | None]) -> int:
    """Return how many were refused because another event loop has the backend. Fail if there is any other error."""
    refusals = [error for error in raised if error is not None]
    for error in refusals:
        assert isinstance(error, BackendClosedError), repr(error)
        assert "another event loop" in str(error), str(error)
    return len(refusals)


class EventLoopCases(Cases):
    """A use from another event loop works, or raises a `BackendClosedError` at once that says what to do."""

    async def test_a_use_from_another_loop_works_or_is_told_so(self, store: Store) -> None:
        for name, use in _USES.items():
            if name != "close":

                async def act(use: _Use = use) -> None:
                    await use(store.backend)

                _refused(await _in_threads(act))

        assert store.backend.is_open
        [job_id] = await store.enqueue(new_job())
        assert (await store.job(job_id)).id == job_id

    async def test_a_close_in_another_loop_leaves_the_store_to_those_who_use_it(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        _refused(await _in_threads(store.backend.close))

        assert store.backend.is_open
        assert (await store.job(job_id)).id == job_id

    async def test_uses_from_other_loops_beside_ones_own_end_all(self, store: Store) -> None:
        async def enqueue_some() -> None:
            for _ in range(20):
                await store.backend.enqueue([new_job()])

        others = asyncio.ensure_future(_in_threads(enqueue_some, _MANY))
        own = 0
        while not others.done():
            await asyncio.gather(*(store.enqueue(new_job()) for _ in range(10)))
            own += 10

        served = _MANY - _refused(others.result())
        assert len(await store.jobs()) == own + 20 * served

    async def test_loops_that_open_it_at_the_same_moment_have_it_one_by_one(self, store: Store) -> None:
        await store.backend.close()

        async def use() -> None:
            async with store.backend:
                await store.backend.enqueue([new_job()])

        raised = [error for _ in range(5) for error in await _in_threads(use, _MANY)]

        served = len(raised) - _refused(raised)
        assert served
        await store.backend.open()
        assert len(await store.jobs()) == served

    async def test_what_a_closed_loop_has_left_open_opens_again(self, store: Store) -> None:
        await store.backend.close()

        async def leave_open() -> None:
            await store.backend.open()
            await store.backend.enqueue([new_job()])

        for _ in range(2):
            assert await _in_threads(leave_open) == [None]
        await store.backend.open()

        assert store.backend.is_open
        await store.enqueue(new_job())
        assert len(await store.jobs()) == 3

    async def test_what_a_closed_loop_has_left_open_can_be_closed(self, store: Store) -> None:
        await store.backend.close()
        assert await _in_threads(store.backend.open) == [None]

        await store.backend.close()

        await store.backend.open()
        assert len(await store.enqueue(new_job())) == 1

    async def test_waits_of_two_loops_end_each(self, store: Store) -> None:
        async def wait() -> None:
            since = store.backend.change_count
            await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        waiting = asyncio.ensure_future(_in_threads(wait, 2))
        own = asyncio.ensure_future(wait())
        while not (waiting.done() and own.done()):
            await store.enqueue(new_job())
            await asyncio.wait((waiting, own), timeout=0.05)

        _refused(waiting.result())
