"""Function jobs called directly, run by a node, and taken to other processes."""

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn

import pytest

from rexecutor import (
    PROVIDED,
    ArgumentsError,
    BackoffStrategy,
    Cancel,
    ConfigurationError,
    EncodeError,
    ExecutionResult,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobStateError,
    JobStatus,
    Provide,
    Rexecutor,
    Snooze,
    UniquenessCriteria,
    Where,
    enqueue_many,
    job,
    override_global_backend,
    override_provider,
)
from rexecutor.telemetry.events import EnqueueForgotten
from rexecutor.testing import FakeClock, assert_enqueued, drain, perform
from tests.support import Events

LOG: list[Any] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


async def get_client() -> AsyncGenerator[str]:
    LOG.append("open")
    yield "client"
    LOG.append("close")


def get_connection() -> Generator[str]:
    LOG.append("open")
    yield "connection"
    LOG.append("close")


@job
async def send_email(to: str, subject: str = "hello", *, copies: int = 1) -> int:
    LOG.append((to, subject, copies))
    return copies


@job(blocking=True)
def resize(picture: str, size: int = 100) -> None:
    LOG.append((picture, size))


@job
async def send_by(to: str, client: Annotated[str, Provide(get_client)] = PROVIDED) -> str:
    LOG.append((to, client))
    return client


@job(blocking=True)
def write_by(text: str, connection: Annotated[str, Provide(get_connection)]) -> str:
    LOG.append((text, connection))
    return connection


@job
async def knows_its_job(job: Job[Any], to: str) -> str:
    LOG.append((job.id, job.executor, job.data.to, to))
    return to


class TestDirectCalls:
    async def test_a_call_runs_the_function_without_a_store(self) -> None:
        assert await send_email("bob", copies=3) == 3
        assert LOG == [("bob", "hello", 3)]

    def test_a_call_of_a_plain_def_returns_its_value(self) -> None:
        resize("a.png", size=7)

        assert LOG == [("a.png", 7)]

    async def test_a_call_takes_any_value_as_a_plain_call_would(self) -> None:
        call: Any = send_email
        await call(object)

        assert LOG[0][0] is object

    async def test_wrong_arguments_are_pythons_own_error_with_the_signature(self) -> None:
        call: Any = send_email
        wanted = "send_email(to: str, subject: str = 'hello', *, copies: int = 1)"

        with pytest.raises(
            TypeError, match=re.escape(f"send_email() missing a required argument: 'to'; expected {wanted}")
        ):
            await call()

    async def test_what_is_provided_is_made_for_the_call(self) -> None:
        assert await send_by("bob") == "client"
        assert LOG == ["open", ("bob", "client"), "close"]

    def test_what_is_provided_is_made_for_the_call_of_a_plain_def(self) -> None:
        call: Any = write_by

        assert call("a") == "connection"
        assert LOG == ["open", ("a", "connection"), "close"]

    async def test_what_is_given_by_name_is_not_provided(self) -> None:
        assert await send_by("bob", client="mine") == "mine"
        assert LOG == [("bob", "mine")]

    async def test_a_call_uses_what_overrides_the_provider(self) -> None:
        with override_provider(get_client, lambda: "fake"):
            assert await send_by("bob") == "fake"

    async def test_a_function_that_takes_its_job_says_how_to_test_it(self) -> None:
        with pytest.raises(JobStateError, match="no job runs here; give job=…, or test it with"):
            await knows_its_job("bob")

    async def test_an_error_of_the_function_passes_through_and_closes_what_was_provided(self) -> None:
        @job
        async def failing(client: Annotated[str, Provide(get_client)] = PROVIDED) -> None:
            raise LookupError(client)

        with pytest.raises(LookupError):
            await failing()
        assert LOG == ["open"]  # `get_client` has no `finally`

    async def test_cancel_is_returned_as_it_is(self) -> None:
        @job
        async def gives_up() -> int | Cancel:
            return Cancel("why")

        assert await gives_up() == Cancel("why")


