"""Every scenario, small: `make faults` runs them at full size."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.scenario import Ground, Scenario, scenarios
from tests.faults.stores import prepare, temporary_store
from tests.postgres import schema_of, server_url

SECONDS = 90
"""How long one may take before it is given up."""


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [pytest.param(one, kind, id=f"{one.name}-{kind}") for one in scenarios().values() for kind in one.kinds],
)
def test_it_holds_what_was_promised(scenario: Scenario, kind: str, tmp_path: Path) -> None:
    if (lacking := scenario.lacks()) is not None:
        pytest.skip(lacking)
    ground = tmp_path / "ground"
    ground.mkdir()

    async def run(store: str) -> list[str]:
        async with asyncio.timeout(SECONDS):
            return (await scenario.run(Ground(store, ground, seed=1, is_full=False))).wrong

    if scenario.owns_server:
        with temporary_store(kind) as (store, _):
            assert asyncio.run(run(store)) == []
    elif kind == "sqlite":
        assert asyncio.run(run(str(tmp_path / "jobs.db"))) == []
    else:
        store = f"{server_url()}#{schema_of(tmp_path)}"
        asyncio.run(prepare(store))
        assert asyncio.run(run(store)) == []
