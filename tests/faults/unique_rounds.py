"""Producers that race for the same job, round after round: `python -m tests.faults.unique_rounds --rounds 500`.

Processes with several producers each, every producer with a connection of its own, start each round together and
enqueue the same unique job. Exactly one may add it. Prints one JSON line; exits 1 when a round has another number.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rexecutor import Executor, Job, JobBuilder, Replace, SQLiteBackend, UniquenessCriteria, enqueue_many
from rexecutor.where import Everything
from tests.faults.processes import ROOT

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KINDS = 4


class Contended(Executor[int]):
    """What all want to enqueue."""

    name = "contended"

    async def execute(self, job: Job[int]) -> None:
        raise AssertionError("never runs here")


def contested(number: int) -> JobBuilder[int, None]:
    """Answer the job of a round: unique by key, by executor in a window, by both, or with a replacement."""
    builder = Contended.builder().with_data(number).schedule_at(START + number * HOUR)
    in_window = UniquenessCriteria.by_executor().and_within(HOUR / 2)
    match number % KINDS:
        case 0:
            return builder.unique(UniquenessCriteria.by_key(["round", number]))
        case 1:
            return builder.unique(in_window)
        case 2:
            return builder.unique(in_window.and_key(number))
        case _:
            return builder.unique(in_window.on_conflict(Replace.priority())).with_priority(number % 7)


async def produce(store: Path, rounds: int, producers: int) -> None:
    """Race in one process: a line is read before each round, and the dispositions are written after it."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(SQLiteBackend(store)) for _ in range(producers)]
        print("ready", flush=True)  # noqa: T201
        for number in range(rounds):
            await loop.run_in_executor(None, sys.stdin.readline)
            builder = contested(number)
            # Some enqueue it with its like in one batch: the second of these must see the first.
            batches = [[builder] * (1 + (place + number) % 3) for place in range(producers)]
            answers = await asyncio.gather(
                *(enqueue_many(batch, backend=backend) for batch, backend in zip(batches, backends, strict=True))
            )
            found = [handle.disposition for handles in answers for handle in handles]
            print(json.dumps([found, sorted({handle.id for handles in answers for handle in handles})]), flush=True)  # noqa: T201


async def race(folder: Path, *, rounds: int, processes: int, producers: int) -> dict[str, Any]:
    """Run all rounds; answer what came of them."""
    store = folder / "jobs.db"
    command = (sys.executable, "-m", "tests.faults.unique_rounds", "--produce", str(store))
    sizes = ("--rounds", str(rounds), "--producers", str(producers))
    pipe = asyncio.subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(*command, *sizes, cwd=ROOT, stdin=pipe, stdout=pipe)
        for _ in range(processes)
    ]
    outputs, inputs = [one.stdout for one in racers], [one.stdin for one in racers]
    dispositions: Counter[str] = Counter()
    wrong: list[int] = []
    try:
        async with asyncio.timeout(60 + rounds):  # noqa: TID251 - processes live in real time
            for output in outputs:
                assert output is not None
                assert (await output.readline()).strip() == b"ready"
            for number in range(rounds):
                for line in inputs:
                    assert line is not None
                    line.write(b"go\n")
                found: Counter[str] = Counter()
                ids: set[int] = set()
                for output in outputs:
                    assert output is not None
                    names, known = json.loads(await output.readline())
                    found.update(names)
                    ids |= set(known)
                dispositions += found
                if found["inserted"] != 1 or len(ids) != 1:
                    wrong.append(number)
    finally:
        for racer in racers:
            if racer.returncode is None:
                racer.kill()
            await racer.communicate()
    async with SQLiteBackend(store) as backend:
        stored = await backend.query(Everything(), limit=rounds * 100)
    per_round = Counter(int(record.data) for record in stored)
    wrong += [number for number in range(rounds) if per_round[number] != 1]
    return {
        "rounds": rounds,
        "producers": processes * producers,
        "processes": processes,
        "enqueues": dispositions.total(),
        **dispositions,
        "stored": len(stored),
        "wrong_rounds": sorted(set(wrong)),
    }


async def main() -> int:
    """Run as the command line says; answer the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--producers", type=int, default=16, help="in each process")
    parser.add_argument("--produce", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.produce is not None:
        await produce(options.produce, options.rounds, options.producers)
        return 0
    with tempfile.TemporaryDirectory(prefix="rexecutor-unique-") as folder:
        result = await race(
            Path(folder), rounds=options.rounds, processes=options.processes, producers=options.producers
        )
    print(json.dumps(result))  # noqa: T201
    return 1 if result["wrong_rounds"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
