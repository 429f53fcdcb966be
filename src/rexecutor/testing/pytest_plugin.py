"""A pytest plugin with fixtures for applications. pytest finds it by itself; `-p no:rexecutor` disables it.

Every run of pytest imports this module if rexecutor is installed, so the fixtures import what they need themselves.
"""

from collections.abc import Iterator
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
    from rexecutor.backend.current import overriding  # see the module's docstring
    from rexecutor.backend.memory import InMemoryBackend

    clock: FakeClock | None = None
    if "rexecutor_clock" in request.fixturenames:
        clock = request.getfixturevalue("rexecutor_clock")
    backend = InMemoryBackend(clock=clock).paused()

    def instead_of(named: "Backend", current: "Backend") -> "Backend":
        """Return the current backend, which records the jobs, unless one of the two is the test's own choice."""
        is_to_be_recorded = isinstance(current, InMemoryBackend) and not isinstance(named, InMemoryBackend)
        return current if is_to_be_recorded else named

    with overriding(backend, stand_in=instead_of):
        yield backend
