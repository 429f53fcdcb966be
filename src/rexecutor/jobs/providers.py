"""Resources of function jobs: `Provide` in an annotation names the function that makes a parameter's value.

A provider is a function, plain or `async def`, or a context manager in any of its forms: a generator function, one
decorated with `contextmanager` or `asynccontextmanager`, or a class whose instances are context managers. Its own
parameters may be provided in turn. What a job needs is made once for it, and closed when it ends, the latest first.
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator, Hashable, Mapping
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from rexecutor.affinity import running_loop
from rexecutor.background import in_fresh_context, start_task
from rexecutor.errors import ConfigurationError, DefinitionError, RexecutorError

T = TypeVar("T")
Provider: TypeAlias = Callable[..., Any]
"""A function, or a context manager in any form, that makes a value."""
Needs: TypeAlias = Mapping[str, "Provide"]
"""The provided parameters of a function, by name."""

_overrides: Final[dict[Provider, list[Provider]]] = {}
"""What replaces each overridden provider; the last one counts. For the whole process, so that threads see it."""
_GUARD: Final = threading.Lock()

_NO_HASH: Final = "it has no hash, by which its value would be found again; a dataclass has one with `eq=False`"
_SHORTEST_CLOSE: Final = 0.1
"""Least time, in seconds, that each of a worker's values has to be closed in, and to end once that is cancelled."""


@dataclass(frozen=True, slots=True)
class Provide:
    """Marks a parameter of a function job whose value comes from a provider, not from the enqueue.

    ```python
    async def send(to: str, client: Annotated[AsyncClient, Provide(get_client)]) -> None: ...
    ```

    To a type checker it is an argument like any other. Give it the default `PROVIDED`, and an enqueue that leaves it
    out is correct to the type checker too.

    Raises:
        DefinitionError: The provider cannot be called or has no hash, or the scope is neither `"job"` nor `"worker"`.
    """

    provider: Provider
    """A plain or asynchronous function, or an (asynchronous) context manager: a generator function or a class, too.

    Its parameters are provided as well, or have defaults.
    """
    scope: Literal["job", "worker"] = "job"
    """`"job"`: made for each job, and closed when the job ends. `"worker"`: made once, when a job first needs it, and
    closed after the worker's last job. A child process is a worker of its own."""

    def __post_init__(self) -> None:
        if not callable(self.provider):
            raise DefinitionError(f"Provide({self.provider!r}): a function or a context manager expected")
        if not _has_hash(self.provider):
            raise DefinitionError(f"Provide({self.provider!r}): {_NO_HASH}")
        if self.scope not in ("job", "worker"):
            raise DefinitionError(f'Provide: scope is {self.scope!r}, "job" or "worker" expected')


class _Provided:
    """The type of `PROVIDED`."""

    def __repr__(self) -> str:
        return "PROVIDED"


PROVIDED: Final[Any] = _Provided()
"""Default of a provided parameter, so that type checkers let an enqueue and a call leave it out.

```python
async def send(to: str, client: Annotated[AsyncClient, Provide(get_client)] = PROVIDED) -> None: ...
```

It changes nothing when the job runs: the provider is asked either way.
"""


@contextmanager
def override_provider(provider: Callable[..., T], replacement: Callable[..., Any]) -> Generator[None]:
    """Replace a provider within the block, in all threads and tasks of this process. For tests.

    Blocks may be nested; the innermost one counts. A value of the scope `"worker"` that was made before the block is
    not used within it, except by another one that was made from it.

    Args:
        provider: The provider to replace, as it stands in `Provide(…)`.
        replacement: A function or a context manager. For a ready value, give `lambda: value`.

    Raises:
        ConfigurationError: One of them cannot be called, or has no hash.
    """
    for given in (provider, replacement):
        if not callable(given):
            raise ConfigurationError(
                f"override_provider: {given!r} cannot be called; give a function, such as `lambda: value`"
            )
        if not _has_hash(given):
            raise ConfigurationError(f"override_provider: {given!r}: {_NO_HASH}")
    with _GUARD:
        _overrides.setdefault(provider, []).append(replacement)
    try:
        yield
    finally:
        with _GUARD:
            _overrides[provider].remove(replacement)
            if not _overrides[provider]:
                del _overrides[provider]


