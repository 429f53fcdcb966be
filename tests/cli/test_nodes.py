"""`rexecutor nodes` and `rexecutor health`, of a node whose heartbeat is late."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend.messages import Node, NodeState
from rexecutor.testing import FakeClock
from tests.cli.command_line import Run


async def _beat(path: Path, ago: timedelta) -> None:
    clock = FakeClock(SQLiteBackend(path).clock.now() - ago)
    async with SQLiteBackend(path, clock=clock) as backend:
        heartbeats = backend.heartbeat_connection()
        state = NodeState("host", 71, "1", ("email",), 10, 2, 0.0, {}, 1)
        heartbeats.send(Node("node-1", "host:71", timedelta(minutes=60), state=state))
        heartbeats.close()


@pytest.mark.parametrize(("minutes", "is_late"), [(18, False), (22, True)])
def test_a_node_that_has_missed_two_heartbeats_is_marked(
    rexecutor: Run, tmp_path: Path, minutes: int, is_late: bool
) -> None:
    asyncio.run(_beat(tmp_path / "jobs.db", timedelta(minutes=minutes)))
    store = ("--url", "sqlite:///jobs.db")

    [node] = rexecutor("nodes", "--json", *store).json
    health = rexecutor("health", *store)

    assert (node["is_live"], node["is_late"]) == (True, is_late)
    assert (f"late: {minutes} min ago" in rexecutor("nodes", *store).out) is is_late
    assert health.status == is_late
    assert ("the heartbeat of host:71 is late" in health.out) is is_late


def test_jobs_that_hold_slots_after_their_end_are_told(rexecutor: Run, tmp_path: Path) -> None:
    asyncio.run(_beat(tmp_path / "jobs.db", timedelta(0)))
    store = ("--url", "sqlite:///jobs.db")

    assert rexecutor("nodes", *store).out.splitlines()[1].split("\t")[2] == "2 (1 stuck)"
    assert rexecutor("nodes", "--json", *store).json[0]["state"]["stuck"] == 1
