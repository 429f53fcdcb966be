"""A thread with its own connection, which runs the database work of coroutines in batches."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from rexecutor.backend.sqlite.checkpoint import Checkpoints
from rexecutor.backend.sqlite.connection import connect, explained, take_turns, transaction, writers_lock
from rexecutor.background import in_fresh_context
from rexecutor.errors import BackendClosedError

T = TypeVar("T")


AtCommit: TypeAlias = Callable[[sqlite3.Connection], Callable[[], object]]
"""Called at the end of a transaction, in which it may read. Returns what to call once that is committed."""


@dataclass(slots=True)
class _Request:
    """Work for the thread, the future that gets its result, and what to call at the commit."""

    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]
    at_commit: AtCommit | None = None
    result: Any = None
    error: BaseException | None = None


_Queue: TypeAlias = SimpleQueue[_Request | asyncio.Future[None]]


class SqlThread:
    """Runs work on one connection, in the order in which it was queued.

    Everything queued when the thread becomes free runs in one transaction: a settle and a claim of the same moment, or
    many enqueues, cost one thread switch and one commit. Each piece of work succeeds or fails alone, behind a
    savepoint.
    """

    def __init__(self, path: Path, *, synchronous: str, begin: str, checkpoints: Checkpoints) -> None:
        """Store the settings; `start` opens the connection.

        Args:
            path: The database file.
            synchronous: SQLite's `synchronous` pragma.
            begin: The statement that begins each transaction. With `BEGIN IMMEDIATE` the thread also takes this
                process's write lock.
            checkpoints: Makes a checkpoint after a transaction, if one is needed.
        """
        self._path = path
        self._synchronous = synchronous
        self._begin = begin
        self._is_writer = begin == "BEGIN IMMEDIATE"
        self._lock: AbstractContextManager[object] = contextlib.nullcontext()
        self._queue: _Queue = SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checkpoints = checkpoints

    async def start(self, prepare: Callable[[sqlite3.Connection], object]) -> None:
        """Start the thread, and in it open the connection and call `prepare` with it."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        queue: _Queue = SimpleQueue()
        self._queue, self._process, self._loop = queue, os.getpid(), loop
        if self._is_writer:
            self._lock = writers_lock(self._path)
        thread = threading.Thread(
            target=self._serve, args=(queue, prepare, opened, loop), name=f"rexecutor {self._path.name}", daemon=True
        )
        in_fresh_context(thread.start)
        try:
            await opened
        except BaseException:
            queue.put(loop.create_future())  # if the caller was cancelled, the connection may be open all the same
            raise
        self._thread = thread

    async def run(self, work: Callable[[sqlite3.Connection], T], *, at_commit: AtCommit | None = None) -> T:
        """Run the work in a transaction. Return its result once the transaction is committed.

        If the caller is cancelled before the work has begun, it is not done.

        Args:
            work: Called in the thread with its connection.
            at_commit: Called in the thread at the end of the transaction, once if several pieces of work give the same.
                What it returns is called as soon as the results are on their way. Errors of both are ignored: what
                they do is a hint.

        Raises:
            BackendClosedError: The thread is not started, or was started before a fork.
        """
        if self._thread is not None and self._process != os.getpid():
            raise BackendClosedError(f"{self._path}: opened before a fork; start the child by `spawn`, or fork first")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._guard:  # work queued after the stop future, from another loop's thread, would never finish
            if self._thread is None:
                raise BackendClosedError(
                    f"{self._path}: not open; use `async with`, or start a Rexecutor with it;"
                    " methods such as `enqueue_sync` need no open backend"
                )
            self._queue.put(_Request(work, answer, at_commit))
        return await answer

    async def stop(self) -> None:
        """Finish the queued work, then close the connection. Does nothing if stopped."""
        if self._thread is not None and self._process == os.getpid():
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            with self._guard:
                self._thread = None
                self._queue.put(ended)
            await ended

    def stop_sync(self) -> None:
        """Stop the thread as `stop` does, once the loop that started it has ended. Does nothing if stopped."""
        with self._guard:
            thread, self._thread = self._thread, None
            if thread is None or self._process != os.getpid() or self._loop is None:
                return
            self._queue.put(self._loop.create_future())  # nobody waits for it
        thread.join()

    def _serve(
        self,
        queue: _Queue,
        prepare: Callable[[sqlite3.Connection], object],
        opened: asyncio.Future[None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            connection = connect(self._path, synchronous=self._synchronous)
        except BaseException as error:  # noqa: BLE001 - goes to the caller
            _call(loop, _fail, opened, error)
            return
        try:
            prepare(connection)
            if self._is_writer:
                take_turns(connection)
        except BaseException as error:  # noqa: BLE001 - goes to the caller
            connection.close()
            _call(loop, _fail, opened, explained(self._path, error) if isinstance(error, Exception) else error)
            return
        _call(loop, _succeed, opened)
        while not isinstance(batch := _next_batch(queue), asyncio.Future):
            hints = self._run_batch(connection, batch)
            for waiting in {request.answer.get_loop() for request in batch}:
                _call(waiting, _deliver, [request for request in batch if request.answer.get_loop() is waiting])
            for hint in hints:
                with contextlib.suppress(Exception):  # the work is done, and this thread must go on
                    hint()
            self._checkpoints.make(connection)
        connection.close()
        _call(batch.get_loop(), _succeed, batch)

    def _run_batch(self, connection: sqlite3.Connection, batch: list[_Request]) -> list[Callable[[], object]]:
        """Run the requests in one transaction; each of them gets its result or error.

        Returns:
            What to call once the results have been delivered; nothing if the transaction was not committed.
        """
        hints: list[Callable[[], object]] = []
        try:
            with self._lock, transaction(connection, self._begin, in_turn=self._is_writer):
                for request in batch:
                    if not request.answer.cancelled():
                        _run_one(connection, request)
                for look in {request.at_commit for request in batch if request.error is None and request.at_commit}:
                    with contextlib.suppress(Exception):
                        hints.append(look(connection))
        except BaseException as error:  # noqa: BLE001 - goes to those who wait
            for request in batch:
                request.error = request.error or error
            hints.clear()
        for request in batch:
            if isinstance(request.error, Exception):
                request.error = explained(self._path, request.error)
        return hints


def _next_batch(queue: _Queue) -> list[_Request] | asyncio.Future[None]:
    """Wait for requests and return all that are queued; return the stop future once no requests are left before it."""
    batch: list[_Request] = []
    request = queue.get()
    while isinstance(request, _Request):
        batch.append(request)
        try:
            request = queue.get_nowait()
        except Empty:
            return batch
    if batch:
        queue.put(request)  # for the next round
        return batch
    return request


def _run_one(connection: sqlite3.Connection, request: _Request) -> None:
    """Run one request behind a savepoint. Raise only if the whole transaction was rolled back."""
    connection.execute("SAVEPOINT request")
    try:
        request.result = _attempt(connection, request.work)
    except BaseException as error:
        request.error = error
        if not connection.in_transaction:  # after an error such as a full disk
            raise
        connection.execute("ROLLBACK TO request")
    connection.execute("RELEASE request")


def _attempt(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run the work. If a row holds text that is not UTF-8, undo it and run it again with lenient decoding."""
    try:
        return work(connection)
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    connection.execute("ROLLBACK TO request")
    connection.text_factory = lenient_text
    try:
        return work(connection)
    finally:
        connection.text_factory = str


def lenient_text(raw: bytes) -> str:
    """Return the bytes as text; invalid UTF-8 becomes surrogates instead of an error."""
    return raw.decode("utf-8", "surrogateescape")


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:  # that loop is closed: nobody waits for the answer
        return


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _deliver(batch: list[_Request]) -> None:
    for request in batch:
        if request.answer.done():
            continue
        if request.error is None:
            request.answer.set_result(request.result)
        else:
            request.answer.set_exception(request.error)
