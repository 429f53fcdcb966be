"""What `@job` refuses, and when."""

import functools
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytest

from rexecutor import (
    PROVIDED,
    BackoffStrategy,
    DefinitionError,
    Executor,
    InMemoryBackend,
    Job,
    JobFunction,
    Provide,
    Rexecutor,
    UniquenessCriteria,
    job,
)

if TYPE_CHECKING:
    from decimal import Decimal

made: Callable[..., Any] = job
"""`job` for arguments that type checkers refuse."""


async def takes_args(*args: str) -> None: ...
async def takes_kwargs(**kwargs: str) -> None: ...
async def positional_only(to: str, /) -> None: ...
async def unstorable_parameter(where: complex) -> None: ...
async def unstorable_result() -> complex: ...
async def unstorable_default(to: float = float("nan")) -> None: ...
async def changed_default(to: object = (1, 2)) -> None: ...
async def wrong_default(to: int = cast("int", None)) -> None: ...
async def late_job(to: str, job: Job[None]) -> None: ...
async def optional_job(job: Job[None] | None) -> None: ...
async def two_underscores(*, __to: str) -> None: ...
async def provided_by_nobody(client: str = PROVIDED) -> None: ...
async def generator() -> AsyncGenerator[int]:
    yield 1


def asynchronous() -> Generator[int]:
    yield 1


async def get_client() -> str:
    return "client"


async def provider_as_default(client: str = cast("str", Provide(get_client))) -> None: ...
async def bare_provider(client: Annotated[str, get_client]) -> None: ...
async def bare_provide(client: Annotated[str, Provide]) -> None: ...


def plain() -> None: ...
async def fine(to: str) -> None: ...


class Mailer:
    async def send(self, to: str) -> None: ...
    @staticmethod
    async def static(to: str) -> None: ...
    @classmethod
    async def of_class(cls, to: str) -> None: ...
    async def __call__(self, to: str) -> None: ...


REFUSED: list[tuple[object, str]] = [
    (takes_args, "takes *args, which has no name in the job's data; take a list, as one parameter"),
    (takes_kwargs, "takes **kwargs, whose names are not known; take a dict, as one parameter"),
    (positional_only, "to is positional-only, but data are stored by name; leave out the `/`"),
    (unstorable_parameter, "where: complex cannot be stored as JSON"),
    (unstorable_result, "result: complex cannot be stored as JSON"),
    (unstorable_default, "the default of to contains NaN or an infinity, which JSON cannot hold"),
    (changed_default, "the default of to: "),
    (wrong_default, "the default of to: int expected"),
    (late_job, "job is annotated with Job; only the first parameter can receive the job"),
    (optional_job, "job is annotated with Job; only the first parameter can receive the job"),
    (two_underscores, "__to begins with two underscores; give it another name"),
    (provided_by_nobody, "client is PROVIDED, but not annotated: Annotated[…, Provide(…)]"),
    (
        provider_as_default,
        "client has its provider in the wrong place; write `client: Annotated[str, Provide(get_client)]`",
    ),
    (bare_provider, "write `client: Annotated[str, Provide(get_client)]`"),
    (bare_provide, "write `client: Annotated[str, Provide(…)]`"),
    (generator, "is a generator; it must return, not yield"),
    (asynchronous, "is a generator; it must return, not yield"),
    (plain, "is a plain `def`; make it `async def`, or write @job(blocking=True)"),
    (Mailer.send, "takes self, but a job has no instance; write @staticmethod above @job, or subclass Executor"),
    (Mailer().send, "a job has no instance to call a method of; subclass Executor"),
    (Mailer.of_class, "a job has no instance to call a method of; subclass Executor"),
    (vars(Mailer)["of_class"], "a job has no instance to call a method of; subclass Executor"),
    (vars(Mailer)["static"], "write @staticmethod above @job"),
    (Mailer(), "define a function that calls it"),
    (Mailer, "for a class, subclass Executor"),
    (functools.partial(fine, "bob"), "define a function that calls it"),
    (job(fine), "it is a job already; write @job once"),
    (3, "job: a function expected, not 3; settings are keywords, as in @job(name=…)"),
    ("send", "job: a function expected, not 'send'; settings are keywords"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_a_function_that_cannot_be_a_job_is_refused_at_its_decoration(function: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(message)):
        made(function)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("retries", "set max_attempts, which counts the first attempt too"),
        ("queue", "there are no queues"),
        ("bind", "a first parameter that is annotated `Job[…]` receives the running job"),
        ("time_limit", "set timeout"),
        ("uniqueness_criteria", "set unique, for example"),
        ("countdown", "give it when a job is enqueued: options(schedule_in=…).enqueue(…)"),
        ("max_attemps", "there are name, max_attempts, "),
    ],
)
def test_a_setting_of_another_library_is_refused_with_what_to_write(setting: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(f"job: {setting} is not a setting: {message}")):
        made(**{setting: 3})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a b"}, "name must be 1 to 128 characters"),
        ({"name": 3}, "name must be 1 to 128 characters"),
        ({"max_attempts": 0}, "max_attempts must be an int from 1 to 32767, not 0"),
        ({"max_concurrency": 0}, "max_concurrency must be None or an int of 1 or more, not 0"),
        ({"blocking": "fork"}, 'blocking must be False, True, "thread" or "process", not \'fork\''),
        ({"blocking": True}, "is `async def` and blocking is True; choose one"),
        ({"blocking": "process"}, "is `async def` and blocking is 'process'; choose one"),
        ({"timeout": 3}, "timeout must be a timedelta, not 3"),
        ({"timeout": timedelta(0)}, "timeout must be a timedelta of 0:00:00.000001 or more"),
        ({"backoff": timedelta(1)}, "backoff must be a BackoffStrategy, such as "),
        ({"backoff": get_client}, "backoff must be a BackoffStrategy, such as "),
        ({"unique": True}, "unique must be a UniquenessCriteria"),
        ({"discard_on": ValueError}, "discard_on must be a tuple of exception classes"),
    ],
)
def test_a_wrong_setting_is_refused_at_the_decoration(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=f"test_function_definitions.fine: .*{re.escape(message)}"):
        made(**settings)(fine)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(DefinitionError, match="a lambda has no name; give it one"):
        made(blocking=True)(lambda: 1)
    assert made(blocking=True, name="one")(lambda: 1)() == 1


