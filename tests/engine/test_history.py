"""The history of a node's attempts: what is counted, in which minute, and when the store hears of it."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    Snooze,
    enqueue_many,
)
from rexecutor.backend.completion import Completion
from rexecutor.backend.messages import Node
from rexecutor.engine.history import FLUSH_INTERVAL, FOLD_BATCH, HISTORY_LOCK, MOST_MINUTES, History
from rexecutor.engine.store_clock import StoreClock
from rexecutor.events import JobEnded, JobStarted
from rexecutor.model.job import JobRecord, NodeId
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.stats import BUCKETS, HOUR, MINUTE, MINUTES_KEPT, OutcomeKind, StatRow, bucket_of
from rexecutor.testing import FakeClock
from rexecutor.testing.clock import START
from tests.engine.executors import GatedScript, Quick, Task, enqueued_task, pass_time
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.fault_injector import FaultInjector, Moment
from tests.support import Events, soon, until

LONG_AGO = START - timedelta(days=1_000)


@pytest.fixture
def backend(clock: FakeClock) -> Backend:
    return InMemoryBackend(clock=clock)


async def history(backend: Backend) -> list[StatRow]:
    return list(await backend.stats(LONG_AGO))


async def attempts(backend: Backend) -> dict[tuple[str, str], int]:
    """Return the number of attempts of each executor and outcome."""
    found: dict[tuple[str, str], int] = {}
    for row in await backend.stats(LONG_AGO):
        key = row.executor, str(row.outcome)
        found[key] = found.get(key, 0) + row.attempts
    return found


def bucket_in(counts: Sequence[int]) -> int:
    """Return the one bucket that has a number."""
    (bucket,) = [place for place, number in enumerate(counts) if number]
    return bucket


async def test_attempts_are_counted_by_executor_and_outcome(backend: Backend) -> None:
    outcomes = {
        "cancel": Cancel("why"),
        "snooze": Snooze(HOUR),
    }

    def script(job: Job[str]) -> object:
        if job.data.startswith("fail"):
            raise ValueError
        return outcomes.get(job.data)

    async with Rexecutor(backend, executors=[Scripted(script), Quick]):
        builder = Scripted.builder()
        handles = await enqueue_many(
            [*(builder.with_data(data) for data in ("a", "b", "cancel")), Quick.builder()], backend=backend
        )
        for handle in handles:
            await soon(handle.wait())
        snoozed = await builder.with_data("snooze").enqueue(backend=backend)
        failed = await builder.with_data("fail").enqueue(backend=backend)
        discarded = await builder.with_data("fail at last").with_max_attempts(1).enqueue(backend=backend)
        await soon(discarded.wait())
        await until_status(backend, failed.id, JobStatus.RETRYABLE)
        await until_status(backend, snoozed.id, JobStatus.SCHEDULED)

    assert await attempts(backend) == {
        ("quick", "complete"): 1,
        ("scripted", "cancelled"): 1,
        ("scripted", "complete"): 2,
        ("scripted", "discarded"): 1,
        ("scripted", "failed"): 1,
        ("scripted", "snoozed"): 1,
    }


async def test_how_long_a_job_was_due_and_how_long_it_ran_are_counted(backend: Backend, clock: FakeClock) -> None:
    gate = GatedScript()
    handle = await enqueued_task(backend)
    clock.advance(40 * SECOND)

    async with Rexecutor(backend, lease=HOUR).with_executor(Task(gate)):
        await soon(gate.started.wait())
        clock.advance(7 * SECOND)
        gate.let_go.set()
        await soon(handle.wait())

    [row] = await history(backend)
    assert bucket_in(row.waits) == bucket_of(40)
    assert bucket_in(row.runs) == bucket_of(7)
    assert row.attempts == 1


async def test_the_wait_of_a_retry_begins_when_it_is_due(backend: Backend, clock: FakeClock) -> None:
    async with Rexecutor(backend, lease=HOUR).with_executor(Scripted(raising(ValueError()))):
        handle = await Scripted.builder().with_data("x").with_max_attempts(2).enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        clock.advance(SECOND)  # the backoff
        await soon(handle.wait())

    assert [(str(row.outcome), bucket_in(row.waits)) for row in await history(backend)] == [
        ("discarded", 0),
        ("failed", 0),
    ]


class Brief(Executor[int]):
    """Takes 3 ms."""

    name = "brief"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def execute(self, job: Job[int]) -> None:
        self._clock.advance(timedelta(milliseconds=3))


async def test_the_time_in_the_buffer_counts_as_waiting_for_events_too(backend: Backend, clock: FakeClock) -> None:
    events, numbers = Events(), range(100)
    handles = await enqueue_many([Brief.builder().with_data(number) for number in numbers], backend=backend)

    async with Rexecutor(backend, max_concurrency=1, lease=HOUR, on_event=events.append).with_executor(Brief(clock)):
        await soon(handles[-1].wait())

    due = [3 * number / 1_000 for number in numbers]  # one after the other, and most were claimed ahead
    assert [event.wait_seconds for event in events.of(JobStarted)] == pytest.approx(due)
    assert [event.wait_seconds for event in events.of(JobEnded)] == pytest.approx(due)
    [row] = await history(backend)
    assert row.waits == tuple(map(Counter(map(bucket_of, due)).__getitem__, range(BUCKETS)))


async def test_jobs_in_threads_are_counted(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Blocking(lambda _: None)):
        await soon((await Blocking.builder().with_data("x").enqueue(backend=backend)).wait())

    assert await attempts(backend) == {("blocking", "complete"): 1}


async def test_data_that_cannot_be_decoded_are_a_failure(backend: Backend) -> None:
    class Strict(Executor[int]):
        name = "strict"
        max_attempts = 1

        async def execute(self, job: Job[int]) -> None: ...

    class Loose(Executor[str]):
        name = "strict"
        max_attempts = 1

        async def execute(self, job: Job[str]) -> None: ...

    handle = await Loose.builder().with_data("no int").enqueue(backend=backend)

    async with Rexecutor(backend).with_executor(Strict):
        await soon(handle.wait())

    assert await attempts(backend) == {("strict", "discarded"): 1}


class Shared(InMemoryBackend):
    """Completes jobs in transactions of the application, of which some are rolled back."""

    is_committed = True

    def completion(self) -> Completion:
        return _AtOnce(self)


class _AtOnce(Completion):
    def __init__(self, backend: Shared) -> None:
        self._backend = backend

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        if self._backend.is_committed:
            await self._backend.settle([Settlement(record.id, record.claims, Complete(result))])
        return True

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        raise NotImplementedError


class Closing(Executor[str]):
    """Completes its job by `complete_in`, and then perhaps fails."""

    name = "closing"
    max_attempts = 1

    async def execute(self, job: Job[str]) -> None:
        await job.complete_in("connection")
        if job.data == "fail":
            raise ValueError


@pytest.mark.parametrize("data", ["return", "fail"])
async def test_a_job_that_complete_in_has_completed_is_a_success_however_its_code_ends(
    clock: FakeClock, data: str
) -> None:
    backend = Shared(clock=clock)

    async with Rexecutor(backend).with_executor(Closing):
        await soon((await Closing.builder().with_data(data).enqueue(backend=backend)).wait())

    assert await attempts(backend) == {("closing", "complete"): 1}


async def test_a_job_whose_transaction_was_rolled_back_is_a_failure(clock: FakeClock) -> None:
    backend = Shared(clock=clock)
    backend.is_committed = False

    async with Rexecutor(backend).with_executor(Closing):
        await soon((await Closing.builder().with_data("return").enqueue(backend=backend)).wait())

    assert await attempts(backend) == {("closing", "discarded"): 1}


async def test_what_a_shutdown_interrupts_is_not_counted(backend: Backend, clock: FakeClock) -> None:
    gate = GatedScript()
    rexecutor = Rexecutor(backend, lease=HOUR).with_executor(Task(gate))
    await rexecutor.start()
    handle = await enqueued_task(backend)
    await soon(gate.started.wait())

    await soon(rexecutor.graceful_shutdown(timedelta(0)))

    assert (await handle.fetch()).status is JobStatus.SCHEDULED
    assert await history(backend) == []


async def test_what_was_given_up_before_it_began_is_not_counted(backend: Backend, clock: FakeClock) -> None:
    handle = await Quick.builder().expires_in(SECOND).enqueue(backend=backend)
    clock.advance(2 * SECOND)

    async with Rexecutor(backend).with_executor(Quick):
        job = await soon(handle.wait())

    assert job.status is JobStatus.CANCELLED
    assert await history(backend) == []


async def test_the_store_hears_of_it_after_ten_seconds_and_not_before(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        await pass_time(clock, FLUSH_INTERVAL - SECOND / 10)
        assert await history(backend) == []
        await pass_time(clock, SECOND / 10)
        await until(lambda: faults.returned["add_stats"] == 1)

        assert await attempts(backend) == {("quick", "complete"): 1}


async def test_where_nothing_ends_the_store_hears_nothing(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await pass_time(clock, 60 * SECOND, SECOND)

    assert faults.calls["add_stats"] == faults.calls["fold_stats"] == 0


async def test_however_many_jobs_end_there_is_one_call_in_ten_seconds(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        for _ in range(30):
            handles = await enqueue_many([Quick.builder()] * 50, backend=backend)
            await soon(handles[-1].wait())
            await pass_time(clock, SECOND, SECOND / 2)
        before_the_stop = faults.calls["add_stats"]

    assert before_the_stop <= 3
    assert faults.calls["add_stats"] <= before_the_stop + 1
    assert await attempts(backend) == {("quick", "complete"): 1_500}


async def test_attempts_are_counted_in_the_minute_in_which_they_end(backend: Backend, clock: FakeClock) -> None:
    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        for _ in range(3):
            await soon((await Quick.builder().enqueue(backend=backend)).wait())
            clock.advance(MINUTE - SECOND)

    assert [(row.moment, row.attempts, row.span) for row in await history(backend)] == [
        (START, 2, MINUTE),  # at the first second, and at the last
        (START + MINUTE, 1, MINUTE),
    ]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_the_store_did_not_take_is_delivered_again(
    backend: Backend, clock: FakeClock, moment: Moment, events: Events
) -> None:
    faults = FaultInjector(backend)
    faults.fail("add_stats", moment)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        await until(lambda: _has_come_after_a_while(faults, clock))

    # If only the response was lost, the attempt counts twice.
    assert await attempts(backend) == {("quick", "complete"): 1 if moment == "before" else 2}
    assert len(events.failures("history")) == 1


async def _has_come_after_a_while(faults: FaultInjector, clock: FakeClock) -> bool:
    clock.advance(SECOND)
    return faults.returned["add_stats"] >= 1 and faults.calls["add_stats"] >= 2


async def test_after_an_outage_of_hours_only_the_last_one_is_delivered() -> None:
    clock = FakeClock()
    counted = History(StoreClock(clock))
    for _ in range(3 * MOST_MINUTES):
        counted.note("quick", OutcomeKind.COMPLETE, 0.0, clock.monotonic(), clock.monotonic())
        counted.put_back(counted.take())
        clock.advance(MINUTE)

    rows = counted.take()

    assert len(rows) == MOST_MINUTES
    assert rows[-1].moment == START + (3 * MOST_MINUTES - 1) * MINUTE


async def test_a_shutdown_waits_for_the_last_rows_but_not_for_a_store_that_is_gone(
    backend: Backend, events: Events
) -> None:
    faults = FaultInjector(backend)
    faults.break_down("add_stats")

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())

    assert faults.calls["add_stats"] >= 1
    assert await history(backend) == []


async def test_old_rows_are_folded_by_one_node_at_a_time_and_once_an_hour(backend: Backend, clock: FakeClock) -> None:
    old = START - MINUTES_KEPT - 2 * HOUR
    minutes = [
        StatRow(old + number * MINUTE, f"executor_{other}", OutcomeKind.COMPLETE, 1, (1, *[0] * 19), (1, *[0] * 19))
        for number in range(60)
        for other in range(FOLD_BATCH // 20)
    ]
    await backend.add_stats(minutes)
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=10 * HOUR).with_executor(Quick):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        await pass_time(clock, FLUSH_INTERVAL, SECOND)
        await until(lambda: faults.returned["release_lock"] == 1)
        assert faults.calls["fold_stats"] == 4  # a thousand rows each, and then none
        for _ in range(10):
            await soon((await Quick.builder().enqueue(backend=backend)).wait())
            await pass_time(clock, FLUSH_INTERVAL, SECOND)
        assert faults.calls["fold_stats"] == 4
        clock.advance(HOUR)
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        await pass_time(clock, FLUSH_INTERVAL, SECOND)
        await until(lambda: faults.returned["release_lock"] == 2)

    hours = [row for row in await history(backend) if row.span == HOUR]
    assert {row.attempts for row in hours} == {60}
    assert len(hours) == FOLD_BATCH // 20


async def test_while_another_node_folds_this_one_does_not(backend: InMemoryBackend, clock: FakeClock) -> None:
    other = NodeId("other")
    backend.heartbeat(Node(other, "other", HOUR))
    assert await backend.acquire_lock(HISTORY_LOCK, other)
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        await pass_time(clock, FLUSH_INTERVAL, SECOND)
        await until(lambda: faults.returned["acquire_lock"] == 1)

    assert faults.calls["fold_stats"] == 0


async def test_a_node_that_keeps_no_stats_counts_nothing(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)

    async with Rexecutor(backend, keeps_stats=False).with_executor(Quick) as rexecutor:
        await soon((await Quick.builder().enqueue(backend=backend)).wait())

    assert not rexecutor.keeps_stats
    assert faults.calls["add_stats"] == 0
    assert await history(backend) == []


def test_keeps_stats_must_be_a_bool(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="Rexecutor: keeps_stats must be True or False, not 'no'"):
        Rexecutor(backend, keeps_stats="no")  # pyright: ignore[reportArgumentType] - what an untyped program gives
