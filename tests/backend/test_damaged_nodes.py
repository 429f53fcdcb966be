"""Rows of `nodes` that somebody has written by hand."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from rexecutor import SQLiteBackend
from rexecutor.backend import Backend
from rexecutor.testing import FakeClock
from tests.postgres import postgres_backend, run_postgres

LAG: Final = '{"host":"h","pid":1,"version":"1","slots":2,"running":0,"loop_lag":1e308}'
STATES: Final = ("[]", "{}", "7", '"x"', '{"host":1,"pid":2}', '{"host":"h","pid":"x","version":"1"}', "null", LAG)
SOUND: Final = '{"host":"h","pid":1,"version":"1","slots":2,"running":0,"loop_lag":0}'


async def check(backend: Backend) -> None:
    nodes = {node.id: node for node in await backend.nodes()}

    assert len(nodes) == len(STATES) + 2
    assert [node.id for node in nodes.values() if node.state is not None] == ["bare"]
    assert nodes["odd"].started_at.year == 1
    assert nodes["odd"].lease_until.year == 9999
    bare = nodes["bare"].state
    assert bare is not None
    assert (bare.executors, bare.slots_of("x")) == ((), 0)


async def test_damaged_nodes_of_postgres_are_told_without_a_state(tmp_path: Path, clock: FakeClock) -> None:
    async with postgres_backend(tmp_path, clock=clock) as backend:
        insert = f"INSERT INTO {backend.schema}.nodes (id, name, started_at, lease_until, state, executors) VALUES"
        for number, state in enumerate(STATES):
            run_postgres(f"{insert} ('{number}', 'x', now(), now(), '{state}', '{{}}')")
        run_postgres(f"{insert} ('odd', 'x', '-infinity', 'infinity', '{SOUND}', '[1]')")
        run_postgres(f"{insert} ('bare', 'x', now(), now(), '{SOUND}', NULL)")

        await check(backend)


async def test_damaged_nodes_of_sqlite_are_told_without_a_state(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "jobs.db"
    async with SQLiteBackend(path, clock=clock) as backend:
        most = 2**63 - 1
        rows = [(str(number), 0, 0, state, "{}") for number, state in enumerate(STATES)]
        rows += [("odd", -most, most, SOUND, "[1]"), ("bare", 0, 0, SOUND, None)]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany(
                "INSERT INTO rexecutor_nodes (id, name, started_at, lease_until, state, executors)"
                " VALUES (?, 'x', ?, ?, ?, ?)",
                rows,
            )

        await check(backend)
