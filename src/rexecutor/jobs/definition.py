"""Checks an executor class when it is defined, so that a mistake does not wait for the first job."""

import inspect
import re
from collections.abc import Awaitable
from types import CodeType, CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from rexecutor.errors import DefinitionError, InvalidJobError
from rexecutor.jobs.parameters import takes
from rexecutor.jobs.setting_names import check_setting_names
from rexecutor.model.job import checked_max_attempts
from rexecutor.model.unique import UniquenessCriteria

if TYPE_CHECKING:
    from rexecutor.jobs.executor import Executor

_DECORATORS: Final = 9
"""How many nested decorators of `execute` an error message looks at."""
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def place_of(kind: type) -> str:
    """Return the full name of a class, with its module, for messages."""
    return f"{kind.__module__}.{kind.__qualname__}"


def check_definition(kind: "type[Executor[Any, Any]]") -> None:
    """Raise a `DefinitionError` if the class cannot run."""
    where = place_of(kind)
    name: object = getattr(kind, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(f"{where}: name is {name!r}; set `name` to 1 to 128 characters of A-Z a-z 0-9 _ . : -")
    try:
        checked_max_attempts(name, kind.max_attempts)
    except InvalidJobError as error:
        raise DefinitionError(f"{where}: {error}") from error
    _check_settings(kind, where)
    for method in ("execute", "backoff", "timeout"):
        if not takes(getattr(kind, method), 2):
            raise DefinitionError(f"{where}: {method} is {getattr(kind, method)!r}; a method (self, job) expected")
    for method in ("backoff", "timeout"):
        if inspect.iscoroutinefunction(getattr(kind, method)):
            raise DefinitionError(f"{where}: {method} is `async def`; make it a plain `def`, which returns at once")
    if inspect.isasyncgenfunction(kind.execute) or inspect.isgeneratorfunction(kind.execute):
        raise DefinitionError(f"{where}: execute is a generator; it must return, not yield")
    blocking = kind.blocking
    if blocking and inspect.iscoroutinefunction(kind.execute):
        raise DefinitionError(f"{where}: execute is `async def` and blocking is {blocking!r}; choose one")
    if not blocking and _is_plain_def(kind.execute):
        raise DefinitionError(f"{where}: execute is a plain `def`; make it `async def`, or set `blocking = True`")


def to_await(executor: "Executor[Any, Any]", result: object) -> Awaitable[object]:
    """Return the result of calling a non-blocking `execute`, for the caller to await.

    Raises:
        TypeError: The result cannot be awaited.
    """
    if isinstance(result, CoroutineType) or inspect.isawaitable(result):
        return cast("Awaitable[object]", result)
    raise TypeError(
        f"{executor.name}: execute returned {type(result).__name__}, not something to await;{_advice(executor)}"
        " or set `blocking = True`"
    )


def not_to_await(executor: "Executor[Any, Any]", result: object) -> object:
    """Return the result of a blocking `execute`, which must not be awaitable.

    Raises:
        TypeError: The result should have been awaited, so the work has not been done.
    """
    if not inspect.isawaitable(result):
        return result
    kind: type[object] = type(result)
    if isinstance(result, CoroutineType):
        result.close()  # otherwise Python warns that it was never awaited
    raise TypeError(
        f"{executor.name}: execute returned {kind.__name__}, which a blocking executor does not await;"
        f"{_advice(executor)} or set `blocking = False`"
    )


def _check_settings(kind: "type[Executor[Any, Any]]", where: str) -> None:
    concurrency: object = kind.max_concurrency
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        raise DefinitionError(f"{where}: max_concurrency is {concurrency!r}, 1 or more expected, or None")
    blocking: object = kind.blocking
    if blocking not in (False, True, "thread", "process"):
        raise DefinitionError(f'{where}: blocking is {blocking!r}; False, True, "thread" or "process" expected')
    check_setting_names(kind, where)
    criteria: object = kind.uniqueness_criteria
    if criteria is not None and not isinstance(criteria, UniquenessCriteria):
        raise DefinitionError(f"{where}: uniqueness_criteria is {criteria!r}; UniquenessCriteria.by_executor() or so")
    if criteria is not None and criteria.is_empty:
        raise DefinitionError(f"{where}: uniqueness_criteria say nothing; begin with by_executor(), by_key(…) or so")


def _is_plain_def(execute: object) -> bool:
    """Return whether `execute` is known to return nothing awaitable. For a decorated one only a call can tell."""
    is_function = inspect.isfunction(execute) or inspect.ismethod(execute) or inspect.isbuiltin(execute)
    return is_function and not (inspect.iscoroutinefunction(execute) or hasattr(execute, "__wrapped__"))


def _advice(executor: "Executor[Any, Any]") -> str:
    """Return the advice for a message, naming the decorators of `execute` that are not `async def`."""
    found: list[str] = []
    function: object = type(executor).execute
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
        return " have it return what the `async def` returns,"
    return f" mend its decorator {', or '.join(found)}: it must return what the `async def` returns,"
