"""Short jobs are claimed ahead of the free slots; slow ones are not, and what waits too long is given back."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from rexecutor import Backend, Executor, InMemoryBackend, Job, JobHandle, JobStatus, Rexecutor, enqueue_many
from rexecutor.backend.messages import Claim, Demand, Node
from rexecutor.engine.buffer import Buffer
from rexecutor.engine.pace import MOST_JOBS, MOST_TEXT, Pace
from rexecutor.engine.slots import Slots
from rexecutor.model.job import JobId, JobRecord, NodeId
from rexecutor.telemetry.events import LeaseLost, OutcomeRefused
from rexecutor.testing import FakeClock
from tests.engine.executors import HOUR, SECOND, pass_time
from tests.fault_injector import FaultInjector
from tests.support import Events, record_made, record_of, until

SLOTS = 10
SHORT = SECOND / 1000


@pytest.fixture
def backend(clock: FakeClock) -> Backend:
    """A store without threads of its own, so that what a node asks for depends on the test's clock alone."""
    return InMemoryBackend(clock=clock)


class Slowing(Executor[str]):
    """Short jobs, until `short` have run; those after them wait until they are let go."""

    name = "slowing"

    def __init__(self, clock: FakeClock, short: int, takes: timedelta = SHORT) -> None:
        self._clock = clock
        self._short = short
        self._takes = takes
        self.ran: list[str] = []
        self.ids: set[JobId] = set()
        self.let_go = asyncio.Event()

    async def execute(self, job: Job[str]) -> None:
        self.ran.append(job.data)
        self.ids.add(job.id)
        self._clock.advance(self._takes)
        if len(self.ran) > self._short:
            await self.let_go.wait()


class Demands:
    """Notes what a node asks of its store, and what it gets."""

    def __init__(self, backend: Backend) -> None:
        self.slots: list[int] = []
        self.limits: list[int] = []
        self.claimed = 0
        claim = backend.claim

        async def noted(demand: Demand, node_id: NodeId) -> Claim:
            self.slots.append(sum(demand.slots.values()))
            self.limits.append(demand.limit)
            got = await claim(demand, node_id)
            self.claimed += len(got.jobs)
            return got

        vars(backend)["claim"] = noted


async def enqueued(backend: Backend, jobs: int, data: str = "x") -> list[JobHandle[str]]:
    return await enqueue_many([Slowing.new(data)] * jobs, backend=backend)


async def have_ended(backend: Backend, clock: FakeClock, jobs: int) -> bool:
    """Whether this many jobs are complete, after a millisecond more."""
    clock.advance(SECOND / 1000)
    return sum(one.jobs for one in await backend.count() if one.status is JobStatus.COMPLETE) == jobs


async def executing(backend: Backend) -> int:
    return sum(one.jobs for one in await backend.count() if one.status is JobStatus.EXECUTING)


async def test_short_jobs_are_claimed_ahead(backend: Backend, clock: FakeClock) -> None:
    demands, short = Demands(backend), Slowing(clock, 10_000)
    await enqueued(backend, 2_000)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(short):
        await until(lambda: have_ended(backend, clock, 2_000))

    assert len(short.ran) == 2_000
    assert len(demands.limits) < 2_000 / SLOTS / 3
    assert demands.limits[0] == SLOTS
    assert SLOTS < max(demands.limits) <= SLOTS + 0.05 / SHORT.total_seconds()


async def test_never_more_jobs_are_claimed_ahead_than_the_most(backend: Backend, clock: FakeClock) -> None:
    demands = Demands(backend)
    await enqueued(backend, 6_000)

    async with Rexecutor(backend, max_concurrency=1_000).with_executor(Slowing(clock, 10_000, SECOND / 1_000_000)):
        await until(lambda: have_ended(backend, clock, 6_000))

    assert max(demands.limits) <= 1_000 + MOST_JOBS


async def test_slow_jobs_are_not_claimed_ahead(backend: Backend, clock: FakeClock) -> None:
    demands = Demands(backend)
    await enqueued(backend, 100)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(Slowing(clock, 100, SECOND / 10)):
        await until(lambda: have_ended(backend, clock, 100))

    assert max(demands.limits) == SLOTS


async def test_no_more_jobs_run_than_there_are_slots_however_many_are_here(backend: Backend, clock: FakeClock) -> None:
    slowing, demands = Slowing(clock, 50), Demands(backend)
    await enqueued(backend, 500)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing):
        await until(lambda: demands.claimed > 50 + SLOTS and len(slowing.ran) >= 50 + SLOTS)
        assert len(slowing.ran) == 50 + SLOTS
        assert await executing(backend) > SLOTS
        slowing.let_go.set()


