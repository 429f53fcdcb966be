"""The backend that an enqueue uses if none is given: set once for the process, or overridden for a block."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Final, TypeAlias

from rexecutor.backend.base import Backend
from rexecutor.background import in_fresh_context
from rexecutor.errors import GlobalBackendError
from rexecutor.model.checks import checked_instance

StandIn: TypeAlias = Callable[[Backend, Backend], Backend]
"""Returns the backend to use, given the one that a call has named and the overriding one."""


class _Override:
    """One block of `override_global_backend`, or one use of the pytest fixture."""

    def __init__(self, backend: Backend, outer: "_Override | None", stand_in: StandIn | None) -> None:
        """Record an override and the thread that begins it.

        Args:
            backend: The overriding backend.
            outer: The override that was in effect where this one began.
            stand_in: Given for the pytest fixture; it also applies to the overrides within.
        """
        self.backend: Final = backend
        self.outer: Final = outer
        self.stand_in: Final = stand_in or (outer and outer.stand_in)
        self.has_ended = False
        self.thread: Final = threading.get_ident()
        """The thread that began the block."""
        self._is_fixture = stand_in is not None
        self._task = _current_task()

    def goes_before(self, seen: "_Override | None") -> bool:
        """Return whether code in whose context `seen` is the innermost override uses this one, which began later.

        Contexts are not enough: fixtures run in contexts of their own, and threads may begin with an empty one. So
        code without an override in its context uses the latest one. Code with one uses that, unless a fixture of a
        narrower scope has begun another one within it. What another thread or a running task has begun is not a
        fixture's, and is for that thread or task.
        """
        if seen is None or self._is_fixture:
            return True
        return self.thread == seen.thread and not self._is_of_running_task() and self._is_within(seen)

    def end(self) -> None:
        """End the block; maybe in another context than the one where it began."""
        self.has_ended, self._task = True, None
        _overrides.remove(self)
        if _innermost.get() is self:
            _innermost.set(self.outer)

    def _is_of_running_task(self) -> bool:
        task = self._task  # another thread may end the block
        return task is not None and not task.done() and task.get_loop().is_running()

    def _is_within(self, other: "_Override") -> bool:
        outer = self.outer
        while outer is not None and outer is not other:
            outer = outer.outer
        return outer is other


_process: Final[list[Backend]] = []  # none or one
_overrides: Final[list[_Override]] = []
"""The overrides whose blocks have not ended, in the order in which they began, for all threads and contexts."""
_innermost: Final[ContextVar[_Override | None]] = ContextVar("rexecutor_override", default=None)
"""The override that began last in this context, or in the one that it is a copy of. Its block may have ended."""
_at_start: Final[ContextVar[Backend | None]] = ContextVar("rexecutor_at_start", default=None)
"""For jobs: the overriding backend when their node was started. Its block may have ended."""


def set_global_backend(backend: Backend) -> None:
    """Set the process's backend.

    Raises:
        GlobalBackendError: One is already set.
    """
    if _process:
        raise GlobalBackendError("a global backend is set already: stop the Rexecutor that set it first")
    _process.append(backend)


def unset_global_backend(backend: Backend) -> None:
    """Unset the process's backend; does nothing if another backend, or none, is set."""
    if _process and _process[0] is backend:
        _process.clear()


@contextmanager
def override_global_backend(backend: Backend) -> Generator[Backend]:
    """Use this backend within the block, even if another is set. For tests.

    It holds in this task or thread and in what they start, and everywhere else in the process where no other override
    is seen: in threads of a test client, and in tests if the block is a fixture's, of any scope, asynchronous or not.
    Two tasks or threads with an override each use their own. Blocks may be nested and may overlap.
    """
    with overriding(backend):
        yield backend


@contextmanager
def overriding(backend: Backend, *, stand_in: StandIn | None = None) -> Generator[None]:
    """Use this backend within the block, as `override_global_backend` does.

    Args:
        backend: The overriding backend.
        stand_in: Chooses the backend if a call within the block names one. By default a backend that is named is used.
            An override with a `stand_in` holds everywhere, but for overrides that begin later.
    """
    override = _Override(backend, _override(), stand_in)
    _overrides.append(override)
    _innermost.set(override)
    try:
        yield
    finally:
        override.end()


def context_of_jobs() -> Context:
    """Return the context that jobs start from: empty, except for the override that is in effect if there is one."""
    context, override = in_fresh_context(copy_context), _override()
    if override is not None:
        context.run(_innermost.set, override)
        context.run(_at_start.set, override.backend)
    return context


def current_backend(backend: Backend | None = None) -> Backend:
    """Return the given backend, otherwise the overriding one, otherwise the process's.

    Raises:
        ConfigurationError: What is given is not a backend.
        GlobalBackendError: There is none.
    """
    override = _override()
    if backend is not None:
        checked_instance("backend", backend, Backend, "a Backend, such as SQLiteBackend(…) or connect(url)")
        if override is None or override.stand_in is None:
            return backend
        return override.stand_in(backend, override.backend)
    if override is not None:
        return override.backend
    found = _at_start.get() or (_process[0] if _process else None)
    if found is None:
        raise GlobalBackendError(
            "no backend: give one (`backend=…`), call `set_global_backend()` on a Rexecutor (whose shutdown"
            " withdraws it), or use `override_global_backend(…)` or the fixture `rexecutor_backend` in a test"
        )
    return found


def is_overriding(backend: Backend) -> bool:
    """Return whether this backend is in use here because of an override, as in a test that records enqueues."""
    override = _override()
    return override is not None and override.backend is backend


def _override() -> _Override | None:
    """Return the override that is in effect for the code that runs here."""
    if not _overrides:
        return None
    seen = _innermost.get()
    while seen is not None and seen.has_ended:
        seen = seen.outer
    for override in reversed(tuple(_overrides)):
        if override is seen or override.goes_before(seen):
            return override
    return seen


def _current_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None
