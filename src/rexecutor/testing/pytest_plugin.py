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
    """A paused `InMemoryBackend` of the test's own, to which everything is enqueued that names no backend.

    From whatever task, thread or event loop: a server under test may have its own. `override_global_backend` and
    `backend=…` still go before it. On the machine's clock, or on `rexecutor_clock` where the test asks for that too.
    """
    from rexecutor.backend.memory import InMemoryBackend  # see the module's docstring

    clock: FakeClock | None = None
    if "rexecutor_clock" in request.fixturenames:
        clock = request.getfixturevalue("rexecutor_clock")
    backend = InMemoryBackend(clock=clock).paused()
    # A value set here would not be seen in other threads, nor where an async plugin runs the test in a context that it
    # has made before; a default is seen everywhere.
    override: ContextVar[Backend | None] = ContextVar("rexecutor_backend", default=backend)
    with pytest.MonkeyPatch.context() as patch:  # of its own: `monkeypatch.undo()` in a test must not undo it
        patch.setattr("rexecutor.backend.current._override", override)
        yield backend
