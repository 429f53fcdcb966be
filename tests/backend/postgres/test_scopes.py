"""The scopes of unique jobs are forgotten when nobody has taken them for a day."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rexecutor import UniquenessCriteria
from rexecutor.backend.messages import Node
from rexecutor.testing.suite.store import new_job
from tests.postgres import Migrated, postgres_backend, run_postgres, server_url

NODE = Node("node-1", "here", timedelta(minutes=5))
KEYS = [UniquenessCriteria.by_key(key) for key in ("old", "held", "new")]


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Migrated]:
    async with postgres_backend(tmp_path, listens=False) as made:
        yield made
    run_postgres(f"DROP SCHEMA {made.schema} CASCADE")


def heartbeat(backend: Migrated) -> None:
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(NODE)
    heartbeats.close()


async def test_a_heartbeat_forgets_scopes_that_are_old_and_that_nobody_holds(backend: Migrated) -> None:
    for key in KEYS:
        await backend.enqueue([new_job(unique=key)])
    table = f"{backend.schema}.scopes"
    [[new], [held], [old]] = run_postgres(f"SELECT scope FROM {table} ORDER BY taken_at DESC")
    run_postgres(f"UPDATE {table} SET taken_at = taken_at - interval '25 hours' WHERE scope IN ('{old}', '{held}')")
    run_postgres(f"UPDATE {table} SET taken_at = taken_at - interval '23 hours' WHERE scope = '{new}'")

    with psycopg.connect(server_url()) as other:
        other.execute(f"SELECT FROM {table} WHERE scope = '{held}' FOR UPDATE".encode())
        await asyncio.to_thread(heartbeat, backend)

        assert {row[0] for row in run_postgres(f"SELECT scope FROM {table}")} == {held, new}
    [answer] = await backend.enqueue([new_job(unique=KEYS[0])])
    assert answer.disposition == "existing"


async def test_a_heartbeat_forgets_a_thousand_scopes_at_most_those_first_that_were_taken_first(
    backend: Migrated,
) -> None:
    table = f"{backend.schema}.scopes"
    run_postgres(
        f"INSERT INTO {table} (scope, taken_at)"
        " SELECT n, now() - interval '25 hours' - n * interval '1 s' FROM generate_series(1, 1002) AS n"
    )

    heartbeat(backend)

    assert run_postgres(f"SELECT scope FROM {table} ORDER BY scope") == [("1",), ("2",)]
