"""Scenarios in seconds, for each CI run; `make faults` runs them at full size."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.faults.scenario import Ground, Scenario, scenarios
from tests.faults.stores import prepare, temporary_store
from tests.postgres import schema_of, server_url
from tests.sqlite_rows import misplaced

LIMIT = "REXECUTOR_TEST_SCENARIO_SECONDS"
"""The environment's name for `SECONDS`."""
SECONDS = int(os.environ.get(LIMIT, "90"))
"""How long one may take before it is given up. If jobs are found by polling alone, S23 needs longer."""


def on(kind: str) -> list[object]:
    """Return the scenarios that are run on that kind of store, as a test's parameters."""
    return [pytest.param(one, id=one.name) for one in scenarios().values() if kind in one.kinds]


def check(scenario: Scenario, kind: str, folder: Path) -> None:
    """Run the scenario, small; raise if something is not as promised."""
    if (lacking := scenario.lacks()) is not None:
        pytest.skip(f"{scenario.name}: {lacking}")
    ground = folder / "ground"
    ground.mkdir()

    if scenario.owns_server:
        with temporary_store(kind) as (store, _):
            wrong = asyncio.run(run(scenario, store, ground))
    else:
        store = str(folder / "jobs.db") if kind == "sqlite" else f"{server_url()}#{schema_of(folder)}"
        asyncio.run(prepare(store))
        wrong = asyncio.run(run(scenario, store, ground))
        if kind == "sqlite":
            wrong += [f"job {job_id} {why}" for job_id, why in misplaced(Path(store))]
    if wrong:
        pytest.fail(f"{scenario.name} on {kind}: {'; '.join(wrong)}")


async def run(scenario: Scenario, store: str, folder: Path) -> list[str]:
    """Return what was not as promised."""
    async with asyncio.timeout(SECONDS):
        return (await scenario.run(Ground(store, folder, seed=1, is_full=False))).wrong
