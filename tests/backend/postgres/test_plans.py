"""PostgreSQL's plans: a statement reads about as many rows as it is asked for, however many others there are.

At 1,000 and 100,000 rows of each kind; `make plans` asks at 1,000,000.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, TypeAlias, cast

import psycopg
import pytest

from rexecutor import JobStatus, Replace, UniquenessCriteria
from rexecutor.backend.postgres.rows import changed_row
from rexecutor.backend.postgres.statements import Statements
from rexecutor.backend.sql.operations import Statement
from rexecutor.model import rules
from rexecutor.model.stats import NO_COUNTS, OutcomeKind, StatRow
from rexecutor.model.status import OPEN, WAITING
from rexecutor.model.where import Everything, IdIn, StatusIn, Where
from rexecutor.testing.suite.store import HOUR, new_job
from tests.postgres import Migrated, run_postgres, server_url

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

ROWS = [int(os.environ["REXECUTOR_PLAN_ROWS"])] if "REXECUTOR_PLAN_ROWS" in os.environ else [1_000, 100_000]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = f"timestamptz '{NOW.isoformat()}'"
EXECUTORS = 10
SMALL, READ_WHOLE = 1_000, 20_000
"""With as few rows a kind, as many reads cost nothing: the planner may read the table whole."""
WITH_DEAD = 30_000
"""Bound for statements on a thousand jobs: those rolled back by earlier tests, in any order, left dead entries."""
SCHEMA = cast("LiteralString", f"plans_{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}")
STATEMENTS = Statements(SCHEMA)

QUEUED = """
INSERT INTO {schema}.queue (id, executor, scheduled_at, priority, due, expires_at)
SELECT id, executor, scheduled_at, priority, {due}, expires_at FROM stored
"""
RETURNED = "RETURNING id, executor, scheduled_at, priority, expires_at"
# All enqueued at the same moment, as a batch is; and of every kind the same executors.
BACKLOG = f"""
WITH stored AS (
    INSERT INTO {{schema}}.stored_jobs (executor, data, max_attempts, inserted_at, scheduled_at, unique_key)
    SELECT 'executor ' || n % {{executors}}, '1', 5, {{at}}, {{at}}, CASE WHEN n % 10 = 0 THEN 'key ' || n END
    FROM generate_series(1, {{rows}}) AS n {RETURNED}
) {QUEUED.replace("{due}", "true")}
"""
OVERDUE = f"""
WITH stored AS (
    INSERT INTO {{schema}}.stored_jobs (executor, data, max_attempts, inserted_at, scheduled_at)
    SELECT 'executor ' || n % {{executors}}, '1', 5, {{at}}, {{at}} - interval '1 min'
    FROM generate_series(1, {{rows}}) AS n {RETURNED}
) {QUEUED.replace("{due}", "false")}
"""
RUNNING = """
WITH stored AS (
    INSERT INTO {schema}.stored_jobs (executor, data, max_attempts, inserted_at, scheduled_at)
    SELECT 'executor ' || n % {executors}, '1', 5, {at}, {at} - interval '1 hour' FROM generate_series(1, 500) AS n
    RETURNING id, executor
)
INSERT INTO {schema}.running (id, claims, attempted_at, attempt, node, executor, cancel_reason)
SELECT
    id, 1, {at}, 1, CASE WHEN id % 10 = 0 THEN 'lost' ELSE 'alive' END, executor,
    CASE WHEN id % 50 = 1 THEN 'not wanted' END
