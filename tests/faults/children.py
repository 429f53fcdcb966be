"""Programs of a scenario as processes of their own that reply in lines of JSON; none is left behind."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.faults.processes import ROOT

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Child:
    """One that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process: Final = process

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def peak_mib(self) -> float:
        """The most memory that it has had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return round(int(kib) / 1024, 1)

    @property
    def cpu_seconds(self) -> float:
        """How long it has used a processor."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def answer(self, seconds: float = 60) -> Any:
        """Return its next line, decoded. Raise a `RuntimeError` if it has ended instead."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"process {self.pid} ended with {await self.process.wait()}")
        return json.loads(line)

    async def ask(self, question: object, seconds: float = 60) -> Any:
        """Write a line to it, and return its reply."""
        self.tell(question)
        return await self.answer(seconds)

    def tell(self, what: object) -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(what)}\n".encode())

    async def stop(self, seconds: float = 40) -> int:
        """End its standard input, and so the process, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(seconds):
            return await self.process.wait()


class Children:
    """All of one scenario."""

    def __init__(self) -> None:
        self.all: Final[list[Child]] = []

    async def start(self, program: str, *arguments: object, env: Mapping[str, str] | None = None) -> Child:
        """Start a program of `tests.faults.programs`, with more in its environment."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tests.faults.programs.{program}", *map(str, arguments)),
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        child = Child(process)
        self.all.append(child)
        return child


@asynccontextmanager
async def children() -> AsyncGenerator[Children]:
    """Yield the processes; kill those that are left at the end."""
    made = Children()
    try:
        yield made
    finally:
        for child in made.all:
            with suppress(ProcessLookupError):
                child.process.kill()
        await asyncio.gather(*(child.process.communicate() for child in made.all))


def say(what: object) -> None:
    """Tell the process that has started this one."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()
