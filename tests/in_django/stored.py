"""Jobs in a store, for tests that only read them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from rexecutor.backend.base import Backend
from rexecutor.model.job import NewJob

T = TypeVar("T")

NEW = NewJob("mail", '{"to":"bob"}', None, 1, 0, (), None, timedelta(0))


def ask(backend: Backend, call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call of the open backend returns."""

    async def run() -> T:
        async with backend:
            return await call()

    return asyncio.run(run())