FROM stored
"""
# Settled a hundred at a time; those of one executor and moment are one row of the log.
FINISHED = """
WITH stored AS (
    INSERT INTO {schema}.stored_jobs (
        executor, data, max_attempts, inserted_at, scheduled_at, status, claims, attempt, completed_at, unique_key
    )
    SELECT
        'executor ' || n % {executors}, '1', 5, {at} - interval '9 days', {at} - n % 80000 * interval '10 s',
        'complete', 1, 1, {at} - n / 100 % 8000 * interval '100 s', CASE WHEN n % 10 = 0 THEN 'key ' || n END
    FROM generate_series(1, {rows}) AS n
    RETURNING id, executor, completed_at
)
INSERT INTO {schema}.ended (executor, status, ended_at, ids)
SELECT executor, 'complete', completed_at, array_agg(id ORDER BY id) FROM stored GROUP BY executor, completed_at
"""
URGENT_LATER = f"""
WITH stored AS (
    INSERT INTO {{schema}}.stored_jobs (executor, data, max_attempts, priority, inserted_at, scheduled_at)
    SELECT 'executor ' || n % {{executors}}, '1', 5, 0, {{at}}, {{at}} + interval '1 day'
    FROM generate_series(1, {{rows}}) AS n {RETURNED}
) {QUEUED.replace("{due}", "false")}
"""
EXPIRED = f"""
WITH stored AS (
    INSERT INTO {{schema}}.stored_jobs (executor, data, max_attempts, inserted_at, scheduled_at, expires_at)
    SELECT 'executor ' || n % {{executors}}, '1', 5, {{at}}, {{at}} + interval '1 day', {{at}} - n * interval '1 s'
    FROM generate_series(1, {{rows}}) AS n {RETURNED}
) {QUEUED.replace("{due}", "false")}
"""
NOT_YET_EXPIRED = f"""
WITH stored AS (
    INSERT INTO {{schema}}.stored_jobs (executor, data, max_attempts, inserted_at, scheduled_at, expires_at)
    SELECT 'executor ' || n % {{executors}}, '1', 5, {{at}}, {{at}} + interval '1 day', {{at}} + interval '1 hour'
    FROM generate_series(1, {{rows}}) AS n {RETURNED}
) {QUEUED.replace("{due}", "false")}
"""
# Three outcomes of each executor: minutes back from now, and hours back from a month ago.
HISTORY = """
INSERT INTO {schema}.stats (minutes, moment, executor, outcome, attempts, waits, runs)
SELECT
    minutes, {at} - since - n / (3 * {executors}) * minutes * interval '1 min',
    'executor ' || n % {executors}, (ARRAY['complete', 'failed', 'snoozed'])[n / {executors} % 3 + 1], 9,
    '{{1, 8}}', '{{9}}'
FROM generate_series(0, {rows} - 1) AS n, (VALUES (1, interval '0'), (60, interval '29 days')) AS kinds (minutes, since)
"""
RUNNING_ONLY = frozenset({JobStatus.EXECUTING})
TABLES = ("stored_jobs", "queue", "running", "ended", "stats")
NODES = "INSERT INTO {schema}.nodes VALUES ('alive', 'here', {at}, {at} + interval '1 hour')"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is in the table."""

    rows: int
    is_beside_others: bool

    def __str__(self) -> str:
        return f"{self.rows:,} {'beside as many finished and later ones' if self.is_beside_others else 'alone'}"

    def commands(self) -> list[str]:
        parts = [BACKLOG, RUNNING, NODES, HISTORY]
        if self.is_beside_others:
            parts[:0] = [FINISHED, OVERDUE, URGENT_LATER, EXPIRED, NOT_YET_EXPIRED]
        return [part.format(rows=self.rows, executors=EXECUTORS, at=AT, schema=SCHEMA) for part in parts]


