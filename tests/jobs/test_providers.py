"""Providers: what makes the values of provided parameters, how long these live, and how tests replace them."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Self

import pytest

from rexecutor.errors import ConfigurationError, DefinitionError
from rexecutor.jobs.providers import (
    Provide,
    WorkerScope,
    check_needs,
    needs_of,
    override_provider,
    provided,
    provided_sync,
    worker_scope,
)
from tests.support import until

LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def plain() -> str:
    return "plain"


async def waiting() -> str:
    await asyncio.sleep(0)  # noqa: TID251 - lets others run
    return "waiting"


def yielding() -> Generator[str]:
    LOG.append("open")
    yield "yielding"
    LOG.append("close")


@contextmanager
def managed() -> Generator[str]:
    LOG.append("open")
    try:
        yield "managed"
    finally:
        LOG.append("close")


async def async_yielding() -> AsyncGenerator[str]:
    LOG.append("open")
    yield "async_yielding"
    LOG.append("close")


@asynccontextmanager
async def async_managed() -> AsyncGenerator[str]:
    LOG.append("open")
    try:
        yield "async_managed"
    finally:
        LOG.append("close")


class Client:
    def __init__(self) -> None:
        self.is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False


def lock() -> threading.Lock:
    return threading.Lock()


def outer(inner: Annotated[str, Provide(managed)]) -> Generator[str]:
    LOG.append("outer open")
    yield f"outer of {inner}"
    LOG.append("outer close")


PLAIN: list[Callable[..., Any]] = [plain, yielding, managed]
ALL: list[Callable[..., Any]] = [*PLAIN, waiting, async_yielding, async_managed]


@pytest.mark.parametrize("provider", ALL)
async def test_every_form_of_provider_makes_the_value_and_is_closed_after_the_job(provider: Callable[..., Any]) -> None:
    async with provided({"value": Provide(provider)}, ()) as values:
        assert values == {"value": provider.__name__}
        assert "close" not in LOG

    assert LOG in ([], ["open", "close"])


@pytest.mark.parametrize("provider", PLAIN)
def test_plain_providers_need_no_event_loop(provider: Callable[..., Any]) -> None:
    with provided_sync({"value": Provide(provider)}, ()) as values:
        assert values == {"value": provider.__name__}
        assert "close" not in LOG

    assert LOG in ([], ["open", "close"])


async def test_a_class_that_is_a_context_manager_is_entered() -> None:
    async with provided({"client": Provide(Client)}, ()) as values:
        client = values["client"]
        assert client.is_open

    assert not client.is_open


async def test_what_a_function_returns_is_not_entered() -> None:
    async with provided({"lock": Provide(lock)}, ()) as values:
        assert not values["lock"].locked()


async def test_providers_have_providers_which_are_closed_after_them() -> None:
    async with provided({"value": Provide(outer)}, ()) as values:
        assert values == {"value": "outer of managed"}

    assert LOG == ["open", "outer open", "outer close", "close"]


async def test_a_job_makes_each_value_once() -> None:
    async with provided({"one": Provide(Client), "other": Provide(Client)}, ()) as values:
        assert values["one"] is values["other"]
    async with provided({"one": Provide(Client)}, ()) as others:
        assert others["one"] is not values["one"]


async def test_a_value_that_is_given_is_not_made() -> None:
    async with provided({"value": Provide(managed), "other": Provide(plain)}, {"value"}) as values:
        assert values == {"other": "plain"}

    assert LOG == []


async def test_an_error_of_the_job_reaches_the_context_manager() -> None:
    async def job() -> None:
        async with provided({"value": Provide(async_managed)}, ()):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await job()

    assert LOG == ["open", "close"]


def swallowing() -> Generator[str]:
    with suppress(BaseException):
        yield "swallowing"


async def async_swallowing() -> AsyncGenerator[str]:
    with suppress(BaseException):
        yield "async_swallowing"


@pytest.mark.parametrize("provider", [swallowing, async_swallowing])
@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_provider_cannot_swallow_an_error_of_the_job(
    provider: Callable[..., Any], error: type[BaseException]
) -> None:
    with pytest.raises(error):
        async with provided({"value": Provide(provider)}, ()):
            raise error


def test_a_plain_provider_cannot_swallow_an_error_of_a_job_in_a_thread() -> None:
    with pytest.raises(ZeroDivisionError), provided_sync({"value": Provide(swallowing)}, ()):
        raise ZeroDivisionError


@pytest.mark.parametrize("provider", ALL)
async def test_a_worker_makes_a_value_once_for_all_jobs_and_closes_it_at_its_end(provider: Callable[..., Any]) -> None:
    async def job() -> Any:
        async with provided({"value": Provide(provider, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        assert await asyncio.gather(*(job() for _ in range(10))) == [provider.__name__] * 10
    assert "close" not in LOG
    assert await scope.close() == []
    assert LOG in ([], ["open", "close"])


async def test_threads_and_tasks_of_a_worker_share_a_plain_value() -> None:
    made: list[object] = []

    def resource() -> Generator[object]:
        made.append(object())
        yield made[-1]

    def job_in_thread(_: int) -> Any:
        with worker_scope(scope), provided_sync({"value": Provide(resource, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(job_in_thread, range(50)))
    with worker_scope(scope):
        async with provided({"value": Provide(resource, scope="worker")}, ()) as values:
            found.add(values["value"])
    assert found == set(made)
    assert len(made) == 1
    await scope.close()


async def test_an_asynchronous_value_of_a_worker_is_entered_and_left_in_one_task() -> None:
    tasks: list[object] = []

    @asynccontextmanager
    async def resource() -> AsyncGenerator[int]:
        tasks.append(asyncio.current_task())
        yield 1
        tasks.append(asyncio.current_task())

    scope = WorkerScope()
    with worker_scope(scope):
        async with provided({"value": Provide(resource, scope="worker")}, ()):
            pass
    await scope.close()

    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


async def test_a_job_that_is_cancelled_while_a_worker_makes_a_value_leaves_it_to_the_others() -> None:
    go = asyncio.Event()

    async def slow() -> str:
        await go.wait()
        return "made"

    async def job() -> Any:
        async with provided({"value": Provide(slow, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        first, second = asyncio.create_task(job()), asyncio.create_task(job())
        for _ in range(3):
            await asyncio.sleep(0)  # noqa: TID251 - lets both wait
        first.cancel()
        await asyncio.wait([first])
        go.set()
        assert await second == "made"
    await scope.close()


async def test_when_the_job_that_makes_a_value_is_cancelled_another_one_that_waits_makes_it() -> None:
    begun: list[asyncio.Event] = []

    async def slow() -> str:
        go = asyncio.Event()
        begun.append(go)
        await go.wait()
        return "made"

    # Only its call tells that it is asynchronous, so it is called in the task of the job that comes first.
    make = Provide(lambda: slow(), scope="worker")  # noqa: PLW0108 - a function that is no `async def`

    async def use() -> Any:
        async with provided({"value": make}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        jobs = [asyncio.create_task(use()) for _ in range(4)]
        for count in (1, 2):
            await until(lambda: len(begun) == count)  # noqa: B023 - called at once
            jobs.pop(0).cancel()
        await until(lambda: len(begun) == 3)
        begun[-1].set()
        assert await asyncio.gather(*jobs) == ["made", "made"]
    assert len(begun) == 3
    assert await scope.close() == []


async def test_a_provider_that_is_cancelled_from_within_fails_the_job_and_is_not_called_for_ever() -> None:
    calls: list[int] = []

    async def stopping() -> str:
        calls.append(1)
        raise asyncio.CancelledError

    async def use() -> Any:
        async with provided({"value": Provide(stopping, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        failures = await asyncio.gather(use(), use(), return_exceptions=True)
    assert [str(one) for one in failures] == [
        f"provider {stopping.__qualname__} was stopped before it had made its value"
    ] * 2
    assert len(calls) == 2


async def test_a_worker_tries_again_after_a_provider_has_failed() -> None:
    failures = [OSError("not yet"), None]

    async def unsteady() -> str:
        if failure := failures.pop(0):
            raise failure
        return "made"

    async def job() -> Any:
        async with provided({"value": Provide(unsteady, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        with pytest.raises(OSError, match="not yet"):
            await job()
        assert await job() == "made"
    assert await scope.close() == []


async def test_one_value_that_cannot_be_closed_keeps_no_other_from_being_closed() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise OSError("cannot close")

    scope = WorkerScope()
    with worker_scope(scope):
        async with provided({"a": Provide(managed, scope="worker"), "b": Provide(failing, scope="worker")}, ()):
            pass

    [(name, error)] = await scope.close()
    assert (name.rpartition(".")[2], str(error)) == ("failing", "cannot close")
    assert LOG == ["open", "close"]


async def test_a_replacement_is_used_within_the_block_in_threads_too() -> None:
    def job_in_thread() -> Any:
        with provided_sync({"value": Provide(plain)}, ()) as values:
            return values["value"]

    with override_provider(plain, lambda: "fake"):
        assert await asyncio.to_thread(job_in_thread) == "fake"
        with override_provider(plain, waiting):
            async with provided({"value": Provide(plain)}, ()) as values:
                assert values == {"value": "waiting"}
        assert job_in_thread() == "fake"
    assert job_in_thread() == "plain"


async def test_a_replacement_counts_for_a_worker_that_has_made_the_value_before() -> None:
    async def job() -> Any:
        async with provided({"value": Provide(plain, scope="worker")}, ()) as values:
            return values["value"]

    scope = WorkerScope()
    with worker_scope(scope):
        assert await job() == "plain"
        with override_provider(plain, lambda: "fake"):
            assert await job() == "fake"
        assert await job() == "plain"
    await scope.close()


def test_a_replacement_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="lambda: value"), override_provider(plain, 7):  # pyright: ignore[reportArgumentType] - the mistake
        pass


def test_a_replacement_without_a_hash_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no hash"), override_provider(plain, WithoutHash("here")):
        pass


def test_a_replacement_that_waits_is_refused_in_a_thread() -> None:
    with (
        override_provider(plain, waiting),
        pytest.raises(ConfigurationError, match="event loop"),
        provided_sync({"value": Provide(plain)}, ()),
    ):
        pass


def needing_itself(value: str) -> str:
    return value


needing_itself.__annotations__["value"] = Annotated[str, Provide(needing_itself)]


def with_parameter(size: int) -> int:
    return size


def long_lived(value: Annotated[str, Provide(plain)]) -> str:
    return value


@pytest.mark.parametrize(
    ("need", "in_loop", "message"),
    [
        (Provide(needing_itself), True, "needs itself"),
        (Provide(with_parameter), True, "has the parameter 'size'"),
        (Provide(long_lived, scope="worker"), True, "lives as long as the worker"),
        (Provide(waiting), False, "is asynchronous"),
        (Provide(Client), False, "is asynchronous"),
    ],
)
def test_what_can_never_be_provided_is_refused_when_it_is_defined(need: Provide, in_loop: bool, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        check_needs("send", {"value": need}, in_loop=in_loop)


@dataclass
class WithoutHash:
    url: str

    def __call__(self) -> str:
        return self.url


@pytest.mark.parametrize(("provider", "scope"), [(7, "job"), (plain, "thread"), (WithoutHash("here"), "job")])
def test_a_provide_that_cannot_work_is_refused_at_once(provider: Any, scope: Any) -> None:
    with pytest.raises(DefinitionError, match="Provide"):
        Provide(provider, scope)


def test_only_annotated_parameters_are_provided() -> None:
    def send(to: str, client: Annotated[Client, "some mark", Provide(Client)], size: Annotated[int, "mark"]) -> None:
        del to, client, size

    assert needs_of(send) == {"client": Provide(Client)}
    assert needs_of(len) == {}
