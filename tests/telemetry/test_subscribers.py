"""Callbacks that receive events: which, when, and what happens if one fails."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rexecutor
from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    ExecutionResult,
    InMemoryBackend,
    Job,
    Rexecutor,
    Snooze,
    SQLiteBackend,
    UniquenessCriteria,
    enqueue_many,
    enqueue_many_sync,
)
from rexecutor.engine import runner
from rexecutor.events import (
    Cancelled,
    Complete,
    Event,
    Failed,
    JobEnded,
    JobsEnqueued,
    JobStarted,
    NodeStarted,
    NodeStopped,
    NothingToRun,
    SubscriberFailed,
    TicksEnqueued,
)
from rexecutor.jobs.current import running_job
from rexecutor.telemetry import subscribers
from rexecutor.telemetry.events import ListeningUseless
from rexecutor.telemetry.subscribers import Emitter, emit
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick, pass_time
from tests.engine.scripted import SECOND, Scripted, raising
from tests.support import Events, soon, until

NO_LUCK = ValueError("no luck")


def returning(value: ExecutionResult) -> Callable[[Job[str]], ExecutionResult]:
    return lambda _: value


@pytest.fixture
def heard() -> Any:
    """What a subscriber of the whole process receives during the test."""
    events = Events()
    unsubscribe = rexecutor.subscribe(events.append)
    yield events
    unsubscribe()


async def run(backend: Backend, executor: Scripted, data: str = "x") -> int:
    """Run one job to its end, and return its id."""
    async with Rexecutor(backend, executors=[executor]):
        handle = await executor.builder().with_data(data).with_max_attempts(1).enqueue(backend=backend)
        await soon(handle.wait())
    return handle.id


async def test_a_job_makes_a_start_and_an_end(clock: FakeClock, heard: Events) -> None:
    job_id = await run(InMemoryBackend(clock=clock), Scripted(lambda _: clock.advance(2 * SECOND)))

    (started,), (ended,) = heard.of(JobStarted), heard.of(JobEnded)
    assert started == JobStarted(job_id, "scripted", 1, 0.0)
    assert ended == JobEnded(job_id, "scripted", 1, Complete(), is_final=False, wait_seconds=0.0, run_seconds=2.0)


async def test_the_time_that_a_job_waited_counts_from_its_due_time(clock: FakeClock, heard: Events) -> None:
    backend = InMemoryBackend(clock=clock)
    handle = await Scripted.builder().with_data("x").schedule_in(SECOND).enqueue(backend=backend)
    clock.advance(4 * SECOND)

    async with Rexecutor(backend, executors=[Scripted(lambda _: None)]):
        await soon(handle.wait())

    assert [event.wait_seconds for event in heard.of(JobStarted)] == [3.0]
    assert [event.wait_seconds for event in heard.of(JobEnded)] == [3.0]


@pytest.mark.parametrize(
    ("script", "kind", "is_final"),
    [
        (raising(NO_LUCK), Failed, True),
        (returning(Cancel("why")), Cancelled, False),
        (returning(Snooze(timedelta(days=1))), Snooze, False),
    ],
)
async def test_the_end_says_how_the_attempt_ended(
    clock: FakeClock, heard: Events, script: Any, kind: type[Any], *, is_final: bool
) -> None:
    backend = InMemoryBackend(clock=clock)

    async with Rexecutor(backend, executors=[Scripted(script)]):
        await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await until(lambda: bool(heard.of(JobEnded)))

    (ended,) = heard.of(JobEnded)
    assert isinstance(ended.outcome, kind)
    assert (ended.is_final, ended.exception) == (is_final, NO_LUCK if is_final else None)


async def test_no_event_is_made_for_a_success_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []

    def note(*values: object) -> None:
        made.append(values)

    for name in ("job_started", "job_ended"):
        monkeypatch.setattr(runner, name, note)

    await run(InMemoryBackend(), Scripted(lambda _: None))

    assert made == []


async def test_an_end_is_heard_by_one_who_subscribes_while_the_job_runs() -> None:
    heard, begun, let_go = Events(), asyncio.Event(), asyncio.Event()

    async def wait(_: Job[str]) -> None:
        begun.set()
        await let_go.wait()

    work = asyncio.create_task(run(InMemoryBackend(), Scripted(wait)))
    await soon(begun.wait())
    unsubscribe = rexecutor.subscribe(heard.append)
    let_go.set()
    await soon(work)
    unsubscribe()

    assert len(heard.of(JobEnded)) == 1


async def test_events_of_a_success_that_is_not_logged_reach_subscribers_alone(
    heard: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = Events()

    def log(event: Event, **_: object) -> None:
        logged.append(event)

    monkeypatch.setattr(subscribers, "log_event", log)
    await run(InMemoryBackend(), Scripted(lambda _: None))

    assert len(heard.of(JobStarted)) == len(heard.of(JobEnded)) == 1
    assert not logged.of(JobStarted)
    assert not logged.of(JobEnded)
    assert logged.of(NodeStopped)


async def test_nothing_is_heard_after_the_subscription_has_ended() -> None:
    heard = Events()
    rexecutor.subscribe(heard.append)()

    await run(InMemoryBackend(), Scripted(lambda _: None))

    assert heard == []


async def test_a_callback_that_is_subscribed_twice_is_called_once_until_both_have_ended() -> None:
    heard = Events()
    first, second = rexecutor.subscribe(heard.append), rexecutor.subscribe(heard.append)

    emit(ListeningUseless())
    first()
    emit(ListeningUseless())
    second()
    emit(ListeningUseless())

    assert heard == [ListeningUseless()] * 2


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError()])
async def test_a_subscriber_that_raises_stops_nothing_and_is_told_once_for_each_kind(
    events: Events, error: BaseException
) -> None:
    heard = Events()

    def fails(event: Event) -> None:
        if isinstance(event, JobEnded | SubscriberFailed):
            raise error

    with ExitStack() as stack:
        stack.callback(rexecutor.subscribe(fails))
        stack.callback(rexecutor.subscribe(heard.append))
        for _ in range(2):
            await run(InMemoryBackend(), Scripted(lambda _: None))

    assert len(heard.of(JobEnded)) == 2
    expected = [SubscriberFailed(fails.__qualname__, "JobEnded", error)]
    assert heard.of(SubscriberFailed) == expected
    assert events.of(SubscriberFailed) == expected


async def test_a_rexecutors_callback_hears_of_its_own_jobs_and_of_the_process() -> None:
    ours, theirs = Events(), Events()
    one, other = InMemoryBackend(), InMemoryBackend()

    async with (
        Rexecutor(one, executors=[Quick], on_event=ours.append),
        Rexecutor(other, executors=[Quick], on_event=[theirs.append]),
    ):
        await soon((await Quick.builder().enqueue(backend=one)).wait())
        emit(ListeningUseless())

    assert len(ours.of(JobEnded)) == len(ours.of(JobsEnqueued)) == len(ours.of(NodeStopped)) == 1
    assert not theirs.of(JobEnded)
    assert not theirs.of(JobsEnqueued)
    assert theirs.of(ListeningUseless) == ours.of(ListeningUseless) == [ListeningUseless()]


async def test_a_callback_of_two_rexecutors_on_one_backend_is_called_once_for_each_event() -> None:
    heard, backend = Events(), InMemoryBackend()

    async with (
        Rexecutor(backend, executors=[Quick], on_event=heard.append),
        Rexecutor(backend, executors=[Quick], on_event=heard.append),
    ):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        emit(ListeningUseless())

    assert len(heard.of(JobEnded)) == len(heard.of(JobsEnqueued)) == len(heard.of(ListeningUseless)) == 1


async def test_a_rexecutors_callback_is_called_from_the_global_backend_to_the_end() -> None:
    heard, backend = Events(), InMemoryBackend().paused()
    made = Rexecutor(backend, executors=[Quick], on_event=heard.append)

    await Quick.builder().enqueue(backend=backend)
    made.set_global_backend()
    await Quick.builder().enqueue()
    async with made:
        await Quick.builder().enqueue()
    await Quick.builder().enqueue(backend=backend)

    assert len(heard.of(JobsEnqueued)) == 2
    assert isinstance(heard[-1], NodeStopped)
    assert len(heard.of(NodeStarted)) == 1


async def test_a_start_that_fails_ends_the_subscription(tmp_path: Path) -> None:
    heard = Events()

    with pytest.raises(ConfigurationError):
        await Rexecutor(SQLiteBackend(tmp_path / "no" / "jobs.db"), on_event=heard.append).start()
    emit(ListeningUseless())

    assert heard == []


async def test_an_application_that_only_enqueues_has_callbacks_too() -> None:
    heard, backend = Events(), InMemoryBackend()

    async with Rexecutor(backend, on_event=heard.append):
        await Quick.builder().enqueue(backend=backend)

    assert [type(event) for event in heard] == [NothingToRun, JobsEnqueued]


async def an_async_one(event: Event) -> None: ...


class AsyncOne:
    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (None, "must be a callable that takes an event, not None"),
        (an_async_one, "an `async def` is given; give a plain function, which may start a task"),
        (AsyncOne(), "an `async def` is given"),
    ],
)
def test_what_cannot_be_called_plainly_is_refused(callback: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^subscribe: callback:? {words}"):
        rexecutor.subscribe(callback)
    with pytest.raises(ConfigurationError, match="Rexecutor: on_event"):
        Rexecutor(InMemoryBackend(), on_event=[callback])
    with pytest.raises(ConfigurationError, match="Rexecutor: on_event"):
        Rexecutor(InMemoryBackend(), on_event="print")  # pyright: ignore[reportArgumentType]


async def test_each_enqueue_makes_one_event(heard: Events) -> None:
    backend = InMemoryBackend().paused()
    unique = Quick.builder().unique(UniquenessCriteria.by_executor())

    one = await unique.enqueue(backend=backend)
    many = await enqueue_many([unique, Scripted.builder().with_data("x")], backend=backend)
    await enqueue_many([], backend=backend)

    assert heard == [
        JobsEnqueued(((one.id, "quick", "inserted"),)),
        JobsEnqueued(((one.id, "quick", "existing"), (many[1].id, "scripted", "inserted"))),
    ]


def test_a_synchronous_enqueue_makes_one_event(heard: Events, tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")

    handles = enqueue_many_sync([Quick.builder(), Quick.builder()], backend=backend)

    assert heard == [JobsEnqueued(tuple((one.id, "quick", "inserted") for one in handles))]


def test_an_enqueue_in_the_applications_transaction_is_told_as_not_committed(heard: Events, tmp_path: Path) -> None:
    import sqlite3

    backend = SQLiteBackend(tmp_path / "jobs.db")
    Quick.builder().enqueue_sync(backend=backend)
    connection = sqlite3.connect(backend.path)
    connection.execute("BEGIN IMMEDIATE")
    Quick.builder().enqueue_sync(backend=backend, connection=connection)
    connection.rollback()
    connection.close()

    assert [event.is_committed for event in heard.of(JobsEnqueued)] == [True, False]


async def test_an_enqueue_that_fails_makes_no_event(heard: Events) -> None:
    with pytest.raises(rexecutor.InvalidJobError):
        await Scripted.builder().with_data("x" * 2_000_000).enqueue(backend=InMemoryBackend())

    assert heard == []


async def test_ticks_of_schedules_are_told_with_their_executor(heard: Events) -> None:
    clock = FakeClock(datetime(2026, 8, 1, 11, 59, 59, tzinfo=UTC))
    backend = InMemoryBackend(clock=clock)

    async with Rexecutor(backend).with_cron_executor(Quick, "0 12 * * *", id="noon"):
        await pass_time(clock, timedelta(seconds=3))

    assert heard.of(TicksEnqueued) == [TicksEnqueued((("quick", "noon", datetime(2026, 8, 1, 12, tzinfo=UTC)),))]


async def test_the_events_of_a_job_come_in_its_own_context(heard: Events) -> None:
    jobs: list[Any] = []

    def note(event: Event) -> None:
        if isinstance(event, JobStarted):
            running_job.set("set by the subscriber")  # pyright: ignore[reportArgumentType]
        elif isinstance(event, JobEnded):
            jobs.append(running_job.get(None))

    unsubscribe = rexecutor.subscribe(note)
    await run(InMemoryBackend(), Scripted(lambda _: None))
    unsubscribe()

    assert isinstance(jobs[0], Job)
    assert running_job.get(None) is None


def test_subscribing_while_others_emit_loses_nothing() -> None:
    heard, ended = Events(), threading.Event()
    unsubscribe = rexecutor.subscribe(heard.append)
    emitter = Emitter()

    def others() -> None:
        while not ended.is_set():
            rexecutor.subscribe(lambda _: None)()

    thread = threading.Thread(target=others)
    thread.start()
    for _ in range(2_000):
        emitter(JobStarted(1, "quick", 1))
    ended.set()
    thread.join(20)
    unsubscribe()

    assert len(heard) == 2_000
