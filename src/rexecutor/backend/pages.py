"""Reads jobs page by page. What is done with a page is a generator without I/O, for use with and without a loop."""

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.where import Where

T = TypeVar("T")


class Page(NamedTuple):
    """Request for the next jobs that match, in order of id or (`newest`) in reverse: at most `limit`, after `after`."""

    where: Where
    limit: int
    after: JobId | None
    newest: bool = False


Reading: TypeAlias = Generator[Page, Sequence[JobRecord], T]
"""Yields a request for a page and is sent that page; returns a result."""


async def read(store: Backend | Transaction, reading: Reading[T]) -> T:
    """Read the pages that are requested; return the result."""
    __tracebackhide__ = True
    try:
        page = next(reading)
        while True:
            page = reading.send(await store.query(page.where, limit=page.limit, after=page.after, newest=page.newest))
    except StopIteration as done:
        return done.value


def read_sync(store: Backend | SyncTransaction, reading: Reading[T]) -> T:
    """Read the pages that are requested, without an event loop; return the result."""
    __tracebackhide__ = True
    try:
        page = next(reading)
        while True:
            page = reading.send(store.query_sync(page.where, limit=page.limit, after=page.after, newest=page.newest))
    except StopIteration as done:
        return done.value
