"""Workers that say what they do: their runs in a history, the library's own words with the time of each."""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.faults.history import Line
from tests.faults.processes import ROOT
from tests.faults.scenario import Ground

PROGRAM: Final = "tests.faults.programs.scripted_worker"
REFUSED: Final = "no longer belongs to this node"
FENCED: Final = "could not renew its lease"
STARTED: Final = "started: "
RESCUED: Final = "rescued "


@dataclass(frozen=True, slots=True)
class Member:
    """One worker."""

    process: asyncio.subprocess.Process
    output: Path
    """Where what it says goes."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def words(self) -> list[tuple[float, str]]:
        """Return each line that it has logged, with its time. A line without a time has that of the line before."""
        found: list[tuple[float, str]] = []
        for text in self.output.read_text(errors="replace").splitlines():
            moment, _, rest = text.partition(" ")
            is_timed = moment.replace(".", "", 1).isdigit()
            found.append((float(moment), rest) if is_timed else (found[-1][0] if found else 0.0, text))
        return found

    def said(self, what: str) -> list[tuple[float, str]]:
        """Return those of its lines that contain the text."""
        return [line for line in self.words() if what in line[1]]

    def cancelled_by_fence(self) -> int:
        """Return how many jobs it cancelled because its lease was in doubt."""
        return sum(int(text.rpartition("cancelled ")[2].split()[0]) for _, text in self.said(FENCED))

    def rescued(self) -> int:
        """Return how many jobs of other nodes it rescued."""
        return sum(int(text.partition(RESCUED)[2].split()[0]) for _, text in self.said(RESCUED))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended: not by `Process.send_signal`, which may take its exit status away."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Workers:
    """The workers of one scenario."""

    def __init__(self, ground: Ground, program: str) -> None:
        self._ground = ground
        self._program = program
        self._numbers = itertools.count()
        self.members: Final[list[Member]] = []

    async def start(self, *options: str, store: str | None = None) -> Member:
        """Start one more, with options of the program's."""
        command = (
            sys.executable,
            "-m",
            self._program,
            store or self._ground.store,
            str(self._ground.history),
            *options,
        )
        output = self._ground.folder / f"said by {next(self._numbers)}"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file
            )
        member = Member(process, output)
        self.members.append(member)
        return member

    async def joined(self, *options: str, store: str | None = None) -> Member:
        """Start one more, and wait until it says that it has started."""
        member = await self.start(*options, store=store)
        if not await until(lambda: bool(member.said(STARTED)), 30):
            raise RuntimeError(f"a worker has not started: {member.output.read_text()[-500:]}")
        return member

    def said(self, what: str) -> list[tuple[float, str]]:
        """Return the lines of all of them that contain the text."""
        return [line for member in self.members for line in member.said(what)]

    async def until(self, condition: Callable[[list[Line]], bool], seconds: float) -> list[Line]:
        """Wait until the history meets the condition, and return it."""
        async with asyncio.timeout(seconds):
            while not condition(lines := self._ground.lines()):
                await asyncio.sleep(0.01)
        return lines


@asynccontextmanager
async def worker_processes(ground: Ground, program: str = PROGRAM) -> AsyncGenerator[Workers]:
    """Yield workers on the ground's store; kill those that are left at the end, stopped ones too."""
    made = Workers(ground, program)
    try:
        yield made
    finally:
        for member in made.members:
            member.send(signal.SIGKILL)
        await asyncio.gather(*(member.process.wait() for member in made.members))


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds, and return whether it did in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.01)
    return True


def started(lines: list[Line], pid: int | None = None) -> list[Line]:
    """Return the starts; only those of one process if `pid` is given."""
    return [line for line in lines if line.what == "start" and pid in {None, line.pid}]


def as_runs(lines: list[Line]) -> list[Line]:
    """Return the lines for `count_runs`: a run that failed or was cancelled has ended too."""
    return [replace(line, what="end") if line.what in {"cancelled", "failed"} else line for line in lines]


def has_ended(lines: list[Line], pid: int) -> bool:
    """Whether all runs that the process has begun are over."""
    kinds = Counter(line.what for line in lines if line.pid == pid)
    return kinds["start"] == kinds["end"] + kinds["failed"] + kinds["cancelled"]


def is_stopped(pid: int) -> bool:
    """Whether the process stands still by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
