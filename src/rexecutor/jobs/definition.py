"""What a subclass of `Executor` defines, and the checks of it when the class is made.

A mistake in a class is found at its definition, and does not wait for the first job.
"""

import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta
from difflib import get_close_matches
from types import CodeType, CoroutineType, FunctionType, MethodType
from typing import Any, ClassVar, Final, Generic, Literal, NamedTuple, cast

from rexecutor.errors import DefinitionError, InvalidJobError
from rexecutor.model.backoff import DEFAULT_BACKOFF
from rexecutor.model.checks import checked_int, checked_name, mistake
from rexecutor.model.job import Data, Job, Metadata, Result, checked_max_attempts
from rexecutor.model.outcomes import ExecutionResult
from rexecutor.model.unique import UniquenessCriteria, checked_criteria

_DECORATORS: Final = 9
"""How many nested decorators of `execute` an error message looks at."""
_LONG_NAMES: Final = ("max_attempts", "max_concurrency", "uniqueness_criteria")
_close_to: Final = functools.cache(functools.partial(get_close_matches, possibilities=_LONG_NAMES, n=1, cutoff=0.85))
_PLAIN: Final = (str, int, float, tuple, list, set, frozenset, dict, timedelta, type(None))
"""Types of the values of settings. Methods, properties and clients are the executor's own, whatever their names."""
_OF_OTHERS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("queue", "queue_name", "queues"),
        "there are no queues; a Rexecutor runs the executors that it is given by with_executor",
    ),
    **dict.fromkeys(
        ("retry", "retries", "max_retries", "max_tries", "tries", "attempts", "retry_limit"),
        "set max_attempts, which counts the first attempt too",
    ),
    **dict.fromkeys(
        ("retry_delay", "retry_backoff", "retry_backoff_max", "retry_jitter", "default_retry_delay"),
        "define `def backoff(self, job)`",
    ),
    **dict.fromkeys(
        ("autoretry_for", "retry_for", "retry_on", "throws"),
        "any exception is a failed attempt; set discard_on for those that must not be retried",
    ),
    **dict.fromkeys(
        ("time_limit", "soft_time_limit", "job_timeout", "timeout_seconds", "timeout_ms"),
        "define `def timeout(self, job)`",
    ),
    **dict.fromkeys(("acks_late", "reject_on_worker_lost"), "a job is always completed after it has run; leave it out"),
    "rate_limit": "rates are not limited; max_concurrency limits how many jobs run at a time",
    **dict.fromkeys(("concurrency", "concurrency_limit", "max_workers"), "set max_concurrency"),
    **dict.fromkeys(
        ("countdown", "eta", "run_at", "scheduled_at", "schedule_at", "schedule_in"),
        "give it when a job is enqueued: enqueue(…, schedule_in=…) or schedule_at=…",
    ),
    **dict.fromkeys(
        ("expires", "expires_in", "expires_at"),
        "give it when a job is enqueued: enqueue(…, expires_in=…) or expires_at=…",
    ),
    **dict.fromkeys(
        ("cron", "crontab", "schedule", "run_every"), "give the schedule to the Rexecutor: with_cron_executor(…)"
    ),
    **dict.fromkeys(
        ("unique", "unique_for", "unique_by", "unique_key", "queueing_lock"),
        "set uniqueness_criteria, for example to UniquenessCriteria.by_executor()",
    ),
    "tags": "give them when a job is enqueued: enqueue(…, tags=…)",
    "priority": "give it when a job is enqueued: enqueue(…, priority=…)",
    **dict.fromkeys(
        ("ignore_result", "store_result", "store_results", "result_ttl"),
        "a result is stored if its type is the third in the brackets of Executor[…]; leave it out",
    ),
    "serializer": "data are JSON of the type in the brackets of Executor[…]; leave it out",
    **dict.fromkeys(("task_name", "job_name"), "set name"),
}
_OF_OTHERS_FOR_FUNCTIONS: Final[dict[str, str]] = {
    **_OF_OTHERS,
    **dict.fromkeys(
        ("retry_delay", "retry_backoff", "retry_backoff_max", "retry_jitter", "default_retry_delay"), "set backoff"
    ),
    **dict.fromkeys(("time_limit", "soft_time_limit", "job_timeout", "timeout_seconds", "timeout_ms"), "set timeout"),
    **dict.fromkeys(
        ("countdown", "eta", "delay", "run_at", "scheduled_at", "schedule_at", "schedule_in"),
        "give it when a job is enqueued: options(schedule_in=…).enqueue(…), or schedule_at=…",
    ),
    **dict.fromkeys(
        ("expires", "expires_in", "expires_at"),
        "give it when a job is enqueued: options(expires_in=…).enqueue(…), or expires_at=…",
    ),
    **dict.fromkeys(
        ("uniqueness_criteria", "unique_for", "unique_by", "unique_key", "queueing_lock"),
        "set unique, for example to UniquenessCriteria.by_data()",
    ),
    "tags": "give them when a job is enqueued: options(tags=…).enqueue(…)",
    "priority": "give it when a job is enqueued: options(priority=…).enqueue(…)",
    **dict.fromkeys(
        ("ignore_result", "store_result", "store_results", "result_ttl"),
        "a result is stored if the function has a return annotation; leave it out",
    ),
    "serializer": "data are JSON of the types of the parameters; leave it out",
    **dict.fromkeys(
        ("bind", "pass_context", "context"), "a first parameter that is annotated `Job[…]` receives the running job"
    ),
}
SIGNATURE_OPTIONS: Final[dict[str, Any]] = {}
"""For `inspect.signature`, so that it does not evaluate annotations: they may use names that are defined later."""
if sys.version_info >= (3, 14):  # which evaluates them when they are asked for
    from annotationlib import Format

    SIGNATURE_OPTIONS["annotation_format"] = Format.STRING


