"""A node whose clock is not the database's, and sessions in a time zone that changes its clocks."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecutor import JobStatus, UniquenessCriteria, Where
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres import liveness
from rexecutor.backend.postgres.execution import run
from rexecutor.backend.sql.operations import Statement
from rexecutor.clock import SystemClock
from rexecutor.model.outcomes import Complete, Settlement, Snooze
from rexecutor.model.pruning import OlderThan, PruneSpec
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import ALPHA, MICROSECOND, NODE, Store, failed, new_job
from tests.postgres import Migrated, postgres_backend, schema_of, server_url

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class WrongClock(SystemClock):
    """The machine's, but hours off."""

    def __init__(self, off: timedelta) -> None:
        self.off = off

    def now(self) -> datetime:
        return super().now() + self.off


@pytest.mark.parametrize("off", [-HOUR, timedelta(0), HOUR])
async def test_when_to_look_again_is_told_by_the_nodes_own_clock(tmp_path: Path, off: timedelta) -> None:
    clock = WrongClock(off)
    async with postgres_backend(tmp_path) as backend:
        backend._operations._clock = clock
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node", "node", HOUR))
        heartbeats.close()
        await backend.enqueue([new_job(delay=HOUR / 6)])
        claim = await backend.claim(Demand({ALPHA: 1}, 1), "node")

    assert claim.next_due is not None
    assert abs(claim.next_due - (clock.now() + HOUR / 6)) < timedelta(minutes=1)


class HurryingClock(FakeClock):
    """Goes on by a second whenever it is read, as if each statement took that long."""

    def now(self) -> datetime:
        self.jump(HOUR / 3_600)
        return super().now()


async def test_the_time_that_a_claim_takes_is_not_added_to_when_to_look_again(tmp_path: Path) -> None:
    clock = HurryingClock()
    async with postgres_backend(tmp_path, clock) as backend:
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node", "node", HOUR))
        heartbeats.close()
        [enqueued] = await backend.enqueue([new_job(delay=HOUR / 6)])
        [record] = await backend.query(Where.id_equals(enqueued.id))
        claim = await backend.claim(Demand({ALPHA: 1}, 1), "node")

    assert claim.next_due == record.scheduled_at


@pytest.fixture(params=[datetime(2026, 3, 7, 12, tzinfo=UTC), datetime(2026, 10, 31, 12, tzinfo=UTC)], ids=str)
async def new_york(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """A store whose sessions are in New York, as an application's may be, before a night with a change of clocks."""
    settings = liveness.SESSION_SETTINGS.replace("'UTC'", "'America/New_York'")
    monkeypatch.setattr(liveness, "SESSION_SETTINGS", settings)
    clock = FakeClock(request.param)
    backend = Migrated(server_url(), schema=schema_of(tmp_path), clock=clock, max_connections=5, listens=False)
    async with backend:
        zone = await backend._connections.run(lambda connection: run(connection, Statement("SHOW timezone", {})))
        assert zone == [("America/New_York",)]
        store = Store(backend, clock, lambda: backend, shares_store=True)
        try:
            yield store
        finally:
            store.close()


async def test_a_day_until_a_job_is_due_or_expires_has_24_hours(new_york: Store) -> None:
    await new_york.enqueue(new_job(delay=DAY))
    await new_york.enqueue(new_job(delay=DAY), new_job(delay=DAY))
    await new_york.enqueue(new_job(delay=DAY), new_job(delay=DAY, priority=1))
    await new_york.enqueue(*[new_job(delay=DAY, expires_in=2 * DAY)] * 2)
    await new_york.enqueue(new_job(delay=DAY, unique=UniquenessCriteria.by_key("k")))
    await new_york.enqueue(new_job(delay=DAY, expires_in=2 * DAY), new_job(expires_in=DAY))

    stored = await new_york.jobs()
    times = [(job.scheduled_at - new_york.now, job.expires_at and job.expires_at - new_york.now) for job in stored]
    assert times == [
        *[(DAY, None)] * 5,
        *[(DAY, 2 * DAY)] * 2,
        (DAY, None),
        (DAY, 2 * DAY),
        (timedelta(0), DAY),
    ]


async def test_a_day_until_the_next_attempt_has_24_hours(new_york: Store) -> None:
    snoozing, failing = await new_york.executing(*[new_job()] * 2)

    await new_york.settle_all(
        [Settlement(*snoozing.claim_id, Snooze(DAY)), Settlement(*failing.claim_id, failed(delay=DAY))]
    )

    assert [job.scheduled_at - new_york.now for job in await new_york.jobs()] == [DAY, DAY]


async def test_a_lease_of_a_day_has_24_hours(new_york: Store) -> None:
    new_york.heartbeat(lease=DAY)
    await new_york.enqueue(new_job())
    new_york.clock.jump(DAY - MICROSECOND)

    [job] = await new_york.claim()

    new_york.clock.jump(MICROSECOND)
    assert new_york.heartbeat("another").rescued == 1
    assert job.node == NODE


async def test_a_day_since_a_job_ended_or_was_due_has_24_hours(new_york: Store) -> None:
    [job] = await new_york.executing(new_job())
    await new_york.settle(job, Complete())
    daily = PruneSpec(JobStatus.COMPLETE, OlderThan(DAY))

    found: list[int] = []
    for step in (DAY - MICROSECOND, 2 * MICROSECOND):
        new_york.clock.jump(step)
        found += [len(await new_york.backend.query(Where.scheduled_at_older_than(DAY)))]
        found += [await new_york.backend.prune(daily, 10)]

    assert found == [0, 0, 1, 1]