async def test_an_executors_own_limit_holds(backend: Backend, clock: FakeClock) -> None:
    class One(Slowing):
        name = "one"
        max_concurrency = 1

        def __init__(self) -> None:
            super().__init__(clock, 10_000)
            self.running = self.most = 0

        async def execute(self, job: Job[str]) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            await super().execute(job)
            await asyncio.to_thread(lambda: None)
            self.running -= 1

    one, demands = One(), Demands(backend)
    await enqueue_many([One.new("x")] * 300, backend=backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(one):
        await until(lambda: len(one.ran) == 300)

    assert one.most == 1
    assert len(demands.limits) < 300 / 3


@dataclass
class Buffered:
    """A node with ten jobs that run until they are let go, and with more jobs claimed ahead of them."""

    backend: Backend
    slowing: Slowing
    demands: Demands
    handles: Sequence[JobHandle[str]]

    async def waiting(self) -> list[JobHandle[str]]:
        """Return the jobs that are claimed and do not run."""
        records = [await record_of(self.backend, handle.id) for handle in self.handles]
        executing = {one.id for one in records if one.status is JobStatus.EXECUTING}
        return [handle for handle in self.handles if handle.id in executing - self.slowing.ids]


@asynccontextmanager
async def buffered(backend: Backend, clock: FakeClock) -> AsyncGenerator[Buffered]:
    demands, slowing = Demands(backend), Slowing(clock, 50)
    node = Buffered(backend, slowing, demands, await enqueued(backend, 200))
    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing):
        try:
            await until(lambda: len(slowing.ran) >= 50 + SLOTS and demands.claimed > 50 + SLOTS)
            await until(lambda: have_ended(backend, clock, 50))
            yield node
        finally:
            slowing.let_go.set()


async def test_jobs_that_wait_too_long_are_given_back_as_if_never_claimed(backend: Backend, clock: FakeClock) -> None:
    async with buffered(backend, clock) as node:
        [first, *_] = await node.waiting()
        await pass_time(clock, 0.8 * SECOND)
        await until(lambda: has_only_running(backend))

        job = await first.fetch()
        assert (job.status, job.attempt, job.errors) == (JobStatus.SCHEDULED, 0, ())


async def has_only_running(backend: Backend) -> bool:
    return await executing(backend) == SLOTS


async def test_after_that_the_executor_is_not_claimed_ahead_for_a_while(backend: Backend, clock: FakeClock) -> None:
    async with buffered(backend, clock) as node:
        await pass_time(clock, SECOND)
        before = len(node.demands.limits)
        node.slowing.let_go.set()
        await until(lambda: have_ended(backend, clock, 200))

        assert max(node.demands.limits[before:]) <= SLOTS


async def test_a_cancel_finds_a_job_that_waits_for_a_slot(backend: Backend, clock: FakeClock) -> None:
    async with buffered(backend, clock) as node:
        [first, *_] = await node.waiting()
        assert await first.cancel("not wanted") is JobStatus.EXECUTING

        async def is_cancelled() -> bool:
            clock.advance(SECOND / 100)
            return (await first.fetch()).status is JobStatus.CANCELLED

        await until(is_cancelled)
        assert len(node.slowing.ran) == 50 + SLOTS
        assert (await first.fetch()).errors[-1].details == "not wanted"


async def test_a_shutdown_gives_back_what_waits(backend: Backend, clock: FakeClock) -> None:
    async with buffered(backend, clock) as node:
        waiting = await node.waiting()

    for handle in waiting:
        job = await handle.fetch()
        assert (job.status, job.attempt) == (JobStatus.SCHEDULED, 0)
    assert len(node.slowing.ran) == 50 + SLOTS


async def test_a_lost_lease_gives_back_what_waits(backend: Backend, clock: FakeClock, events: Events) -> None:
    faults = FaultInjector(backend)

    async with buffered(backend, clock) as node:
        waiting = await node.waiting()
        faults.break_down("heartbeat")

        async def is_lost() -> bool:
            clock.advance(60 * SECOND)
            return bool(events.of(LeaseLost))

        await until(is_lost)
        await until(lambda: record_is_free(backend, waiting[0]))
        assert len(node.slowing.ran) == 50 + SLOTS
        faults.repair()


async def record_is_free(backend: Backend, handle: JobHandle[str]) -> bool:
    record = await record_of(backend, handle.id)
    return (record.status, record.attempt, record.losses) == (JobStatus.SCHEDULED, 0, 0)