class DeclaredTypes(NamedTuple):
    """The types that an executor declares: anything that is valid in an annotation."""

    data: Any
    metadata: Any
    result: Any


class ExecutorDefinition(ABC, Generic[Data, Metadata, Result]):
    """What a subclass of `Executor` defines: the name, the settings and the code of its jobs.

    `Executor` adds what can be done with them, such as enqueueing. The modules that do that need only this class.
    """

    name: ClassVar[str]
    """Name of the executor in stores: 1 to 128 characters of `A-Z a-z 0-9 _ . : -`. Never change it while jobs wait."""
    max_attempts: ClassVar[int] = 5
    """How many attempts a job may have before a failure discards it: 1 to 32,767."""
    max_concurrency: ClassVar[int | None] = None
    """How many jobs of this executor one `Rexecutor` runs at a time; None for no limit except the `Rexecutor`'s own.

    For child processes None means as many as the machine has processors.
    """
    blocking: ClassVar[bool | Literal["thread", "process"]] = False
    """Whether `execute` is a plain `def`, which runs in a thread (True or `"thread"`) or in a child process.

    A `Rexecutor` has `max_threads` threads. With `"process"` each job runs in a child process instead, which a timeout
    or a cancel really ends; see `execute`.
    """
    uniqueness_criteria: ClassVar[UniquenessCriteria | None] = None
    """Which jobs must not be enqueued twice. `JobBuilder.unique` overrides it for one job."""

    discard_on: ClassVar[tuple[type[BaseException], ...]] = ()
    """Exceptions that discard the job at once, without another attempt; their subclasses too."""

    @classmethod
    def declared_types(cls) -> DeclaredTypes | None:
        """Return the types of the executor's jobs, or None if they are those in its brackets, `Executor[…]`."""
        return None

    @abstractmethod
    def execute(self, job: Job[Data, Metadata, Any]) -> Result | ExecutionResult | Awaitable[Result | ExecutionResult]:
        """Do the work: `async def`, or `def` with `blocking = True`.

        Return the result when the work is done: a value of the third type in the brackets of `Executor[…]`, or None
        if there is none. Return `Cancel(reason)` to give the job up, `Snooze(delay)` to run it again later. A result
        of another type, or a larger one than `Limits.result`, is a failed attempt; if no type is declared, a value is
        ignored, and logged as a warning once for each executor. Any exception is a failed attempt. One job may run
        more than once: if the process dies, another process runs the job again.

        An `async def` is cancelled by a timeout, a cancel and a shutdown. A thread cannot be stopped: the outcome is
        recorded, and the thread holds its slot until it ends. A child process (`blocking = "process"`) gets a SIGTERM,
        which runs `finally` blocks, and a SIGKILL after 5 s. If the job kills its process (by a segmentation fault, or
        by using too much memory), only the attempt of this job fails, with an error of the kind `lost`.

        A child process works on a copy of the executor, made when the process starts. The executor must therefore be
        picklable, and there is no global backend in the child.
        """

    def backoff(self, job: Job[Data, Metadata, Any]) -> timedelta:
        """Return how long to wait before the next attempt. Called after a failure, which is `job.errors[-1]`.

        The default is 4 s, 8 s, 16 s …, at most 7 days, with 10 % of jitter either way. The result is clamped to the
        range from 0 to 365 days. If this method raises, the default is used.
        """
        return DEFAULT_BACKOFF(job.attempt)

    def timeout(self, job: Job[Data, Metadata, Any]) -> timedelta | None:  # noqa: ARG002 - for subclasses
        """Return how long the attempt may take; None, the default, for no limit."""
        return None


