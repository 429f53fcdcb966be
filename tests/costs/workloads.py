"""The workloads. Each prepares a store before its `yield`, and what it does after that is counted.

Their batches have fixed sizes. A node's depend on how long jobs and the store take.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

from rexecutor import JobStatus, Replace, UniquenessCriteria
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import COMPLETE, Complete, FieldUpdate, Interrupted, Outcome, Rerun, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.testing.suite.store import HOUR, LEASE, NODE, OTHER_NODE, SECOND, failed, new_job
from tests.costs.ground import Ground

Workload: TypeAlias = Callable[[Ground, int], AsyncGenerator[None]]

DATA: Final = '{"to":"somebody@example.org","subject":"Your order","template":"order-1","amount":12.5}'
RESULT: Final = '{"sent":true}'
IDLE_MINUTE: Final = {"claim": 60, "heartbeat": 12}
"""What a node without jobs asks in a minute; `test_node.py` counts that."""


def job(number: int = 0, *, delay: timedelta = timedelta(0), unique: UniquenessCriteria | None = None) -> NewJob:
    """Return a job of an ordinary size."""
    return new_job(data=DATA, delay=delay, unique=unique)


def unique_job(number: int, replaces: Replace | None = None) -> NewJob:
    """Return a job of which there may be only one with this number."""
    criteria = UniquenessCriteria.by_key(number)
    return job(unique=criteria if replaces is None else criteria.on_conflict(replaces))


async def one_by_one(ground: Ground, jobs: int, new: Callable[[int], NewJob] = job) -> AsyncGenerator[None]:
    yield
    for number in range(jobs):
        await ground.backend.enqueue([new(number)])


async def again(ground: Ground, jobs: int, new: Callable[[int], NewJob]) -> AsyncGenerator[None]:
    """Enqueue unique jobs that are all there."""
    await ground.backend.enqueue([unique_job(number) for number in range(jobs)])
    yield
    for number in range(jobs):
        await ground.backend.enqueue([new(number)])


async def at_once(ground: Ground, jobs: int, producers: int) -> AsyncGenerator[None]:
    """Enqueue a job by each of the producers, and when all are stored the next ones."""
    yield
    for first in range(0, jobs, producers):
        await ground.together([ground.backend.enqueue([job()]) for _ in range(first, min(first + producers, jobs))])


async def in_bulk(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    yield
    await ground.backend.enqueue([job()] * jobs)


async def synchronously(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    yield
    for _ in range(jobs):
        ground.backend.enqueue_sync([job()])


async def drained(
    ground: Ground, jobs: int, batch: int, outcome: Outcome = COMPLETE, delay: timedelta = timedelta(0)
) -> AsyncGenerator[None]:
    """Claim and settle all jobs, in batches."""
    await ground.backend.enqueue([job(delay=delay)] * jobs)
    ground.clock.advance(delay)
    ground.store.heartbeat()
    yield
    for _ in batches(jobs, batch):
        await settled(ground, await ground.store.claim(batch), lambda _: outcome)


async def with_failures(ground: Ground, jobs: int, batch: int, share: int) -> AsyncGenerator[None]:
    """Drain, with one failure in `share` jobs, which succeeds when it is tried again at the end."""
    await ground.backend.enqueue([job()] * jobs)
    ground.store.heartbeat()
    yield
    for _ in batches(jobs, batch):
        claimed = await ground.store.claim(batch)
        await settled(ground, claimed, lambda place: COMPLETE if place % share else failed(delay=SECOND))
    ground.clock.advance(SECOND)
    await settled(ground, await ground.store.claim(batch), lambda _: COMPLETE)


async def given_back(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    claimed = await ground.store.executing(*([job()] * jobs))
    yield
    await settled(ground, claimed, lambda _: Interrupted())


async def released(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    await ground.store.executing(*([job()] * jobs))
    yield
    await ground.backend.release_claims(NODE, (), epoch=1)


async def rescued(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    await ground.store.executing(*([job()] * jobs), node_id=OTHER_NODE)
    ground.clock.advance(LEASE)
    yield
    ground.store.heartbeat()


async def cancelled(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    ids = await ground.store.enqueue(*([job()] * jobs))
    yield
    for job_id in ids:
        await ground.backend.cancel(job_id, "not wanted")


async def cancelled_while_running(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    claimed = await ground.store.executing(*([job()] * jobs))
    yield
    for record in claimed:
        await ground.backend.cancel(record.id, "not wanted")


async def cancelled_at_once(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    ids = await ground.store.enqueue(*([job()] * jobs))
    yield
    await ground.backend.cancel_many(ids, "not wanted")


async def rerun_at_once(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    ids = await ground.store.enqueue(*([job()] * jobs))
    await ground.backend.cancel_many(ids, "not wanted")
    yield
    await ground.backend.rerun_many(ids)


async def updated_at_once(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    ids = await ground.store.enqueue(*([job()] * jobs))
    yield
    await ground.backend.update_many(ids, FieldUpdate(priority=3))


async def updated(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    await ground.backend.enqueue([job()] * jobs)
    records = await ground.store.jobs()
    yield
    for record in records:
        await ground.backend.update(record.id, new_job(data="null"), version=record.version)


async def rerun(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    ended = await all_ended(ground, jobs)
    yield
    for record in ended:
        await ground.backend.apply(record.id, Rerun(), executor=None)


async def pruned(ground: Ground, jobs: int, what: OlderThan | BeyondNewest) -> AsyncGenerator[None]:
    await all_ended(ground, jobs)
    ground.clock.advance(HOUR)
    yield
    await ground.backend.prune(PruneSpec(JobStatus.COMPLETE, what), jobs)


async def all_ended(ground: Ground, jobs: int) -> list[JobRecord]:
    """Return jobs that were settled as complete, a hundred at a time."""
    await ground.backend.enqueue([job()] * jobs)
    ground.store.heartbeat()
    ended: list[JobRecord] = []
    for _ in batches(jobs, 100):
        claimed = await ground.store.claim(100)
        await settled(ground, claimed, lambda _: COMPLETE)
        ended += claimed
    return ended


async def settled(ground: Ground, claimed: Iterable[JobRecord], outcome: Callable[[int], Outcome]) -> None:
    """Settle the jobs, each as its place says."""
    await ground.backend.settle(
        [Settlement(record.id, record.claims, outcome(place)) for place, record in enumerate(claimed)]
    )


def batches(jobs: int, batch: int) -> range:
    """Return as many numbers as there are batches."""
    return range(0, jobs, batch)


async def idle(ground: Ground, jobs: int) -> AsyncGenerator[None]:
    """Ask for a minute as a node does that has nothing to do."""
    ground.store.heartbeat()
    yield
    for call, times in IDLE_MINUTE.items():
        for _ in range(times):
            await ground.store.claim() if call == "claim" else ground.store.heartbeat()


WORKLOADS: Final[Mapping[str, tuple[int, Workload]]] = {
    "enqueue one by one": (1000, one_by_one),
    "enqueue 16 at once": (1000, partial(at_once, producers=16)),
    "enqueue 500 at once": (1000, partial(at_once, producers=500)),
    "enqueue in bulk": (1000, in_bulk),
    "enqueue_sync": (100, synchronously),
    "enqueue unique": (100, partial(one_by_one, new=unique_job)),
    "unique: existing": (100, partial(again, new=unique_job)),
    "unique: replacing": (100, partial(again, new=partial(unique_job, replaces=Replace.data()))),
    "drain by 100": (1000, partial(drained, batch=100)),
    "drain by 1000": (1000, partial(drained, batch=1000)),
    "drain with results": (1000, partial(drained, batch=1000, outcome=Complete(RESULT))),
    "drain, 1 % fail once": (1000, partial(with_failures, batch=100, share=100)),
    "drain, due later": (1000, partial(drained, batch=100, delay=HOUR)),
    "give back at a stop": (1000, given_back),
    "release a lost claim": (1000, released),
    "rescue": (1000, rescued),
    "cancel": (100, cancelled),
    "cancel while running": (100, cancelled_while_running),
    "cancel at once": (1000, cancelled_at_once),
    "update": (100, updated),
    "update at once": (1000, updated_at_once),
    "rerun": (100, rerun),
    "rerun at once": (1000, rerun_at_once),
    "prune by age": (1000, partial(pruned, what=OlderThan(SECOND))),
    "prune by number": (1000, partial(pruned, what=BeyondNewest(0))),
    "a minute idle": (0, idle),
}
"""Name → how many jobs, and the workload."""
