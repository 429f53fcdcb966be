"""The backend that an enqueue uses when none is named: set once for the process, or overridden for a block."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context

from rexecutor.backend.base import Backend
from rexecutor.background import apart
from rexecutor.errors import ConfigurationError, GlobalBackendError

_override: ContextVar[Backend | None] = ContextVar("rexecutor_backend", default=None)
_process: list[Backend] = []  # none or one
_stand_in: Callable[[Backend | None, Backend | None], Backend] | None = None
"""Of a test's fixture: returns which backend is meant by the one that was named and the overriding one."""


def set_global_backend(backend: Backend) -> None:
    """Set the process's backend.

    Raises:
        GlobalBackendError: One is set.
    """
    if _process:
        raise GlobalBackendError("a global backend is set already: stop the Rexecutor that set it first")
    _process.append(backend)


def unset_global_backend(backend: Backend) -> None:
    """Take back what `set_global_backend` set; does nothing when another backend, or none, is set."""
    if _process and _process[0] is backend:
        _process.clear()


@contextmanager
def override_global_backend(backend: Backend) -> Generator[Backend]:
    """Use this backend for the block, whatever is set, in this task and those it starts. For tests."""
    token = _override.set(backend)
    try:
        yield backend
    finally:
        _override.reset(token)


def context_of_jobs() -> Context:
    """Return a context that holds nothing but the overriding backend, where there is one: what jobs start from."""
    context, overriding = apart(copy_context), _override.get()
    if overriding is not None:
        context.run(_override.set, overriding)
    return context


def current_backend(backend: Backend | None = None) -> Backend:
    """Return the backend that was named, otherwise the overriding one, otherwise the process's.

    Raises:
        GlobalBackendError: There is none.
    """
    if backend and not isinstance(backend, Backend):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
        raise ConfigurationError(f"backend={backend!r} is no backend; give SQLiteBackend(…), connect(url) or the like")
    overriding = _override.get()
    if _stand_in is not None:
        return _stand_in(backend, overriding)
    found = backend or overriding or (_process[0] if _process else None)
    if found is None:
        raise GlobalBackendError("no backend: give one (`backend=…`), or call `set_global_backend()` on a Rexecutor")
    return found