def needs_of(function: Callable[..., Any]) -> Needs:
    """Return the parameters of the function that are annotated with `Provide`.

    Raises:
        NameError: An annotation names something that is not defined yet.
    """
    return _needs_of(function) if isinstance(function, Hashable) else _needs_of.__wrapped__(function)


@lru_cache(maxsize=1_000)
def _needs_of(function: Callable[..., Any]) -> Needs:
    """Inspect the annotations. Remembered, because each job asks for those of its providers."""
    target = function.__init__ if inspect.isclass(function) else function
    try:
        hints = get_type_hints(target, include_extras=True)
    except TypeError:  # a callable object, or a builtin: nothing is annotated
        return {}
    found: dict[str, Provide] = {}
    for name, hint in hints.items():
        if name != "return" and get_origin(hint) is Annotated:
            marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Provide)]
            if marks:
                found[name] = marks[-1]
    return found


def check_needs(where: str, needs: Needs, *, in_loop: bool, path: tuple[Provider, ...] = ()) -> None:
    """Raise a `DefinitionError` if a provider, or one that it needs, can never be called.

    Args:
        where: The function, for messages.
        needs: Its provided parameters.
        in_loop: Whether the function is `async def`. A plain `def` runs in a thread, where nothing can be awaited.
        path: The providers on the way here.
    """
    for name, need in needs.items():
        provider = need.provider
        shown = f"{where}: {name}: provider {_name(provider)}"
        if provider in path:
            raise DefinitionError(f"{shown} needs itself: {' → '.join(map(_name, (*path, provider)))}")
        if not in_loop and is_asynchronous(provider):
            raise DefinitionError(f"{shown} is asynchronous, and the function a plain `def`; give a plain provider")
        own = needs_of(provider)
        missing = [one for one in _required(provider) if one not in own]
        if missing:
            raise DefinitionError(
                f"{shown} has the parameter {missing[0]!r}; give it a default, or annotate it with Provide(…)"
            )
        if need.scope == "worker" and any(one.scope == "job" for one in own.values()):
            raise DefinitionError(f"{shown} lives as long as the worker, but needs what lives as long as one job")
        check_needs(where, own, in_loop=in_loop, path=(*path, provider))


def is_asynchronous(provider: Provider) -> bool:
    """Return whether the provider is known to need an event loop; otherwise only a call can tell."""
    inner = inspect.unwrap(provider)
    if inspect.isclass(provider):
        return hasattr(provider, "__aenter__") and not hasattr(provider, "__enter__")
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


class _Made(NamedTuple):
    """A value of a worker, and how to close it."""

    provider: str
    close: Callable[[], Coroutine[Any, Any, object]]
    """Closes it, and raises or returns what went wrong."""
    in_loop: bool
    """Whether it was made in the worker's loop, and so is closed there; otherwise in a thread, since it may block."""


class NotClosed(NamedTuple):
    """A provider whose value could not be closed, and why."""

    provider: str
    error: BaseException


class _MakingStoppedError(RexecutorError):
    """The value of a worker was not made, because the task that was making it was cancelled."""


