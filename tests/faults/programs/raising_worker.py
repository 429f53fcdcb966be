"""A worker whose jobs raise whatever their data say.

`python -m tests.faults.programs.raising_worker STORE HISTORY LEASE_SECONDS`. It says "up" once it runs, and logs on
standard error.
"""

import asyncio
import ctypes
import logging
import os
import resource
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from rexecutor import ExecutionResult, Executor, Job, Rexecutor
from tests.faults.history import History
from tests.faults.stores import backend_at

AT_ONCE: Final = timedelta(0)


class Unspeakable(Exception):  # noqa: N818 - what it is
    """Raises when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Silencing(BaseException):
    """Raises what ends a process when it is asked for its text."""

    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise KeyboardInterrupt


def recurse() -> NoReturn:
    """Call itself for ever."""
    recurse()


def exhaust() -> NoReturn:
    """Ask for more memory than there is."""
    bytearray(2**62)
    raise AssertionError("there was enough")


def in_a_circle() -> NoReturn:
    """Raise what is its own cause's cause."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def in_a_chain() -> NoReturn:
    """Raise what has 5,000 causes, one behind the other."""
    error = ValueError("first")
    for number in range(5_000):
        error, cause = ValueError(number), error
        error.__cause__ = cause
    raise error


def with_notes() -> NoReturn:
    """Raise what has notes that are none."""
    error: Any = ValueError("noted")
    error.__notes__ = [object(), "a\0note", Unspeakable()]
    raise error


def with_a_long_message() -> NoReturn:
    """Raise an error with a message of 100 MB."""
    raise ValueError("x" * 100_000_000)


def thrown(error: BaseException) -> Callable[[], NoReturn]:
    """Return a function that raises it."""

    def throw() -> NoReturn:
        raise error

    return throw


RAISES: Final[Mapping[str, tuple[Callable[[], object], str]]] = {
    "Exception": (thrown(Exception("plain")), "Exception"),
    "BaseException": (thrown(BaseException("base")), "BaseException"),
    "SystemExit": (lambda: sys.exit(3), "SystemExit"),
    "KeyboardInterrupt": (thrown(KeyboardInterrupt()), "KeyboardInterrupt"),
    "CancelledError": (thrown(asyncio.CancelledError()), "CancelledError"),
    "GeneratorExit": (thrown(GeneratorExit()), "GeneratorExit"),
    "StopIteration": (thrown(StopIteration(7)), "RuntimeError StopIteration"),
    "StopAsyncIteration": (thrown(StopAsyncIteration()), "StopAsyncIteration RuntimeError"),
    "RecursionError": (recurse, "RecursionError"),
    "MemoryError": (exhaust, "MemoryError"),
    "ExceptionGroup": (thrown(ExceptionGroup("many", [ValueError(1), TypeError(2)])), "ExceptionGroup"),
    "BaseExceptionGroup": (thrown(BaseExceptionGroup("many", [SystemExit(3)])), "BaseExceptionGroup"),
    "__str__ raises": (thrown(Unspeakable()), "Unspeakable Exception"),
    "__str__ raises SystemExit": (thrown(Silencing()), "Silencing Exception"),
    "100 MB message": (with_a_long_message, "ValueError"),
    "NUL and surrogate": (thrown(ValueError("a\0b\ud800")), "ValueError"),
    "cyclic cause": (in_a_circle, "ValueError"),
    "5,000 causes": (in_a_chain, "ValueError Exception"),
    "notes": (with_notes, "ValueError Exception"),
    "no answer": (lambda: 7, ""),
}
"""What a job does, by its data, and the classes as which that may be recorded; a returned value is no failure."""

ENDS: Final[Mapping[str, Callable[[], object]]] = {
    "os._exit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(0),
}
"""What ends the whole process, by a job's data; in a child process of the job's own, nothing but that."""


class Noted(Executor[str]):
    """Writes when it starts and when it ends; what is registered are its subclasses."""

    name = "noted"
    history: ClassVar[History]

    async def execute(self, job: Job[str]) -> ExecutionResult:
        self.history.write("start", job.id, job.attempt)
        try:
            answer: Any = await self.act(job)
        finally:
            self.history.write("end", job.id, job.attempt)
        return answer

    async def act(self, job: Job[str]) -> object:
        """Do what the data say."""
        if job.data in RAISES:
            return RAISES[job.data][0]()
        return ENDS[job.data]()

    def backoff(self, job: Job[str]) -> timedelta:
        return AT_ONCE


class Good(Noted):
    name = "good"

    async def act(self, job: Job[str]) -> None:
        await asyncio.sleep(0.001)


class Raises(Noted):
    name = "raises"
    max_attempts = 2


class Ends(Noted):
    name = "ends"


class RaisesInThread(Executor[str]):
    name = "raises_in_thread"
    blocking = True
    max_attempts = 2

    def execute(self, job: Job[str]) -> ExecutionResult:
        Noted.history.write("start", job.id, job.attempt)
        try:
            answer: Any = RAISES[job.data][0]()
        finally:
            Noted.history.write("end", job.id, job.attempt)
        return answer

    def backoff(self, job: Job[str]) -> timedelta:
        return AT_ONCE


class RaisesInProcess(Executor[str]):
    """In a child process, where there is no history to write to."""

    name = "raises_in_process"
    blocking = "process"
    max_concurrency = 2
    max_attempts = 1

    def execute(self, job: Job[str]) -> ExecutionResult:
        act = ENDS[job.data] if job.data in ENDS else RAISES[job.data][0]
        answer: Any = act()
        return answer


class RaisesInHooks(Executor[str]):
    """Fails, and its backoff raises what the data say; the default then holds, so it has one attempt."""

    name = "raises_in_hooks"
    max_attempts = 1

    async def execute(self, job: Job[str]) -> None:
        Noted.history.write("start", job.id, job.attempt)
        raise ValueError("for the sake of the backoff")

    def backoff(self, job: Job[str]) -> timedelta:
        answer: Any = RAISES[job.data][0]()
        return answer


class RaisesInTimeout(Executor[str]):
    name = "raises_in_timeout"
    max_attempts = 1

    async def execute(self, job: Job[str]) -> None:
        raise AssertionError("never runs: its timeout raises first")

    def timeout(self, job: Job[str]) -> timedelta:
        answer: Any = RAISES[job.data][0]()
        return answer


async def main() -> None:
    """Work until a signal."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    Noted.history = History(Path(sys.argv[2]))
    rexecutor = Rexecutor(backend_at(sys.argv[1]), lease=timedelta(seconds=float(sys.argv[3])))
    for executor in (Good, Raises, Ends, RaisesInThread, RaisesInProcess, RaisesInHooks, RaisesInTimeout):
        rexecutor = rexecutor.with_executor(executor)
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    while not rexecutor.is_running:
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main())
