"""`perform`: one run of one executor, as a worker runs it."""

import asyncio
import contextvars
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rexecutor import (
    Cancel,
    ConfigurationError,
    DefinitionError,
    EncodeError,
    ErrorKind,
    Executor,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobError,
    JobStatus,
    Snooze,
    override_global_backend,
)
from rexecutor.telemetry.events import ResultIgnored
from rexecutor.testing import FakeClock, assert_enqueued, perform
from tests.support import Events, soon, until, until_no_threads_of_ours
from tests.testing.executors import (
    Blocking,
    ChargeOrder,
    DecliningGateway,
    EmailJob,
    Nightly,
    Order,
    Scripted,
    remind,
)

MINUTE = timedelta(minutes=1)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def job_of(**given: Any) -> Job[str, str]:
    """Return the job that an executor sees."""
    seen: list[Job[str, str]] = []
    await perform(Scripted(seen.append), "data", **given)
    return seen[0]


async def test_a_declined_card_cancels_the_job() -> None:  # as in the specification of the API
    assert await perform(ChargeOrder(DecliningGateway()), Order(id=7, total_cents=1999)) == Cancel("card declined")


@pytest.mark.parametrize("answer", [None, Cancel("x" * 20_000), Snooze(MINUTE)])
async def test_the_answer_is_that_of_the_executor(answer: Any) -> None:
    assert await perform(Scripted(lambda _: answer), "data") == answer


async def test_a_class_will_do() -> None:
    assert await perform(EmailJob, "bob", metadata={"run": 1}) is None


async def test_data_may_be_left_out_where_they_are_none() -> None:
    assert await perform(Nightly) is None

    with pytest.raises(EncodeError, match="data is missing"):
        await perform(EmailJob)  # pyright: ignore[reportArgumentType]


async def test_an_exception_of_the_job_comes_out_as_it_is() -> None:
    error = ConnectionError("the other side does not answer")

    def fail(_: object) -> None:
        raise error

    with pytest.raises(ConnectionError) as caught:
        await perform(Scripted(fail), "data")

    assert caught.value is error


async def test_what_pytest_raises_in_a_job_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception):
        await perform(Scripted(lambda _: pytest.fail("not so")), "data")


async def test_a_cancellation_that_the_job_raises_comes_out_too() -> None:
    def fail(_: object) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await perform(Scripted(fail), "data")


async def test_the_job_is_as_a_worker_would_give_it() -> None:
    clock = FakeClock()

    job = await job_of(clock=clock, metadata="m", attempt=2, max_attempts=7, tags=["a", "b", "a"], priority=3)

    assert (job.data, job.metadata, job.tags, job.priority) == ("data", "m", ("a", "b"), 3)
    assert (job.attempt, job.max_attempts, job.status, job.executor) == (2, 7, JobStatus.EXECUTING, "scripted")
    assert job.inserted_at == job.scheduled_at == job.attempted_at == clock.now()


async def test_the_job_knows_its_earlier_errors() -> None:
    error = JobError(1, ErrorKind.TIMEOUT, "Timeout", "too long", datetime(2026, 1, 1, tzinfo=UTC))

    job = await job_of(errors=[error], attempt=2)

    assert job.errors == (error,)
    assert job.max_attempts == Scripted.max_attempts


async def test_a_job_may_be_late_and_never_early() -> None:
    clock = FakeClock()

    late = await job_of(clock=clock, scheduled_at=clock.now() - MINUTE)
    early = await job_of(clock=clock, scheduled_at=clock.now() + MINUTE)

    assert late.attempted_at == clock.now()
    assert early.attempted_at == early.scheduled_at == clock.now() + MINUTE


async def test_data_are_encoded_and_decoded_on_their_way() -> None:
    order = Order(7, 1_999)
    seen: list[Order] = []

    class Keep(Executor[Order]):
        name = "keep"

        async def execute(self, job: Job[Order]) -> None:
            seen.append(job.data)

    await perform(Keep, order)

    assert seen == [order]
    assert seen[0] is not order
    with pytest.raises(EncodeError, match="keep: data: Order expected"):
        await perform(Keep, "an order")  # pyright: ignore[reportArgumentType]


async def test_blocking_code_runs_in_a_thread_that_ends() -> None:
    threads: list[threading.Thread] = []

    assert await perform(Blocking(lambda _: threads.append(threading.current_thread())), "data") is None

    assert threads[0] is not threading.current_thread()
    await until_no_threads_of_ours()


async def test_a_timeout_is_a_timeout_error() -> None:
    clock = FakeClock()

    async def hang(job: Job[str, str]) -> None:
        clock.advance(MINUTE)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="scripted: the attempt took longer than 0:01:00"):
        await soon(perform(Scripted(hang), "data", clock=clock))


async def test_a_timeout_of_blocking_code_does_not_wait_for_its_end() -> None:
    clock = FakeClock()
    is_over, has_ended = threading.Event(), threading.Event()

    def hang(job: Job[str]) -> None:
        clock.advance(MINUTE)
        is_over.wait(20)
        has_ended.set()

    try:
        with pytest.raises(TimeoutError, match="blocking"):
            await soon(perform(Blocking(hang), "data", clock=clock))
        assert not has_ended.is_set()
    finally:
        is_over.set()
    await until_no_threads_of_ours()