class WorkerScope:
    """What is made once for a worker: one value per provider, used by its tasks and threads.

    An asynchronous provider is entered and left by a task of its own, in the worker's loop, since some context
    managers insist on one task. A plain one is entered by the job that needs it first.
    """

    def __init__(self) -> None:
        self._values: dict[Provider, Future[Any]] = {}
        self._made: list[_Made] = []
        self._lock = threading.Lock()

    async def value(self, provider: Provider) -> Any:
        """Return the provider's value; make it if this is the first call. A failure is raised to all who wait for it.

        After a failure, the next call tries again. If the job that makes the value is cancelled, one that waits for it
        makes it.
        """
        while True:
            with self._lock:
                made = self._values.get(provider)
                if is_first := made is None:
                    made = self._values[provider] = Future()
                    made.set_running_or_notify_cancel()  # so that a job that is cancelled does not cancel it
            if is_first:
                await self._make(provider, made)
            try:
                if not made.done() and (in_loop := running_loop()):
                    return await asyncio.wrap_future(made, loop=in_loop)
                return made.result()
            except _MakingStoppedError:
                if is_first:  # a provider that always stops would be called again for ever
                    raise

    async def close(self, timeout: float | None = None) -> list[NotClosed]:  # noqa: ASYNC109 - for all of them
        """Close what was made, the latest first. Return what could not be closed; it keeps no other from being closed.

        Args:
            timeout: Time for all of them together, in seconds; each has a tenth of a second at least. None for no
                limit. What takes longer is cancelled, or, if a thread closes it, left behind.
        """
        failed: list[NotClosed] = []
        clock = asyncio.get_running_loop().time
        until = None if timeout is None else clock() + timeout
        while self._made:
            one = self._made.pop()
            task = start_task(_closed(one))
            try:
                left = None if until is None else max(until - clock(), _SHORTEST_CLOSE)
                ended, _ = await asyncio.wait((task,), timeout=left)
            finally:
                task.cancel()  # which does nothing if it has ended
            if not ended:
                await asyncio.wait((task,), timeout=_SHORTEST_CLOSE)
                failed.append(NotClosed(one.provider, TimeoutError("it was not closed in time")))
            elif error := task.result():
                failed.append(NotClosed(one.provider, error))
        self._values.clear()
        return failed

    def close_sync(self) -> list[NotClosed]:
        """Close what was made, as `close` does, in a process without an event loop."""
        failed: list[NotClosed] = []
        while self._made:
            one = self._made.pop()
            try:
                without_loop(one.close())
            except BaseException as error:  # noqa: BLE001 - a provider may raise anything
                failed.append(NotClosed(one.provider, error))
        self._values.clear()
        return failed

    async def _make(self, provider: Provider, made: "Future[Any]") -> None:
        in_loop = running_loop() is not None
        if not in_loop or not _needs_loop(provider):
            stack = AsyncExitStack()
            try:
                made.set_result(await _entered(provider, stack, self, {}))
            except BaseException as error:
                self._fail(provider, made, error)
                raise
            self._made.append(_Made(_name(provider), stack.aclose, in_loop))
            return
        closing = asyncio.Event()
        task = start_task(self._live(provider, made, closing))

        async def close() -> BaseException | None:
            closing.set()
            return await task

        self._made.append(_Made(_name(provider), close, in_loop))

    async def _live(self, provider: Provider, made: "Future[Any]", closing: asyncio.Event) -> BaseException | None:
        """Hold the provider's value until it is to be closed. Return what went wrong then.

        Raises nothing: a `SystemExit` that left a task would end the event loop, and all jobs with it.
        """
        try:
            async with AsyncExitStack() as stack:
                made.set_result(await _entered(provider, stack, self, {}))
                await closing.wait()
        except BaseException as error:  # noqa: BLE001 - a provider may raise anything
            if made.done():
                return error
            self._fail(provider, made, error)
        return None

    def _fail(self, provider: Provider, made: "Future[Any]", error: BaseException) -> None:
        """Raise the error to all who wait for the value, unless it only concerns the one who makes it."""
        self._values.pop(provider, None)
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            error = _MakingStoppedError(f"provider {_name(provider)} was stopped before it had made its value")
        made.set_exception(error)


async def _closed(one: _Made) -> BaseException | None:
    """Close a worker's value and return what went wrong. Raises nothing, as `WorkerScope._live`."""
    try:
        found = await (one.close() if one.in_loop else _in_thread(one.close))
    except BaseException as error:  # noqa: BLE001 - a provider may raise anything
        return error
    return cast("BaseException | None", found or None)


