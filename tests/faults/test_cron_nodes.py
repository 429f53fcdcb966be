"""Schedules on nodes that die and stand still."""

from tests.faults.cron_rounds import run


async def test_r16_r17_every_tick_has_exactly_one_job_though_nodes_are_killed_and_paused(store: str) -> None:
    result = await run(store, seconds=6, nodes=3, seed=4)

    assert (result["missed"], result["doubled"], result["unexpected"]) == (0, 0, 0)
    assert result["ticks"] >= 6
