"""Function jobs: `@job` makes an executor of a function. The job's data are the function's arguments, by name."""

import importlib
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial, update_wrapper
from pickle import PicklingError
from types import new_class
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    cast,
    overload,
)

import msgspec

from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.errors import ArgumentsError, ConfigurationError, DefinitionError, JobStateError
from rexecutor.jobs.await_guard import marked_async
from rexecutor.jobs.current import running_job
from rexecutor.jobs.definition import (
    DeclaredTypes,
    advice_for_function,
    check_blocking,
    check_kind_of_def,
    not_to_await,
    place_of,
    takes,
    to_await,
)
from rexecutor.jobs.enqueue import MISSING, JobBuilder, builder_with
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.providers import provided, provided_sync
from rexecutor.jobs.signature import Shape, check_parameters, shape_of
from rexecutor.model.backoff import BackoffStrategy
from rexecutor.model.checks import checked_delay, mistake, with_advice
from rexecutor.model.job import Job, Result
from rexecutor.model.outcomes import Cancel, Snooze
from rexecutor.model.unique import UniquenessCriteria, checked_criteria

P = ParamSpec("P")
AnyJob: TypeAlias = Job[Any, Any, Any]
Backoff: TypeAlias = BackoffStrategy | Callable[[AnyJob], timedelta]
"""Waits by the number of the failed attempt, or a function of the failed job."""

_ENQUEUES: Final = ("delay", "apply_async", "s", "si", "send", "defer", "defer_async", "schedule", "kiq")
"""What other libraries call the enqueue."""
_OF_JOB: Final[Any] = MISSING
"""Default of `unique`: what `@job` says. None would mean none at all."""
_NO_METHODS: Final = "a job has no instance to call a method of; subclass Executor, which keeps what its jobs share"
_KNOWN: Final = (
    "there are name, max_attempts, max_concurrency, blocking, timeout, backoff, unique and discard_on; see also options"
)
_SHORTEST_TIMEOUT: Final = timedelta(microseconds=1)
_SHAPES: Final = threading.RLock()
"""Held while a function is inspected, so that two threads do not make two types of its data."""


