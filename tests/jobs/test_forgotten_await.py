"""An enqueue that is called and never awaited stores nothing: that is logged as an error, and only that."""

import asyncio
import gc
import inspect
import logging
import subprocess
import sys
import warnings
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from rexecutor import Executor, InMemoryBackend, Job, JobHandle, enqueue_many
from rexecutor.model.where import Everything

LINE = "email_job: enqueue was never awaited, so no job was stored; write `await enqueue(…)`"


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...


class Tick(Executor[None]):
    name = "tick"

    async def execute(self, job: Job[None]) -> None: ...


@pytest.fixture
def backend() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Generator[list[str]]:
    """Whatever is logged as an error."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep(logging.ERROR)
    logging.getLogger("rexecutor").addHandler(handler)
    yield messages
    logging.getLogger("rexecutor").removeHandler(handler)


def warned(run: Any) -> list[str]:
    """Call the function and return the warnings of Python."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        run()
        gc.collect()
    return [str(one.message) for one in caught]


async def count(backend: InMemoryBackend) -> int:
    return len(await backend.query(Everything()))


class TestForgotten:
    def test_it_is_logged_once_and_python_warns_once(self, errors: list[str]) -> None:
        told = warned(lambda: EmailJob.enqueue("bob"))

        assert errors == [LINE]
        assert told == ["coroutine 'enqueue' was never awaited"]

    def test_so_is_the_enqueue_of_a_builder(self, errors: list[str]) -> None:
        warned(lambda: EmailJob.new("bob").enqueue())

        assert errors == [LINE]

    def test_the_record_has_the_executor(self, caplog: pytest.LogCaptureFixture) -> None:
        warned(lambda: EmailJob.enqueue("bob"))

        [record] = caplog.records
        assert (record.name, record.levelname) == ("rexecutor", "ERROR")
        assert vars(record)["executor"] == "email_job"

    def test_many_are_counted_and_their_executors_named(self, errors: list[str]) -> None:
        mixed: list[Any] = [EmailJob.new("a"), Tick.new(), EmailJob.new("b")]

        told = warned(partial(enqueue_many, mixed))

        [line] = errors
        assert line.startswith("email_job, tick: enqueue_many of 3 jobs was never awaited, so no job was stored;")
        assert told == ["coroutine 'enqueue_many' was never awaited"]

    def test_many_of_none_lose_nothing(self, errors: list[str]) -> None:
        empty: list[Any] = []

        warned(partial(enqueue_many, empty))

        assert errors == []

    def test_in_a_reference_cycle_it_is_logged_when_that_is_collected(self, errors: list[str]) -> None:
        def forget() -> None:
            cycle: list[Any] = [EmailJob.enqueue("bob")]
            cycle.append(cycle)

        warned(forget)

        assert errors == [LINE]

    def test_in_another_thread_too(self, errors: list[str]) -> None:
        def forget() -> None:
            EmailJob.enqueue("bob")  # pyright: ignore[reportUnusedCoroutine] - the point

        with ThreadPoolExecutor(1) as threads:
            warned(lambda: threads.submit(forget).result(20))

        assert errors == [LINE]

    def test_a_task_of_a_loop_that_never_ran_it_has_forgotten_it(self, errors: list[str]) -> None:
        loop = asyncio.new_event_loop()

        def forget() -> None:
            task = loop.create_task(EmailJob.enqueue("bob"))
            task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue] - asyncio's own line
            loop.close()

        warned(forget)

        assert errors == [LINE]

    def test_it_is_logged_at_once_while_the_warning_keeps_the_coroutine(self, errors: list[str]) -> None:
        """As pytest keeps the warnings of a test: their `source` is the coroutine."""
        with warnings.catch_warnings(record=True, action="always") as caught:
            EmailJob.enqueue("bob")  # pyright: ignore[reportUnusedCoroutine] - the point

            assert errors == [LINE]
            assert len(caught) == 1

        caught.clear()
        assert errors == [LINE]

    def test_a_handler_that_fails_disturbs_nobody(self, errors: list[str]) -> None:
        class Broken(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise SystemExit

        handler = Broken()
        logging.getLogger("rexecutor").addHandler(handler)
        try:
            told = warned(lambda: EmailJob.enqueue("bob"))
        finally:
            logging.getLogger("rexecutor").removeHandler(handler)

        assert told == ["coroutine 'enqueue' was never awaited"]

    def test_a_program_that_ends_shows_no_traceback(self) -> None:
        program = """
import logging
from rexecutor import Executor

class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job): ...

class Cycle: ...

logging.basicConfig()
EmailJob.enqueue("bob")
kept = EmailJob.enqueue("ann")
cycle = Cycle()
cycle.own, cycle.coroutine = cycle, EmailJob.new("eve").enqueue()
"""

        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

        # What is deleted after the end of `sys.stderr` cannot be told.
        assert "ERROR:rexecutor:email_job: enqueue was never awaited, so no job was stored" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Exception ignored" not in ended.stderr

    def test_one_that_is_closed_is_logged_where_python_keeps_its_arguments(self, errors: list[str]) -> None:
        told = warned(lambda: EmailJob.enqueue("bob").close())

        assert errors == ([LINE] if sys.version_info >= (3, 12) else [])
        assert told == []


class TestAwaited:
    """None of these is a forgotten await, and each stores its job."""

    @pytest.fixture(autouse=True)
    def _silent(self, errors: list[str]) -> Generator[None]:
        yield
        gc.collect()
        assert errors == []

    async def test_an_await(self, backend: InMemoryBackend) -> None:
        handle = await EmailJob.enqueue("bob", backend=backend)

        assert handle.id == 1

    async def test_a_task(self, backend: InMemoryBackend) -> None:
        task = asyncio.create_task(EmailJob.enqueue("bob", backend=backend))

        assert (await task).id == 1

    async def test_a_future_of_it(self, backend: InMemoryBackend) -> None:
        future = asyncio.ensure_future(EmailJob.enqueue("bob", backend=backend))

        assert (await future).id == 1

    async def test_many_gathered(self, backend: InMemoryBackend) -> None:
        one, many = await asyncio.gather(
            EmailJob.enqueue("bob", backend=backend), enqueue_many([Tick.new(), Tick.new()], backend=backend)
        )

        assert {one.id, *(handle.id for handle in many)} == {1, 2, 3}

    async def test_with_a_timeout(self, backend: InMemoryBackend) -> None:
        handle = await asyncio.wait_for(EmailJob.enqueue("bob", backend=backend), 20)  # noqa: TID251 - the point

        assert handle.id == 1

    async def test_shielded(self, backend: InMemoryBackend) -> None:
        assert (await asyncio.shield(EmailJob.enqueue("bob", backend=backend))).id == 1

    async def test_in_a_task_group(self, backend: InMemoryBackend) -> None:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(EmailJob.enqueue("bob", backend=backend))

        assert task.result().id == 1

    async def test_as_they_complete(self, backend: InMemoryBackend) -> None:
        [handle] = [await done for done in asyncio.as_completed([EmailJob.enqueue("bob", backend=backend)])]

        assert handle.id == 1

    async def test_from_another_thread(self, backend: InMemoryBackend) -> None:
        loop = asyncio.get_running_loop()

        def enqueue() -> JobHandle[str]:
            return asyncio.run_coroutine_threadsafe(EmailJob.enqueue("bob", backend=backend), loop).result(20)

        assert (await asyncio.to_thread(enqueue)).id == 1

    def test_a_run(self, backend: InMemoryBackend) -> None:
        assert asyncio.run(EmailJob.enqueue("bob", backend=backend)).id == 1

    def test_by_hand(self, backend: InMemoryBackend) -> None:
        with pytest.raises(StopIteration) as done:
            EmailJob.enqueue("bob", backend=backend).send(None)

        assert done.value.value.id == 1

    async def test_an_enqueue_that_failed(self, backend: InMemoryBackend) -> None:
        with pytest.raises(ValueError, match="str expected"):
            await EmailJob.enqueue(7, backend=backend)  # pyright: ignore[reportArgumentType] - the point

    def test_a_coroutine_that_is_thrown_into(self) -> None:
        coroutine = EmailJob.enqueue("bob")

        with pytest.raises(KeyError):
            coroutine.throw(KeyError())

    async def test_a_task_that_is_cancelled_before_its_first_step(self, backend: InMemoryBackend) -> None:
        task = asyncio.create_task(EmailJob.enqueue("bob", backend=backend))
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        assert await count(backend) == 0

    async def test_one_of_a_group_that_fails_before_it_starts(self, backend: InMemoryBackend) -> None:
        async def fail() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(EmailJob.enqueue("bob", backend=backend))
                raise KeyError

        with pytest.raises(ExceptionGroup):
            await fail()
        assert await count(backend) == 0


class TestCoroutine:
    def test_it_is_one_for_everybody_who_asks(self) -> None:
        for coroutine in (EmailJob.enqueue("bob"), EmailJob.new("bob").enqueue(), enqueue_many([Tick.new()])):
            assert asyncio.iscoroutine(coroutine)
            assert inspect.iscoroutine(coroutine)  # anyio asks this
            assert inspect.isawaitable(coroutine)
            assert isinstance(coroutine, Coroutine)
            coroutine.close()

    def test_frameworks_see_that_the_call_is_to_be_awaited(self) -> None:
        asks: Any = inspect if sys.version_info >= (3, 12) else asyncio

        for call in (EmailJob.enqueue, EmailJob().enqueue, EmailJob.new("bob").enqueue, enqueue_many):
            assert asks.iscoroutinefunction(call)
        assert not asks.iscoroutinefunction(EmailJob.enqueue_sync)

    async def test_it_is_awaited_only_once(self, backend: InMemoryBackend) -> None:
        coroutine = EmailJob.enqueue("bob", backend=backend)
        await coroutine

        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine
        assert await count(backend) == 1

    async def test_it_leaves_no_reference_cycle(self, backend: InMemoryBackend) -> None:
        while gc.collect():  # what other tests have left, some of which only dies with the rest
            pass
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await EmailJob.enqueue("bob", backend=backend)
            await enqueue_many([EmailJob.new("bob")], backend=backend)
            EmailJob.enqueue("bob").close()
            gc.collect()
            # Threads that other tests have left may make garbage of their own.
            assert [one for one in gc.garbage if "rexecutor" in f"{type(one)} {getattr(one, '__qualname__', '')}"] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
