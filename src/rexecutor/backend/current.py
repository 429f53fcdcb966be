"""The backend that an enqueue uses if none is given: set once for the process, or overridden for a block."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context

from rexecutor.backend.base import Backend
from rexecutor.background import in_fresh_context
from rexecutor.errors import GlobalBackendError
from rexecutor.model.checks import checked_instance

_override: ContextVar[Backend | None] = ContextVar("rexecutor_backend", default=None)
_process: list[Backend] = []  # none or one
_stand_in: Callable[[Backend | None, Backend | None], Backend] | None = None
"""Set by the pytest fixture: picks the backend, given the `backend=` argument and the override."""


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
    """Use this backend within the block, in this task and those it starts, even if another is set. For tests."""
    token = _override.set(backend)
    try:
        yield backend
    finally:
        _override.reset(token)


def context_of_jobs() -> Context:
    """Return the context that jobs start from: empty, except for the overriding backend if there is one."""
    context, overriding = in_fresh_context(copy_context), _override.get()
    if overriding is not None:
        context.run(_override.set, overriding)
    return context


def current_backend(backend: Backend | None = None) -> Backend:
    """Return the given backend, otherwise the overriding one, otherwise the process's.

    Raises:
        ConfigurationError: What is given is not a backend.
        GlobalBackendError: There is none.
    """
    if backend:
        checked_instance("backend", backend, Backend, "a Backend, such as SQLiteBackend(…) or connect(url)")
    overriding = _override.get()
    if _stand_in is not None:
        return _stand_in(backend, overriding)
    found = backend or overriding or (_process[0] if _process else None)
    if found is None:
        raise GlobalBackendError(
            "no backend: give one (`backend=…`), call `set_global_backend()` on a Rexecutor, or use"
            " `override_global_backend(…)` in a test"
        )
    return found


def has_stand_in() -> bool:
    """Return whether the pytest fixture is in use, and may use its backend in place of the application's."""
    return _stand_in is not None