def test_a_child_process_must_be_able_to_import_the_function() -> None:
    def local() -> None: ...

    message = "a child process cannot import a lambda or a function that another one defines"
    with pytest.raises(DefinitionError, match=message):
        job(blocking="process")(local)
    with pytest.raises(DefinitionError, match=message):
        made(blocking="process")(lambda: None)


def test_an_asynchronous_provider_needs_an_async_def() -> None:
    def send(client: Annotated[str, Provide(get_client)]) -> None: ...

    with pytest.raises(DefinitionError, match="client: provider get_client is asynchronous"):
        job(blocking=True)(send)


class TestAnnotationsThatComeLater:
    def test_a_name_that_is_defined_later_is_resolved_when_the_job_is_first_used(self) -> None:
        module: dict[str, Any] = {"__name__": "module", "job": job}
        exec("@job\nasync def send(to: 'Later') -> None: ...", module)  # noqa: S102 - a module that comes in two parts

        with pytest.raises(DefinitionError, match="annotation cannot be resolved: name 'Later' is not defined"):
            module["send"].data(1)
        exec("Later = int", module)  # noqa: S102 - its second part
        assert module["send"].data(1).to == 1

    async def test_a_name_for_type_checkers_only_is_refused_at_the_registration(self) -> None:
        @job
        async def send(amount: "Decimal") -> None: ...

        with pytest.raises(DefinitionError, match="outside `if TYPE_CHECKING:`"):
            Rexecutor(InMemoryBackend()).with_executor(send)

    async def test_a_name_for_type_checkers_only_is_refused_at_the_enqueue(self) -> None:
        backend = InMemoryBackend()

        @job
        async def send(amount: "Decimal") -> None: ...

        with pytest.raises(DefinitionError, match="name 'Decimal' is not defined"):
            await send.options(backend=backend).enqueue(cast("Any", 1))

    def test_what_needs_no_annotation_is_refused_at_once(self) -> None:
        async def send(*to: "Decimal") -> None: ...

        with pytest.raises(DefinitionError, match=re.escape("takes *to")):
            made(send)


class TestNames:
    async def test_two_jobs_of_one_name_are_refused_with_the_places_of_both(self) -> None:
        other = job(name="fine")(positional)
        rexecutor = Rexecutor(InMemoryBackend()).with_executor(job(fine))

        message = "fine: two executors have this name, {0}.fine and {0}.positional; give one of them another name"
        with pytest.raises(DefinitionError, match=re.escape(message.format(__name__))):
            rexecutor.with_executor(other)

    def test_a_job_that_is_given_twice_is_refused(self) -> None:
        send = job(fine)
        rexecutor = Rexecutor(InMemoryBackend()).with_executor(send)

        with pytest.raises(DefinitionError, match=f"fine: {__name__}.fine is given twice"):
            rexecutor.with_executor(send)

    def test_an_executor_and_a_job_of_one_name_are_refused(self) -> None:
        class Fine(Executor[str]):
            name = "fine"

            async def execute(self, job: Job[str]) -> None: ...

        with pytest.raises(DefinitionError, match="two executors have this name"):
            Rexecutor(InMemoryBackend()).with_executor(Fine).with_executor(job(fine))


async def positional(to: str) -> None: ...


def test_all_forms_of_the_decorator_do_the_same() -> None:
    bare, called, given = job(fine), job()(fine), job(name="fine", max_attempts=5)(fine)

    assert {type(one).__mro__[1:] for one in (bare, called, given)} == {type(bare).__mro__[1:]}
    assert {one.name for one in (bare, called, given)} == {"fine"}
    assert all(isinstance(one, JobFunction) for one in (bare, called, given))


def test_settings_are_those_of_an_executor() -> None:
    unique = UniquenessCriteria.by_executor()

    send = job(
        name="mail.send",
        max_attempts=2,
        max_concurrency=3,
        timeout=timedelta(seconds=4),
        backoff=BackoffStrategy.constant(timedelta(seconds=5)),
        unique=unique,
        discard_on=(ValueError,),
    )(fine)

    assert (send.name, send.max_attempts, send.max_concurrency, send.blocking) == ("mail.send", 2, 3, False)
    assert (send.uniqueness_criteria, send.discard_on) == (unique, (ValueError,))


def test_a_job_looks_like_its_function() -> None:
    async def send(to: str) -> None:
        """Send it."""

    made = job(name="mail.send")(send)

    assert (made.__name__, made.__doc__, made.__module__) == ("send", "Send it.", __name__)
    assert made.__qualname__ == send.__qualname__
    assert repr(made) == f"<job 'mail.send': {__name__}.{send.__qualname__}>"


def test_a_static_method_may_hold_a_job() -> None:
    class Mail:
        @staticmethod
        @job
        async def send(to: str) -> None: ...

    assert Mail.send.data("bob").to == "bob"
    assert Mail().send.data("bob").to == "bob"


def test_the_decorator_is_importable_beside_the_module_of_its_name() -> None:
    import rexecutor.model.job

    assert rexecutor.job is job
    assert inspect.ismodule(rexecutor.model.job)