def place_of(defined: type | Callable[..., object]) -> str:
    """Return the full name of a class or a function, with its module, for messages."""
    return f"{defined.__module__}.{defined.__qualname__}"


def check_definition(executor_cls: type[ExecutorDefinition[Any, Any, Any]]) -> None:
    """Raise a `DefinitionError` if the class cannot run."""
    where = place_of(executor_cls)
    name = checked_name(f"{where}: name", getattr(executor_cls, "name", None), error=DefinitionError)
    try:
        checked_max_attempts(name, executor_cls.max_attempts)
    except InvalidJobError as error:
        raise DefinitionError(f"{where}: {error}") from error
    _check_settings(executor_cls, where)
    for method in ("execute", "backoff", "timeout"):
        if not takes(getattr(executor_cls, method), 2):
            raise DefinitionError(
                f"{where}: {method} must be a method (self, job), not {getattr(executor_cls, method)!r}"
            )
    for method in ("backoff", "timeout"):
        if inspect.iscoroutinefunction(getattr(executor_cls, method)):
            raise DefinitionError(f"{where}: {method} is `async def`; make it a plain `def`, which returns at once")
    execute, how = executor_cls.execute, "set `blocking = True`"
    check_kind_of_def(f"{where}: execute", execute, executor_cls.blocking, is_plain=_is_plain_def(execute), how=how)


def advice_for_function(name: str) -> str | None:
    """Return what to write for a keyword of another library, for a function job; None if it is none."""
    return _OF_OTHERS_FOR_FUNCTIONS.get(name)


def check_blocking(where: str, blocking: object) -> None:
    """Raise a `DefinitionError` unless this is a value of the setting `blocking`."""
    if blocking not in (False, True, "thread", "process"):
        raise mistake(f"{where}: blocking", 'False, True, "thread" or "process"', blocking, error=DefinitionError)


def check_kind_of_def(what: str, function: object, blocking: object, *, is_plain: bool, how: str) -> None:
    """Raise a `DefinitionError` if the function does not go with `blocking`.

    Args:
        what: What the function is, for messages.
        function: The function.
        blocking: The setting.
        is_plain: Whether it is known to return nothing awaitable.
        how: How to make a plain `def` one that blocks, for messages.
    """
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{what} is a generator; it must return, not yield")
    if blocking and inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{what} is `async def` and blocking is {blocking!r}; choose one")
    if not blocking and is_plain:
        raise DefinitionError(f"{what} is a plain `def`; make it `async def`, or {how}")


def to_await(executor: ExecutorDefinition[Any, Any, Any], result: object, function: object = None) -> Awaitable[object]:
    """Return the result of calling a non-blocking `execute`, for the caller to await.

    Args:
        executor: The executor.
        result: What the call returned.
        function: What was called, if it was not `execute` but a function job's function.

    Raises:
        TypeError: The result cannot be awaited.
    """
    if isinstance(result, CoroutineType) or inspect.isawaitable(result):
        return cast("Awaitable[object]", result)
    code = type(executor).execute if function is None else function
    name = "execute" if function is None else getattr(function, "__name__", "the function")
    raise TypeError(
        f"{executor.name}: {name} returned {type(result).__name__}, which cannot be awaited;{_advice(code)}"
        " or set `blocking = True`"
    )


def not_to_await(executor: ExecutorDefinition[Any, Any, Any], result: object, function: object = None) -> object:
    """Return the result of a blocking `execute`, or function job's function, which must not be awaitable.

    Raises:
        TypeError: The result should have been awaited, so the work has not been done.
    """
    if not inspect.isawaitable(result):
        return result
    type_name = type(cast("object", result)).__name__
    if isinstance(result, CoroutineType):
        result.close()  # otherwise Python warns that it was never awaited
    code = type(executor).execute if function is None else function
    name = "execute" if function is None else getattr(function, "__name__", "the function")
    raise TypeError(
        f"{executor.name}: {name} returned {type_name}, but the result of a blocking executor is not awaited;"
        f"{_advice(code)} or set `blocking = False`"
    )