class TestEnqueues:
    async def test_an_enqueue_stores_the_arguments(self) -> None:
        with override_global_backend(InMemoryBackend().paused()):
            handle = await send_email.enqueue("bob", copies=2)
            (stored,) = await send_email.query_jobs(Where.id_equals(handle.id))

        assert stored.data == send_email.data("bob", copies=2)
        assert (stored.data.to, stored.data.subject, stored.data.copies) == ("bob", "hello", 2)

    def test_an_enqueue_without_a_loop_stores_them_too(self) -> None:
        backend = InMemoryBackend().paused()
        with override_global_backend(backend):
            handle = send_email.enqueue_sync("bob")

        (stored,) = asyncio.run(send_email.query_jobs(Where.id_equals(handle.id), backend=backend))
        assert stored.data == send_email.data("bob")

    async def test_many_are_stored_together(self) -> None:
        backend = InMemoryBackend().paused()

        handles = await enqueue_many([send_email.new(to) for to in ("a", "b")], backend=backend)

        assert [(await handle.fetch()).data.to for handle in handles] == ["a", "b"]

    async def test_what_is_enqueued_can_be_asserted(self) -> None:
        with override_global_backend(InMemoryBackend().paused()):
            await send_email.enqueue("bob")

            (stored,) = await assert_enqueued(1, for_executor=send_email, with_data=send_email.data("bob"))
            assert stored.data.to == "bob"
            with pytest.raises(AssertionError):
                await assert_enqueued(1, for_executor=send_email, with_data=send_email.data("eve"))

    async def test_what_is_provided_is_no_argument_of_an_enqueue(self) -> None:
        with pytest.raises(ArgumentsError, match="client is provided when the job runs, so it is no argument"):
            await send_by.enqueue("bob", client="mine")
        assert not hasattr(send_by.data("bob"), "client")

    async def test_a_setting_among_the_arguments_is_sent_to_options(self) -> None:
        call: Any = send_email.enqueue

        with pytest.raises(
            ArgumentsError, match=r"tags is a setting; write send_email.options\(tags=…\).enqueue\(…\);"
        ):
            await call("bob", tags=["a"])

    async def test_so_is_a_setting_that_another_library_has_there(self) -> None:
        call: Any = send_email.enqueue_sync

        for word, advice in (("countdown", "options(schedule_in=…).enqueue(…)"), ("queue", "there are no queues")):
            with pytest.raises(ArgumentsError, match=rf"{word} is no argument of the function: .*{re.escape(advice)}"):
                call("bob", **{word: 3})

    @pytest.mark.parametrize("name", ["delay", "apply_async", "defer"])
    def test_a_method_of_another_library_is_named_in_ours(self, name: str) -> None:
        with pytest.raises(
            AttributeError, match=rf"no attribute '{name}'; write send_email.enqueue\(…\) or send_email"
        ):
            getattr(send_email, name)
        with pytest.raises(AttributeError, match=r"no attribute 'colour'$"):
            getattr(send_email, "colour")  # noqa: B009 - to type checkers there is none

    async def test_the_job_is_no_argument_of_an_enqueue(self) -> None:
        call: Any = knows_its_job.enqueue

        with pytest.raises(ArgumentsError, match="got an unexpected keyword argument 'job'"):
            await call(job=None, to="bob")


