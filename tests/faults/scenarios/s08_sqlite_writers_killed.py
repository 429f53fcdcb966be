"""S8: writers of an SQLite file are killed within transactions, and meet errors of the disk."""

import asyncio
import random
import resource
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from rexecutor import Backend
from rexecutor.model.status import OPEN
from rexecutor.model.where import StatusIn
from tests.faults.children import Child, Children, children
from tests.faults.history import Line, read
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at

LEASE = 2.0
WRITERS = 4
BATCH = 5
LATEST = 2_000
"""A process that is to die by itself does so at one of its first statements, of so many."""
TOO_BIG = 256 * 1024
"""Where a file may not grow beyond this, what SQLite writes fails for real; the history of a second is smaller."""
RECOVERY = 5.0


class Writers:
    """The processes, each with a history of its own, so that a limit of one's files does not reach it."""

    def __init__(self, ground: Ground, nursery: Children, chance: random.Random) -> None:
        self._ground = ground
        self._nursery = nursery
        self._chance = chance
        self.died: dict[int, float] = {}
        self.in_transaction = 0
        """How many have killed themselves within a transaction; the others were killed from outside."""

    async def start(self, *, dies: bool = False, batch: int = BATCH) -> Child:
        """Start one; if it `dies`, it does so by itself."""
        path = self._ground.folder / f"history-{len(self._nursery.all)}"
        at = self._chance.randrange(1, LATEST) if dies else 0
        return await self._nursery.start("busy", self._ground.store, path, LEASE, batch, at)

    async def kill(self, writer: Child, *, dies: bool) -> None:
        """See it die, or kill it at a random moment."""
        if dies:
            async with asyncio.timeout(30):
                await writer.process.wait()
            self.in_transaction += 1
        else:
            await writer.answer()
            await asyncio.sleep(self._chance.random() / 3)
            writer.process.kill()
            await writer.process.wait()
        self.died[writer.pid] = time.monotonic()

    def lines(self) -> list[Line]:
        """Return what all of them have written."""
        return [line for path in self._ground.folder.glob("history-*") for line in read(path)]


async def run(ground: Ground) -> Report:
    """Kill one of four again and again; then let the disk fail for one of them for a while; then drain."""
    kills, limits = ground.size(200, 8), ground.size(20, 1)
    corrupt, recoveries, raised = 0, [0.0], 0
    async with children() as nursery, backend_at(ground.store) as backend:
        writers = Writers(ground, nursery, random.Random(ground.seed))
        working = [(await writers.start(dies=dies), dies) for dies in (True, False) * (WRITERS // 2)]
        for number in range(kills):
            victim, dies = working.pop(0)
            await writers.kill(victim, dies=dies)
            working.append((await writers.start(dies=dies), dies))
            if number % ground.size(10, 4) == 0:
                corrupt += not is_sound(ground.store)
        for _ in range(limits):
            working.append((await writers.start(), False))
            failed, seconds = await without_disk(working[-1][0])
            raised += failed
            recoveries.append(seconds)
        for writer, _ in working:
            with suppress(ProcessLookupError):
                writer.process.kill()
            await writer.process.wait()
            writers.died[writer.pid] = time.monotonic()
        await writers.start(batch=0)
        await drained(backend)
        lines = writers.lines()
        acknowledged = [line.job_id for line in lines if line.what == "ack"]
        report = Report(acknowledged=len(acknowledged), unknown=sum(line.what == "unknown" for line in lines))
        count_runs(report, lines, writers.died)
        await count_jobs(report, backend, acknowledged, lines)
        # An id that was lost is given to the next job, and so acknowledged twice.
        report.lost = (report.lost or 0) + len(acknowledged) - len(set(acknowledged))
    corrupt += not is_sound(ground.store)
    report.recovery_s = round(max(recoveries), 2)
    report.figures = {
        "kills": kills,
        "kills_within_transaction": writers.in_transaction,
        "corrupt": corrupt,
        "disk_errors_raised": raised,
        "disk_errors_by": "RLIMIT_FSIZE; fiu is not used",
        "lease_s": LEASE,
    }
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    report.expect(f"{corrupt} times the file was damaged", corrupt == 0)
    report.expect("the disk's errors reached the writer", raised >= limits)
    report.expect("it enqueued again within 5 s of the disk's recovery", report.recovery_s <= RECOVERY)
    return report


async def without_disk(writer: Child) -> tuple[int, float]:
    """Let none of its files grow for a while. Return how many enqueues failed, and when one succeeded again."""
    await writer.answer()
    while not (await writer.ask("counts"))["acknowledged"]:
        await asyncio.sleep(0.01)
    _, hard = resource.prlimit(writer.pid, resource.RLIMIT_FSIZE)
    before = await writer.ask("counts")
    resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (TOO_BIG, hard))
    await asyncio.sleep(0.5)
    during = await writer.ask("counts")
    resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (hard, hard))
    begun = time.monotonic()
    while (await writer.ask("counts"))["acknowledged"] == during["acknowledged"]:
        if time.monotonic() - begun > 2 * RECOVERY:
            break
        await asyncio.sleep(0.01)
    return during["failed"] - before["failed"], time.monotonic() - begun


async def drained(backend: Backend) -> None:
    """Wait until all jobs have ended."""
    async with asyncio.timeout(120):
        while await backend.query(StatusIn(OPEN), limit=1):
            await asyncio.sleep(0.05)


def is_sound(store: str) -> bool:
    """Whether SQLite finds no damage in the file."""
    with closing(sqlite3.connect(f"{Path(store).as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


SCENARIO = Scenario(
    "S8", "SQLite's writers killed, and its disk failing", ("Accepted", "Start"), run, kinds=("sqlite",)
)
