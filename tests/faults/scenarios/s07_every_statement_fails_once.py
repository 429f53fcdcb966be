"""S7: the Nth statement fails, for every N of a life in which all happens that can."""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg

from rexecutor import Backend, PostgresBackend, SQLiteBackend
from rexecutor.testing.clock import FakeClock
from tests.faults import statement_faults
from tests.faults.log_lines import kept_lines
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.scripted_life import Kept, Life
from tests.faults.statement_faults import POSTGRES_KINDS, SQLITE_KINDS, Fault

NEVER = 10**9
"""The number of no statement."""
TABLES = ("stored_jobs", "queue", "running", "ended", "nodes", "schedules", "duties", "scopes")


async def run(ground: Ground) -> Report:
    """Live once without a fault; then once for each statement and each kind of fault, and compare."""
    kinds = POSTGRES_KINDS if "#" in ground.store else SQLITE_KINDS
    none = Fault(NEVER, kinds[0])
    undisturbed, usual = await lived(ground, none)
    report = Report(wrong=[f"with no fault: {what}" for what in undisturbed.wrong])
    points, failures, raised = Counter[str](), 0, 0
    for kind, number in chosen(ground, kinds, none.seen):
        fault = Fault(number, kind)
        life, jobs = await lived(ground, fault)
        if jobs != usual:
            life.wrong.append(f"the jobs differ: {difference(usual, jobs)}")
        points[kind] += fault.has_fired
        raised += life.failures
        failures += bool(life.wrong)
        report.wrong += [f"statement {number} ({fault.text}), {kind}: {what}" for what in life.wrong[:3]]
    report.figures = {"statements": none.seen, "points": points.total(), "failures": failures, "raised": raised}
    report.figures |= {f"points_{kind.replace(' ', '_')}": number for kind, number in points.items()}
    report.expect("faults of each kind were made", points.keys() == set(kinds))
    report.expect("faults were noticed", raised > 0)
    return report


def chosen(ground: Ground, kinds: Sequence[str], statements: int) -> list[tuple[str, int]]:
    """Return which statements fail how: each in each way, or some in each."""
    chance = random.Random(ground.seed)
    numbers = range(1, statements + 1)
    some = 3 if "#" in ground.store else 15
    return [
        (kind, number) for kind in kinds for number in (numbers if ground.is_full else chance.sample(numbers, some))
    ]


async def lived(ground: Ground, fault: Fault) -> tuple[Life, list[Kept]]:
    """Run a life on an empty store with that fault, and return it with what it left."""
    clock = FakeClock()
    jobs: list[Kept] = []
    with patched(ground.store, fault), kept_lines(logging.WARNING, "psycopg"):
        async with empty_store(ground, clock, f"{fault.kind}-{fault.number}") as backend:
            life = Life(backend, clock)
            try:
                with fault.armed():
                    await life.live()
                jobs = await life.jobs()
            except Exception as error:  # noqa: BLE001 - whatever leaves a backend is what is wrong
                life.wrong.append(f"{type(error).__name__}: {error}")
    return life, jobs


def patched(store: str, fault: Fault) -> AbstractContextManager[None]:
    """Let the statement of that store's driver fail."""
    return statement_faults.in_postgres(fault) if "#" in store else statement_faults.in_sqlite(fault)


def empty_store(ground: Ground, clock: FakeClock, name: str) -> Backend:
    """Return a backend without jobs, not open yet."""
    url, _, schema = ground.store.partition("#")
    if not schema:
        return SQLiteBackend(Path(ground.folder) / f"{name}.db", clock=clock, synchronous="NORMAL")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(f'{schema}.{table}' for table in TABLES)}".encode())
    return PostgresBackend(url, schema=schema, clock=clock, listens=False)


def difference(usual: list[Kept], jobs: list[Kept]) -> str:
    """Return what is in only one of them."""
    return f"missing {[one for one in usual if one not in jobs]}, new {[one for one in jobs if one not in usual]}"[:600]


SCENARIO = Scenario(
    "S7", "every statement fails once", ("Accepted", "Delivery", "Start", "Attempts", "Unique", "Cron"), run
)
