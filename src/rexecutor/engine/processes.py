"""Child processes, for jobs that must be stoppable: each runs one job at a time and can be killed."""

import asyncio
import contextlib
import math
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

from rexecutor.engine.child import CHILD_NAME, PARENT_SIGNALS, Begun, ChildSetup, Reply, serve
from rexecutor.engine.failure import ChildFailedError, Failure
from rexecutor.engine.threads import Threads
from rexecutor.model.job import ErrorKind, JobRecord

START_TIMEOUT: Final = 60.0
"""Seconds that a child may take to start: it imports what the executors need."""

START_TRIES: Final = 3
"""Number of new children that may die before they begin a job; then the job has failed."""

LIVENESS_INTERVAL: Final = 0.2
"""Poll interval, in seconds, for child liveness. EOF is not enough: a grandchild may hold the pipe's other end open."""

END_INTERVAL: Final = 0.01
"""Poll interval, in seconds, while a child is about to end."""

KILL_TIMEOUT: Final = 5.0
"""Longest wait, in seconds, for the end of a killed process."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """Limits at which a child process is replaced by a new one."""

    jobs: int = 1_000
    """Number of jobs after which it is replaced."""
    memory: int | None = None
    """Replace it if it holds more than this many bytes at the end of a job; None for no bound."""


class NotBegunError(Exception):
    """The child died before it took the job over, so another child may run it."""


class ChildProcess:
    """One child process. Its methods block, except `terminate` and `kill`."""

    def __init__(self, setup: ChildSetup) -> None:
        """Start the process; it is ready when `wait_ready` has returned."""
        context = get_context("spawn")
        self._pipe, their_pipe = context.Pipe()
        their_stop_pipe, self._stop_pipe = context.Pipe(duplex=False)
        self._process: SpawnProcess = context.Process(
            target=serve, args=(their_pipe, their_stop_pipe, setup), name=CHILD_NAME, daemon=True
        )
        with _signals_blocked():
            self._process.start()
        their_pipe.close()  # otherwise the child's end would go unnoticed
        their_stop_pipe.close()
        self.jobs = 0

    @property
    def is_alive(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_alive()

    def wait_ready(self) -> None:
        """Wait until the process has started.

        Raises:
            ChildFailedError: It has ended, or has not started within `START_TIMEOUT` seconds.
        """
        try:
            if self._pipe.poll(START_TIMEOUT):
                self._pipe.recv()
                return
            what = f"did not start within {START_TIMEOUT:.0f} s"
        except (EOFError, OSError):
            what = f"did not start: {self._end()}; its own words are on stderr. Is the program's main part below"
            what += ' `if __name__ == "__main__":`?'
        self.kill()
        raise ChildFailedError(Failure(ErrorKind.LOST, "ProcessDied", f"the child process {what}"))

    def run(self, record: JobRecord) -> Reply:
        """Run the job and return how it ended.

        Raises:
            NotBegunError: The process died before it took the job over.
            ChildFailedError: The process died while it ran the job.
        """
        self.jobs += 1
        has_begun = False
        try:
            self._pipe.send_bytes(pickle.dumps(record))  # not `send`: see `serve`
            while True:
                answer = self._receive()
                if isinstance(answer, Reply):
                    return answer
                has_begun = isinstance(answer, Begun)
        except (EOFError, OSError) as error:
            if not has_begun:
                raise NotBegunError from error
            failure = Failure(ErrorKind.LOST, "ProcessDied", f"the child process {self._end()}")
            raise ChildFailedError(failure) from None

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM), so that `finally` blocks of its job run. Does nothing if it has ended."""
        with contextlib.suppress(ValueError, OSError):  # closed, or the other end is
            self._stop_pipe.send_bytes(b"end")
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process (SIGKILL). Does nothing if it has ended."""
        with contextlib.suppress(ValueError):
            self._process.kill()

    def close(self) -> None:
        """End the process and wait for that: by SIGTERM, and by SIGKILL after a second."""
        self.terminate()
        if not self._has_ended_in(1.0):
            self._process.kill()
            self._has_ended_in(KILL_TIMEOUT)
        self._pipe.close()
        self._stop_pipe.close()
        with contextlib.suppress(ValueError):  # not even a SIGKILL has ended it
            self._process.close()

    def _receive(self) -> object:
        while self._pipe not in (ready := wait([self._pipe, self._process.sentinel], LIVENESS_INTERVAL)):
            if not self._process.is_alive() and not self._pipe.poll():
                raise EOFError
            if ready:  # it is about to end
                wait((), END_INTERVAL)
        return self._pipe.recv()

    def _has_ended_in(self, seconds: float) -> bool:
        """Return whether the process ends in time. `join` will not do: it also waits for what the process forked."""
        for _ in range(math.ceil(seconds / END_INTERVAL)):
            if not self._process.is_alive():
                return True
            wait((), END_INTERVAL)
        return not self._process.is_alive()

    def _end(self) -> str:
        self._has_ended_in(5.0)
        code = self._process.exitcode
        if code is None:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        known = {number.value: number.name for number in signal.Signals}
        return f"was ended by {known.get(-code, f'signal {-code}')}"


@contextlib.contextmanager
def _signals_blocked() -> Generator[None]:
    """Block `PARENT_SIGNALS` while a child is started: one could end it before it has installed its handlers."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # otherwise it is started in this block, and unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENT_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Children:
    """A pool of child processes: one for each job that runs, kept for later jobs."""

    def __init__(self, setup: ChildSetup, recycling: Recycling, threads: Threads) -> None:
        self._setup = setup
        self._recycling = recycling
        self._threads = threads
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._starting = asyncio.Lock()

    async def run(self, record: JobRecord, attach: Callable[[ChildProcess], Awaitable[None]]) -> Reply:
        """Run the job in a child. `attach` is awaited with the child before the job is handed over.

        Raises:
            ChildFailedError: The child could not be started, or died of the job.
            BaseException: Any error of `attach`; the job was not handed over.
        """
        started = 0
        while started < START_TRIES:
            child = await self._idle_one()
            if child is None:
                started += 1
                child = await self._start()
            is_sound = True
            try:
                await attach(child)
                is_sound = False
                reply = await self._threads.run(child.run, record)
                is_sound = not self._is_worn(child, reply)
            except NotBegunError:
                continue
            else:
                return reply
            finally:
                if is_sound:
                    self._idle.append(child)
                else:
                    await self._retire(child)
        raise ChildFailedError(Failure(ErrorKind.LOST, "ProcessDied", "child processes die before they begin the job"))

    async def close(self) -> None:
        """End all children."""
        for child in self._all:
            child.terminate()
        while self._all:
            await self._retire(next(iter(self._all)))
        self._idle.clear()

    async def _idle_one(self) -> ChildProcess | None:
        """Return a live child that waits for a job; None if there is none."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            await self._retire(child)
        return None

    async def _start(self) -> ChildProcess:
        async with self._starting:  # one at a time: multiprocessing keeps global lists
            child = await self._threads.run(ChildProcess, self._setup)
        self._all.add(child)
        try:
            await self._threads.run(ChildProcess.wait_ready, child)
        except BaseException:
            await self._retire(child)
            raise
        return child

    async def _retire(self, child: ChildProcess) -> None:
        if child in self._all:  # otherwise another task is closing it
            self._all.discard(child)
            await self._threads.run(ChildProcess.close, child)

    def _is_worn(self, child: ChildProcess, reply: Reply) -> bool:
        limit = self._recycling.memory
        return child.jobs >= self._recycling.jobs or (limit is not None and reply.memory > limit)
