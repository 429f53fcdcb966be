"""`make bench`: medians of some rounds, ours and bare in turn, so that a slow moment hits both."""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import bare, ours
from rexecutor import SQLiteBackend

BATCH = 100


def main() -> None:
    """Run and print all figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the jobs, for a quick look")
    options = parser.parse_args()
    rounds, scale = options.rounds, options.scale
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, medians of {rounds}, jobs/s")
    print(f"{'':34}{'ours':>12}{'bare':>12}{'ratio':>8}")
    one, many, all_jobs = (int(number * scale) for number in (2_000, 10_000, 20_000))
    for kind in ("sqlite", "memory"):
        compare(
            f"{kind}: enqueue one by one",
            one,
            lambda path: asyncio.run(ours.enqueue_one_by_one(ours.backend_of(kind, path), one)),
            lambda path: bare.enqueue_one_by_one(prepared(path), "noop", one),
            rounds,
        )
        compare(
            f"{kind}: enqueue, {one:,} at once",
            one,
            lambda path: asyncio.run(ours.enqueue_at_once(ours.backend_of(kind, path), one)),
            lambda path: bare.enqueue_one_by_one(prepared(path), "noop", one),
            rounds,
        )
        compare(
            f"{kind}: enqueue_many of {many:,}",
            many,
            lambda path: asyncio.run(ours.enqueue_in_bulk(ours.backend_of(kind, path), many)),
            lambda path: bare.enqueue_many(prepared(path), "noop", many),
            rounds,
        )
        for slots in (BATCH, 2 * BATCH):
            compare(
                f"{kind}: drain of {all_jobs:,}, {slots} slots",
                all_jobs,
                lambda path: asyncio.run(ours.drain(ours.backend_of(kind, path), all_jobs, slots)),
                lambda path: bare.drain(filled(path, all_jobs), "noop", BATCH),
                rounds,
            )
    latencies(int(300 * scale), rounds)


def compare(
    name: str, jobs: int, ours_in: Callable[[Path], float], bare_in: Callable[[Path], float], rounds: int
) -> None:
    """Print both figures and their ratio."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, into in ((ours_in, seconds[0]), (bare_in, seconds[1])):
            with tempfile.TemporaryDirectory(prefix="rexecutor-bench-") as folder:
                into.append(run(Path(folder)))
    mine, theirs = (jobs / median(one) for one in seconds)
    print(f"{name:34}{mine:12,.0f}{theirs:12,.0f}{mine / theirs:8.2f}", flush=True)


def latencies(jobs: int, rounds: int) -> None:
    """Print how soon an idle worker in another process has a job."""
    halves: list[float] = []
    tails: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="rexecutor-bench-") as folder:
            seconds = asyncio.run(ours.pickup(Path(folder) / "jobs.db", jobs))
            halves.append(seconds[len(seconds) // 2])
            tails.append(seconds[int(len(seconds) * 0.99)])
    print(f"sqlite: pickup by another process, {jobs} jobs: p50 {median(halves) * 1e3:.2f} ms, ", end="")
    print(f"p99 {median(tails) * 1e3:.2f} ms")


def prepared(folder: Path) -> Path:
    """Answer a file with our tables and no jobs."""

    async def make() -> None:
        async with SQLiteBackend(folder / "jobs.db"):
            pass

    asyncio.run(make())
    return folder / "jobs.db"


def filled(folder: Path, jobs: int) -> Path:
    """Answer a file with our tables and that many due jobs."""
    path = prepared(folder)
    bare.enqueue_many(path, "noop", jobs)
    return path


if __name__ == "__main__":
    main()
