"""A node whose clock is not the database's."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rexecutor import Where
from rexecutor.backend.messages import Demand, Node
from rexecutor.clock import SystemClock
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import ALPHA, new_job
from tests.postgres import postgres_backend

HOUR = timedelta(hours=1)


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
