"""Middleware: context managers of the application, around each run of a job and around each enqueue."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast, get_origin, get_type_hints

from rexecutor.affinity import GUARD
from rexecutor.backend.base import Backend
from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import mistake
from rexecutor.model.job import Job

Manager: TypeAlias = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
"""A context manager, plain or asynchronous."""

AroundExecute: TypeAlias = Callable[[Job[Any, Any, Any]], Manager]
"""Returns the context manager around one run of the job."""

T = TypeVar("T")


def sync_manager(manager: Manager) -> AbstractContextManager[Any] | None:
    """Return the context manager if it is a plain one; None if it is asynchronous. One that is both counts as plain."""
    return cast("AbstractContextManager[Any]", manager) if _is_plain(type(manager)) else None


def parted(
    managers: Iterable[Manager],
) -> tuple[Sequence[AbstractContextManager[Any]], Sequence[AbstractAsyncContextManager[Any]]]:
    """Return the plain context managers, and the asynchronous ones."""
    plain: list[Any] = []
    asynchronous: list[Any] = []
    for manager in managers:
        (plain if _is_plain(type(manager)) else asynchronous).append(manager)
    return plain, asynchronous


@lru_cache(maxsize=1_000)
def _is_plain(kind: type[object]) -> bool:
    """Whether instances are plain context managers. Kept by class, because the check of an abstract class is slow."""
    return issubclass(kind, AbstractContextManager)  # pyright: ignore[reportGeneralTypeIssues] - at run time it may


def managers_of(what: str, middleware: Sequence[Callable[[T], Manager]], of: T) -> Sequence[Manager]:
    """Return the context managers that the middleware makes.

    Raises:
        ConfigurationError: What the middleware returned is not a context manager.
    """
    made: list[Manager] = []
    for one in middleware:
        manager = one(of)
        made.append(manager if _is_plain(type(manager)) else async_manager(what, one, manager))
    return made


def async_manager(what: str, middleware: object, manager: object) -> AbstractAsyncContextManager[Any]:
    """Return an asynchronous context manager, which is no plain one.

    Raises:
        ConfigurationError: What the middleware returned is not a context manager.
    """
    if isinstance(manager, AbstractAsyncContextManager):
        return cast("AbstractAsyncContextManager[Any]", manager)
    raise ConfigurationError(
        f"{what}: {name_of(middleware)} returned a value of type {type(manager).__name__}, which is not a context"
        " manager; decorate it with `@contextmanager` or `@asynccontextmanager`"
    )


def name_of(middleware: object) -> str:
    """Return the middleware's qualified name, or that of its class."""
    name: object = getattr(middleware, "__qualname__", None)
    return name if isinstance(name, str) else type(middleware).__qualname__


def checked_middleware(what: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return the middleware, or raise a `ConfigurationError` unless each can be called, and returns at once."""
    if callable(given) or isinstance(given, str) or not isinstance(given, Iterable):
        advice = "put it in a list" if callable(given) else ""
        raise mistake(what, "an iterable of callables", given, advice)
    found = tuple(given)
    for one in found:
        if not callable(one):
            raise mistake(f"{what}: each", "a callable that returns a context manager", one)
        if inspect.iscoroutinefunction(one) or inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
            raise ConfigurationError(
                f"{what}: {name_of(one)} does not return a context manager; decorate it with `@contextmanager` or"
                " `@asynccontextmanager`"
            )
        if _returned_by(one) is type(None):
            raise ConfigurationError(
                f"{what}: {name_of(one)} returns None, and must return a context manager; write it with one `yield`,"
                " and decorate it with `@contextmanager` or `@asynccontextmanager`"
            )
    return found


def _returned_by(middleware: object) -> object:
    """Return the class that the middleware is annotated to return, as far as that is known."""
    try:
        hint: object = get_type_hints(middleware).get("return")
    except Exception:  # noqa: BLE001 - an annotation may name what does not exist at run time
        return None
    return get_origin(hint) or hint


def is_asynchronous(middleware: object) -> bool:
    """Whether the middleware certainly returns asynchronous context managers, which stay in the node's own process.

    That is so for a function under `@asynccontextmanager`, for a class, and for what is annotated accordingly.
    """
    made: object = middleware
    if not isinstance(middleware, type) and callable(middleware):
        if inspect.isasyncgenfunction(inspect.unwrap(middleware)):
            return True
        made = _returned_by(middleware)
    return isinstance(made, type) and hasattr(made, "__aenter__") and not hasattr(made, "__enter__")


async def run_within(
    managers: Sequence[Manager], what: Callable[[], Awaitable[T]], swallowed: Callable[[], T], at: int = 0
) -> T:
    """Await what `what` returns within these context managers, the first outermost, and return its result.

    If one of them swallows an exception, return what `swallowed` returns.
    """
    if at == len(managers):
        return await what()
    manager, at = managers[at], at + 1
    within = what if at == len(managers) else partial(run_within, managers, what, swallowed, at)
    if _is_plain(type(manager)):
        with cast("AbstractContextManager[Any]", manager):
            return await within()
    else:
        async with cast("AbstractAsyncContextManager[Any]", manager):
            return await within()
    return swallowed()


def call_within(
    managers: Sequence[AbstractContextManager[Any]], what: Callable[[], T], swallowed: Callable[[], T], at: int = 0
) -> T:
    """Call `what` within these context managers, the first outermost; otherwise the same as `run_within`."""
    if at == len(managers):
        return what()
    with managers[at]:
        return call_within(managers, what, swallowed, at + 1)
    return swallowed()


class _Registered(NamedTuple):
    middleware: Callable[[Any], Manager]
    backend: Backend


class _AroundEnqueue:
    """The middleware around enqueues that is in effect. Each change makes a new tuple, so that readers need no lock."""

    def __init__(self) -> None:
        self.all: tuple[_Registered, ...] = ()


_AROUND_ENQUEUE: Final = _AroundEnqueue()


def add_around_enqueue(middleware: Callable[[Any], Manager], backend: Backend) -> Callable[[], None]:
    """Put middleware around the enqueues into this backend. Return a function that takes it away."""
    registered = _Registered(middleware, backend)
    with GUARD:
        _AROUND_ENQUEUE.all = (*_AROUND_ENQUEUE.all, registered)

    def remove() -> None:
        with GUARD:
            _AROUND_ENQUEUE.all = tuple(one for one in _AROUND_ENQUEUE.all if one is not registered)

    return remove


def around_enqueue_of(backend: Backend) -> Sequence[Callable[[Any], Manager]]:
    """Return the middleware around enqueues into this backend, each once, in the order in which it was added."""
    found: list[Callable[[Any], Manager]] = []
    for middleware, of in _AROUND_ENQUEUE.all:
        if of is backend and middleware not in found:
            found.append(middleware)
    return found
