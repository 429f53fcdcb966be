"""The stores that the helpers are tested on: all there are, the one in memory paused, as applications use it."""

import pytest

from rexecutor import Backend, InMemoryBackend


@pytest.fixture
def backend(backend: Backend) -> Backend:
    return backend.paused() if isinstance(backend, InMemoryBackend) else backend
