"""`drain`: what it runs, in which order, up to when, and what it returns."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    DefinitionError,
    ErrorKind,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    RexecutorError,
    Snooze,
    SQLiteBackend,
    override_global_backend,
)
from rexecutor.telemetry.events import ResultIgnored
from rexecutor.testing import Drained, FakeClock, assert_enqueued, drain
from tests.support import Events, record_of, soon, status_of, until_no_threads_of_ours
from tests.testing.executors import Blocking, EmailJob, Nightly, Scripted, enqueue_email, enqueue_raw

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def enqueue(backend: Backend, data: str, *, delay: timedelta = timedelta(0), priority: int = 0) -> int:
    builder = Scripted.builder().with_data(data).schedule_in(delay).with_priority(priority)
    return (await builder.enqueue(backend=backend)).id


class Log:
    """What ran, and when."""

    def __init__(self, clock: FakeClock, then: Callable[[Job[str, str]], Any] = lambda _: None) -> None:
        self.ran: list[tuple[str, timedelta]] = []
        self._clock = clock
        self._start = clock.now()
        self._then = then

    def __call__(self, job: Job[str, str]) -> Any:
        self.ran.append((job.data, self._clock.now() - self._start))
        return self._then(job)


async def test_what_is_due_runs_in_claim_order_and_the_rest_waits(backend: Backend, clock: FakeClock) -> None:
    log = Log(clock)
    later = await enqueue(backend, "later", delay=SECOND)
    await enqueue(backend, "second", priority=1)
    await enqueue(backend, "third", priority=1)
    first = await enqueue(backend, "first")

    drained = await soon(drain(Scripted(log), backend=backend))

    assert drained == Drained(complete=3)
    assert log.ran == [("first", timedelta(0)), ("second", timedelta(0)), ("third", timedelta(0))]
    assert await status_of(backend, first) is JobStatus.COMPLETE
    assert await status_of(backend, later) is JobStatus.SCHEDULED


async def test_what_the_jobs_enqueue_runs_too(backend: Backend, clock: FakeClock) -> None:
    async def enqueue_next(job: Job[str, str]) -> None:
        if len(job.data) < 4:
            await Scripted.builder().with_data(job.data + "x").enqueue()  # to the drained backend: there is no other

    log = Log(clock, enqueue_next)
    await enqueue(backend, "x")

    assert await soon(drain(Scripted(log), backend=backend)) == Drained(complete=4)
    assert [data for data, _ in log.ran] == ["x", "xx", "xxx", "xxxx"]


async def test_a_global_backend_stays_what_it_is(backend: Backend) -> None:
    other = InMemoryBackend()
    await enqueue(backend, "data")

    async def enqueue_elsewhere(_: object) -> None:
        await EmailJob.builder().with_data("bob").enqueue()

    with override_global_backend(other):
        await soon(drain(Scripted(enqueue_elsewhere), backend=backend))

    await assert_enqueued(1, for_executor=EmailJob, backend=other)


async def test_the_global_backend_is_drained_where_none_is_given(backend: Backend) -> None:
    await enqueue_email(backend, "bob")

    with override_global_backend(backend):
        assert await soon(drain(EmailJob)) == Drained(complete=1)

    with pytest.raises(GlobalBackendError):
        await drain(EmailJob)


async def test_jobs_of_other_executors_stay_as_they_are(backend: Backend, clock: FakeClock) -> None:
    await Nightly.builder().enqueue(backend=backend)
    await Nightly.builder().schedule_in(MINUTE).enqueue(backend=backend)
    await enqueue_email(backend, "bob", delay=2 * MINUTE)

    assert await soon(drain(EmailJob, backend=backend, until=clock.now() + HOUR)) == Drained(complete=1)
    assert [job.attempt for job in await assert_enqueued(2, for_executor=Nightly, backend=backend)] == [0, 0]


async def test_every_end_is_counted_and_stored(backend: Backend) -> None:
    answers: dict[str, Any] = {"complete": None, "cancel": Cancel("not wanted"), "snooze": Snooze(MINUTE)}

    def script(job: Job[str, str]) -> Any:
        if job.data not in answers:
            raise ValueError(f"boom {job.data}")
        return answers[job.data]

    ids = {data: await enqueue(backend, data) for data in (*answers, "fail")}
    builder = Scripted.builder().with_data("fail for good").with_max_attempts(1)
    ids["discard"] = (await builder.enqueue(backend=backend)).id

    drained = await soon(drain(Scripted(script), backend=backend))

    assert drained == Drained(complete=1, cancelled=1, snoozed=1, failed=1, discarded=1)
    assert drained.runs == 5
    assert [error.kind for error in drained.errors] == [ErrorKind.CANCELLED, ErrorKind.EXCEPTION, ErrorKind.EXCEPTION]
    assert {data: str(await status_of(backend, job_id)) for data, job_id in ids.items()} == {
        "complete": "complete",
        "cancel": "cancelled",
        "snooze": "scheduled",
        "fail": "retryable",
        "discard": "discarded",
    }


async def test_an_answer_shows_what_is_not_zero_and_why(backend: Backend) -> None:
    def fail(job: Job[str, str]) -> None:
        raise ValueError("boom")

    await enqueue(backend, "data")

    drained = await soon(drain(Scripted(fail), backend=backend))

    assert repr(drained) == "Drained(failed=1, errors=['exception: ValueError: boom'])"
    assert repr(Drained()) == "Drained()"
    assert drained == Drained(failed=1)


async def test_time_goes_from_one_due_time_to_the_next(backend: Backend, clock: FakeClock) -> None:
    start = clock.now()

    async def follow_up(job: Job[str, str]) -> None:
        if job.data == "first":
            await enqueue(backend, "follow-up", delay=HOUR)

    log = Log(clock, follow_up)
    await enqueue(backend, "second", delay=5 * HOUR)
    await enqueue(backend, "first", delay=HOUR)
    await enqueue(backend, "too late", delay=7 * HOUR)

    drained = await soon(drain(Scripted(log), backend=backend, until=start + 6 * HOUR))

    assert drained == Drained(complete=3)
    assert log.ran == [("first", HOUR), ("follow-up", 2 * HOUR), ("second", 5 * HOUR)]
    assert clock.now() == start + 6 * HOUR


async def test_what_is_due_at_the_end_itself_runs(backend: Backend, clock: FakeClock) -> None:
    await enqueue_email(backend, "bob", delay=HOUR)

    assert await soon(drain(EmailJob, backend=backend, until=clock.now() + HOUR)) == Drained(complete=1)


async def test_days_may_pass(backend: Backend, clock: FakeClock) -> None:
    for days in range(30):
        await enqueue_email(backend, "bob", delay=timedelta(days=days))

    assert await soon(drain(EmailJob, backend=backend, until=clock.now() + 30 * 24 * HOUR)) == Drained(complete=30)


async def test_retries_wait_for_their_backoff_and_end_as_discarded(backend: Backend, clock: FakeClock) -> None:
    def fail(job: Job[str, str]) -> None:
        raise ValueError

    log = Log(clock, fail)
    job_id = await enqueue(backend, "data")

    assert await soon(drain(Scripted(log), backend=backend)) == Drained(failed=1)
    drained = await soon(drain(Scripted(log), backend=backend, until=clock.now() + HOUR))

    assert drained == Drained(failed=1, discarded=1)
    assert [when for _, when in log.ran] == [timedelta(0), SECOND, 2 * SECOND]
    assert await status_of(backend, job_id) is JobStatus.DISCARDED


async def test_a_job_that_snoozes_for_ever_runs_only_until_then(backend: Backend, clock: FakeClock) -> None:
    await enqueue(backend, "data")

    drained = await soon(drain(Scripted(lambda _: Snooze(MINUTE)), backend=backend, until=clock.now() + HOUR))

    assert drained == Drained(snoozed=61)


async def test_a_job_that_enqueues_itself_is_stopped_by_a_bound(backend: Backend) -> None:
    async def again(_: object) -> None:
        await enqueue(backend, "data")

    await enqueue(backend, "data")

    with pytest.raises(RexecutorError, match=r"drain: 20 runs, and job 21 of scripted is still due"):
        await soon(drain(Scripted(again), backend=backend, limit=20))

    assert (await record_of(backend, 21)).status is JobStatus.SCHEDULED
    assert (await record_of(backend, 21)).attempt == 0


async def test_a_job_that_snoozes_for_no_time_is_stopped_too(backend: Backend) -> None:
    await enqueue(backend, "data")

    with pytest.raises(RexecutorError, match="snooze, again and again"):
        await soon(drain(Scripted(lambda _: Snooze(timedelta(0))), backend=backend, limit=5))


async def test_the_bound_itself_may_be_reached(backend: Backend) -> None:
    for _ in range(3):
        await enqueue_email(backend, "bob")

    assert await soon(drain(EmailJob, backend=backend, limit=3)) == Drained(complete=3)


async def test_a_timeout_comes_when_the_job_moves_the_clock(backend: Backend, clock: FakeClock) -> None:
    async def hang(job: Job[str, str]) -> None:
        if job.attempt == 1:
            clock.advance(MINUTE)
            await asyncio.Event().wait()

    await enqueue(backend, "data")

    drained = await soon(drain(Scripted(hang), backend=backend, until=clock.now() + HOUR))

    assert drained == Drained(failed=1, complete=1)
    assert [error.kind for error in drained.errors] == [ErrorKind.TIMEOUT]


async def test_a_job_that_takes_longer_than_the_lease_is_still_ours(backend: Backend, clock: FakeClock) -> None:
    class Slow(Executor[None]):
        name = "slow"

        async def execute(self, job: Job[None]) -> None:
            clock.advance(24 * HOUR)

    await Slow.builder().enqueue(backend=backend)
    await Slow.builder().enqueue(backend=backend)

    assert await soon(drain(Slow, backend=backend)) == Drained(complete=2)


async def test_blocking_jobs_run_in_threads(backend: Backend) -> None:
    await Blocking.builder().with_data("data").enqueue(backend=backend)

    assert await soon(drain(Blocking(lambda _: None), backend=backend)) == Drained(complete=1)


async def test_a_cancel_from_outside_reaches_the_running_job(backend: Backend) -> None:
    async def cancel_itself(job: Job[str, str]) -> None:
        await Scripted.cancel_job(job.id, "changed our minds", backend=backend)
        await asyncio.Event().wait()

    job_id = await enqueue(backend, "data")

    drained = await soon(drain(Scripted(cancel_itself), backend=backend))

    assert drained == Drained(cancelled=1)
    assert drained.errors[0].details == "changed our minds"
    assert await status_of(backend, job_id) is JobStatus.CANCELLED


async def test_a_failure_of_a_job_that_somebody_cancels_is_a_cancel(backend: Backend) -> None:
    async def cancel_itself(job: Job[str, str]) -> Snooze:
        await Scripted.cancel_job(job.id, "changed our minds", backend=backend)
        return Snooze(MINUTE)

    await enqueue(backend, "data")

    assert await soon(drain(Scripted(cancel_itself), backend=backend)) == Drained(cancelled=1)


async def test_a_job_that_is_gone_when_it_ends_is_not_counted(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock)
    await enqueue(backend, "data")

    def lose(_: object) -> None:
        backend._records.clear()

    assert await soon(drain(Scripted(lose), backend=backend)) == Drained()


async def test_what_cannot_be_decoded_fails_as_on_a_worker(backend: Backend) -> None:
    await enqueue_raw(backend, "email_job", "42")

    drained = await soon(drain(EmailJob, backend=backend))

    assert drained == Drained(failed=1)
    assert drained.errors[0].kind is ErrorKind.DECODE


async def test_a_cancelled_drain_gives_its_job_back(backend: Backend) -> None:
    began = asyncio.Event()

    async def hang(_: object) -> None:
        began.set()
        await asyncio.Event().wait()

    job_id = await enqueue(backend, "data")
    task = asyncio.ensure_future(drain(Scripted(hang), backend=backend))
    await soon(began.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)

    record = await record_of(backend, job_id)
    assert (record.status, record.attempt, record.node) == (JobStatus.SCHEDULED, 0, None)


async def test_a_paused_backend_stays_paused_for_workers(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock).paused()
    async with Rexecutor(backend).with_executor(Nightly):
        await Nightly.builder().enqueue(backend=backend)
        await enqueue_email(backend, "bob")

        assert await soon(drain(EmailJob, backend=backend)) == Drained(complete=1)

        (job,) = await assert_enqueued(1, for_executor=Nightly, backend=backend)
        assert job.status is JobStatus.SCHEDULED


async def test_jobs_of_another_node_are_not_taken_for_lost(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock)
    is_over = asyncio.Event()
    began = asyncio.Event()

    async def wait(_: object) -> None:
        began.set()
        await is_over.wait()

    async with Rexecutor(backend).with_executor(Scripted(wait)):
        job_id = await enqueue(backend, "data")
        await soon(began.wait())
        await enqueue_email(backend, "bob", delay=SECOND)
        assert await soon(drain(EmailJob, backend=backend, until=clock.now() + SECOND)) == Drained(complete=1)
        is_over.set()

    assert await status_of(backend, job_id) is JobStatus.COMPLETE


async def test_a_backend_that_is_not_open_is_opened_and_closed_again(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    async with backend:
        await enqueue_email(backend, "bob")

    assert await soon(drain(EmailJob, backend=backend)) == Drained(complete=1)

    assert not backend.is_open
    await until_no_threads_of_ours()


async def test_on_the_machines_clock_what_is_due_now_runs() -> None:
    backend = InMemoryBackend().paused()
    await enqueue_email(backend, "bob")
    await enqueue_email(backend, "alice", delay=HOUR)

    assert await soon(drain(EmailJob, backend=backend)) == Drained(complete=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"executors": []}, "no executor given"),
        ({"executors": [42]}, "drain: executor must be .* not 42"),
        ({"limit": 0}, "limit must be .* not 0"),
        ({"limit": True}, "limit must be .* not True"),
        ({"until": datetime(2026, 1, 1)}, "until must be an aware datetime"),  # noqa: DTZ001
        ({"until": HOUR}, "until must be an aware datetime"),
        ({"until": FakeClock().now() - SECOND}, "is in the past: the clock stands at"),
        ({"until": FakeClock().now(), "backend": InMemoryBackend()}, r"InMemoryBackend\(…, clock=FakeClock\(\)\)"),
    ],
)
async def test_an_argument_that_cannot_work_is_an_error(given: dict[str, Any], message: str) -> None:
    given = {"executors": [EmailJob], "backend": InMemoryBackend(clock=FakeClock())} | given
    executors = given.pop("executors")

    with pytest.raises(ConfigurationError, match=message):
        await drain(*executors, **given)


async def test_an_executor_given_twice_is_an_error() -> None:
    with pytest.raises(DefinitionError, match=r"email_job: tests\.testing\.executors\.EmailJob is given twice"):
        await drain(EmailJob, EmailJob, backend=InMemoryBackend())


async def test_only_the_last_errors_are_kept(backend: Backend) -> None:
    for number in range(25):
        await enqueue(backend, str(number))

    drained = await soon(drain(Scripted(lambda job: Cancel(job.data)), backend=backend))

    assert [error.details for error in drained.errors] == [str(number) for number in range(5, 25)]


async def test_a_value_that_nobody_declared_is_ignored_with_one_warning_as_on_a_worker(
    backend: Backend, events: Events
) -> None:
    class Returning(Scripted):
        name = "returning"

    for data in ("a", "b"):
        await Returning.builder().with_data(data).enqueue(backend=backend)

    assert await drain(Returning(lambda job: job.data), backend=backend) == Drained(complete=2)

    assert [(one.executor, one.type_name) for one in events.of(ResultIgnored)] == [("returning", "str")]