async def _in_thread(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run work that waits for no loop in a daemon thread: one that hangs cannot keep the process from ending."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            without_loop(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)
        else:
            done.set_result(None)

    in_fresh_context(threading.Thread(target=run, name="rexecutor provider", daemon=True).start)
    await asyncio.wrap_future(done)


_worker: Final[ContextVar[WorkerScope | None]] = ContextVar("rexecutor_worker_scope", default=None)


@contextmanager
def worker_scope(scope: WorkerScope) -> Generator[WorkerScope]:
    """Use this scope for the jobs that run in the block, and in tasks that it starts."""
    token = _worker.set(scope)
    try:
        yield scope
    finally:
        _worker.reset(token)


def enter_worker_scope(scope: WorkerScope) -> None:
    """Use this scope for the jobs that start from the current context, from now on."""
    _worker.set(scope)


@asynccontextmanager
async def provided(needs: Needs, given: Collection[str]) -> AsyncGenerator[dict[str, Any]]:
    """Make the values of these parameters, except those that are given, for the block; close them at its end.

    Without a worker around it, as when a function job is called directly, what has the scope `"worker"` lives as long
    as the block. An error of the block is raised even if a provider swallows it: a job that failed, or was told to
    stop, is not complete because of that.
    """
    worker = _worker.get()
    own = WorkerScope() if worker is None else None
    raised: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            made: dict[Provider, Any] = {}
            scope = worker or cast("WorkerScope", own)
            values = {name: await _value(need, stack, scope, made) for name, need in needs.items() if name not in given}
            try:
                yield values
            except BaseException as error:
                raised = error
                raise
        if raised is not None:
            raise raised
    finally:
        raised = None  # its traceback refers to this frame: a cycle, which only the garbage collector would end
        if own is not None:
            failed = await own.close() if running_loop() else own.close_sync()
            if failed:
                raise failed[0].error


@contextmanager
def provided_sync(needs: Needs, given: Collection[str]) -> Generator[dict[str, Any]]:
    """Make the values as `provided` does, without an event loop."""
    block = provided(needs, given)
    values = without_loop(block.__aenter__())
    try:
        yield values
    except BaseException as error:
        if not without_loop(block.__aexit__(type(error), error, error.__traceback__)):
            raise
    else:
        without_loop(block.__aexit__(None, None, None))


def without_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, because all that it awaits is plain.

    Raises:
        ConfigurationError: It does wait, for an event loop.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    raise ConfigurationError("a provider waits for an event loop, in a function job that is a plain `def`")


async def _value(need: Provide, stack: AsyncExitStack, worker: WorkerScope, made: dict[Provider, Any]) -> Any:
    """Return the value of one need: the worker's, the one that this job has already, or a new one."""
    provider = _overridden(need.provider)
    if need.scope == "worker":
        return await worker.value(provider)
    if provider not in made:
        made[provider] = await _entered(provider, stack, worker, made)
    return made[provider]


async def _entered(provider: Provider, stack: AsyncExitStack, worker: WorkerScope, made: dict[Provider, Any]) -> Any:
    """Call the provider with what it needs, enter the context manager that it makes, and return the value."""
    needs = needs_of(provider)
    arguments = {name: await _value(need, stack, worker, made) for name, need in needs.items()}
    result: Any = _as_manager(provider)(**arguments)
    if inspect.isawaitable(result):
        result = await result
    elif _is_entered(provider, result):
        if isinstance(result, AbstractAsyncContextManager):
            return await stack.enter_async_context(cast("AbstractAsyncContextManager[Any]", result))
        return stack.enter_context(cast("AbstractContextManager[Any]", result))
    return result


def _as_manager(provider: Provider) -> Provider:
    """Return the provider; a bare generator function as the context manager that it is meant to be."""
    if inspect.isasyncgenfunction(provider):
        return asynccontextmanager(provider)
    if inspect.isgeneratorfunction(provider):
        return contextmanager(provider)
    return provider


def _is_entered(provider: Provider, result: object) -> bool:
    """Whether the result is to be entered: the provider is a class, or a function with a `yield`.

    The result of any other function is the value itself, even if it could be entered: a lock, a file, a connection.
    """
    if not isinstance(result, AbstractAsyncContextManager | AbstractContextManager):
        return False
    inner = inspect.unwrap(provider)
    return inspect.isclass(provider) or inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)


def _needs_loop(provider: Provider) -> bool:
    """Whether the provider, or one that it needs, is known to need an event loop."""
    return is_asynchronous(provider) or any(
        _needs_loop(_overridden(need.provider)) for need in needs_of(provider).values()
    )


def _overridden(provider: Provider) -> Provider:
    with _GUARD:
        replacements = _overrides.get(provider)
        return replacements[-1] if replacements else provider


def _required(provider: Provider) -> list[str]:
    try:
        parameters = inspect.signature(provider).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in kinds]


def _has_hash(provider: Provider) -> bool:
    try:
        hash(provider)
    except TypeError:
        return False
    return True


def _name(provider: Provider) -> str:
    return str(getattr(provider, "__qualname__", None) or repr(provider))
