"""Counts what SQLite executes and writes, as its connections are traced."""

import asyncio
import re
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from typing_extensions import override

from rexecutor import SQLiteBackend
from rexecutor.backend.sqlite import checkpoint
from rexecutor.backend.sqlite.forks import TrackedConnection
from rexecutor.testing import FakeClock
from tests.costs.ground import Costs, Ground, Written
from tests.faults.connections import connecting_as
from tests.support import soon, until

_WRITES: Final = re.compile(r"\b(?:(INSERT)(?: OR \w+)? INTO|(UPDATE)|(DELETE) FROM) rexecutor_(\w+)")
_COMMENT: Final = re.compile(r"--.*")


class SqliteGround(Ground):
    """A file of its own."""

    def __init__(self, backend: SQLiteBackend, clock: FakeClock, counts: "Counts") -> None:
        super().__init__(backend, clock)
        self._sqlite = backend
        self._counts = counts

    @override
    async def clear(self) -> None:
        await self._sqlite._writer.run(_delete_all)

    @override
    async def taken(self) -> Costs:
        return self._counts.taken()

    @override
    async def together(self, calls: Sequence[Coroutine[Any, Any, object]]) -> None:
        writer = self._sqlite._writer
        gate = Gate(writer._lock)
        with patch.object(writer, "_lock", gate):
            first = asyncio.ensure_future(calls[0])
            await until(gate.is_reached.is_set)
            others = [asyncio.ensure_future(call) for call in calls[1:]]
            await until(lambda: writer._queue.qsize() == len(others))
            gate.is_open.set()
            await soon(asyncio.gather(first, *others))


class Gate:
    """Keeps a thread from a lock until it is opened."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self.is_reached = threading.Event()
        self.is_open = threading.Event()

    def __enter__(self) -> None:
        self.is_reached.set()
        self.is_open.wait(20)
        self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__(None, None, None)


class Counts:
    """What the connections that are opened while it is active have executed and changed."""

    def __init__(self) -> None:
        self._calls = Counter[str]()
        self._rows = defaultdict[str, Counter[str]](Counter)

    @contextmanager
    def active(self) -> Generator[None]:
        """Count what all connections do that are opened meanwhile."""
        counts = self

        class Counted(TrackedConnection):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.set_trace_callback(counts._counting(self))

        with connecting_as(Counted):
            yield

    def taken(self) -> Costs:
        """Return what was done since the last call."""
        calls, self._calls = self._calls, Counter[str]()
        rows, self._rows = self._rows, defaultdict[str, Counter[str]](Counter)
        return Costs(
            {kind: calls[kind] for kind in ("statements", "commits")},
            {table: Written(verbs["INSERT"], verbs["UPDATE"], None, verbs["DELETE"]) for table, verbs in rows.items()},
        )

    def _counting(self, connection: sqlite3.Connection) -> Callable[[str], None]:
        """Return what counts each statement of the connection, and is called with its text when it begins.

        What a statement has changed is known when the next one begins. Nothing is missed: no statement changes two
        tables, and a COMMIT follows the last one that changes anything.
        """
        before, last = 0, ""

        def count(text: str) -> None:
            nonlocal before, last
            if text.startswith("PRAGMA"):  # checkpoints, and looks for changes of others: their number depends on time
                return
            self._calls["statements"] += 1
            self._calls["commits"] += text == "COMMIT"
            if changed := connection.total_changes - before:
                [(*verbs, table)] = _WRITES.findall(_COMMENT.sub("", last))
                self._rows[table]["".join(verbs)] += changed
            before, last = connection.total_changes, text

        return count


def _delete_all(connection: sqlite3.Connection) -> None:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'rexecutor_%'"
    for (name,) in connection.execute(tables).fetchall():
        if name != "rexecutor_schema":
            connection.execute(f"DELETE FROM {name}")


@asynccontextmanager
async def sqlite_ground(folder: Path, clock: FakeClock) -> AsyncGenerator[Ground]:
    """Open a file in the folder. It is not synced, which changes no count.

    No checkpoints are made: there is one for each 4 MB of the log. How many jobs that is depends on SQLite's version.
    """
    counts = Counts()
    with counts.active(), patch.object(checkpoint, "CHECKPOINT_BYTES", 2**40):
        async with SQLiteBackend(folder / "jobs.db", clock=clock, synchronous="NORMAL") as backend:
            ground = SqliteGround(backend, clock, counts)
            yield ground
            ground.store.close()
