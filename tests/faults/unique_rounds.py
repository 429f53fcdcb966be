"""Producers that race for the same job, round after round: `python -m tests.faults.unique_rounds --rounds 500`.

Processes with several producers each, every producer with a connection of its own, start each round together and
enqueue the same unique job. Exactly one may add it. With `--isolation` they do so on PostgreSQL in transactions of
their own, half of which are rolled back, in each tenth round all: then one may add it, or none. Prints one JSON line;
exits 1 when a round has another number.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection, IsolationLevel, errors

from rexecutor import (
    BackendError,
    Executor,
    Job,
    JobBuilder,
    PostgresBackend,
    Replace,
    UniquenessCriteria,
    enqueue_many,
)
from rexecutor.handle import JobHandle
from rexecutor.where import Everything
from tests.faults.processes import ROOT
from tests.faults.stores import KINDS, backend_at, temporary_store

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CRITERIA: Final = 4
ISOLATIONS: Final = {
    "read-committed": IsolationLevel.READ_COMMITTED,
    "repeatable-read": IsolationLevel.REPEATABLE_READ,
    "serializable": IsolationLevel.SERIALIZABLE,
}


class Contended(Executor[int]):
    """What all want to enqueue."""

    name = "contended"

    async def execute(self, job: Job[int]) -> None:
        raise AssertionError("never runs here")


def contested(number: int) -> JobBuilder[int, None]:
    """Answer the job of a round: unique by key, by executor in a window, by both, or with a replacement."""
    builder = Contended.builder().with_data(number).schedule_at(START + number * HOUR)
    in_window = UniquenessCriteria.by_executor().and_within(HOUR / 2)
    match number % CRITERIA:
        case 0:
            return builder.unique(UniquenessCriteria.by_key(["round", number]))
        case 1:
            return builder.unique(in_window)
        case 2:
            return builder.unique(in_window.and_key(number))
        case _:
            return builder.unique(in_window.on_conflict(Replace.priority())).with_priority(number % 7)


def is_undone(number: int, producer: int) -> bool:
    """Whether the producer rolls this round back."""
    return number % 10 == 9 or (number + producer) % 2 == 0


async def in_transaction(
    backend: PostgresBackend, connection: AsyncConnection, batch: list[JobBuilder[int, None]], *, undone: bool
) -> list[JobHandle[int, None]]:
    """Enqueue in a transaction, again where the database says that it must be done again; nothing where undone."""
    while True:
        try:
            async with connection.transaction(force_rollback=undone):
                handles = await enqueue_many(batch, backend=backend.bound_to(connection))
        except (BackendError, errors.SerializationFailure, errors.DeadlockDetected) as error:
            cause = error.__cause__ if isinstance(error, BackendError) else error
            if not isinstance(cause, errors.SerializationFailure):
                raise  # a deadlock too: scopes are taken in one order
        else:
            return [] if undone else handles


async def produce(store: str, rounds: int, producers: int, first: int, isolation: str | None) -> None:
    """Race in one process: a line is read before each round, and the dispositions are written after it."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(backend_at(store, 1)) for _ in range(producers)]
        connections: list[AsyncConnection] = []
        for _ in range(producers if isolation is not None else 0):
            connection = await AsyncConnection.connect(store.partition("#")[0], autocommit=True)
            await connection.set_isolation_level(ISOLATIONS[isolation or ""])
            connections.append(await stack.enter_async_context(connection))
        print("ready", flush=True)
        for number in range(rounds):
            await loop.run_in_executor(None, sys.stdin.readline)
            builder = contested(number)
            # Some enqueue it with its like in one batch: the second of these must see the first.
            batches = [[builder] * (1 + (place + number) % 3) for place in range(producers)]
            work = [enqueue_many(batch, backend=backend) for batch, backend in zip(batches, backends, strict=True)]
            if connections:
                for one in work:
                    one.close()
                work = [
                    in_transaction(backend, connection, batch, undone=is_undone(number, first + place))
                    for place, (backend, connection, batch) in enumerate(
                        zip(backends, connections, batches, strict=True)
                    )
                    if isinstance(backend, PostgresBackend)
                ]
            answers = await asyncio.gather(*work)
            found = [handle.disposition for handles in answers for handle in handles]
            print(json.dumps([found, sorted({handle.id for handles in answers for handle in handles})]), flush=True)


async def race(
    store: str, *, rounds: int, processes: int, producers: int, isolation: str | None = None
) -> dict[str, Any]:
    """Run all rounds; answer what came of them."""
    command = (sys.executable, "-m", "tests.faults.unique_rounds", "--produce", store)
    sizes = ("--rounds", str(rounds), "--producers", str(producers), *(("--isolation", isolation) if isolation else ()))
    pipe = asyncio.subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(
            *command, *sizes, "--first", str(place * producers), cwd=ROOT, stdin=pipe, stdout=pipe
        )
        for place in range(processes)
    ]
    outputs, inputs = [one.stdout for one in racers], [one.stdin for one in racers]
    dispositions: Counter[str] = Counter()
    wrong: list[int] = []
    wanted = {
        number: int(isolation is None or not all(is_undone(number, place) for place in range(processes * producers)))
        for number in range(rounds)
    }
    try:
        async with asyncio.timeout(60 + rounds):
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
                if (found["inserted"], len(ids)) != (wanted[number], wanted[number]):
                    wrong.append(number)
    finally:
        for racer in racers:
            if racer.returncode is None:
                racer.kill()
            await racer.communicate()
    async with backend_at(store) as backend:
        stored = await backend.query(Everything(), limit=rounds * 100)
    per_round = Counter(int(record.data) for record in stored)
    wrong += [number for number in range(rounds) if per_round[number] != wanted[number]]
    return {
        "rounds": rounds,
        "producers": processes * producers,
        "processes": processes,
        "enqueues": dispositions.total(),
        **dispositions,
        "stored": len(stored),
        "wrong_rounds": sorted(set(wrong)),
    }


def main() -> int:
    """Run as the command line says; answer the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=KINDS, default=KINDS[0])
    parser.add_argument("--isolation", choices=ISOLATIONS)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--producers", type=int, default=16, help="in each process")
    parser.add_argument("--produce", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.produce is not None:
        asyncio.run(produce(options.produce, options.rounds, options.producers, options.first, options.isolation))
        return 0
    with temporary_store("postgres" if options.isolation else options.store) as (store, _):
        result = asyncio.run(
            race(
                store,
                rounds=options.rounds,
                processes=options.processes,
                producers=options.producers,
                isolation=options.isolation,
            )
        )
    print(json.dumps({"store": options.store, "isolation": options.isolation, **result}))
    return 1 if result["wrong_rounds"] else 0


if __name__ == "__main__":
    sys.exit(main())
