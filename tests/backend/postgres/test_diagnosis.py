"""What `PostgresBackend.diagnose` finds, each beside a server on which it is as it should be."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from rexecutor import BackendClosedError, PostgresBackend
from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.postgres import diagnosis
from rexecutor.backend.postgres.connection import checked_conninfo
from rexecutor.backend.postgres.diagnosis import Diagnosis
from rexecutor.backend.postgres.statements import Statements
from rexecutor.backend.sql.operations import Statement
from rexecutor.clock import SystemClock
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import new_job
from tests.pgbouncer import PgBouncer, installed
from tests.postgres import postgres_backend, run_postgres, server_url

SUBJECTS = [
    *("server", "durability", "connections", "autovacuum", "clock", "schema", "indexes", "claim", "dead rows"),
    *("old transactions", "pooler", "notifications"),
]
OF_THE_SERVER = ("durability", "connections", "old transactions")
"""What other tests on the same server change, and its settings for tests."""


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[PostgresBackend]:
    async with postgres_backend(tmp_path) as made:
        await made.enqueue([new_job()] * 3)
        yield made


async def found(backend: PostgresBackend, subject: str) -> list[Finding]:
    return [finding for finding in await backend.diagnose() if finding.subject == subject]


async def the_one(backend: PostgresBackend, subject: str, severity: Severity) -> Finding:
    [finding] = await found(backend, subject)
    assert finding.severity is severity, finding
    return finding


async def test_a_sound_server_is_as_it_should_be(backend: PostgresBackend) -> None:
    findings = await backend.diagnose()

    assert list(dict.fromkeys(finding.subject for finding in findings)) == SUBJECTS
    ours = [one for one in findings if one.subject not in OF_THE_SERVER]
    assert {one.severity for one in ours} == {Severity.OK}, ours
    assert {one.fix for one in ours} == {None}


async def test_a_closed_backend_has_to_be_opened_first() -> None:
    with pytest.raises(BackendClosedError):
        await PostgresBackend(server_url()).diagnose()


async def test_a_schema_without_tables_is_a_problem_and_no_error(tmp_path: Path) -> None:
    async with PostgresBackend(server_url(), schema="nothing_is_here") as backend:
        findings = await backend.diagnose()

    [schema] = [finding for finding in findings if finding.subject == "schema"]
    assert schema.severity is Severity.PROBLEM
    assert "has no tables of rexecutor" in schema.message
    assert "rexecutor migrate --url " in (schema.fix or "")
    assert (schema.fix or "").endswith("--schema nothing_is_here")
    assert {"indexes", "claim"}.isdisjoint(finding.subject for finding in findings)


async def test_missing_and_invalid_indexes_are_named_with_what_mends_them(backend: PostgresBackend) -> None:
    run_postgres(
        f"DROP INDEX {backend.schema}.queue_due",
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{backend.schema}.ended_by'::regclass",
    )

    indexes = await found(backend, "indexes")

    assert [finding.severity for finding in indexes] == [Severity.PROBLEM] * 2
    assert ["queue_due is missing" in indexes[0].message, "ended_by is not valid" in indexes[1].message] == [True, True]
    run_postgres(indexes[0].fix or "", indexes[1].fix or "")
    await the_one(backend, "indexes", Severity.OK)


async def test_a_claim_that_reads_a_whole_table_is_a_warning(backend: PostgresBackend) -> None:
    await backend.enqueue([new_job()] * 2_000)
    schema = backend.schema
    run_postgres(f"DROP INDEX {schema}.queue_due", f"DROP INDEX {schema}.queue_open", f"ANALYZE {schema}.queue")

    finding = await the_one(backend, "claim", Severity.WARNING)

    assert "queue" in finding.message
    assert finding.fix == f'ANALYZE "{schema}".queue'


async def test_an_open_transaction_is_named_with_its_session(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "_OLD_SECONDS", 0.0)
    with psycopg.connect(server_url(), application_name="the culprit") as connection:
        connection.execute("SELECT 1")
        old = await found(backend, "old transactions")

        mine = [finding for finding in old if "the culprit" in finding.message]
        assert [finding.severity for finding in mine] == [Severity.WARNING]
        assert f"pg_terminate_backend({connection.info.backend_pid})" in (mine[0].fix or "")
        assert "idle in transaction" in mine[0].message


async def test_a_table_that_is_not_vacuumed_is_a_problem(backend: PostgresBackend) -> None:
    run_postgres(f"ALTER TABLE {backend.schema}.queue SET (autovacuum_enabled = false)")

    finding = await the_one(backend, "dead rows", Severity.PROBLEM)

    assert finding.fix == f'ALTER TABLE "{backend.schema}".queue RESET (autovacuum_enabled)'
    run_postgres(finding.fix or "")
    await the_one(backend, "dead rows", Severity.OK)


async def test_many_dead_rows_are_a_warning(backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Statements, "of", dead_rows)

    finding = await the_one(backend, "dead rows", Severity.WARNING)

    assert "queue has 30,000 dead rows beside 100 live ones in 5 MiB; never vacuumed" in finding.message
    assert (finding.fix or "").startswith(f'VACUUM "{backend.schema}".queue')


OF = Statements.of


def dead_rows(self: Statements, name: str, /, **parameters: Any) -> Statement:
    if name != "select_table_health":
        return OF(self, name, **parameters)
    return Statement("SELECT 'queue', 100, 30000, NULL::timestamptz, true, 5 * 1024 * 1024", {})


SERVERS: dict[str, tuple[dict[str, object], str, Severity]] = {
    "too old": ({"number": 130_010, "version": "13.10"}, "server", Severity.PROBLEM),
    "a replica": ({"is_read_only": True}, "server", Severity.PROBLEM),
    "without fsync": ({"fsync": "off"}, "durability", Severity.WARNING),
    "with asynchronous commits": ({"commits": "off"}, "durability", Severity.WARNING),
    "sound": ({}, "durability", Severity.OK),
    "full": ({"used": 97}, "connections", Severity.WARNING),
    "with room": ({}, "connections", Severity.OK),
    "without autovacuum": ({"autovacuum": "off"}, "autovacuum", Severity.PROBLEM),
    "without counts": ({"counts": "off"}, "autovacuum", Severity.PROBLEM),
}


@pytest.mark.parametrize(("changes", "subject", "severity"), SERVERS.values(), ids=SERVERS)
async def test_a_server_is_judged_by_its_settings(
    backend: PostgresBackend,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    subject: str,
    severity: Severity,
) -> None:
    sound: dict[str, object] = {
        "number": 180_000,
        "version": "18.0",
        "is_read_only": False,
        "fsync": "on",
        "commits": "on",
        "autovacuum": "on",
        "counts": "on",
        "most": 100,
        "reserved": 3,
        "used": 10,
    }
    given = sound | changes

    def of(self: Statements, name: str, /, **parameters: Any) -> Statement:
        if name != "select_server":
            return OF(self, name, **parameters)
        listed = ", ".join(f"%({key})s" + cast_of(value) for key, value in given.items())
        return Statement(cast("Any", f"SELECT {listed}"), given)

    monkeypatch.setattr(Statements, "of", of)

    finding = await the_one(backend, subject, severity)

    assert (finding.fix is None) == (severity is Severity.OK)


def cast_of(value: object) -> str:
    return "::boolean" if isinstance(value, bool) else "::integer" if isinstance(value, int) else "::text"


@pytest.mark.parametrize(("seconds", "severity"), [(0, Severity.OK), (-90, Severity.WARNING), (90, Severity.WARNING)])
async def test_clocks_that_differ_are_a_warning(backend: PostgresBackend, seconds: int, severity: Severity) -> None:
    clock = FakeClock(SystemClock().now() + timedelta(seconds=seconds))

    findings = [one for one in await looks(backend, clock) if one.subject == "clock"]

    assert [one.severity for one in findings] == [severity]
    assert severity is Severity.OK or ("behind" in findings[0].message) == (seconds > 0)


async def looks(backend: PostgresBackend, clock: FakeClock) -> list[Finding]:
    conninfo = checked_conninfo(server_url())
    looking = Diagnosis(backend._statements, clock, conninfo, listens=False)
    return await backend._connections.run(looking.findings)


async def test_a_backend_that_does_not_listen_is_noted(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path, listens=False) as backend:
        assert "polling" in (await the_one(backend, "notifications", Severity.NOTE)).message


async def test_notifications_that_do_not_come_are_a_warning(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "CHECK_SECONDS", 0.3)

    class Deaf(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    monkeypatch.setattr(diagnosis, "unique_id", lambda: Deaf("token"))

    await the_one(backend, "notifications", Severity.WARNING)


async def test_a_role_that_may_not_use_the_tables_is_told_so(backend: PostgresBackend) -> None:
    role = f"role_{backend.schema}"
    run_postgres(f"CREATE ROLE {role} LOGIN", f"GRANT USAGE ON SCHEMA {backend.schema} TO {role}")
    run_postgres(f"GRANT SELECT ON {backend.schema}.migrations TO {role}")
    try:
        async with PostgresBackend(server_url().replace("postgres@", f"{role}@"), schema=backend.schema) as other:
            findings = await other.diagnose()
    finally:
        run_postgres(f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    [claim] = [finding for finding in findings if finding.subject == "claim"]
    assert (claim.severity, "permission denied" in claim.message) == (Severity.PROBLEM, True)
    [schema] = [finding for finding in findings if finding.subject == "schema"]
    assert (schema.severity, "stored_jobs, queue, " in schema.message) == (Severity.PROBLEM, True)
    assert "GRANT ALL ON ALL TABLES" in (schema.fix or "")
    assert any("may not see" in one.message for one in findings if one.subject == "old transactions")


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        ("DROP TABLE {}.pauses", "schema", "tables are missing: pauses"),
        ("ALTER TABLE {}.queue DROP COLUMN priority CASCADE", "claim", "priority does not exist"),
    ],
)
async def test_what_somebody_has_dropped_is_named(
    backend: PostgresBackend, change: str, subject: str, words: str
) -> None:
    run_postgres(change.format(backend.schema))

    findings = await found(backend, subject)

    assert any(one.severity is Severity.PROBLEM and words in one.message for one in findings), findings


@pytest.mark.skipif(installed() is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize(("mode", "severity"), [("session", Severity.OK), ("transaction", Severity.WARNING)])
async def test_a_pooler_is_seen_and_whether_it_keeps_sessions(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, mode: Any, severity: Severity
) -> None:
    monkeypatch.setattr(diagnosis, "CHECK_SECONDS", 1.0)
    with PgBouncer(server_url(), mode) as pooler:
        async with PostgresBackend(pooler.url, schema=backend.schema) as behind:
            findings = {one.subject: one for one in await behind.diagnose()}

    assert (findings["pooler"].severity, findings["notifications"].severity) == (severity, severity)
    assert "there is one" in findings["pooler"].message
