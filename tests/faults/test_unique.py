"""Unique jobs when many want to enqueue them at the same time."""

from pathlib import Path

from tests.faults.unique_rounds import race


async def test_r13_of_many_producers_in_several_processes_exactly_one_adds_the_job(tmp_path: Path) -> None:
    result = await race(tmp_path, rounds=24, processes=3, producers=6)

    assert result["wrong_rounds"] == []
    assert (result["inserted"], result["stored"]) == (24, 24)
    assert result["existing"] > 0
    assert result["replaced"] > 0
