"""Processes of a scenario, whatever program they run: what they say is kept in files, and none is left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.faults.processes import ROOT


@dataclass(frozen=True, slots=True)
class Child:
    """One process."""

    process: asyncio.subprocess.Process
    output: Path
    """Where its standard output and its standard error go."""

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def said(self) -> str:
        """Return what it has written so far."""
        return self.output.read_text(errors="replace")

    async def says(self, word: str, seconds: float = 20) -> None:
        """Wait until it has written this."""
        async with asyncio.timeout(seconds):
            while word not in self.said():
                if not self.is_alive:
                    raise RuntimeError(f"it ended with {self.process.returncode}: {self.said()[-1_000:]}")
                await asyncio.sleep(0.01)

    async def end(self, how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> int | None:
        """Send it the signal and return its exit status; None if it did not end in time and was killed."""
        with suppress(ProcessLookupError):
            self.process.send_signal(how)
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return None


class Children:
    """The processes of one scenario."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self.all: list[Child] = []

    async def start(self, *command: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `python` with these arguments, such as `-m` and a module."""
        output = self._folder / f"said {next(self._numbers)}"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **(environment or {})},
            )
        child = Child(process, output)
        self.all.append(child)
        return child


@asynccontextmanager
async def child_processes(folder: Path) -> AsyncGenerator[Children]:
    """Yield a scenario's processes; kill those that are left at the end."""
    made = Children(folder)
    try:
        yield made
    finally:
        for child in made.all:
            if child.is_alive:
                with suppress(ProcessLookupError):
                    child.process.kill()
        await asyncio.gather(*(child.process.wait() for child in made.all))