class JobFunction(Executor[Any, Any, Result], Generic[P, Result]):
    """A function as a job, made by `@job`. It goes wherever an executor goes.

    Its data are the function's arguments, one JSON object with their names. Arguments that an enqueue leaves out are
    stored with their defaults, so a later change of a default does not change a stored job.
    """

    _function: ClassVar[Callable[..., Any]]
    _timeout: ClassVar[timedelta | None] = None
    _backoff: ClassVar[Backoff | None] = None
    _known_shape: ClassVar[Shape | None] = None

    def __init__(self) -> None:
        update_wrapper(cast("Any", self), self._function, updated=())

    def __repr__(self) -> str:
        """Return the name of the job and of the function."""
        return f"<job {self.name!r}: {place_of(type(self))}>"

    if not TYPE_CHECKING:  # to type checkers there are no other attributes

        def __getattr__(self, name: str) -> Any:
            """Raise an `AttributeError`, which says what to write for a method of another library."""
            own = type(self).__name__
            advice = f"; write {own}.enqueue(…) or {own}.enqueue_sync(…)" if name in _ENQUEUES else ""
            raise AttributeError(f"{self!r} has no attribute {name!r}{advice}", name=name, obj=self)

    def __copy__(self) -> Self:
        """Return the job itself, as for a function."""
        return self

    def __deepcopy__(self, _: object) -> Self:
        """Return the job itself, as for a function."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by reference, like a function: the other process imports the module.

        Raises:
            PicklingError: Another process would not find it under a name of its module.
        """
        return _imported, self._reference()

    @marked_async
    def enqueue(  # pyright: ignore[reportIncompatibleMethodOverride] - the parameters are the function's
        self, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, JobHandle[Any, Any, Result]]:
        """Store a job with these arguments and return the handle to it. `options` takes settings for it.

        ```python
        handle = await send_email.enqueue("bob@example.com", subject="hi")
        ```

        Raises:
            InvalidJobError: The job cannot be stored: an `ArgumentsError` if the function does not take these
                arguments, an `EncodeError` if they are not of its types.
            DefinitionError: An annotation of the function cannot be resolved, or JSON cannot hold it.
            GlobalBackendError: There is no global backend; `options(backend=…)` needs none.
            BackendError: The store failed; whether the job was stored is not known.
        """
        return self.new(*args, **kwargs).enqueue()

    def enqueue_sync(  # pyright: ignore[reportIncompatibleMethodOverride] - the parameters are the function's
        self, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[Any, Any, Result]:
        """Store a job with these arguments as `enqueue` does, from code without an event loop."""
        return self.new(*args, **kwargs).enqueue_sync()

    def new(  # pyright: ignore[reportIncompatibleMethodOverride] - the parameters are the function's
        self, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobBuilder[Any, Any, Result]:
        """Return a job with these arguments that is not stored yet, for `enqueue_many`.

        ```python
        await enqueue_many([send_email.new(address) for address in addresses])
        ```

        Raises:
            ArgumentsError: The function does not take these arguments.
        """
        return JobBuilder(type(self), self._data_of(args, kwargs))

    def data(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return the data of a job with these arguments, for schedules and for `with_data=` in tests.

        They have the function's parameters as attributes. Types are not checked before the data are stored.

        ```python
        rexecutor.with_cron_executor(send_email, "0 9 * * *", send_email.data("bob@example.com"))
        ```

        Raises:
            ArgumentsError: The function does not take these arguments.
        """
        return self._data_of(args, kwargs)

    @with_advice(
        "options",
        {
            **dict.fromkeys(("countdown", "delay", "defer_by"), "schedule_in"),
            **dict.fromkeys(("eta", "run_at", "scheduled_at", "defer_until"), "schedule_at"),
            "expires": "expires_in",
            **dict.fromkeys(
                ("retries", "max_retries", "max_tries"), "max_attempts, which counts the first attempt too"
            ),
            "args": "enqueue(…) for the arguments",
            "kwargs": "enqueue(…) for the arguments",
        },
    )
    def options(  # noqa: PLR0913 - one for each setting of a job
        self,
        *,
        metadata: Any = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_JOB,
        connection: object = None,
        backend: Backend | Transaction | SyncTransaction | None = None,
    ) -> "JobOptions[P, Result]":
        """Return this job with settings for its enqueues. What it returns may enqueue any number of jobs.

        ```python
        await send_email.options(schedule_in=timedelta(hours=1), tags=["reminder"]).enqueue("bob@example.com")
        ```

        Nothing is stored yet. The settings are those of `Executor.enqueue`, with the same bounds. If `max_attempts` or
        `unique` is left out, the value given to `@job` counts.

        Raises:
            InvalidJobError: A setting is not valid, or two exclude each other.
        """
        builder = builder_with(
            type(self),
            MISSING,
            metadata=metadata,
            tags=tags,
            priority=priority,
            max_attempts=max_attempts,
            schedule_at=schedule_at,
            schedule_in=schedule_in,
            expires_at=expires_at,
            expires_in=expires_in,
            unique=unique,
        )
        return JobOptions(self, builder, connection, backend)

    @classmethod
    def builder(cls) -> JobBuilder[Any, Any, Result]:
        """Return a builder for one job. Its data are set if the function needs no arguments; see `data`."""
        shape = cls._shape()
        is_required = any(one.default is one.empty for one in shape.given.parameters.values())
        return JobBuilder(cls) if is_required else JobBuilder(cls, shape.data())

    def timeout(self, job: AnyJob) -> timedelta | None:  # noqa: ARG002 - the same for all jobs
        """Return the timeout that `@job` was given."""
        return self._timeout

    def backoff(self, job: AnyJob) -> timedelta:
        """Return how long to wait before the next attempt, as `@job` was told."""
        backoff: Any = self._backoff  # a function in a class is a method to type checkers, but this one is a static one
        if isinstance(backoff, BackoffStrategy):
            return backoff(job.attempt)
        return super().backoff(job) if backoff is None else backoff(job)

    @classmethod
    def declared_types(cls) -> DeclaredTypes:
        """Return the types of the arguments together, of the metadata and of the result."""
        shape = cls._shape()
        return DeclaredTypes(shape.data, Any, shape.result)

    @classmethod
    def _shape(cls) -> Shape:
        if cls._known_shape is None:
            with _SHAPES:
                if cls._known_shape is None:
                    cls._known_shape = shape_of(
                        cls._function, place_of(cls), in_loop=not cls.blocking, reduce=cls._reduced
                    )
        return cls._known_shape

    @classmethod
    def _reference(cls) -> tuple[str, str]:
        """Return the module and the name by which another process finds the job."""
        module = sys.modules.get(cls.__module__)
        names = [cls.__qualname__, *vars(module)] if module is not None else []
        for name in names:
            if type(_found(module, name)) is cls:
                return "__main__" if cls.__module__ == "__mp_main__" else cls.__module__, name
        raise PicklingError(
            f"{cls.name}: {place_of(cls)} is not this job, so another process cannot import it; keep the job under a"
            " name at the top of its module"
        )

    @classmethod
    def _reduced(cls, data: msgspec.Struct) -> tuple[Any, ...]:
        """Return how the data are pickled: their type has no name to be imported by, but the job has."""
        return _restored, (*cls._reference(), {name: getattr(data, name) for name in data.__struct_fields__})

    def _data_of(self, args: Any, kwargs: Any) -> msgspec.Struct:
        shape = self._shape()
        try:
            bound = shape.given.bind(*args, **kwargs)
        except TypeError as error:
            why = self._advice(kwargs) or str(error)
            raise ArgumentsError(f"{self.name}: {why}; expected {self.name}{shape.given}") from None
        return shape.data(**bound.arguments)

    def _advice(self, kwargs: Mapping[str, object]) -> str:
        """Return what is wrong with an argument that is none of the function's but means something else; "" if none."""
        shape = self._shape()
        for name in kwargs:
            if name in shape.needs:
                return f"{name} is provided when the job runs, so it is no argument of an enqueue"
            if name in _SETTINGS and name not in shape.given.parameters:
                return f"{name} is a setting; write {self.__name__}.options({name}=…).enqueue(…)"
            advice = None if name in shape.given.parameters else advice_for_function(name)
            if advice is not None:
                return f"{name} is no argument of the function: {advice}"
        return ""

    def _arguments(self, job: AnyJob) -> dict[str, Any]:
        """Return the function's arguments for a running job, except those that are provided."""
        shape = self._shape()
        arguments = {name: getattr(job.data, name) for name in shape.data.__struct_fields__}
        if shape.job is not None:
            arguments[shape.job] = job
        return arguments

    def _called(self, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the function's arguments for a direct call, except those that are to be provided."""
        shape = self._shape()
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in shape.needs or name == shape.job}
        try:
            bound = shape.given.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}() {error}; expected {self.__name__}{shape.given}") from None
        bound.apply_defaults()
        if shape.job is not None and shape.job not in given:
            running = running_job.get(None)
            if running is None:
                raise JobStateError(
                    f"{self.name}: a call passes on the running job, and no job runs here; give {shape.job}=…, or test"
                    " it with rexecutor.testing.perform"
                )
            given[shape.job] = running
        return {**bound.arguments, **given}


class AsyncJobFunction(JobFunction[P, Result], Generic[P, Result]):
    """An `async def` as a job; see `job`."""

    async def execute(self, job: AnyJob) -> Any:
        """Call the function with the job's data and what is provided."""
        shape, arguments = self._shape(), self._arguments(job)
        if not shape.needs:
            return await self._run(arguments)
        async with provided(shape.needs, ()) as values:
            return await self._run({**arguments, **values})

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run the function here and now, without a store.

        What is provided is made for this call, unless it is given by name. If the function returns `Cancel` or
        `Snooze`, so does the call.
        """
        arguments = self._called(args, dict(kwargs))
        async with provided(self._shape().needs, arguments) as values:
            return await self._run({**arguments, **values})

    async def _run(self, arguments: dict[str, Any]) -> Any:
        function = self._function
        return await to_await(self, self._shape().call(function, arguments), function)


class BlockingJobFunction(JobFunction[P, Result], Generic[P, Result]):
    """A plain `def` as a job, which runs in a thread or a child process; see `job`."""

    def execute(self, job: AnyJob) -> Any:
        """Call the function with the job's data and what is provided."""
        shape, arguments = self._shape(), self._arguments(job)
        if not shape.needs:
            return self._run(arguments)
        with provided_sync(shape.needs, ()) as values:
            return self._run({**arguments, **values})

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run the function here and now, without a store.

        What is provided is made for this call, unless it is given by name. If the function returns `Cancel` or
        `Snooze`, so does the call.
        """
        arguments = self._called(args, dict(kwargs))
        with provided_sync(self._shape().needs, arguments) as values:
            return self._run({**arguments, **values})

    def _run(self, arguments: dict[str, Any]) -> Any:
        function = self._function
        return not_to_await(self, self._shape().call(function, arguments), function)


class JobOptions(Generic[P, Result]):
    """A function job with settings for its enqueues; see `JobFunction.options`."""

    def __init__(
        self,
        function: JobFunction[P, Result],
        builder: JobBuilder[Any, Any, Result],
        connection: object,
        backend: Backend | Transaction | SyncTransaction | None,
    ) -> None:
        self._function = function
        self._builder = builder
        self._connection = connection
        self._backend: Any = backend  # the enqueue checks whether it is one to await or not

    @marked_async
    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, JobHandle[Any, Any, Result]]:
        """Store a job with these arguments and settings; see `JobFunction.enqueue`."""
        return self._with_data(*args, **kwargs).enqueue(connection=self._connection, backend=self._backend)

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[Any, Any, Result]:
        """Store a job with these arguments and settings, from code without an event loop."""
        return self._with_data(*args, **kwargs).enqueue_sync(connection=self._connection, backend=self._backend)

    def new(self, /, *args: P.args, **kwargs: P.kwargs) -> JobBuilder[Any, Any, Result]:
        """Return a job with these arguments and settings that is not stored yet, for `enqueue_many`.

        Raises:
            ArgumentsError: The function does not take these arguments.
            ConfigurationError: `options` was given a connection or a backend; give it to `enqueue_many` instead.
        """
        if self._connection is not None or self._backend is not None:
            given = "backend" if self._connection is None else "connection"
            raise ConfigurationError(
                f"{self._function.name}: new: options was given {given}=…; give it to enqueue_many instead"
            )
        return self._with_data(*args, **kwargs)

    def _with_data(self, /, *args: P.args, **kwargs: P.kwargs) -> JobBuilder[Any, Any, Result]:
        return self._builder.with_data(self._function.data(*args, **kwargs))


_SETTINGS: Final = frozenset(inspect.signature(JobFunction.options).parameters) - {"self"}
"""Names of the settings of an enqueue, for messages."""


class _Anything:
    """Only a parameter that takes anything takes this: `Any`, `object`, or one without annotation.

    To a type checker such a first parameter may be the job or data, so it accepts any arguments of an enqueue then.
    """


class _AsyncDecorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Anything, ...], Awaitable[Result | Cancel | Snooze]], /
    ) -> AsyncJobFunction[..., Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AnyJob, P], Awaitable[Result | Cancel | Snooze]], /
    ) -> AsyncJobFunction[P, Result]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[Result | Cancel | Snooze]], /
    ) -> AsyncJobFunction[P, Result]: ...


class _BlockingDecorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Anything, ...], Result | Cancel | Snooze], /
    ) -> BlockingJobFunction[..., Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AnyJob, P], Result | Cancel | Snooze], /
    ) -> BlockingJobFunction[P, Result]: ...
    @overload
    def __call__(self, function: Callable[P, Result | Cancel | Snooze], /) -> BlockingJobFunction[P, Result]: ...


@overload
def job(
    function: Callable[Concatenate[_Anything, ...], Awaitable[Result | Cancel | Snooze]], /
) -> AsyncJobFunction[..., Result]: ...
@overload
def job(
    function: Callable[Concatenate[AnyJob, P], Awaitable[Result | Cancel | Snooze]], /
) -> AsyncJobFunction[P, Result]: ...
@overload
def job(function: Callable[P, Awaitable[Result | Cancel | Snooze]], /) -> AsyncJobFunction[P, Result]: ...
@overload
def job(
    *,
    name: str | None = ...,
    max_attempts: int = ...,
    max_concurrency: int | None = ...,
    blocking: Literal[False] = ...,
    timeout: timedelta | None = ...,
    backoff: Backoff | None = ...,
    unique: UniquenessCriteria | None = ...,
    discard_on: tuple[type[BaseException], ...] = ...,
) -> _AsyncDecorator: ...
@overload
def job(
    *,
    name: str | None = ...,
    max_attempts: int = ...,
    max_concurrency: int | None = ...,
    blocking: Literal[True, "thread", "process"],
    timeout: timedelta | None = ...,
    backoff: Backoff | None = ...,
    unique: UniquenessCriteria | None = ...,
    discard_on: tuple[type[BaseException], ...] = ...,
) -> _BlockingDecorator: ...
def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    max_attempts: int = 5,
    max_concurrency: int | None = None,
    blocking: bool | Literal["thread", "process"] = False,
    timeout: timedelta | None = None,
    backoff: Backoff | None = None,
    unique: UniquenessCriteria | None = None,
    discard_on: tuple[type[BaseException], ...] = (),
    **others: object,  # not in the overloads: type checkers refuse them
) -> Any:
    """Make a job of a function: `@job` over an `async def`, or `@job(blocking=True)` over a plain `def`.

    ```python
    @job(max_attempts=3)
    async def send_email(to: str, subject: str = "hello") -> int: ...

    handle = await send_email.enqueue("bob@example.com", subject="hi")
    ```

    A first parameter annotated `Job[…]` receives the running job. Parameters annotated with `Provide` are made when
    the job runs. All others are the job's data: JSON must be able to hold their types. What the function returns is
    the job's result, of the type of its return annotation; without one, no result is stored. If it returns `Cancel` or
    `Snooze`, that has the same effect as in `Executor.execute`.

    Args:
        function: The function. Other decorators may stand between it and `@job`.
        name: Name of the job in stores, 1 to 128 characters of `A-Z a-z 0-9 _ . : -`; None for the function's own.
            Never change it while jobs wait.
        max_attempts: How many attempts a job may have before a failure discards it: 1 to 32,767.
        max_concurrency: How many of these jobs one `Rexecutor` runs at a time, 1 or more; None for no limit of their
            own.
        blocking: True or `"thread"` for a plain `def` that runs in a thread, `"process"` for a child process.
        timeout: How long an attempt may take, above zero; None for no limit.
        backoff: How long to wait before the next attempt: a strategy, or a function of the failed job. None for 4 s,
            8 s, 16 s …, at most 7 days, with 10 % of jitter either way.
        unique: Which of these jobs must not be enqueued twice; None for no such rule.
        discard_on: Exceptions that discard the job at once, without another attempt; their subclasses too.
        others: None. A setting of another library is refused with what to write instead.

    Raises:
        DefinitionError: The function cannot be a job: it has `*args`, `**kwargs` or positional-only parameters; JSON
            cannot hold a type or a default; it is a plain `def` and `blocking` is False, or the other way round; or a
            setting is out of range. If an annotation names something that is not defined yet, it is resolved when the
            job is first used: given to a `Rexecutor`, or enqueued.
    """
    for other in others:
        raise DefinitionError(f"job: {other} is not a setting: {advice_for_function(other) or _KNOWN}")
    settings: dict[str, Any] = {
        "name": name,
        "max_attempts": max_attempts,
        "max_concurrency": max_concurrency,
        "blocking": blocking,
        "uniqueness_criteria": unique,
        "discard_on": discard_on,
        "_timeout": timeout,
        "_backoff": backoff,
    }
    return partial(_made, settings) if function is None else _made(settings, function)


def _made(settings: dict[str, Any], function: Any) -> JobFunction[Any, Any]:
    """Return the job that is made of the function."""
    _check_kind(function)
    where = place_of(function)
    _check_settings(where, settings)
    # For a decorated function only a call can tell.
    is_plain = not (inspect.iscoroutinefunction(function) or hasattr(function, "__wrapped__"))
    how = "write @job(blocking=True)"
    check_kind_of_def(f"{where}:", function, settings["blocking"], is_plain=is_plain, how=how)
    _check_importable(where, function, settings["blocking"])
    check_parameters(function, where)
    if settings["name"] is None and function.__name__ == "<lambda>":
        raise DefinitionError(f"{where}: a lambda has no name; give it one, as in job(name=…), or define it by `def`")
    base: type[JobFunction[Any, Any]] = BlockingJobFunction if settings["blocking"] else AsyncJobFunction
    backoff = settings["_backoff"]
    body: dict[str, Any] = {
        **settings,
        "name": function.__name__ if settings["name"] is None else settings["name"],
        "_function": staticmethod(function),
        "_backoff": staticmethod(backoff)
        if callable(backoff) and not isinstance(backoff, BackoffStrategy)
        else backoff,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
    }
    cls = cast(
        "type[JobFunction[Any, Any]]", new_class(function.__name__, (base,), exec_body=lambda own: own.update(body))
    )
    return cls()


def _check_kind(function: Any) -> None:
    """Raise a `DefinitionError` unless this is a function, maybe a decorated one."""
    advice = ""
    if isinstance(function, JobFunction):
        advice = "it is a job already; write @job once"
    elif inspect.isclass(function):
        advice = "for a class, subclass Executor"
    elif isinstance(function, staticmethod):
        advice = "write @staticmethod above @job"
    elif isinstance(function, classmethod) or inspect.ismethod(function):
        advice = _NO_METHODS
    elif not callable(function):
        advice = "settings are keywords, as in @job(name=…)"
    elif not hasattr(function, "__qualname__") or not hasattr(function, "__module__"):
        advice = "define a function that calls it"
    if advice:
        raise DefinitionError(f"job: a function expected, not {function!r}; {advice}")


def _check_settings(where: str, settings: dict[str, Any]) -> None:
    """Raise a `DefinitionError` if a setting is wrong that the executor's checks do not know by its name."""
    check_blocking(where, settings["blocking"])
    if settings["_timeout"] is not None:
        checked_delay(f"{where}: timeout", settings["_timeout"], least=_SHORTEST_TIMEOUT, error=DefinitionError)
    if settings["uniqueness_criteria"] is not None:
        checked_criteria(f"{where}: unique", settings["uniqueness_criteria"], error=DefinitionError)
    backoff = settings["_backoff"]
    if inspect.iscoroutinefunction(backoff) or not (
        backoff is None or isinstance(backoff, BackoffStrategy) or takes(backoff, 1)
    ):
        expected = "a BackoffStrategy, such as BackoffStrategy.constant(…), or a plain function of the failed job"
        raise mistake(f"{where}: backoff", expected, backoff, error=DefinitionError)


def _check_importable(where: str, function: Any, blocking: object) -> None:
    """Raise a `DefinitionError` if a child process is asked for and could not import the function."""
    if blocking == "process" and "<" in function.__qualname__:
        raise DefinitionError(
            f'{where}: blocking is "process", but a child process cannot import a lambda or a function that another one'
            " defines; define it at the top of a module"
        )


def _imported(module: str, qualified_name: str) -> Any:
    """Return the function job of that name, in a process that unpickles it."""
    return _found(importlib.import_module(module), qualified_name)


def _found(module: object, qualified_name: str) -> Any:
    found: Any = module
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    return found


def _restored(module: str, qualified_name: str, values: dict[str, Any]) -> Any:
    """Return the unpickled data of a function job."""
    return _imported(module, qualified_name).data(**values)