class TestOptions:
    async def test_settings_are_those_of_an_enqueue(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock).paused()
        options = send_email.options(
            metadata={"by": "me"},
            tags=["a", "b"],
            priority=3,
            max_attempts=4,
            schedule_in=timedelta(hours=1),
            expires_in=timedelta(hours=2),
            backend=backend,
        )

        stored = await (await options.enqueue("bob", copies=2)).fetch()

        assert (stored.data, stored.metadata) == (send_email.data("bob", copies=2), {"by": "me"})
        assert (stored.tags, stored.priority, stored.max_attempts) == (("a", "b"), 3, 4)
        assert stored.scheduled_at == clock.now() + timedelta(hours=1)
        assert stored.expires_at == clock.now() + timedelta(hours=2)

    async def test_options_serve_many_enqueues_and_leave_the_job_as_it_is(self) -> None:
        backend = InMemoryBackend().paused()
        options = send_email.options(tags=["a"], backend=backend)

        first, second = await options.enqueue("bob"), options.enqueue_sync("eve")
        (third,) = await enqueue_many([send_email.new("joe")], backend=backend)

        assert [(await one.fetch()).tags for one in (first, second, third)] == [("a",), ("a",), ()]

    async def test_what_is_left_out_is_as_the_decorator_says_and_none_is_no_rule(self) -> None:
        @job(unique=UniquenessCriteria.by_executor(), max_attempts=2)
        async def once() -> None: ...

        backend = InMemoryBackend().paused()

        handles = [await once.options(backend=backend).enqueue() for _ in range(2)]
        other = await once.options(backend=backend, unique=None).enqueue()

        assert [handle.disposition for handle in (*handles, other)] == ["inserted", "existing", "inserted"]
        assert (await other.fetch()).max_attempts == 2

    @pytest.mark.parametrize(
        "settings",
        [
            {"priority": -1},
            {"tags": "a"},
            {"max_attempts": 0},
            {"schedule_in": 3},
            {"schedule_in": timedelta(1), "schedule_at": datetime(2026, 1, 1, tzinfo=UTC)},
            {"expires_in": timedelta(0)},
            {"schedule_in": timedelta(2), "expires_in": timedelta(1)},
            {"unique": 3},
        ],
    )
    def test_a_wrong_setting_is_refused_at_once(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InvalidJobError, match="send_email: "):
            send_email.options(**settings)

    def test_a_job_that_is_not_stored_cannot_have_a_backend_or_a_connection(self) -> None:
        with pytest.raises(ConfigurationError, match=r"options was given backend=…; give it to enqueue_many instead"):
            send_email.options(backend=InMemoryBackend()).new("bob")
        with pytest.raises(ConfigurationError, match=r"options was given connection=…; give it to enqueue_many"):
            send_email.options(connection=object()).new("bob")

    async def test_a_connection_needs_a_backend_that_can_use_it(self) -> None:
        with pytest.raises(ConfigurationError):
            await send_email.options(backend=InMemoryBackend(), connection=object()).enqueue("bob")

    def test_a_framework_sees_that_an_enqueue_is_to_be_awaited(self) -> None:
        is_async = vars(inspect if sys.version_info >= (3, 12) else asyncio)["iscoroutinefunction"]

        assert is_async(send_email.enqueue)
        assert is_async(send_email.options().enqueue)

    async def test_an_enqueue_that_nobody_awaits_is_logged(self, events: Events) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            send_email.enqueue("bob")  # pyright: ignore[reportUnusedCoroutine] - it is forgotten
            gc.collect()

        assert [event.executor for event in events.of(EnqueueForgotten)] == ["send_email"]


