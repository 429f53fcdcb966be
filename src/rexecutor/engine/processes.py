"""Child processes for jobs that are to be stopped for sure: each runs one job at a time and can be killed."""

import asyncio
import contextlib
import math
import signal
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

from rexecutor.engine.child import NAME, SIGNALS, Begun, Equipment, Reply, serve
from rexecutor.engine.failure import ChildFailedError, Failure
from rexecutor.engine.threads import Threads
from rexecutor.model.job import ErrorKind, JobRecord

START: Final = 60.0
"""Seconds that a child may take to start: it imports what the executors need."""

TRIES: Final = 3
"""How many new children may die before they begin a job, until it counts as failed."""

LOOK: Final = 0.2
"""Seconds between two looks whether a process has ended: a process that it has forked may hold all that would tell."""

PAUSE: Final = 0.01
"""The same where it is about to end."""

KILLED: Final = 5.0
"""Seconds until a process that was killed is no longer waited for."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """When a child process is replaced by a new one."""

    jobs: int = 1_000
    """After so many jobs."""
    memory: int | None = None
    """When it holds more than so many bytes at the end of a job; None for no bound."""


class NotBegunError(Exception):
    """The child was dead before it took the job over: another may."""


class Child:
    """One process. Its methods block, but for `terminate` and `kill`."""

    def __init__(self, equipment: Equipment) -> None:
        """Start it; it is ready when `wait_ready` has returned."""
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        told, self._tell = context.Pipe(duplex=False)
        self._process: SpawnProcess = context.Process(
            target=serve, args=(theirs, told, equipment), name=NAME, daemon=True
        )
        with _deaf():
            self._process.start()
        theirs.close()  # else its end would go unnoticed
        told.close()
        self.jobs = 0

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    def wait_ready(self) -> None:
        """Wait until it has started.

        Raises:
            ChildFailedError: It has not.
        """
        try:
            if self._pipe.poll(START):
                self._pipe.recv()
                return
            what = f"did not start within {START:.0f} s"
        except (EOFError, OSError):
            what = f"did not start: {self._end()}; its own words are on stderr. Is the program's main part below"
            what += ' `if __name__ == "__main__":`?'
        self.kill()
        raise ChildFailedError(Failure(ErrorKind.LOST, "ProcessDied", f"the child process {what}"))

    def run(self, record: JobRecord) -> Reply:
        """Run the job, and answer how it ended.

        Raises:
            NotBegunError: The process was dead before.
            ChildFailedError: It died of the job.
        """
        self.jobs += 1
        has_begun = False
        try:
            self._pipe.send(record)
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
        """Ask it to end (SIGTERM): `finally` blocks of its job run. Harmless when it has ended."""
        with contextlib.suppress(ValueError, OSError):  # closed, or the other end is
            self._tell.send_bytes(b"end")
            self._process.terminate()

    def kill(self) -> None:
        """End it (SIGKILL). Harmless when it has ended."""
        with contextlib.suppress(ValueError):
            self._process.kill()

    def close(self) -> None:
        """End it and wait for that: by a SIGTERM, and after a second by a SIGKILL."""
        self.terminate()
        if not self._has_ended_in(1.0):
            self._process.kill()
            self._has_ended_in(KILLED)
        self._pipe.close()
        self._tell.close()
        with contextlib.suppress(ValueError):  # not even a SIGKILL has ended it
            self._process.close()

    def _receive(self) -> object:
        while self._pipe not in (ready := wait([self._pipe, self._process.sentinel], LOOK)):
            if not self._process.is_alive() and not self._pipe.poll():
                raise EOFError
            if ready:  # it is about to end
                wait((), PAUSE)
        return self._pipe.recv()

    def _has_ended_in(self, seconds: float) -> bool:
        """Wait for the end of the process; not by `join`, which waits for those that it has forked too."""
        for _ in range(math.ceil(seconds / PAUSE)):
            if not self._process.is_alive():
                return True
            wait((), PAUSE)
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
def _deaf() -> Generator[None]:
    """Start processes with the signals blocked that are not for them; else one that starts would end by them."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which else is started within the block, and unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Children:
    """As many children as there are jobs at one time, kept for later jobs."""

    def __init__(self, equipment: Equipment, recycling: Recycling, threads: Threads) -> None:
        """Begin with none."""
        self._equipment = equipment
        self._recycling = recycling
        self._threads = threads
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._starting = asyncio.Lock()

    async def run(self, record: JobRecord, attach: Callable[[Child], None]) -> Reply:
        """Run the job in a child; `attach` is called with it before the job is handed over.

        Raises:
            ChildFailedError: The child could not be started, or died of the job.
            BaseException: Whatever `attach` raises; the job was not handed over.
        """
        started = 0
        while started < TRIES:
            child = await self._idle_one()
            if child is None:
                started += 1
                child = await self._start()
            is_sound = True
            try:
                attach(child)
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
        """End all of them."""
        for child in self._all:
            child.terminate()
        while self._all:
            await self._retire(next(iter(self._all)))
        self._idle.clear()

    async def _idle_one(self) -> Child | None:
        """Answer a child that waits for a job; None where none lives."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            await self._retire(child)
        return None

    async def _start(self) -> Child:
        async with self._starting:  # multiprocessing keeps lists of its own
            child = await self._threads.run(Child, self._equipment)
        self._all.add(child)
        try:
            await self._threads.run(Child.wait_ready, child)
        except BaseException:
            await self._retire(child)
            raise
        return child

    async def _retire(self, child: Child) -> None:
        if child in self._all:  # else somebody else is about it
            self._all.discard(child)
            await self._threads.run(Child.close, child)

    def _is_worn(self, child: Child, reply: Reply) -> bool:
        most = self._recycling.memory
        return child.jobs >= self._recycling.jobs or (most is not None and reply.memory > most)
