"""A pytest plugin with fixtures for applications. pytest finds it by itself; `-p no:rexecutor` disables it.

Every run of pytest imports this module if rexecutor is installed, so the fixtures import what they need themselves.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
    from rexecutor.backend.memory import InMemoryBackend
    from rexecutor.testing.clock import FakeClock


@pytest.fixture
def rexecutor_clock() -> "FakeClock":
    """A `FakeClock`, which `rexecutor_backend` uses too if a test asks for both."""
    from rexecutor.testing.clock import FakeClock  # see the module's docstring

    return FakeClock()


@pytest.fixture
def rexecutor_backend(request: pytest.FixtureRequest) -> "Iterator[InMemoryBackend]":
    """A paused `InMemoryBackend` of the test's own, which records every enqueue of the test.

    It records enqueues from any task, thread or event loop, as a server under test may have its own. An enqueue that
    names another backend, as `backend=other` or `backend=other.bound_to(connection)`, is recorded here and does not
    reach that backend; queries and changes of jobs come here too. The exception is an `InMemoryBackend` passed as
    `backend=`, which is used itself. `override_global_backend` in the test takes precedence over the fixture: if it
    sets a real backend, everything goes where it would go without the fixture.

    The backend is on the machine's clock, or on `rexecutor_clock` if the test asks for that too.
    """
    from rexecutor.backend.memory import InMemoryBackend  # see the module's docstring

    clock: FakeClock | None = None
    if "rexecutor_clock" in request.fixturenames:
        clock = request.getfixturevalue("rexecutor_clock")
    backend = InMemoryBackend(clock=clock).paused()

    def meant(named: "Backend | None", overriding: "Backend | None") -> "Backend":
        current = overriding or backend
        if named is None:
            return current
        is_to_be_recorded = isinstance(current, InMemoryBackend) and not isinstance(named, InMemoryBackend)
        return current if is_to_be_recorded else named

    # Setting a context variable would not be enough: other threads would not see the value, nor would the test if an
    # async plugin runs it in a context made earlier. So the hook in `current` is patched, which all threads see. The
    # override gets a new variable, as the old one may hold a value set before the fixture.
    override: ContextVar[Backend | None] = ContextVar("rexecutor_backend", default=None)
    with pytest.MonkeyPatch.context() as patch:  # not `monkeypatch`, whose `undo()` in a test would undo this too
        patch.setattr("rexecutor.backend.current._override", override)
        patch.setattr("rexecutor.backend.current._stand_in", meant)
        yield backend
