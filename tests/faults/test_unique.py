"""Unique jobs when many want to enqueue them at the same time."""

from pathlib import Path

import pytest

from tests.faults.stores import prepare
from tests.faults.unique_rounds import ISOLATIONS, race
from tests.postgres import schema_of, server_url


async def test_r13_of_many_producers_in_several_processes_exactly_one_adds_the_job(store: str) -> None:
    result = await race(store, rounds=24, processes=3, producers=6)

    assert result["wrong_rounds"] == []
    assert (result["inserted"], result["stored"]) == (24, 24)
    assert result["existing"] > 0
    assert result["replaced"] > 0


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_r13_exactly_one_adds_the_job_when_half_roll_back_and_none_when_all_do(
    tmp_path: Path, isolation: str
) -> None:
    store = f"{server_url()}#{schema_of(tmp_path)}"
    await prepare(store)

    result = await race(store, rounds=20, processes=3, producers=6, isolation=isolation)

    assert result["wrong_rounds"] == []
    assert (result["inserted"], result["stored"]) == (18, 18)
