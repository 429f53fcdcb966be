"""Counts of the jobs in the store, and how a node is doing, for those who have subscribed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rexecutor import BackendError, InMemoryBackend, Rexecutor
from rexecutor.backend.messages import Holder, Load
from rexecutor.events import DutyFailed, DutyRecovered, NodeMeasured, Queue, QueuesMeasured
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick, pass_time
from tests.support import Events, until


class Loaded(InMemoryBackend):
    """Returns a load that a test gives, or raises what it gives."""

    def __init__(self, answer: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.answer = answer
        self.asked = 0

    async def load(self, executor: str | None = None) -> Sequence[Load]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def load(clock: FakeClock) -> Load:
    now = clock.now()
    holders = [Holder("1", 2, now, 7), Holder("2", 1, now, 8)]
    return Load("mail", 5, 2, now - timedelta(seconds=90), holders, 100)


async def test_a_node_counts_the_queues_every_15_s(clock: FakeClock) -> None:
    heard, backend = Events(), Loaded([load(clock)], clock=clock)

    async with Rexecutor(backend, executors=[Quick], on_event=heard.append):
        await until(lambda: backend.asked == 1)
        await pass_time(clock, timedelta(seconds=16), timedelta(seconds=1))

    assert backend.asked == 2
    first, second = heard.of(QueuesMeasured)
    assert first.queues == (Queue("mail", 5, 2, 90.0, 3, 100),)
    assert second.queues[0].oldest_due_seconds >= 105


async def test_without_a_subscriber_nothing_is_counted(clock: FakeClock) -> None:
    backend = Loaded([], clock=clock)

    async with Rexecutor(backend, executors=[Quick]):
        await pass_time(clock, timedelta(seconds=20), timedelta(seconds=1))

    assert backend.asked == 0


async def test_a_job_that_is_due_later_by_the_nodes_clock_is_due_now(clock: FakeClock) -> None:
    ahead = Load("mail", 1, 1, clock.now() + timedelta(seconds=5), [])
    heard, backend = Events(), Loaded([ahead, Load("tick", 1, 0, None, [])], clock=clock)

    async with Rexecutor(backend, executors=[Quick], on_event=heard.append):
        await until(lambda: bool(heard.of(QueuesMeasured)))

    assert [queue.oldest_due_seconds for queue in heard.of(QueuesMeasured)[0].queues] == [0.0, 0.0]


async def test_a_count_that_fails_is_tried_again_and_stops_nothing(clock: FakeClock) -> None:
    heard, backend = Events(), Loaded(BackendError("no connection"), clock=clock)

    async with Rexecutor(backend, executors=[Quick], on_event=heard.append):
        await until(lambda: bool(heard.failures("count")))
        backend.answer = []
        await pass_time(clock, timedelta(seconds=20), timedelta(seconds=1))
        await until(lambda: bool(heard.recoveries("count")))

    assert len(heard.of(DutyFailed)) == len(heard.of(DutyRecovered)) == 1


async def test_a_node_measures_itself_while_somebody_has_subscribed() -> None:
    heard = Events()

    async with Rexecutor(InMemoryBackend(), executors=[Quick], max_concurrency=3, on_event=heard.append):
        await until(lambda: bool(heard.of(NodeMeasured)))

    measured = heard.of(NodeMeasured)[0]
    assert (measured.slots, measured.running) == (3, 0)
    assert measured.lease_age_seconds is not None
