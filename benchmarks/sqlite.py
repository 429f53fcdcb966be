"""The figures of SQLite and of the in-memory backend, beside the same bare calls."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import ours, sqlite_bare
from benchmarks.report import Report
from rexecutor import Backend, InMemoryBackend, SQLiteBackend

BATCH = 100


def measure(report: Report, scale: float) -> None:
    """Print all figures."""
    print(f"SQLite {sqlite3.sqlite_version}, synchronous = FULL; bare: sqlite3")
    one, many, all_jobs = (int(number * scale) for number in (2_000, 10_000, 20_000))
    for kind in ("sqlite", "memory"):
        report.compare(
            f"{kind}: enqueue one by one",
            one,
            in_folder(lambda path: asyncio.run(ours.enqueue_one_by_one(backend_of(kind, path), one))),
            in_folder(lambda path: sqlite_bare.enqueue_one_by_one(prepared(path), "noop", one)),
        )
        report.compare(
            f"{kind}: enqueue, {one:,} at once",
            one,
            in_folder(lambda path: asyncio.run(ours.enqueue_at_once(backend_of(kind, path), one))),
            in_folder(lambda path: sqlite_bare.enqueue_one_by_one(prepared(path), "noop", one)),
        )
        report.compare(
            f"{kind}: enqueue_many of {many:,}",
            many,
            in_folder(lambda path: asyncio.run(ours.enqueue_in_bulk(backend_of(kind, path), many))),
            in_folder(lambda path: sqlite_bare.enqueue_many(prepared(path), "noop", many)),
        )
        for slots in (BATCH, 2 * BATCH):
            report.compare(
                f"{kind}: drain of {all_jobs:,}, {slots} slots",
                all_jobs,
                in_folder(lambda path: asyncio.run(ours.fill_and_drain(backend_of(kind, path), all_jobs, slots))),
                in_folder(lambda path: sqlite_bare.drain(filled(path, all_jobs), "noop", BATCH)),
            )
        for what, reporting in (("text", ours.Writing), ("struct", ours.Reporting)):
            report.compare(
                f"{kind}: drain, 200-byte {what} (bare: none)",
                all_jobs,
                in_folder(_drain(kind, all_jobs, reporting)),
                in_folder(_drain(kind, all_jobs, ours.Noop)),
                goal=0.9,
            )
    latencies(report, int(300 * scale))


def _drain(kind: str, jobs: int, executor: ours.Kind) -> Callable[[Path], float]:
    return lambda path: asyncio.run(ours.fill_and_drain(backend_of(kind, path), jobs, BATCH, executor))


def in_folder(run: Callable[[Path], float]) -> Callable[[], float]:
    """Give each run a folder of its own."""

    def run_in_folder() -> float:
        with tempfile.TemporaryDirectory(prefix="rexecutor-bench-") as folder:
            return run(Path(folder))

    return run_in_folder


def latencies(report: Report, jobs: int) -> None:
    """Print how soon an idle worker in another process gets a job."""
    halves: list[float] = []
    tails: list[float] = []
    for _ in range(report.rounds):
        with tempfile.TemporaryDirectory(prefix="rexecutor-bench-") as folder:
            half, tail = asyncio.run(ours.pickup(f"sqlite:///{folder}/jobs.db", jobs))
            halves.append(half)
            tails.append(tail)
    print(f"sqlite: pickup by another process, {jobs} jobs: p50 {median(halves) * 1e3:.2f} ms, ", end="")
    print(f"p99 {median(tails) * 1e3:.2f} ms")


def backend_of(kind: str, folder: Path) -> Backend:
    """Return a backend on a new file."""
    return SQLiteBackend(folder / "jobs.db") if kind == "sqlite" else InMemoryBackend()


def prepared(folder: Path) -> Path:
    """Return a file with the tables and no jobs."""

    async def make() -> None:
        async with SQLiteBackend(folder / "jobs.db"):
            pass

    asyncio.run(make())
    return folder / "jobs.db"


def filled(folder: Path, jobs: int) -> Path:
    """Return a file with the tables and this many due jobs."""
    path = prepared(folder)
    sqlite_bare.enqueue_many(path, "noop", jobs)
    return path
