"""Whether an executor class can run: checked where it is written."""

import inspect
import re
from typing import TYPE_CHECKING, Any

from rexecutor.errors import DefinitionError, InvalidJobError
from rexecutor.job import checked_max_attempts
from rexecutor.setting_names import check_setting_names
from rexecutor.uniqueness import UniquenessCriteria

if TYPE_CHECKING:
    from rexecutor.executor import Executor

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def place_of(kind: type) -> str:
    """Return the name of a class with its module, as messages show it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def check_definition(kind: "type[Executor[Any, Any]]") -> None:
    """Raise a `DefinitionError` where the class cannot run."""
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
        if not _takes_a_job(getattr(kind, method)):
            raise DefinitionError(f"{where}: {method} is {getattr(kind, method)!r}; a method (self, job) expected")
    if inspect.isasyncgenfunction(kind.execute) or inspect.isgeneratorfunction(kind.execute):
        raise DefinitionError(f"{where}: execute is a generator; it must return, not yield")
    blocking = kind.blocking
    if blocking and inspect.iscoroutinefunction(kind.execute):
        raise DefinitionError(f"{where}: execute is `async def` and blocking is {blocking!r}; choose one")
    if not blocking and not inspect.iscoroutinefunction(kind.execute):
        raise DefinitionError(f"{where}: execute is a plain `def`; make it `async def`, or set `blocking = True`")


def _check_settings(kind: "type[Executor[Any, Any]]", where: str) -> None:
    concurrency: object = kind.max_concurrency
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        raise DefinitionError(f"{where}: max_concurrency is {concurrency!r}, 1 or more expected, or None")
    blocking: object = kind.blocking
    if blocking not in (False, True, "thread", "process"):
        raise DefinitionError(f'{where}: blocking is {blocking!r}; False, True, "thread" or "process" expected')
    check_setting_names(kind, where)
    criteria: object = kind.uniqueness_criteria
    if criteria is not None and not isinstance(criteria, UniquenessCriteria):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
        raise DefinitionError(f"{where}: uniqueness_criteria is {criteria!r}; UniquenessCriteria.by_executor() or so")
    if criteria is not None and criteria.is_empty:
        raise DefinitionError(f"{where}: uniqueness_criteria say nothing; begin with by_executor(), by_key(…) or so")


def _takes_a_job(method: Any) -> bool:
    try:
        inspect.signature(method).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True
