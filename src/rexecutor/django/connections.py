"""Django's database connections of job threads: checked around each job, closed when the thread ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

import django
from asgiref.sync import SyncToAsync
from django.apps import apps
from django.db import close_old_connections, connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from rexecutor.model.job import Job

KEEPS_CONNECTIONS: Final = ContextVar("KEEPS_CONNECTIONS", default=False)
"""Whether connections are left as they are, because a test runs its jobs in its own thread and transaction."""


def refresh_connections() -> None:
    """Close this thread's connections that are broken or too old, and empty its log of queries."""
    if KEEPS_CONNECTIONS.get():
        return
    reset_queries()
    for alias in _open_blocks():  # Django would keep such a connection, closed, and nothing could use it any more
        connections[alias].close()
        del connections[alias]
    close_old_connections()
    left = [each for each in connections.all(initialized_only=True) if each.connection is not None]
    if _thread.at_end is not None:
        _thread.at_end.left = left
    elif left:  # CONN_MAX_AGE keeps them open
        _thread.at_end = _AtEnd(left)


def check_blocks() -> None:
    """Raise a `RuntimeError` if the job that ends in this thread has left an `atomic()` block open."""
    aliases = [] if KEEPS_CONNECTIONS.get() else _open_blocks()
    if aliases:
        raise RuntimeError(
            f"the job has ended within an atomic() block on {', '.join(map(repr, aliases))}, which is rolled back"
        )


def _open_blocks() -> list[str]:
    """Return the aliases of this thread's connections that are in an `atomic()` block."""
    return [each.alias for each in connections.all(initialized_only=True) if each.in_atomic_block]


class _Fresh(AbstractContextManager[None]):
    """Refreshes the connections at both ends of the block."""

    def __enter__(self) -> None:
        _refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not _has_loop():
                check_blocks()
        finally:
            _refresh()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _refresh() -> None:
    if not _has_loop():
        refresh_connections()
    else:  # one thread runs these calls in order: this one before those of the job, or after them
        SyncToAsync.single_thread_executor.submit(refresh_connections)


class _AtEnd:
    """Closes connections when the thread ends, which deletes its locals. Only that thread may close them."""

    def __init__(self, left: list[BaseDatabaseWrapper]) -> None:
        self.left = left
        self._thread: Final = threading.get_ident()

    def __del__(self) -> None:
        if self._thread == threading.get_ident():
            for connection in self.left:
                with suppress(Exception):  # it may be broken, and no caller is here to see the error
                    connection.close()


class _ClosesConnections:
    """Middleware that does around a job what Django does around a request.

    It is for a `Rexecutor` that runs inside a Django project; `manage.py rexecutor` adds it by itself:

    ```py
    rexecutor = Rexecutor(backend_for("default"), executors=[send_email], around_execute=[closes_connections])
    ```

    Before the job and after it, the connections of its thread that are broken, or older than `CONN_MAX_AGE`, are
    closed, and the log of queries is emptied. Otherwise a connection that the server has ended would fail in every
    later job of this thread. When the thread ends, its connections are closed. A job that ends within an `atomic()`
    block of this thread fails, and the block is rolled back.

    An asynchronous job reaches the database through `sync_to_async`, whose thread all such jobs share. So it is done in
    that thread, before and after what the job does there. A child process (`blocking = "process"`) calls
    `django.setup()` before it imports the jobs.
    """

    def __call__(self, job: Job[Any, Any, Any], /) -> AbstractContextManager[None]:  # noqa: ARG002 - all jobs alike
        """Return the context manager around one run of a job."""
        return _Fresh()

    def __reduce__(self) -> tuple[Callable[[], "_ClosesConnections"], tuple[()]]:
        """Set Django up where this is unpickled: in a child process, whose executors may import models."""
        return _in_child, ()


closes_connections: Final = _ClosesConnections()


def _in_child() -> _ClosesConnections:
    if not apps.ready:
        django.setup()
    return closes_connections


class _OfThread(threading.local):
    at_end: _AtEnd | None = None


_thread: Final = _OfThread()
