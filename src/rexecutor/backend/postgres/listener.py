"""LISTEN on a connection of its own, for ever: hints that shorten the wait for jobs."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from typing import Final, LiteralString, cast

import psycopg

LONGEST_WAIT: Final = 15.0
"""Seconds between two attempts to connect, and after which a silent connection is tried."""


class Listener:
    """Calls `heard` at each notification, and after each reconnection, when some may have been missed."""

    def __init__(self, conninfo: str, schema: str, heard: Callable[[], None]) -> None:
        """Keep them; `start` connects."""
        self._conninfo = conninfo
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        # A name that any schema's makes, and that no other application has.
        self.channel: Final = f"rexecutor_{hashlib.blake2b(schema.encode(), digest_size=8).hexdigest()}"

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.ensure_future(self._keep_listening())

    async def stop(self) -> None:
        """Stop; harmless when stopped."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep_listening(self) -> None:
        wait = 0.1
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    await connection.execute(cast("LiteralString", f"LISTEN {self.channel}"))
                    self._heard()
                    wait = 0.1
                    while True:
                        async for _ in connection.notifies(timeout=LONGEST_WAIT):
                            self._heard()
                        await connection.execute("SELECT 1")
            except psycopg.Error:
                await asyncio.sleep(wait)  # noqa: TID251
                wait = min(wait * 2, LONGEST_WAIT)
