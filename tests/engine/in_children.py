"""Executors for child processes, which import this module: it is to be small."""

import contextlib
import ctypes
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from rexecutor import Cancel, ExecutionResult, Executor, Job, Snooze, current_job
from rexecutor.jobs.providers import Provide, provided_sync

trace: ContextVar[str] = ContextVar("trace", default="none")


def hang() -> None:
    time.sleep(120)  # noqa: TID251


def hang_deaf() -> None:
    while True:
        with contextlib.suppress(BaseException):
            hang()


def fork() -> None:
    if os.fork():
        time.sleep(0.3)  # noqa: TID251 - so that the other half would be the first to answer


def last_a_moment() -> None:
    time.sleep(0.3)  # noqa: TID251


def raise_it(error: BaseException) -> None:
    raise error


async def never_awaited() -> None:
    raise AssertionError


class UnsendableError(Exception):
    """Cannot be pickled, nor shown."""

    def __init__(self) -> None:
        super().__init__()
        self.hook = lambda: None

    def __str__(self) -> str:
        raise ValueError("not shown")


class ClosedError(Exception):
    """Raises wherever it is looked at."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(5)


DEEDS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "set": lambda: None,
    "cancel": lambda: Cancel("why"),
    "snooze": lambda: Snooze(timedelta(hours=1)),
    "value": UnsendableError,
    "coroutine": never_awaited,
    "raise": lambda: raise_it(ValueError("no")),
    "unsendable": lambda: raise_it(UnsendableError()),
    "closed": lambda: raise_it(ClosedError()),
    "sys-exit": lambda: sys.exit(4),
    "interrupt": lambda: raise_it(KeyboardInterrupt()),
    "exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fork": fork,
    "short": last_a_moment,
    "hang": hang,
    "deaf": hang_deaf,
}


class InChild(Executor[str]):
    """Does a deed, and notes in a file which process did it, when it began and when it ended."""

    name = "in_child"
    blocking = "process"
    max_attempts = 2
    max_concurrency = 2

    def __init__(self, notes: Path, limit: float | None = None) -> None:
        self.notes = notes
        self.limit = limit

    def execute(self, job: Job[str]) -> ExecutionResult:
        self.note("begun")
        assert current_job() is job
        if job.data == "leave":
            self.leave_a_process()
        if job.data == "set":
            self.note(f"seen-{trace.get()}")
            trace.set("job")
        try:
            return DEEDS[job.data]()
        finally:
            self.note("ended")

    def leave_a_process(self) -> None:
        if os.fork() == 0:
            self.note("left")
            hang()
        while "left" not in self.notes.read_text():
            time.sleep(0.01)  # noqa: TID251
        os._exit(3)

    def note(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def timeout(self, job: Job[str]) -> timedelta | None:
        return None if self.limit is None else timedelta(seconds=self.limit)


class AddOne(Executor[str, None, int]):
    """Adds one to a counter in the jobs' own file, in one transaction with its end and its result."""

    name = "add_one"
    blocking = "process"
    max_concurrency = 1

    def execute(self, job: Job[str]) -> int:
        connection = sqlite3.connect(job.data)
        with contextlib.closing(connection), connection:
            connection.execute("UPDATE counter SET number = number + 1")
            job.complete_in_sync(connection, result=7)
        return 8  # which is ignored


class Answer(msgspec.Struct):
    """A result that cannot be pickled."""

    text: str

    def __reduce__(self) -> Any:
        raise TypeError("not picklable")


class Answering(Executor[str, None, Answer]):
    """Returns a result, or what only looks like one."""

    name = "answering"
    blocking = "process"
    max_attempts = 1
    max_concurrency = 1

    def execute(self, job: Job[str]) -> Answer:
        answers: dict[str, Any] = {"unpicklable": Answer("kept"), "huge": Answer("x" * 100_000), "wrong": 7}
        return answers[job.data]


class Rejecting(Executor[str]):
    """Raises an exception that is in `discard_on`, or another."""

    name = "rejecting"
    blocking = "process"
    max_concurrency = 1
    discard_on = (LookupError,)

    def execute(self, job: Job[str]) -> None:
        raise KeyError("no such thing") if job.data == "listed" else ValueError("busy")

    def backoff(self, job: Job[str]) -> timedelta:
        return timedelta(hours=1)


def lent_file() -> Generator[list[Path]]:
    """Lend a list for the name of a file; say in that file when it is given back."""
    files: list[Path] = []
    yield files
    with files[0].open("a") as file:
        file.write(f"closed {os.getpid()}\n")


class Borrowing(Executor[str]):
    """Uses what is made once for its process."""

    name = "borrowing"
    blocking = "process"
    max_concurrency = 1

    def execute(self, job: Job[str]) -> None:
        with provided_sync({"files": Provide(lent_file, scope="worker")}, ()) as values:
            values["files"].append(Path(job.data))
            with Path(job.data).open("a") as file:
                file.write(f"used-{len(values['files'])} {os.getpid()}\n")
