"""A pytest plugin: fixtures for applications. pytest finds it by itself; `-p no:rexecutor` leaves it out.

It is imported by every run of pytest where rexecutor is installed, so it loads the rest when a test asks for it.
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
    """A `FakeClock`; `rexecutor_backend` is on it where a test asks for both."""
    from rexecutor.testing.clock import FakeClock  # see the module's docstring

    return FakeClock()


@pytest.fixture
def rexecutor_backend(request: pytest.FixtureRequest) -> "Iterator[InMemoryBackend]":
    """A paused `InMemoryBackend` of the test's own, in which every enqueue of the test is recorded.

    From any task, thread or event loop: a server under test may have its own. An enqueue that names another store, as
    `backend=store` or `backend=store.bound_to(connection)`, is recorded here too and does not reach that store; so are
    queries and changes of jobs. Only an `InMemoryBackend` that is named is used itself. `override_global_backend` in
    the test goes before the fixture: with a real store, everything goes where it would go without the fixture.

    It is on the machine's clock, or on `rexecutor_clock` if the test asks for that too.
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

    # A value of a context variable would not be seen in other threads, nor if an async plugin runs the test in a
    # context that it has made before. A new variable has no value that was set before the fixture.
    override: ContextVar[Backend | None] = ContextVar("rexecutor_backend", default=None)
    with pytest.MonkeyPatch.context() as patch:  # of its own: `monkeypatch.undo()` in a test must not undo it
        patch.setattr("rexecutor.backend.current._override", override)
        patch.setattr("rexecutor.backend.current._stand_in", meant)
        yield backend
