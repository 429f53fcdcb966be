"""An `execute` behind a decorator, and annotations that only a type checker can evaluate."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rexecutor import Cancel, DefinitionError, ErrorKind, Executor, InMemoryBackend, Job
from rexecutor.app.rexecutor import Rexecutor
from rexecutor.cli.failure import MisusedError
from rexecutor.cli.load import check_makes_rexecutor, opened_rexecutor
from rexecutor.jobs.definition import takes
from rexecutor.testing import Drained, drain, perform
from tests.jobs.test_executor import define

if TYPE_CHECKING:
    from decimal import Decimal as Nowhere  # known to a type checker only

Function = Callable[..., Any]


async def work(self: object, job: Job[str]) -> Cancel:
    return Cancel(f"{job.data} done")


def block(self: object, job: Job[str]) -> Cancel:
    return Cancel(f"{job.data} done")


def traced(function: Function) -> Function:
    """Passes on what the function returns, as tracing libraries do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def forgetting(function: Function) -> Function:
    """Calls the function and forgets what it returns."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        returned = function(*args, **kwargs)
        if inspect.iscoroutine(returned):
            returned.close()

    return wrapper


def retried(function: Function) -> Function:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def in_thread(function: Function) -> Function:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Awaitable[Any]:
        return asyncio.to_thread(function, *args)

    return wrapper


def run_to_its_end(function: Function) -> Function:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return asyncio.run(function(*args))

    return wrapper


def with_client(function: Function) -> Function:
    """Gives the function one argument more."""

    @functools.wraps(function)
    def wrapper(self: object, job: Job[str]) -> Any:
        return function(self, job, "client")

    return wrapper


async def work_with_client(self: object, job: Job[str], client: str) -> Cancel:
    return Cancel(f"{job.data} done")


def at_once(self: object, job: object) -> timedelta:
    return timedelta(0)


def as_it_is(function: Function) -> Function:
    return function


class Wrapping:
    """A decorator that is a class and a descriptor, with nothing that tells what it wraps."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def __get__(self, instance: object, owner: type) -> Function:
        return self if instance is None else functools.partial(self._function, instance)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


@pytest.mark.parametrize(
    "execute",
    [
        pytest.param(traced(work), id="traced"),
        pytest.param(traced(traced(work)), id="traced twice"),
        pytest.param(retried(traced(work)), id="traced, retried"),
        pytest.param(traced(retried(work)), id="retried, traced"),
        pytest.param(in_thread(block), id="in a thread"),
        pytest.param(retried(in_thread(block)), id="in a thread, retried"),
        pytest.param(traced(in_thread(block)), id="in a thread, traced"),
        pytest.param(with_client(work_with_client), id="with another argument"),
        pytest.param(Wrapping(work), id="a descriptor"),
    ],
)
async def test_an_execute_behind_a_decorator_that_passes_the_coroutine_on_is_taken(execute: Function) -> None:
    assert await perform(define(execute=execute), "all") == Cancel("all done")


async def test_an_async_execute_that_a_decorator_makes_blocking_is_taken() -> None:
    assert await perform(define(execute=run_to_its_end(work), blocking=True), "all") == Cancel("all done")


@pytest.mark.parametrize("execute", [forgetting(work), traced(forgetting(work)), forgetting(traced(work))])
async def test_a_decorator_that_returns_nothing_to_await_is_named(execute: Function) -> None:
    with pytest.raises(TypeError) as raised:
        await perform(define(execute=execute), "all")

    assert "defined: execute returned NoneType, which cannot be awaited; fix its decorator" in str(raised.value)
    assert f"forgetting ({Path(__file__)}, line " in str(raised.value)
    assert "set `blocking = True`" in str(raised.value)


async def test_a_run_with_nothing_to_await_is_a_failed_attempt() -> None:
    backend = InMemoryBackend()
    executor = define(execute=forgetting(work), backoff=at_once, max_attempts=2)

    async with backend:
        handle = await executor.builder().with_data("all").enqueue(backend=backend)
        drained = await drain(executor, backend=backend)
        job = await handle.fetch()

    assert drained == Drained(failed=1, discarded=1)
    assert [(error.kind, error.type_name) for error in job.errors] == [(ErrorKind.EXCEPTION, "TypeError")] * 2
    assert "fix its decorator forgetting" in job.errors[0].details


