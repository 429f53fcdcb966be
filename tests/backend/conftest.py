"""What the tests of PostgreSQL's connections share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.postgres import Migrated, postgres_backend, server_url


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before the run's server."""
    with Proxy(server_url()) as made:
        yield made


@pytest.fixture
async def near(tmp_path: Path) -> AsyncIterator[Migrated]:
    """A backend that reaches the server directly."""
    async with postgres_backend(tmp_path) as backend:
        yield backend
