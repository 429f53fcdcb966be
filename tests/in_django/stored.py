"""Jobs in a store, for tests that only read them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from rexecutor.app.rexecutor import Rexecutor
from rexecutor.backend.base import Backend
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.model.job import NewJob

T = TypeVar("T")


def new(
    executor: str, *, data: str = '{"to":"bob"}', metadata: str | None = None, tags: tuple[str, ...] = ()
) -> NewJob:
    """Return a job that is due at once."""
    return NewJob(executor, data, metadata, 1, 0, tags, None, timedelta(0))


NEW = new("mail")
rexecutor = Rexecutor(InMemoryBackend())


def ask(backend: Backend, call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call of the open backend returns."""

    async def run() -> T:
        async with backend:
            return await call()

    return asyncio.run(run())