class TestRuns:
    async def test_a_node_runs_what_was_enqueued(self) -> None:
        async with Rexecutor(InMemoryBackend()).with_executor(send_email).with_executor(resize).set_global_backend():
            first = await (await send_email.enqueue("bob")).wait(timedelta(seconds=10))
            second = await (await resize.enqueue("a.png", 3)).wait(timedelta(seconds=10))

        assert {first.status, second.status} == {JobStatus.COMPLETE}
        assert LOG == [("bob", "hello", 1), ("a.png", 3)]

    async def test_a_run_has_what_is_provided(self) -> None:
        await perform(send_by, send_by.data("bob"))
        by_name: Any = write_by  # to a type checker, what is provided is missing: it has no default
        await perform(write_by, by_name.data("a"))

        assert LOG == ["open", ("bob", "client"), "close", "open", ("a", "connection"), "close"]

    async def test_a_run_receives_its_job(self) -> None:
        await perform(knows_its_job, knows_its_job.data("bob"))

        assert LOG == [(1, "knows_its_job", "bob", "bob")]

    async def test_what_a_function_returns_means_what_it_means_for_execute(self) -> None:
        @job
        async def decides(what: str) -> Cancel | Snooze | None:
            return {"cancel": Cancel("why"), "snooze": Snooze(timedelta(1))}.get(what)

        assert await perform(decides, decides.data("cancel")) == Cancel("why")
        assert await perform(decides, decides.data("snooze")) == Snooze(timedelta(1))
        assert await perform(decides, decides.data("")) is None

    async def test_a_job_without_required_arguments_needs_no_data(self) -> None:
        @job
        async def report(day: str = "today") -> None:
            LOG.append(day)

        await perform(report)
        await report.builder().enqueue(backend=(backend := InMemoryBackend().paused()))
        await drain(report, backend=backend)

        assert LOG == ["today", "today"]

    async def test_a_schedule_takes_data(self) -> None:
        rexecutor = Rexecutor(InMemoryBackend()).with_cron_executor(send_email, "0 9 * * *", send_email.data("bob"))

        (schedule,) = rexecutor._config.schedules.values()
        assert schedule.job is not None
        assert schedule.job.data == '{"to":"bob","subject":"hello","copies":1}'

    async def test_a_schedule_of_a_job_without_required_arguments_needs_no_data(self) -> None:
        @job
        async def report(day: str = "today") -> None: ...

        rexecutor = Rexecutor(InMemoryBackend()).with_cron_executor(report, "0 9 * * *")
        with pytest.raises(EncodeError, match=r"send_email: data is missing, .*; use send_email.data\(…\)$"):
            rexecutor.with_cron_executor(send_email, "0 9 * * *")

        (schedule,) = rexecutor._config.schedules.values()
        assert schedule.job is not None
        assert schedule.job.data == '{"day":"today"}'

    @pytest.mark.parametrize(
        "call",
        [
            lambda: perform(send_email, "bob"),
            lambda: perform(send_email),
            lambda: assert_enqueued(for_executor=send_email, with_data="bob", backend=InMemoryBackend()),
            lambda: send_email.builder().with_data("bob").enqueue(backend=InMemoryBackend()),
        ],
    )
    async def test_arguments_in_place_of_data_are_refused_with_what_makes_data(
        self, call: Callable[[], Awaitable[object]]
    ) -> None:
        with pytest.raises(EncodeError, match=r"send_email: data.*; use send_email.data\(…\)$"):
            await call()

    async def test_data_with_a_wrong_value_are_not_taken_for_arguments(self) -> None:
        wrong: Any = 7

        with pytest.raises(EncodeError, match=r"Expected `str`, got `int` - at `\$.to`$"):
            await perform(send_email, send_email.data(wrong))

    async def test_jobs_enqueue_jobs(self) -> None:
        @job
        async def first(to: str) -> None:
            await send_email.enqueue(to, "from a job")

        backend = InMemoryBackend().paused()
        await enqueue_many([first.new("bob")], backend=backend)
        await drain(first, send_email, backend=backend)

        assert LOG == [("bob", "from a job", 1)]

    def test_a_backoff_may_be_a_strategy_or_a_function_of_the_job(self) -> None:
        def by_job(failed: Job[Any, Any, Any]) -> timedelta:
            return timedelta(minutes=failed.attempt)

        failed: Any = type("Failed", (), {"attempt": 3})()
        strategy = BackoffStrategy.linear(timedelta(seconds=1))

        async def fails() -> None: ...

        assert job(backoff=strategy)(fails).backoff(failed) == timedelta(seconds=3)
        assert job(backoff=by_job)(fails).backoff(failed) == timedelta(minutes=3)

    async def test_a_timeout_ends_the_attempt(self) -> None:
        @job(timeout=timedelta(milliseconds=20))
        async def hangs() -> None:
            await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await perform(hangs)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        LOG.append(args)
        return function(*args, **kwargs)

    return wrapper


def in_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Awaitable[Any]:
        return asyncio.to_thread(function, *args)

    return wrapper


def forgetting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs).close()

    return wrapper


