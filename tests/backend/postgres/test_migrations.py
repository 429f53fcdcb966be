"""PostgreSQL's schema: made once however many make it, by roles with few rights, whatever the session's settings."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import asyncpg
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from demo.postgres_server import binaries
from rexecutor import JobStatus, PostgresBackend, SchemaError, UniquenessCriteria
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres import connection as postgres
from rexecutor.backend.sql import migrations
from rexecutor.errors import BackendError
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.where import Everything
from rexecutor.testing.suite.store import HOUR, failed, new_job
from tests.postgres import Migrated, run_postgres, schema_of, server_url
from tests.support import soon

LATER = """-- A step that a later version may have. It breaks nothing.
ALTER TABLE "rexecutor".nodes ADD COLUMN later text;
CREATE TABLE "rexecutor".more (id bigint PRIMARY KEY);
"""
STEPS = (*migrations(postgres.PACKAGE), (len(migrations(postgres.PACKAGE)) + 1, LATER))
"""The steps of the package, and one more, so that there is a schema of an older version."""
NODE = Node("node-1", "here", timedelta(minutes=5))

CATALOG = """
SELECT 'column', c.relname || '.' || a.attname,
    format('%s %s %s %s %s', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
        pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, attnum)
WHERE c.relnamespace = to_regnamespace('{schema}') AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = to_regnamespace('{schema}')
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = '{schema}'
UNION ALL
SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = '{schema}'
UNION ALL
SELECT 'function', proname, prosrc || provolatile::text || pg_get_function_identity_arguments(oid)
FROM pg_proc WHERE pronamespace = to_regnamespace('{schema}')
UNION ALL
SELECT 'options', relname, reloptions::text FROM pg_class
WHERE relnamespace = to_regnamespace('{schema}') AND relkind = 'r'
ORDER BY 1, 2, 3
"""


def described(schema: str) -> list[tuple[str, ...]]:
    """Return all that the schema has, without the schema's name."""
    rows = run_postgres(CATALOG.format(schema=schema))
    return [tuple(str(cell).replace(f"{schema}.", "") for cell in row) for row in rows]


def steps_of(_: str) -> tuple[tuple[int, str], ...]:
    return STEPS


@pytest.fixture(autouse=True)
def _steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "migrations", steps_of)


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[str]:
    name = schema_of(tmp_path)
    yield name
    run_postgres(f'DROP SCHEMA IF EXISTS "{name}" CASCADE', f'DROP SCHEMA IF EXISTS "{name}b" CASCADE')


@pytest.fixture
def role(schema: str) -> Iterator[str]:
    """A role that may do nothing but connect."""
    name = f"role_{schema}"
    run_postgres(f"CREATE ROLE {name} LOGIN", "REVOKE ALL ON SCHEMA public FROM public")
    yield name
    run_postgres(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def url_of(*, role: str | None = None, options: str | None = None) -> str:
    url = server_url()
    if role is not None:
        url = url.replace("postgres@", f"{role}@", 1)
    return url if options is None else f"{url}&options={quote(options)}"


async def migrate(schema: str, url: str | None = None) -> tuple[int, int]:
    async with postgres.connected(url or server_url(), schema) as connection:
        return await postgres.migrate(connection, schema)


def migrate_to(schema: str, version: int) -> None:
    """Make the schema as the release with that many migrations did."""
    if version:
        run_postgres(postgres.migration_script(schema, version))


async def work(backend: PostgresBackend) -> None:
    """Do all that a node does."""
    heartbeats = backend.heartbeat_connection()
    heartbeat = heartbeats.send(NODE)
    assert heartbeat.began
    first, second, _ = await backend.enqueue([new_job(), new_job(), new_job(unique=UniquenessCriteria.by_key("one"))])
    claim = await backend.claim(Demand({"alpha": 2}, 2), NODE.id)
    assert [one.id for one in claim.jobs] == [first.id, second.id]
    outcomes = (Complete(), failed(delay=HOUR))
    settlements = [Settlement(one.id, one.claims, how) for one, how in zip(claim.jobs, outcomes, strict=True)]
    assert list(await backend.settle(settlements)) == []
    await backend.cancel(second.id, "not wanted")
    await backend.rerun(second.id)
    assert await backend.acquire_lock("prune", NODE.id)
    await backend.release_lock("prune", NODE.id)
    assert await backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 10) == 1
    assert await backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(HOUR)), 10) == 0
    assert await backend.release_claims(NODE.id, []) == 0
    await asyncio.to_thread(heartbeats.deregister, NODE.id)
    heartbeats.close()


