"""What fault tests share."""

from pathlib import Path

import pytest

from tests.faults.stores import KINDS, prepare
from tests.postgres import schema_of, server_url


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store for several processes, see `stores.backend_at`: the test runs once on each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    made = f"{server_url()}#{schema_of(tmp_path)}"
    await prepare(made)
    return made