async def test_an_answer_after_the_timeout_counts_as_it_does_on_a_worker() -> None:
    clock = FakeClock()

    async def finish_all_the_same(job: Job[str, str]) -> Cancel:
        clock.advance(MINUTE)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Cancel("tidied up")
        raise AssertionError

    assert await soon(perform(Scripted(finish_all_the_same), "data", clock=clock)) == Cancel("tidied up")


async def test_a_value_that_nobody_declared_is_ignored_with_a_warning_as_on_a_worker(
    events: Events,
) -> None:
    class Returning(Scripted):
        name = "returning"

    assert await perform(Returning(lambda _: 42), "data") is None

    assert [(one.executor, one.type_name) for one in events.of(ResultIgnored)] == [("returning", "int")]


async def test_work_that_is_returned_and_not_done_is_an_error() -> None:
    with pytest.raises(TypeError, match="its work was not done"):
        await perform(Scripted(lambda _: asyncio.get_running_loop().create_future()), "data")


async def test_a_job_sees_the_tests_context_and_leaves_it_as_it_is() -> None:
    seen: list[str] = []

    def change(_: object) -> None:
        seen.append(variable.get())
        variable.set("by the job")

    variable.set("by the test")
    await perform(Scripted(change), "data")

    assert seen == ["by the test"]
    assert variable.get() == "by the test"


async def test_a_job_may_enqueue_to_the_global_backend() -> None:
    backend = InMemoryBackend()
    with override_global_backend(backend):
        await perform(Scripted(lambda _: remind()), "data")

    await assert_enqueued(1, for_executor=EmailJob, backend=backend)


async def test_a_cancelled_perform_cancels_the_job() -> None:
    ended: list[str] = []
    began = asyncio.Event()

    async def hang(_: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    task = asyncio.ensure_future(perform(Scripted(hang), "data"))
    await soon(began.wait())
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert ended == ["cancelled"]


async def test_a_failing_backoff_does_not_matter() -> None:
    class Wrong(Executor[str]):
        name = "wrong"

        async def execute(self, job: Job[str]) -> None:
            raise LookupError

        def backoff(self, job: Job[str]) -> timedelta:
            raise AssertionError

    with pytest.raises(LookupError):
        await perform(Wrong, "data")


async def test_a_timeout_that_cannot_work_fails_the_run() -> None:
    class Wrong(Executor[str]):
        name = "wrong"

        async def execute(self, job: Job[str]) -> None: ...

        def timeout(self, job: Job[str]) -> timedelta:
            return 5  # pyright: ignore[reportReturnType]

    with pytest.raises(ConfigurationError, match="wrong: timeout must be a timedelta, not 5"):
        await perform(Wrong, "data")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"attempt": 0}, ConfigurationError, "attempt must be an int from 1 to 3, not 0"),
        ({"attempt": 4}, ConfigurationError, "attempt must be .* not 4"),
        ({"attempt": True}, ConfigurationError, "attempt must be .* not True"),
        ({"max_attempts": 0}, InvalidJobError, "max_attempts must be an int from 1 to 32767, not 0"),
        ({"priority": -1}, InvalidJobError, "priority must be an int from 0 to 32767, not -1"),
        ({"tags": "a"}, ConfigurationError, "tags must be a collection of str"),
        ({"tags": [""]}, InvalidJobError, "each tag must be a non-empty str, not ''"),
        ({"metadata": 5}, EncodeError, "metadata: str expected"),
        ({"scheduled_at": datetime(2026, 1, 1)}, InvalidJobError, "aware datetime"),  # noqa: DTZ001
    ],
)
async def test_an_argument_that_cannot_work_is_an_error(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await perform(Scripted(lambda _: None), "data", **given)


async def test_an_executor_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(DefinitionError, match="give an instance"):
        await perform(ChargeOrder, Order(1, 2))
    with pytest.raises(
        ConfigurationError, match="perform: executor must be an Executor class or an instance of one, not 42"
    ):
        await perform(42, "data")  # pyright: ignore[reportArgumentType]


async def test_on_the_machines_clock_a_timeout_is_real() -> None:
    class Impatient(Executor[None]):
        name = "impatient"

        async def execute(self, job: Job[None]) -> None:
            await asyncio.Event().wait()

        def timeout(self, job: Job[None]) -> timedelta:
            return timedelta(milliseconds=1)

    with pytest.raises(TimeoutError):
        await soon(perform(Impatient))


async def test_code_that_does_not_stop_is_left_after_a_while() -> None:
    clock = FakeClock()
    is_told = threading.Event()
    is_over = asyncio.Event()

    async def ignore_cancels(_: object) -> None:
        clock.advance(MINUTE)
        while not is_over.is_set():
            try:
                await is_over.wait()
            except asyncio.CancelledError:
                if is_told.is_set():
                    raise
                is_told.set()

    run = asyncio.ensure_future(perform(Scripted(ignore_cancels), "data", clock=clock))
    await until(is_told.is_set)
    clock.advance(MINUTE)

    with pytest.raises(TimeoutError):
        await soon(run)