async def test_jobs_that_wait_are_not_given_back_with_a_claim_whose_answer_was_lost(
    backend: Backend, clock: FakeClock, events: Events
) -> None:
    faults, slowing = FaultInjector(backend), Slowing(clock, 10_000)
    await enqueued(backend, 2_000)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing):
        await until(lambda: len(slowing.ran) > 100)
        faults.fail("claim", "after")
        await until(lambda: have_ended(backend, clock, 2_000))

    assert len(slowing.ran) == 2_000
    assert events.of(OutcomeRefused) == []


async def test_an_urgent_job_overtakes_those_that_wait_here(backend: Backend, clock: FakeClock) -> None:
    slowing = Slowing(clock, 10_000)
    await enqueue_many([Slowing.new("x", priority=5)] * 2_000, backend=backend)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing):
        await until(lambda: len(slowing.ran) > 100)
        await Slowing.enqueue("urgent", backend=backend)
        before = len(slowing.ran)
        await until(lambda: "urgent" in slowing.ran)
        position = slowing.ran.index("urgent")

    assert position - before <= 2 * (SLOTS + 50)


async def test_jobs_of_a_node_that_died_are_not_claimed_ahead(backend: Backend, clock: FakeClock) -> None:
    await enqueued(backend, 200)
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("dead", "dead", SECOND))
    await backend.claim(Demand({"slowing": 200}, 200), "dead")
    clock.advance(2 * SECOND)
    heartbeats.send(Node("other", "other", SECOND))
    heartbeats.close()
    demands, short = Demands(backend), Slowing(clock, 10_000)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(short):
        await until(lambda: have_ended(backend, clock, 200))

    assert len(short.ran) == 200
    assert len([limit for limit in demands.limits if limit > SLOTS]) == 1


async def test_slots_that_few_waiting_jobs_leave_free_are_a_reason_to_claim(clock: FakeClock) -> None:
    """Even if those jobs are slow: none of them ends for a long time."""
    started: list[JobRecord] = []
    slots = Slots({"e": None}, SLOTS, threaded=(), threads=1)
    buffer = Buffer(
        clock=clock, slots=slots, pace=Pace([], clock), start=started.extend, settle=print, may_start=lambda: True
    )
    demand = buffer.demand(0)
    assert demand is not None
    buffer.take([record_made(number) for number in range(SLOTS + 3)])
    assert len(started) == SLOTS

    for _ in range(SLOTS):
        buffer.ended("e")
    await until(lambda: len(started) == SLOTS + 3)

    assert buffer.hungry.is_set()
    again = buffer.demand(0)
    assert again is not None
    assert again.limit == SLOTS - 3


async def test_the_text_of_what_is_claimed_ahead_is_bounded(backend: Backend, clock: FakeClock) -> None:
    demands, short = Demands(backend), Slowing(clock, 10_000)
    await enqueued(backend, 100, "x" * 200_000)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(short):
        await until(lambda: have_ended(backend, clock, 100))

    assert max(demands.limits[2:]) <= SLOTS + MOST_TEXT / 200_000


def test_a_row_without_data_that_a_hand_has_written_has_no_size(clock: FakeClock) -> None:
    corrupt = replace(record_made(1), data=cast("str", None))

    Pace(["e"], clock).note_size([corrupt])

    assert Pace(["e"], clock).kept([corrupt]) == ([corrupt], ())


def test_time_in_which_nothing_runs_does_not_slow_the_pace(clock: FakeClock) -> None:
    """Else a node that waits for each claim would claim less and wait more."""
    pace = Pace(["e"], clock)
    for _ in range(5):
        run(pace, clock, 100, 10 * SHORT)
        clock.advance(100 * SHORT)

        assert pace.ahead()["e"] in {499, 500}


def test_jobs_that_end_all_at_once_are_not_taken_for_short_ones(clock: FakeClock) -> None:
    pace = Pace(["e"], clock)
    pace.started("e", 100)
    clock.advance(50 * SHORT)
    pace.ended("e")
    assert sum(pace.ahead().values()) <= 1

    clock.advance(6 * SHORT)
    for _ in range(99):
        pace.ended("e")

    assert 90 <= pace.ahead()["e"] <= 100


def test_all_time_counts_in_which_any_job_runs(clock: FakeClock) -> None:
    pace = Pace(["e"], clock)
    pace.started("e", 50)
    clock.advance(10 * SHORT)
    run(pace, clock, 50, 10 * SHORT)
    for _ in range(50):
        pace.ended("e")

    assert pace.ahead()["e"] in {249, 250}