def with_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the function one argument more."""

    @functools.wraps(function)
    def wrapper(to: str) -> Any:
        return function("client", to)

    return wrapper


def run_to_its_end(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


class TestDecoratedFunctions:
    async def test_a_wrapper_that_passes_the_coroutine_on_is_taken_with_arguments_by_position(self) -> None:
        @job
        @traced
        async def send(to: str, subject: str = "hi") -> None:
            LOG.append(subject)

        await perform(send, send.data(subject="a", to="bob"))

        assert LOG == [("bob", "a"), "a"]

    async def test_a_plain_def_that_a_decorator_makes_awaitable_is_taken(self) -> None:
        @job
        @in_thread
        def send(to: str) -> None:
            LOG.append(to)

        await perform(send, send.data("bob"))

        assert LOG == ["bob"]

    async def test_an_async_def_that_a_decorator_makes_blocking_is_taken(self) -> None:
        @job(blocking=True)
        @run_to_its_end
        async def send(to: str) -> None:
            LOG.append(to)

        await perform(send, send.data("bob"))

        assert LOG == ["bob"]

    async def test_parameters_that_a_wrapper_names_count_and_not_those_that_it_wraps(self) -> None:
        @job
        @with_client
        async def send(client: Any, to: str) -> None:
            LOG.append((client, to))

        await perform(send, send.data("bob"))

        assert LOG == [("client", "bob")]

    def test_a_wrapper_that_is_no_function_has_the_parameters_of_what_it_wraps(self) -> None:
        @job(blocking=True)
        @functools.lru_cache
        def length(text: str) -> int:
            return len(text)

        assert length("abc") == 3
        assert length.data(text="abc").text == "abc"

    async def test_a_decorator_that_returns_nothing_to_await_is_named(self) -> None:
        @job
        @forgetting
        async def send(to: str) -> None: ...

        with pytest.raises(TypeError, match=r"send: send returned NoneType, which .*; fix its decorator forgetting \("):
            await perform(send, send.data("bob"))

    async def test_a_blocking_function_that_returns_a_coroutine_has_done_nothing(self) -> None:
        @job(blocking=True)
        @traced
        async def send(to: str) -> None: ...

        with pytest.raises(TypeError, match=r"send: send returned coroutine, .*or set `blocking = False`"):
            await perform(send, send.data("bob"))


async def under_another_name() -> None: ...


kept = job(under_another_name)


class Mail:
    @staticmethod
    @job
    async def send(to: str) -> None: ...


class TestOtherProcesses:
    @pytest.mark.parametrize("made", [send_email, resize, send_by, Mail.send, kept], ids=lambda made: made.name)
    def test_a_job_is_pickled_by_reference(self, made: Any) -> None:
        assert pickle.loads(pickle.dumps(made)) is made  # noqa: S301 - our own pickle
        assert copy.copy(made) is made
        assert copy.deepcopy(made) is made

    def test_data_are_pickled_by_the_reference_of_their_job(self) -> None:
        data = send_email.data("bob")

        assert pickle.loads(pickle.dumps(data)) == data  # noqa: S301 - our own pickle

    def test_a_job_that_another_process_cannot_import_is_refused(self) -> None:
        @job
        async def local() -> None: ...

        with pytest.raises(pickle.PicklingError, match=r"local: .* is not this job, so another process cannot import"):
            pickle.dumps(local)


@pytest.mark.parametrize(
    ("hint", "result"),
    [
        (int, int),
        (int | Cancel, int),
        (int | Cancel | Snooze | None, int | None),
        (Annotated[int | Cancel, "a note"], Annotated[int, "a note"]),
        (Any, Any),
        (list[int], list[int]),
        (None, type(None)),
        (ExecutionResult, type(None)),
        (Annotated[Cancel | Snooze, "a note"], type(None)),
        (NoReturn, type(None)),
    ],
)
def test_the_result_is_the_return_annotation_without_cancel_and_snooze(hint: Any, result: Any) -> None:
    async def function() -> Any: ...

    function.__annotations__["return"] = hint

    assert job(function).declared_types().result == result


def test_a_function_without_a_return_annotation_has_no_result() -> None:
    async def function() -> Any: ...

    del function.__annotations__["return"]

    assert job(function).declared_types().result is type(None)


def test_the_signature_is_the_functions() -> None:
    assert str(inspect.signature(send_email)) == "(to: str, subject: str = 'hello', *, copies: int = 1) -> int"
    assert list(inspect.signature(knows_its_job).parameters) == ["job", "to"]


PROGRAM = """
import asyncio, os, sys
from datetime import UTC, datetime, timedelta
from rexecutor import InMemoryBackend, JobStatus, Rexecutor, job

@job(blocking="process")
def work(path: str, number: int = 3) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid() != PARENT} {number}")

PARENT = int(os.environ.setdefault("PARENT", str(os.getpid())))

async def main():
    async with Rexecutor(InMemoryBackend()).with_executor(work).set_global_backend():
        ended = await (await work.enqueue(sys.argv[1])).wait(timedelta(seconds=60))
        print(ended.status, ended.errors)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_child_process_runs_a_function_of_the_main_module(tmp_path: Any) -> None:
    program, note = tmp_path / "program.py", tmp_path / "note"
    program.write_text(PROGRAM)

    done = subprocess.run([sys.executable, program, note], capture_output=True, text=True, timeout=90, check=False)

    assert (done.stdout, done.returncode) == ("complete ()\n", 0), done.stderr
    assert note.read_text() == "True 3"