async def test_a_blocking_execute_that_returns_a_coroutine_has_failed() -> None:
    with pytest.raises(
        TypeError, match=r"execute returned coroutine, but the result of a blocking .*; fix its decorator traced"
    ):
        await perform(define(execute=traced(work), blocking=True), "all")


def test_a_plain_def_without_a_decorator_is_refused_at_once() -> None:
    with pytest.raises(DefinitionError, match="plain `def`; make it `async def`, or set `blocking = True`"):
        define(execute=block)


@pytest.mark.parametrize("name", ["backoff", "timeout"])
def test_a_setting_that_is_a_coroutine_is_refused_at_once(name: str) -> None:
    async def setting(self: object, job: object) -> timedelta:
        return timedelta(0)

    with pytest.raises(DefinitionError, match=f"{name} is `async def`; make it a plain `def`"):
        define(**{name: setting})


@pytest.fixture
def as_on_python_3_14(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `inspect.signature` evaluate annotations, as it does since Python 3.14."""
    monkeypatch.setattr(inspect, "signature", functools.partial(inspect.signature, eval_str=True))


async def annotated(self: "Nowhere", job: "Nowhere", *, more: "Nowhere | None" = None) -> "Nowhere | None":
    return None


def made(more: "Nowhere | None" = None) -> "Nowhere | Rexecutor":
    return REXECUTOR


def made_of(name: "Nowhere | Any") -> None: ...


class Making:
    def __call__(self, more: "Nowhere | None" = None) -> "Nowhere | Rexecutor":
        return REXECUTOR

    def made(self, more: "Nowhere | None" = None) -> "Nowhere | Rexecutor":
        return REXECUTOR


REXECUTOR = Rexecutor(InMemoryBackend())


@pytest.mark.usefixtures("as_on_python_3_14")
@pytest.mark.parametrize("decorate", [as_it_is, traced, retried])
def test_annotations_of_an_execute_are_not_evaluated(decorate: Callable[[Function], Function]) -> None:
    assert issubclass(define(execute=decorate(annotated)), Executor)


@pytest.mark.usefixtures("as_on_python_3_14")
@pytest.mark.parametrize(
    "function", [made, Making(), Making().made, functools.partial(made), functools.partial(made_of, Any)]
)
async def test_annotations_of_a_function_that_makes_the_application_are_not_evaluated(function: Function) -> None:
    assert takes(function, 0)
    if not isinstance(function, functools.partial):
        async with opened_rexecutor("app:make", function) as rexecutor:
            assert rexecutor is REXECUTOR


@pytest.mark.usefixtures("as_on_python_3_14")
def test_a_function_that_needs_an_argument_does_not_make_the_application() -> None:
    with pytest.raises(MisusedError, match="must be a function without arguments"):
        check_makes_rexecutor("app:make", made_of)


def test_an_application_of_a_web_framework_is_told_by_its_type() -> None:
    class Flask:
        def __call__(self, environ: object, start_response: object) -> None: ...

    with pytest.raises(MisusedError, match=r"'web:app' must be a Rexecutor or .* not an object of type Flask"):
        check_makes_rexecutor("web:app", Flask())


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        ("lambda: None", {0}),
        ("lambda a: None", {1}),
        ("lambda a, b=1: None", {1, 2}),
        ("lambda *a: None", {0, 1, 2}),
        ("lambda a, /, b: None", {2}),
        ("lambda a, *, b=1: None", {1}),
        ("lambda a, *, b: None", set[int]()),
        ("lambda **a: None", {0}),
        ("functools.partial(lambda a, b: None, 1)", {1}),
        ("functools.partial(lambda a, b: None, b=1)", {1}),
        ("','.join", {1}),
        ("len", {1}),
        ("Making", {0}),
        ("Making()", {0, 1}),
        ("Making().made", {0, 1}),
        ("None", set[int]()),
        ("7", set[int]()),
    ],
)
def test_with_how_many_arguments_something_can_be_called(function: str, counts: set[int]) -> None:
    found: object = eval(function)  # noqa: S307 - the texts above

    assert {count for count in range(3) if takes(found, count)} == counts