SHAPES = [Shape(rows, is_beside_others) for rows in ROWS for is_beside_others in (False, True)]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> Iterator[Shape]:
    made: Shape = request.param
    run_postgres(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    asyncio.run(make_schema())
    run_postgres(
        *(f"ALTER TABLE {SCHEMA}.{table} SET (autovacuum_enabled = false)" for table in TABLES),
        f"ALTER TABLE {SCHEMA}.stored_jobs ALTER COLUMN priority SET DEFAULT 1",
        *made.commands(),
    )
    yield made
    run_postgres(f"DROP SCHEMA {SCHEMA} CASCADE")


async def make_schema() -> None:
    async with Migrated(server_url(), schema=SCHEMA, listens=False):
        pass


@pytest.fixture(scope="module", params=["no statistics", "analyzed"])
def connection(request: pytest.FixtureRequest, shape: Shape) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back, statistics with it."""
    with psycopg.connect(server_url(), autocommit=True) as made, made.transaction(force_rollback=True):
        if request.param == "analyzed":
            for table in TABLES:
                made.execute(f"ANALYZE {SCHEMA}.{table}")
        yield made


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def plans(request: pytest.FixtureRequest, connection: Connection) -> Iterator[Connection]:
    with connection.transaction(force_rollback=True):
        connection.execute(cast("LiteralString", f"SET LOCAL plan_cache_mode = {request.param}"))
        yield connection


@dataclass(frozen=True, slots=True)
class Plan:
    """What a statement did."""

    rows: float
    """How many rows of jobs it has read."""
    milliseconds: float
    scans: str


def plan_of(connection: Connection, statement: Statement) -> Plan:
    """Execute it as a prepared statement."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, statement.text)
    given = cast("LiteralString", f"({', '.join(['%s'] * len(names))})" if names else "")
    values = psycopg.ClientCursor(connection).mogrify(given, [statement.parameters[name] for name in names])
    connection.execute("DEALLOCATE ALL")
    connection.execute(cast("LiteralString", f"PREPARE asked AS {text}"))
    cursor = connection.execute(cast("LiteralString", f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked {values}"))
    [[[explained]]] = cursor.fetchall()
    scans = [node for node in nodes_of(explained["Plan"]) if reads_jobs(node)]
    return Plan(sum(map(rows_read, scans)), explained["Execution Time"], " | ".join(map(str, map(described, scans))))


def has_statistics(connection: Connection) -> bool:
    found = connection.execute(f"SELECT FROM pg_stats WHERE schemaname = '{SCHEMA}' AND tablename = 'ended' LIMIT 1")
    return found.fetchone() is not None


def nodes_of(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes_of(child)


def reads_jobs(node: Mapping[str, Any]) -> bool:
    name = node.get("Relation Name") or node.get("Index Name", "")
    return name.startswith((*TABLES, "jobs")) and "Scan" in node["Node Type"]


def rows_read(scan: Mapping[str, Any]) -> float:
    removed = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    return (scan["Actual Rows"] + removed) * scan["Actual Loops"]


def described(scan: Mapping[str, Any]) -> str:
    return f"{scan['Node Type']} {scan.get('Index Name', '')}: {rows_read(scan):,.0f}"


def claim(executors: int, *, promoted: bool = True) -> Statement:
    names = [f"executor {number}" for number in range(executors)]
    wanted = {"executors": names, "slots": [100] * executors, "limit": 100}
    return STATEMENTS.of("claim_jobs", node="alive", epoch=0, **wanted, promoted=promoted, now=NOW)


def settle(connection: Connection) -> Statement:
    ids = running_ids(connection)
    failed = '[{"attempt": 1}]'
    return STATEMENTS.of(
        "settle_jobs",
        ids=ids,
        claims=[1] * 400,
        kinds=["complete", "failed"] * 200,
        delays=[timedelta(0)] * 400,
        errors=[None, failed] * 200,
        results=[None] * 400,
        expired="expired",
        node=None,
        patience="1s",
        most_errors=20,
        now=NOW,
    )


def settle_complete(connection: Connection) -> Statement:
    ids = ",".join(map(str, running_ids(connection)))
    claims = ",".join(["1"] * 400)
    return STATEMENTS.of(
        "settle_complete", ids=f"{{{ids}}}", claims=f"{{{claims}}}", results=None, node=None, patience="1s", now=NOW
    )


def marked_claim(executors: int) -> Statement:
    """Return a claim that begins at the middle of the backlog."""
    middle = {"priorities": [1] * executors, "moments": [NOW] * executors, "ids": [ROWS[-1] // 2] * executors}
    plain = claim(executors, promoted=True)
    return STATEMENTS.of("claim_marked", **plain.parameters, **middle)


def running_ids(connection: Connection) -> list[int]:
    """Return the ids of 400 new running jobs: others have dead entries, which tests that were rolled back left."""
    connection.execute(cast("LiteralString", RUNNING.format(executors=EXECUTORS, at=AT, schema=SCHEMA)))
    newest = f"SELECT id FROM {SCHEMA}.running ORDER BY id DESC LIMIT 400"
    return sorted(row[0] for row in connection.execute(newest).fetchall())


def conflicting(unique: UniquenessCriteria, statuses: frozenset[JobStatus] | None = None) -> Statement:
    job, now = new_job("executor 3"), NOW - 8 * HOUR
    where = rules.conflicting(job, unique, now)
    where = where if statuses is None else where & StatusIn(statuses)
    wanted = unique.statuses if statuses is None else unique.statuses & statuses
    return next(STATEMENTS.first_conflicting(where, job, unique, wanted, now))


def change(status: str) -> Statement:
    record = rules.inserted(new_job("executor 3"), 7, NOW)
    row = {**changed_row(record), "status": status}
    return STATEMENTS.of("update_job", **row | {f"{status}_at": NOW})


def page(where: Where) -> Statement:
    return STATEMENTS.where("select_jobs", where, NOW, after=0, limit=100)


def prune(name: str, *names: str, **parameters: Any) -> Statement:
    is_except = not names
    return STATEMENTS.of(
        name, status="complete", executors=list(names), is_except=is_except, limit=100, now=NOW, **parameters
    )


def heartbeat(*, rescues: bool) -> Statement:
    limits = {"most_losses": 3, "most_errors": 20, "lost": "lost", "expired": "expired", "most_expired": 500}
    told = {"channel": "plans", "ended": "=", "state": "{}", "executors": None}
    return STATEMENTS.of(
        "heartbeat", node="alive", name="alive", lease=HOUR, epoch=0, rescues=rescues, **limits, **told, now=NOW
    )


def changed_at_once(name: str, ids: list[int], where: Where | None = None, **parameters: Any) -> Statement:
    condition = Everything() if where is None else where
    return STATEMENTS.where(name, condition, NOW, ids=ids, most_errors=20, **parameters)


def newest(name: str, where: Where) -> Statement:
    return STATEMENTS.where(name, where, NOW, after=2**63 - 1, limit=100)


def new_fields() -> dict[str, Any]:
    return {"data": None, "sets_metadata": False, "metadata": None, "max_attempts": 3, "priority": 2} | {
        "tags": None,
        "scheduled_at": None,
    }


def load(executors: int, most: int) -> Statement:
    names = [f"executor {number}" for number in range(executors)]
    return next(STATEMENTS.count_waiting(names, most, NOW))


def added(rows: int) -> Statement:
    moment = NOW - timedelta(hours=1)
    new = [StatRow(moment, f"executor {n}", OutcomeKind.COMPLETE, 1, NO_COUNTS, NO_COUNTS) for n in range(rows)]
    return next(STATEMENTS.add_stats(new))


THOUSAND = list(range(ROWS[-1] - 500, ROWS[-1] + 500))
"""Ids of jobs of two kinds. They are none that claims begin with: tests that were rolled back leave dead entries."""
MATCHING = Where.executor_equals("executor 3") & ~Where.status_equals(JobStatus.EXECUTING)
KEY = UniquenessCriteria.by_key("order 7")
BY_EXECUTOR = UniquenessCriteria.by_executor()
EVERY_STATUS = tuple(JobStatus)

CASES: Mapping[str, tuple[Statement, int]] = {
    "claim for one executor": (claim(1), 500),
    "claim for ten executors": (claim(10), 1_500),
    "claim before a promotion": (claim(10, promoted=False), 1_500),
    "claim from a mark on": (marked_claim(10), 1_500),
    "promote": (STATEMENTS.of("promote_jobs", limit=1_000, now=NOW), 3_000),
    "a heartbeat that rescues": (heartbeat(rescues=True), 8_000),
    "a heartbeat": (heartbeat(rescues=False), 3_000),
    "running": (STATEMENTS.of("select_running", node="alive", ids=[1, 2], claims=[1, 1]), 3_000),
    "unique by key": (conflicting(KEY), 10),
    "unique by key, to be replaced": (conflicting(KEY, Replace.priority().statuses), 10),
    "unique by key and window": (conflicting(KEY.and_within(HOUR)), 10),
    "unique by key, whatever the status": (conflicting(KEY.and_statuses(*EVERY_STATUS)), 10),
    "unique by executor": (conflicting(BY_EXECUTOR), 700),  # what runs is few, and read whole
    "unique by executor, to be replaced": (conflicting(BY_EXECUTOR, Replace.priority().statuses), 700),
    "unique by executor in a window, not ended": (conflicting(BY_EXECUTOR.and_within(HOUR).and_statuses(*OPEN)), 700),
    "unique by executor and window": (conflicting(BY_EXECUTOR.and_within(HOUR)), 10),
    "unique by executor, whatever the status": (conflicting(BY_EXECUTOR.and_statuses(*EVERY_STATUS)), 10),
    "a page": (page(Everything()), 300),
    "a page of executing jobs": (page(StatusIn(frozenset({JobStatus.EXECUTING}))), 1_100),
    "a page of the newest jobs": (newest("select_newest_jobs", Everything()), 700),
    "a page of the newest waiting jobs": (newest("select_newest_jobs", StatusIn(WAITING)), 1_300),
    "a page of the newest executing jobs": (newest("select_newest_jobs", StatusIn(RUNNING_ONLY)), 1_100),
    "a page of ids": (STATEMENTS.where("select_ids", Everything(), NOW, after=0, limit=1_000), 1_000),
    "a page of the newest ids": (newest("select_newest_ids", Everything()), 100),
    "a look for a thousand places": (
        STATEMENTS.of("lock_places", ids=THOUSAND, changes_ended=False, patience="1s"),
        WITH_DEAD,
    ),
    "a look for a thousand places in the log": (
        STATEMENTS.of("lock_places", ids=THOUSAND, changes_ended=True, patience="1s"),
        WITH_DEAD,
    ),
    "a thousand cancels": (changed_at_once("cancel_jobs", THOUSAND, reason="why"), WITH_DEAD),
    "a thousand cancels of those that match": (
        changed_at_once("cancel_jobs", THOUSAND, MATCHING, reason="why"),
        WITH_DEAD,
    ),
    "a thousand updates": (changed_at_once("update_fields", THOUSAND, **new_fields()), WITH_DEAD),
    "a thousand updates of those that match": (
        changed_at_once("update_fields", THOUSAND, MATCHING, **new_fields()),
        WITH_DEAD,
    ),
    "a thousand reruns": (changed_at_once("rerun_jobs", THOUSAND), WITH_DEAD),
    "a thousand reruns of those that match": (changed_at_once("rerun_jobs", THOUSAND, MATCHING), WITH_DEAD),
    "a look for a job's place": (STATEMENTS.of("lock_place", id=7, changes_ended=False), 10),
    "a look for a job's place in the log": (STATEMENTS.of("lock_place", id=7, changes_ended=True), 100),
    "one job": (STATEMENTS.of("select_job", id=7), 10),
    "a job that waits still": (change("scheduled"), 10),
    "a job that is cancelled": (change("cancelled"), 10),
    "a look at a thousand jobs": (STATEMENTS.where("select_statuses", IdIn(frozenset(range(1_000))), NOW), WITH_DEAD),
    "prune by age": (prune("prune_older", age=timedelta(days=1)), 100 * EXECUTORS + 700),
    "prune by age, one executor": (prune("prune_older", "executor 3", age=timedelta(days=1)), 700),
    "prune by age, nothing to do": (prune("prune_older", age=timedelta(days=365)), 50),
    "prune by number": (prune("prune_beyond", kept=50), 151 * EXECUTORS + 700),
    "prune by number, one executor": (prune("prune_beyond", "executor 3", kept=50), 900),
    "prune by number, nothing to do": (prune("prune_beyond", kept=2_000_000), 0),
    "the load: who executes": (STATEMENTS.of("select_holders", executor=None), 1_000),
    "the load: names": (STATEMENTS.of("select_waiting_executors"), 30),
    "the load: a few of each": (load(EXECUTORS, 101), 1_100),
    "the load: half of each": (load(EXECUTORS, ROWS[-1] // EXECUTORS // 2), ROWS[-1] // 2),
    "the load: half of one": (load(1, ROWS[-1] // EXECUTORS // 2), ROWS[-1] // EXECUTORS // 2),
    "the history of an hour": (STATEMENTS.of("select_stats", since=NOW - HOUR), 3_000),
    "rows for the history": (added(100), 0),
    "old minutes": (STATEMENTS.of("take_minutes", before=NOW - timedelta(days=1), limit=500), 1_100),
    "old minutes, nothing to do": (STATEMENTS.of("take_minutes", before=NOW - timedelta(days=9_999), limit=500), 10),
    "old hours": (STATEMENTS.of("delete_hours", before=NOW - timedelta(days=30), limit=500), 1_100),
    "old hours, nothing to do": (STATEMENTS.of("delete_hours", before=NOW - timedelta(days=99_999), limit=500), 10),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_does_not_grow_with_the_table(plans: Connection, shape: Shape, name: str) -> None:
    statement, most = CASES[name]
    if name.startswith("prune by number") and ("nothing" in name or not has_statistics(plans)):
        most = 3 * shape.rows  # what is kept is counted; and without statistics all that ended may be read and sorted
    if shape.rows <= SMALL:
        most = max(most, READ_WHOLE)

    plan = plan_of(plans, statement)

    print(f"{shape} | {name}: {plan.rows:,.0f} rows, {plan.milliseconds:.1f} ms, {plan.scans}")  # noqa: T201 - for -s
    assert plan.rows <= most, plan


@pytest.mark.parametrize("settles", [settle, settle_complete])
def test_a_settle_reads_the_jobs_that_it_settles(
    plans: Connection, shape: Shape, settles: Callable[[Connection], Statement]
) -> None:
    plan = plan_of(plans, settles(plans))

    print(f"{shape} | {settles.__name__}: {plan.rows:,.0f} rows, {plan.milliseconds:.1f} ms, {plan.scans}")  # noqa: T201
    assert plan.rows <= (READ_WHOLE if shape.rows <= SMALL else 2_000), plan
