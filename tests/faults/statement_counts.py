"""Counts what a process asks of its stores, at the driver's side."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from psycopg.pq import TransactionStatus

from rexecutor.backend.sqlite.forks import TrackedConnection
from tests.faults.connections import connecting_as
from tests.faults.statement_faults import EXECUTING


@contextmanager
def counted() -> Generator[Counter[str]]:
    """Yield a counter of the transactions, statements and looks of connections that are opened meanwhile.

    A statement in autocommit is a transaction; on SQLite each commit counts, because a `BEGIN` may find the write lock
    taken and be repeated. A look is SQLite's `PRAGMA data_version`, and nothing else.
    """
    counts = Counter[str]()

    class Traced(TrackedConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.set_trace_callback(partial(_count_sqlite, counts))

    with ExitStack() as patches:
        patches.enter_context(connecting_as(Traced))
        for place in EXECUTING:
            patches.enter_context(patch(place.replace(":", "."), _counting(counts, resolve_name(place))))
        yield counts


def _count_sqlite(counts: Counter[str], text: str) -> None:
    if text == "PRAGMA data_version":
        counts["looks"] += 1
        return
    counts["statements"] += 1
    counts["transactions"] += text == "COMMIT"


def _counting(
    counts: Counter[str], execute: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    def count(owner: Any, *arguments: Any, **options: Any) -> Generator[Any, Any, Any]:
        counts["statements"] += 1
        connection = getattr(owner, "connection", owner)
        counts["transactions"] += connection.info.transaction_status is TransactionStatus.IDLE
        return (yield from execute(owner, *arguments, **options))

    return count
