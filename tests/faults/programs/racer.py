"""Producers that race for the same unique jobs: `python -m tests.faults.programs.racer STORE ROUNDS PRODUCERS FIRST …`.

Waits for a line before each round, and answers one after it. With an isolation level the producers enqueue in
transactions of their own, half of which are rolled back, in each tenth round all.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

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
from rexecutor.jobs.handle import JobHandle
from tests.faults.stores import backend_at

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
    """Return the job of a round: unique by key, by executor in a window, by both, or with a replacement."""
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
    """Enqueue in a transaction. Do it again if the database says so; return nothing if it was undone."""
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


if __name__ == "__main__":
    store, rounds, producers, first, *isolation = sys.argv[1:]
    asyncio.run(produce(store, int(rounds), int(producers), int(first), isolation[0] if isolation else None))