def test_the_numbers_of_the_migrations_leave_no_gap() -> None:
    assert [number for number, _ in STEPS] == list(range(1, len(STEPS) + 1))


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
async def test_a_schema_of_any_version_becomes_what_a_new_one_is(schema: str, version: int) -> None:
    fresh = f"{schema}b"
    await migrate(fresh)
    migrate_to(schema, version)

    assert await migrate(schema) == (version, len(STEPS))

    assert described(schema) == described(fresh)
    assert run_postgres(f"SELECT version FROM {schema}.migrations ORDER BY 1") == [(number,) for number, _ in STEPS]


@pytest.mark.parametrize("version", sorted({0, len(STEPS) - 1, len(STEPS)}))
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_of_eight_that_migrate_at_once_one_does(schema: str, version: int, isolation: str) -> None:
    migrate_to(schema, version)
    url = url_of(options=f"-c default_transaction_isolation={quote(isolation.replace(' ', chr(92) + ' '), safe='')}")
    url = url if isolation == "serializable" else server_url()

    answers = await asyncio.gather(*(migrate(schema, url) for _ in range(8)))

    done = [(len(STEPS), len(STEPS))] * 8
    assert sorted(answers) == [(version, len(STEPS)), *done[1:]]
    assert len(run_postgres(f"SELECT FROM {schema}.migrations")) == len(STEPS)


