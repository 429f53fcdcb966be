"""Child processes for jobs that are to be stopped for sure: each runs one job at a time and can be killed."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

from rexecutor.engine.child import Begun, Equipment, Reply, serve
from rexecutor.engine.failure import ChildFailedError, Failure
from rexecutor.engine.threads import Threads
from rexecutor.job import ErrorKind, JobRecord

START: Final = 60.0
"""Seconds that a child may take to start: it imports what the executors need."""

TRIES: Final = 3
"""How many idle children may turn out to be dead before a job counts as failed."""


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
        self._process: SpawnProcess = context.Process(
            target=serve, args=(theirs, equipment), name="rexecutor child", daemon=True
        )
        self._process.start()
        theirs.close()  # else its end would go unnoticed
        self.jobs = 0

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
        with contextlib.suppress(ValueError):  # closed
            self._process.terminate()

    def kill(self) -> None:
        """End it (SIGKILL). Harmless when it has ended."""
        with contextlib.suppress(ValueError):
            self._process.kill()

    def close(self) -> None:
        """End it and wait for that: by a SIGTERM, and after a second by a SIGKILL."""
        self._process.terminate()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process.close()

    def _receive(self) -> object:
        # Not the pipe alone: a process that the job has forked may hold the other end of it.
        if self._pipe not in wait([self._pipe, self._process.sentinel]) and not self._pipe.poll():
            raise EOFError
        return self._pipe.recv()

    def _end(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is None:
            return "closed its pipe"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


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
        for _ in range(TRIES):
            child = self._idle.pop() if self._idle else await self._start()
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