def test_the_pace_follows_jobs_that_become_slow(clock: FakeClock) -> None:
    pace = Pace(["e"], clock)
    run(pace, clock, 1_000, 50 * SHORT)
    assert pace.ahead()["e"] in {999, 1_000}

    run(pace, clock, 30, SECOND)

    assert pace.ahead() == {"e": 1}


def test_a_pace_is_forgotten_when_no_job_has_run_for_a_while(clock: FakeClock) -> None:
    pace = Pace(["e", "still running"], clock)
    pace.started("still running", 2)
    run(pace, clock, 100, 10 * SHORT)
    pace.ended("still running")

    clock.advance(2 * SECOND)

    assert pace.ahead() == {}


def test_at_most_so_many_jobs_are_claimed_ahead_however_many_executors_there_are(clock: FakeClock) -> None:
    names = [f"e{number}" for number in range(10)]
    pace = Pace(names, clock)
    for name in names:
        run(pace, clock, 1_000, 10 * SHORT, name)

    ahead = pace.ahead()

    assert set(ahead) == set(names)
    assert MOST_JOBS - len(names) <= sum(ahead.values()) <= MOST_JOBS


def run(pace: Pace, clock: FakeClock, jobs: int, takes: timedelta, executor: str = "e") -> None:
    """Let jobs begin together and end together."""
    pace.started(executor, jobs)
    clock.advance(takes)
    for _ in range(jobs):
        pace.ended(executor)


def test_short_jobs_of_threads_are_claimed_ahead_beyond_the_free_threads() -> None:
    slots = Slots({"t": None, "a": None}, 10, threaded=["t"], threads=2)

    assert slots.demand(0, {"t": 5, "a": 50}) == Demand({"t": 7, "a": 7}, 7)
    assert slots.demand(0, {}) == Demand({"t": 2, "a": 2}, 2)


def test_while_all_threads_are_busy_their_jobs_are_claimed_only_ahead() -> None:
    slots = Slots({"t": None, "a": None}, 10, threaded=["t"], threads=2)
    slots.take({"t": 2})

    assert slots.demand(0, {"t": 5, "a": 50}) == Demand({"t": 5, "a": 58}, 63)
    assert slots.demand(0, {}) == Demand({"a": 8}, 8)
    assert slots.demand(0, {"t": 5, "a": 50}, threaded=False) == Demand({"a": 58}, 58)


async def test_a_node_that_runs_short_jobs_in_threads_claims_ahead() -> None:
    backend = InMemoryBackend()
    demands = Demands(backend)
    ran: list[int] = []

    class Blocking(Executor[int]):
        name = "e"
        blocking = True

        def execute(self, job: Job[int]) -> None:
            ran.append(job.data)

    await enqueue_many([Blocking.builder().with_data(number) for number in range(500)], backend=backend)
    async with Rexecutor(backend, executors=[Blocking], max_threads=4):
        await until(lambda: len(ran) == 500)

    assert sorted(ran) == list(range(500))
    assert max(demands.limits) > 4


class Other(Slowing):
    """Notes how many jobs of another executor have run when its own first begins."""

    name = "other"

    def __init__(self, clock: FakeClock, short: int, beside: Slowing) -> None:
        super().__init__(clock, short)
        self._beside = beside
        self.began_after = 0

    async def execute(self, job: Job[str]) -> None:
        if not self.ran:
            self.began_after = len(self._beside.ran)
        await super().execute(job)


@asynccontextmanager
async def beside_a_backlog(backend: Backend, clock: FakeClock, *, short: int) -> AsyncGenerator[tuple[Slowing, Other]]:
    """Run a node with another executor, of which so many jobs are short, in the midst of 2,000 short jobs."""
    slowing = Slowing(clock, 10_000)
    other = Other(clock, short, slowing)
    await enqueue_many([Slowing.new("x", priority=5)] * 2_000, backend=backend)
    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing).with_executor(other):
        await until(lambda: len(slowing.ran) > 100)
        yield slowing, other


async def test_an_urgent_job_of_another_executor_does_not_wait_for_all_short_jobs(
    backend: Backend, clock: FakeClock
) -> None:
    async with beside_a_backlog(backend, clock, short=10_000) as (slowing, other):
        await Other.enqueue("urgent", backend=backend)
        before = len(slowing.ran)
        await until(lambda: bool(other.ran))

    assert other.began_after - before <= 2 * (SLOTS + 50)