async def test_a_migration_that_is_killed_leaves_nothing_and_the_next_one_does_it(schema: str) -> None:
    connection = await psycopg.AsyncConnection.connect(server_url(), autocommit=True)
    await connection.execute("BEGIN")
    await postgres.migrate(connection, schema)
    waiting = [asyncio.create_task(migrate(schema)) for _ in range(3)]
    run_postgres(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")

    answers = await soon(asyncio.gather(*waiting))

    assert sorted(answers) == [(0, len(STEPS)), *[(len(STEPS), len(STEPS))] * 2]
    await connection.close()


async def test_a_schema_that_is_newer_by_steps_that_do_no_harm_is_worked_with(schema: str) -> None:
    await migrate(schema)
    run_postgres(f"INSERT INTO {schema}.migrations (version) VALUES ({len(STEPS) + 1})")

    async with PostgresBackend(server_url(), schema=schema) as backend:
        await backend.check_schema()
        await work(backend)
        await backend.migrate()

    assert (await migrate(schema)) == (len(STEPS) + 1, len(STEPS) + 1)


async def test_a_schema_that_is_newer_by_a_breaking_step_is_refused(schema: str) -> None:
    await migrate(schema)
    newer = len(STEPS) + 1
    run_postgres(f"INSERT INTO {schema}.migrations (version, is_breaking) VALUES ({newer}, true), ({newer + 1}, false)")

    async with PostgresBackend(server_url(), schema=schema) as backend:
        with pytest.raises(SchemaError, match=rf"version {newer + 1}, .* up to {len(STEPS)}.*update rexecutor"):
            await backend.check_schema()


async def test_a_missing_schema_is_refused_with_what_to_do(schema: str) -> None:
    async with PostgresBackend(server_url(), schema=schema) as backend:
        for use in (backend.check_schema(), backend.count()):
            with pytest.raises(SchemaError, match=r"run `.*rexecutor migrate --url .*`"):
                await use


def test_a_first_line_marks_a_breaking_step() -> None:
    assert postgres.is_breaking("-- Breaking: workers of version 1 write a column that is no more.\nALTER …")
    assert not postgres.is_breaking("-- Adds a column.\n-- Breaking: no\n")


async def test_a_role_with_a_schema_of_its_own_migrates_and_works(schema: str, role: str) -> None:
    run_postgres(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    url = url_of(role=role)

    assert await migrate(schema, url) == (0, len(STEPS))

    async with PostgresBackend(url, schema=schema) as backend:
        await work(backend)


async def test_a_role_that_owns_nothing_works_with_the_rights_that_the_documents_name(schema: str, role: str) -> None:
    await migrate(schema)
    page = (Path(__file__).parents[3] / "docs" / "backends.md").read_text()
    grants = page.split("```sql\n")[1].split("```")[0]
    run_postgres(*(grants.replace("rexecutor", schema).replace("worker", role).strip().rstrip(";").split(";\n")))

    async with PostgresBackend(url_of(role=role), schema=schema) as backend:
        await work(backend)
        with pytest.raises(BackendError, match="grant the role"):
            await migrate_in_vain(schema, role)
    run_postgres(f"CREATE TABLE {schema}.later ()")  # as a later migration does
    async with postgres.connected(url_of(role=role), schema) as connection:
        await connection.execute(SQL("SELECT FROM {}.later").format(Identifier(schema)))


async def migrate_in_vain(schema: str, role: str) -> None:
    async with postgres.connected(url_of(role=role), schema) as connection:
        await connection.execute(SQL("CREATE TABLE {}.more ()").format(Identifier(schema)))


async def test_a_role_without_rights_is_told_so(schema: str, role: str) -> None:
    await migrate(schema)

    async with PostgresBackend(url_of(role=role), schema=schema) as backend:
        with pytest.raises(BackendError, match=r"permission denied.*: grant the role"):
            await backend.check_schema()


@pytest.mark.parametrize(
    "options",
    [
        "-c search_path=",
        "-c search_path={schema}b",
        "-c timezone=Asia/Kathmandu",
        "-c timezone=America/St_Johns -c datestyle=SQL,DMY",
        "-c intervalstyle=sql_standard",
        "-c intervalstyle=postgres_verbose",
        "-c standard_conforming_strings=on -c escape_string_warning=off -c bytea_output=escape -c extra_float_digits=0",
        "-c client_encoding=LATIN1",
    ],
)
async def test_the_settings_of_a_session_change_nothing(schema: str, options: str) -> None:
    run_postgres(f"CREATE SCHEMA {schema}b", f"CREATE TABLE {schema}b.jobs (id text)")
    url = url_of(options=options.format(schema=schema))
    moment = datetime(2030, 3, 31, 1, 30, 0, 123457, tzinfo=UTC)

    await migrate(schema, url)
    async with PostgresBackend(url, schema=schema) as backend:
        before = backend.clock.now()
        await work(backend)
        [answer] = await backend.enqueue([new_job(scheduled_at=moment)])
        records = {one.id: one for one in await backend.query(Everything())}

    assert records[answer.id].scheduled_at == moment
    assert records[answer.id].scheduled_at.tzinfo is UTC
    errors = [error for one in records.values() for error in one.errors]
    assert errors
    assert all(error.recorded_at.utcoffset() == timedelta(0) for error in errors)
    cancelled = [error for error in errors if error.kind == "cancelled"]
    assert all(abs(error.recorded_at - before) < HOUR / 60 for error in cancelled)
    assert run_postgres(f"SELECT * FROM {schema}b.jobs") == []


async def test_a_lost_jobs_error_is_recorded_in_utc_whatever_the_sessions_zone_is(schema: str) -> None:
    url = url_of(options="-c timezone=Asia/Kathmandu")
    async with Migrated(url, schema=schema) as backend:
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(NODE)
        await backend.enqueue([new_job()])
        await backend.claim(Demand({"alpha": 1}, 1), NODE.id)
        heartbeats.deregister(NODE.id)
        assert heartbeats.send(Node("node-2", "there", HOUR)).rescued == 1
        heartbeats.close()
        [record] = await backend.query(Everything())

        assert abs(record.errors[0].recorded_at - backend.clock.now()) < HOUR / 60


async def test_a_schemas_name_may_have_capitals(schema: str) -> None:
    name = f"{schema}B"
    try:
        async with Migrated(server_url(), schema=name) as backend:
            await work(backend)
        assert run_postgres(f"SELECT FROM pg_namespace WHERE nspname = '{name}'") != []
    finally:
        run_postgres(f'DROP SCHEMA "{name}" CASCADE')


async def test_two_schemas_side_by_side_do_not_mix(schema: str) -> None:
    async with (
        Migrated(server_url(), schema=schema) as one,
        Migrated(server_url(), schema=f"{schema}b") as other,
    ):
        await one.enqueue([new_job()])
        await work(other)

        assert len(await one.query(Everything())) == 1
        assert len(await other.query(Everything())) == 2


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
@pytest.mark.parametrize("options", [(), ("--single-transaction",)], ids=str)
def test_the_script_for_psql_makes_what_migrate_makes_and_a_second_run_nothing(
    schema: str, version: int, options: tuple[str, ...]
) -> None:
    fresh = f"{schema}b"
    asyncio.run(migrate(fresh))
    migrate_to(schema, version)

    psql(postgres.migration_script(schema), *options)
    once = described(schema), run_postgres(f"SELECT * FROM {schema}.migrations ORDER BY 1")
    psql(postgres.migration_script(schema), *options)

    assert once == (described(fresh), run_postgres(f"SELECT * FROM {schema}.migrations ORDER BY 1"))
    assert [row[0] for row in once[1]] == [number for number, _ in STEPS]


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
def test_the_script_is_undone_with_the_transaction_that_it_runs_in(schema: str, version: int) -> None:
    migrate_to(schema, version)
    before = described(schema)

    psql(f"BEGIN;\nCREATE TABLE public.{schema} ();\n{postgres.migration_script(schema)}\nROLLBACK;")

    assert described(schema) == before
    assert run_postgres(f"SELECT to_regclass('public.{schema}')") == [(None,)]


async def test_the_script_leaves_a_newer_schema_as_it_is(schema: str) -> None:
    await migrate(schema)
    run_postgres(f"INSERT INTO {schema}.migrations (version) VALUES ({len(STEPS) + 1})")
    before = described(schema)

    run_postgres(postgres.migration_script(schema))

    assert described(schema) == before


async def test_the_script_runs_in_the_transaction_of_a_driver_that_others_use(schema: str) -> None:
    """Alembic has SQLAlchemy's `text()` read it, which takes a colon before a word for a parameter."""
    script = postgres.migration_script(schema)
    assert not re.search(r"%|(?<![:\w]):\w", script)
    connection = await cast("Any", asyncpg).connect(server_url())
    transaction = connection.transaction()
    await transaction.start()

    await connection.execute(script)
    await connection.execute(script)

    assert await connection.fetchval(f"SELECT count(*) FROM {schema}.migrations") == len(STEPS)
    await transaction.rollback()
    await connection.close()
    assert described(schema) == []


def psql(script: str, *options: str) -> None:
    subprocess.run(
        [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, server_url()],
        input=script,
        text=True,
        check=True,
        capture_output=True,
    )


async def test_a_backend_that_is_not_open_migrates(schema: str) -> None:
    backend = PostgresBackend(server_url(), schema=schema)

    await backend.migrate()
    await backend.migrate()

    assert not backend.is_open
    assert len(run_postgres(f"SELECT FROM {schema}.migrations")) == len(STEPS)
    async with backend:
        await work(backend)


VALID: dict[str, Any] = {"executor": "a", "data": "1", "max_attempts": 5}
CORRUPT: list[dict[str, Any]] = [
    {"status": "waiting"},
    {"status": "executing"},
    {"status": "complete"},
    {"status": "complete", "cancelled_at": "now()"},
    {"completed_at": "now()"},
    {"max_attempts": 0},
    {"priority": -1},
    {"attempt": -1},
    {"claims": -1},
    {"revision": -1},
    {"errors": "{}"},
    {"scheduled_at": "infinity"},
    {"scheduled_at": "10000-01-01 00:00:00+00"},
    {"scheduled_at": "0001-01-01 00:00:00+00 BC"},
    {"expires_at": "infinity"},
    {"expires_at": "10000-01-01 00:00:00+00"},
    {"expires_at": "0001-01-01 00:00:00+00 BC"},
]


@pytest.mark.parametrize("corrupt", CORRUPT, ids=str)
async def test_a_row_that_no_rule_makes_is_refused(schema: str, corrupt: dict[str, Any]) -> None:
    await migrate(schema)
    row = VALID | corrupt
    values = ", ".join(f"'{value}'" for value in row.values())
    insert = f"INSERT INTO {schema}.stored_jobs ({', '.join(row)}) VALUES ({values})"
    with pytest.raises(psycopg.errors.CheckViolation):
        run_postgres(insert)
