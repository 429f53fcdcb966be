"""Runs `rexecutor worker` as a process of its own, and reads what it logs."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

APPLICATION = """
import asyncio
import ctypes
import os
import time
from datetime import timedelta

from rexecutor import Executor, Job, Rexecutor, connect


class Work(Executor[float]):
    name = "work"

    async def execute(self, job: Job[float]) -> None:
        await asyncio.sleep(job.data)


class Block(Executor[float]):
    name = "block"

    async def execute(self, job: Job[float]) -> None:
        time.sleep(job.data)


class Hold(Executor[float]):
    name = "hold"

    async def execute(self, job: Job[float]) -> None:
        if job.attempt == 1:
            ctypes.PyDLL(None).sleep(int(job.data))  # keeps the GIL


class Apart(Executor[float]):
    name = "apart"
    blocking = "process"

    def execute(self, job: Job[float]) -> None:
        time.sleep(job.data)


def make() -> Rexecutor:
    backend = connect(os.environ["STORE_URL"], schema=os.environ.get("STORE_SCHEMA"))
    return Rexecutor(backend, executors=[Work, Block, Hold, Apart], lease=timedelta(seconds=6))
"""


class Program:
    """One run of the command, with all that it has written to stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def until(self, pattern: str, count: int = 1, seconds: float = 60) -> list[re.Match[str]]:
        """Wait until lines have matched the pattern this many times, and return the matches."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or len(found()) >= count, seconds)
            matches = found()
        assert len(matches) >= count, f"no {pattern!r} in:\n{self.text}"
        return matches

    def close(self) -> None:
        """Close what it reads, once all has been read."""
        self._reader.join(20)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal to the process, or to all of its group, as a terminal does."""
        if to_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def status(self, seconds: float = 60) -> int:
        """Wait until it has ended, and each process that shares its stderr, and return its exit status."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        assert not self._reader.is_alive(), f"a process is left behind:\n{self.text}"
        return status


@contextmanager
def running(
    folder: Path, *options: str, environment: Mapping[str, str], target: str = "shop:make"
) -> Generator[Program]:
    """Run a worker in the folder, in a process group of its own, and kill all of it at the end."""
    command = [sys.executable, "-m", "rexecutor", "worker", target, *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    program = Program(process)
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        program.close()
