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


async def test_a_heartbeat_forgets_scopes_that_are_old_and_that_nobody_holds(backend: Migrated) -> None:
    for key in KEYS:
        await backend.enqueue([new_job(unique=key)])
    table = f"{backend.schema}.scopes"
    [[new], [held], [old]] = run_postgres(f"SELECT scope FROM {table} ORDER BY taken_at DESC")
    run_postgres(f"UPDATE {table} SET taken_at = taken_at - interval '25 hours' WHERE scope IN ('{old}', '{held}')")
    run_postgres(f"UPDATE {table} SET taken_at = taken_at - interval '23 hours' WHERE scope = '{new}'")

    with psycopg.connect(server_url()) as other:
        other.execute(f"SELECT FROM {table} WHERE scope = '{held}' FOR UPDATE".encode())
        heartbeats = backend.heartbeat_connection()
        await asyncio.to_thread(heartbeats.send, NODE)
        heartbeats.close()

        assert {row[0] for row in run_postgres(f"SELECT scope FROM {table}")} == {held, new}
    [answer] = await backend.enqueue([new_job(unique=KEYS[0])])
    assert answer.disposition == "existing"
