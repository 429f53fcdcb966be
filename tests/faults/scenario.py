"""What a scenario is: a fault, a size, and a line of figures. Run some with `python -m tests.faults S6 S9`."""

import importlib
import math
import pkgutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from rexecutor.model.where import Everything
from tests.faults.history import Line, read
from tests.faults.stores import KINDS

PACKAGE: Final = "tests.faults.scenarios"


class Report(msgspec.Struct, omit_defaults=True):
    """What came of one run. What a scenario does not count stays None, and out of the line."""

    enqueued: int | None = None
    """Jobs that were tried to be enqueued."""
    acknowledged: int | None = None
    """Of these, those whose enqueue has returned."""
    unknown: int | None = None
    """Of these, those whose enqueue raised after it had been sent."""
    executed: int | None = None
    """Jobs whose code has started at least once."""
    lost: int | None = None
    """Acknowledged jobs that have not ended."""
    unexpected: int | None = None
    """Jobs that ran and were never committed."""
    duplicate_starts: int | None = None
    """Starts of a claim beyond its first."""
    overlapping: int | None = None
    """Jobs two of whose runs overlapped."""
    late_outcomes: int | None = None
    """Outcomes that were refused because the job was no longer the worker's."""
    recovered: int | None = None
    """Jobs that were run again after a node was lost."""
    recovery_s: float | None = None
    """The longest time from the fault, or its end, until work went on."""
    figures: dict[str, Any] = {}
    """What else the scenario measures, by names that say their unit."""
    wrong: list[str] = []
    """What is not as promised; empty if all is well."""

    def expect(self, what: str, holds: bool) -> None:
        """Note it if it does not hold."""
        if not holds:
            self.wrong.append(what)

    def expect_no(self, *fields: str) -> None:
        """Expect these counts to have been made, and to be 0."""
        for field in fields:
            value = getattr(self, field)
            self.expect(f"{field} is {value}, 0 expected", value == 0)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a scenario is given."""

    store: str
    """A new store, whose tables are there; see `stores.backend_at`. `postgresql://…#schema`, or a file."""
    folder: Path
    """An empty folder of its own."""
    seed: int
    """What all its randomness begins with."""
    is_full: bool
    """Whether it runs at full size; otherwise in seconds, as in each CI run."""

    def size(self, full: int, short: int) -> int:
        """Return the number for the size."""
        return full if self.is_full else short

    @property
    def history(self) -> Path:
        """The file to which its processes write what they do."""
        return self.folder / "history"

    def lines(self) -> list[Line]:
        """Return what they have written so far."""
        return read(self.history)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and what must hold in spite of it."""

    name: str
    """As in the table of promises: `S6`."""
    title: str
    """The fault, in a few words."""
    proves: Sequence[str]
    """The topics of `promises.md` that it is a proof of, such as `Overlap`."""
    run: Callable[[Ground], Awaitable[Report]]
    """Makes the fault and returns what came of it. Raises if the fault could not be made at all."""
    kinds: Sequence[str] = KINDS
    """The stores that it is run on."""
    lacks: Callable[[], str | None] = lambda: None
    """Returns what this machine lacks for it; None if nothing."""
    owns_server: bool = False
    """Whether it stops, fills or breaks its server: then it never shares one."""


@cache
def scenarios() -> dict[str, Scenario]:
    """Return all there are, in the order of their numbers."""
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{PACKAGE}.{name}") for name in names if name.startswith("s")]
    made: Iterable[Scenario] = (module.SCENARIO for module in modules)
    return {one.name: one for one in sorted(made, key=lambda one: int(one.name[1:]))}


def count_runs(report: Report, lines: Sequence[Line], died: Mapping[int, float] | None = None) -> None:
    """Fill in what a history of `start` and `end` lines tells: executed, duplicate starts, overlapping, recovered.

    `died` says when processes were killed, by their pid: their runs were over then.
    """
    starts = Counter((line.job_id, line.claims) for line in lines if line.what == "start")
    over = {(line.job_id, line.claims): line.at for line in lines if line.what == "end"}
    runs: dict[JobId, list[tuple[float, float]]] = {}
    for line in lines:
        if line.what == "start":
            end = over.get((line.job_id, line.claims), (died or {}).get(line.pid, math.inf))
            runs.setdefault(line.job_id, []).append((line.at, end))
    report.executed = len(runs)
    report.duplicate_starts = sum(number - 1 for number in starts.values())
    report.overlapping = sum(
        any(begun < end for (_, end), (begun, _) in pairwise(sorted(times))) for times in runs.values()
    )
    report.recovered = len({job_id for job_id, claims in starts if claims > 1})


async def count_jobs(report: Report, backend: Backend, acknowledged: Iterable[JobId], lines: Sequence[Line]) -> None:
    """Fill in what store and history tell together: lost and unexpected."""
    records: dict[JobId, bool] = {}
    after: JobId | None = None
    while page := await backend.query(Everything(), limit=10_000, after=after):
        records |= {record.id: record.status.has_ended for record in page}
        after = page[-1].id
    report.lost = sum(not records.get(job_id, False) for job_id in acknowledged)
    report.unexpected = len({line.job_id for line in lines if line.what == "start"} - records.keys())
