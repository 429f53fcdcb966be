"""A process that asks for everything at once, see `programs/loaded.py`: how it is started, and what came of it."""

import asyncio
import math
from dataclasses import dataclass
from time import monotonic
from typing import Final, Self

from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from tests.faults.history import Line
from tests.faults.operations import Operation, read_operations
from tests.faults.programs.loaded import Ticking
from tests.faults.rows import rows_of
from tests.faults.scenario import Ground, Report, count_jobs, count_runs
from tests.faults.workers import until

PROGRAM: Final = "tests.faults.programs.loaded"
MARGIN: Final = 1.0
"""Seconds that a call may take longer than what bounds it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take."""

    bound: float
    """Seconds that an operation of the library may take, when its caller sets no limit."""
    lease: float
    hastened: float
    """How many times shorter the library's other waits are."""

    @classmethod
    def of(cls, ground: Ground) -> Self:
        """Return that of a full run, or of a short one."""
        return cls(30.0, 30.0, 1.0) if ground.is_full else cls(4.0, 6.0, 5.0)


def options(ground: Ground, pace: Pace) -> list[str]:
    """Return the program's options."""
    given = {
        "operations": ground.folder / "operations",
        "rest": ground.folder / "rest",
        "bound": pace.bound,
        "lease": pace.lease,
        "pace": pace.hastened,
        "seed": ground.seed,
    }
    return [f"--{name}={value}" for name, value in given.items()]


async def rest(ground: Ground, pace: Pace) -> tuple[list[Operation], float]:
    """Have the program call no more; return what it has called, and when that was."""
    (ground.folder / "rest").touch()
    rested = monotonic()
    await until(lambda: any(line.what == "rested" for line in ground.lines()), pace.bound + MARGIN)
    return read_operations(ground.folder / "operations"), rested


async def counted(ground: Ground, backend: Backend) -> tuple[list[Line], Report]:
    """Return the history and its counts, when all jobs have ended or do not."""
    deadline, left = monotonic() + ground.size(60, 10), {"not looked": 1}
    while left and monotonic() < deadline:
        await asyncio.sleep(0.05)
        left = {f"{one.executor} {one.status}": one.jobs for one in await backend.count() if not one.status.has_ended}
    lines = ground.lines()
    acknowledged: list[JobId] = [line.job_id for line in lines if line.what == "ack"]
    report = Report(acknowledged=len(acknowledged))
    report.expect(f"not all jobs have ended: {left}", not left)
    count_runs(report, lines)
    await count_jobs(report, backend, acknowledged, lines)
    return lines, report


def judge_ticks(report: Report, store: str, rested: float) -> None:
    """Fill in how many ticks there were, and how many are missing: none, since each came within the window."""
    rows = rows_of(
        store,
        "SELECT extract(epoch FROM scheduled_at)::bigint, extract(epoch FROM now())::float8 FROM {}jobs"
        f" WHERE executor = '{Ticking.name}'",
    )
    report.expect("there are ticks", bool(rows))
    if rows:
        ticks = [row[0] for row in rows]
        end = math.floor(rows[0][1] - (monotonic() - rested)) - 1
        missing = set(range(min(ticks), end + 1)) - set(ticks)
        report.figures |= {"ticks": len(ticks), "ticks_missing": len(missing)}
        report.expect(f"{len(missing)} ticks are missing", not missing)
        report.expect("no tick came twice", len(ticks) == len(set(ticks)))