async def test_slow_jobs_of_another_executor_take_all_slots_as_their_turn_comes(
    backend: Backend, clock: FakeClock
) -> None:
    async with beside_a_backlog(backend, clock, short=0) as (slowing, other):
        await enqueue_many([Other.new("urgent")] * 2 * SLOTS, backend=backend)
        before = len(slowing.ran)
        await until(lambda: len(other.ran) == SLOTS)
        other.let_go.set()
        meanwhile = len(slowing.ran) - before

    assert meanwhile <= 4 * (SLOTS + 50)


async def test_short_jobs_that_wait_for_their_executors_slot_leave_the_other_slots_to_others(
    backend: Backend, clock: FakeClock
) -> None:
    class One(Slowing):
        name = "one"
        max_concurrency = 1

    one, demands = One(clock, 100), Demands(backend)
    other = Other(clock, 10_000, one)
    await enqueue_many([One.new("x")] * 300, backend=backend)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(one).with_executor(other):
        await until(lambda: len(one.ran) == 101)
        await until(lambda: demands.claimed > 101 + SLOTS)
        clock.advance(SECOND / 5)  # so that no more of them would be claimed ahead
        await Other.enqueue("x", backend=backend)
        await until(lambda: bool(other.ran))
        assert len(one.ran) == 101
        one.let_go.set()


async def test_a_job_of_a_node_that_died_runs_beside_short_jobs_of_another_executor(
    backend: Backend, clock: FakeClock
) -> None:
    assert isinstance(backend, InMemoryBackend)
    slowing = Slowing(clock, 10_000)
    other = Other(clock, 10_000, slowing)
    [lost] = await enqueue_many([Other.new("lost")], backend=backend)
    backend.heartbeat(Node("dead", "dead", HOUR))
    await backend.claim(Demand({"other": 1}, 1), "dead")
    await enqueue_many([Slowing.new("x", priority=5)] * 2_000, backend=backend)

    async with Rexecutor(backend, max_concurrency=SLOTS, lease=HOUR).with_executor(slowing).with_executor(other):
        await until(lambda: len(slowing.ran) > 100)
        backend.deregister("dead")
        assert backend.heartbeat(Node("third", "third", HOUR)).rescued == 1
        before = len(slowing.ran)
        await until(lambda: bool(other.ran))

    assert other.began_after - before <= 2 * (SLOTS + 50)
    assert (await lost.fetch()).status is JobStatus.COMPLETE


async def test_no_more_jobs_of_several_executors_start_in_threads_than_there_are_threads(clock: FakeClock) -> None:
    started: list[JobRecord] = []
    slots = Slots({"t": None, "u": None}, SLOTS, threaded=["t", "u"], threads=3)
    buffer = Buffer(
        clock=clock,
        slots=slots,
        pace=Pace(["t", "u"], clock),
        start=started.extend,
        settle=print,
        may_start=lambda: True,
    )

    buffer.take([replace(record_made(number), executor="tu"[number % 2]) for number in range(6)])
    assert [record.id for record in started] == [0, 1, 2]

    buffer.ended("t")
    await until(lambda: len(started) > 3)
    assert len(started) == 4


def test_jobs_that_wait_for_a_slot_of_their_executor_take_none_from_others() -> None:
    slots = Slots({"one": 1, "a": None, "t": 1, "u": None}, 10, threaded=["t", "u"], threads=3)
    slots.take({"one": 1, "t": 1})

    assert slots.demand(0, {"one": -20, "t": -20}) == Demand({"a": 2, "u": 2}, 2)
    assert slots.demand(0, {"one": -20, "t": -20}, threaded=False) == Demand({"a": 8}, 8)


def test_a_job_too_large_to_be_claimed_ahead_is_kept_if_it_comes_first(clock: FakeClock) -> None:
    large = [replace(record_made(number), data="x" * (MOST_TEXT // 2 + 1)) for number in range(3)]
    huge = replace(record_made(9), data="x" * 2 * MOST_TEXT)

    assert Pace(["e"], clock).kept(large) == (large[:1], large[1:])
    assert Pace(["e"], clock).kept([huge, *large]) == ([huge], large)


async def test_jobs_that_are_about_to_take_a_thread_keep_no_slot_from_jobs_that_need_none(clock: FakeClock) -> None:
    started: list[JobRecord] = []
    pace, slots = Pace(["t", "e"], clock), Slots({"t": None, "e": None}, SLOTS, threaded=["t"], threads=1)
    buffer = Buffer(clock=clock, slots=slots, pace=pace, start=started.extend, settle=print, may_start=lambda: True)
    buffer.take([replace(record_made(number), executor="t") for number in range(3)])

    pace.slow_down("t")
    buffer.ended("t")

    assert buffer.demand(0) == Demand({"e": SLOTS - 1}, SLOTS - 1)
    assert [record.id for record in started] == [0, 1]