def takes(function: object, count: int) -> bool:
    """Return whether the function can be called with exactly `count` positional arguments.

    For a decorated function, the decorator's wrapper counts and not the function it wraps. Annotations are not
    evaluated: they may use names that are imported only under `TYPE_CHECKING`.
    """
    try:
        signature = inspect.signature(
            cast("Any", _without_annotations(function)), follow_wrapped=False, **SIGNATURE_OPTIONS
        )
        signature.bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _check_settings(executor_cls: type[ExecutorDefinition[Any, Any, Any]], where: str) -> None:
    checked_int(f"{where}: max_concurrency", executor_cls.max_concurrency, 1, or_none=True, error=DefinitionError)
    check_blocking(where, executor_cls.blocking)
    _check_setting_names(executor_cls, where)
    discard_on: object = executor_cls.discard_on
    if not isinstance(discard_on, tuple) or not all(map(_is_exception, cast("tuple[object, ...]", discard_on))):
        what = "a tuple of exception classes, such as (ValueError,)"
        raise mistake(f"{where}: discard_on", what, discard_on, error=DefinitionError)
    if executor_cls.uniqueness_criteria is not None:
        checked_criteria(f"{where}: uniqueness_criteria", executor_cls.uniqueness_criteria, error=DefinitionError)


def _check_setting_names(executor_cls: type[ExecutorDefinition[Any, Any, Any]], where: str) -> None:
    """Raise a `DefinitionError` if the class, or a base that is an executor, has an attribute meant as a setting.

    A misspelt setting, or one of another library, would be ignored silently and the job would run with the default. Any
    other attribute is the executor's own, such as a template or a limit.
    """
    for ancestor in executor_cls.__mro__:
        if not issubclass(ancestor, ExecutorDefinition):
            continue
        for given, value in vars(cast("type[object]", ancestor)).items():
            # Only the long names: something so close to one of these is a typo, and not a name of the user's own.
            meant = _close_to(given)
            if meant and given not in _LONG_NAMES:
                raise DefinitionError(f"{where}: {given} is not a setting; did you mean {meant[0]}?")
            if given in _OF_OTHERS and isinstance(value, _PLAIN):
                own = f"if it is a value of your own, name it _{given}"
                raise DefinitionError(f"{where}: {given} is not a setting: {_OF_OTHERS[given]}; {own}")


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_plain_def(execute: object) -> bool:
    """Return whether `execute` is known to return nothing awaitable. For a decorated one only a call can tell."""
    is_function = inspect.isfunction(execute) or inspect.ismethod(execute) or inspect.isbuiltin(execute)
    return is_function and not (inspect.iscoroutinefunction(execute) or hasattr(execute, "__wrapped__"))


def _advice(function: object) -> str:
    """Return the advice for a message, naming the function's decorators that are not `async def`."""
    found: list[str] = []
    for _ in range(_DECORATORS):
        inner: object = getattr(function, "__wrapped__", None)
        if inner is None:
            break
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType) and not inspect.iscoroutinefunction(function):
            name = code.co_qualname.partition(".<locals>")[0]
            found.append(f"{name} ({code.co_filename}, line {code.co_firstlineno})")
        function = inner
    if not found:
        return " return what the `async def` returns,"
    return f" fix its decorator {', or '.join(found)}: it must return what the `async def` returns,"


def _without_annotations(function: object) -> object:
    if isinstance(function, FunctionType):
        bare = FunctionType(function.__code__, {}, argdefs=function.__defaults__, closure=function.__closure__)
        bare.__kwdefaults__ = function.__kwdefaults__
        return bare
    if isinstance(function, MethodType):
        return MethodType(cast("Any", _without_annotations(function.__func__)), function.__self__)
    if isinstance(function, functools.partial):
        part = cast("functools.partial[Any]", function)
        return functools.partial(cast("Any", _without_annotations(part.func)), *part.args, **part.keywords)
    if callable(function) and not isinstance(function, type):
        call: object = type(function).__call__
        if isinstance(call, FunctionType):
            return MethodType(cast("Any", _without_annotations(call)), function)
    return function
