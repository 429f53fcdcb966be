"""Checks a server for all that keeps jobs from running, makes them slow or may lose them; see `Backend.diagnose`."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, LiteralString, TypeAlias, cast

import psycopg

from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.postgres.address import migrate_command
from rexecutor.backend.postgres.connection import Connection, check_versions
from rexecutor.backend.postgres.execution import run, run_steps
from rexecutor.backend.postgres.liveness import Cutter, ImpatientConnection, is_behind_pooler
from rexecutor.backend.postgres.statements import PACKAGE, Statements, channel_of, in_schema, versions
from rexecutor.backend.sql.indexes import indexes_of, tables_of
from rexecutor.backend.sql.operations import Statement
from rexecutor.backend.unwrapping import first_line
from rexecutor.clock import Clock, unique_id
from rexecutor.errors import SchemaError

Check: TypeAlias = Callable[[Connection], AsyncIterator[Finding]]

CHECK_SECONDS: Final = 5.0
"""Timeout, in seconds, for each statement, and for a notification to arrive."""
OLDEST_VERSION: Final = 14
_SKEW: Final = timedelta(seconds=1)
_FULL: Final = 0.9
"""Share of the server's connections in use above which there is a warning."""
_OLD_SECONDS: Final = 60.0
"""Age, in seconds, of an open transaction above which there is a warning."""
_MANY_TRANSACTIONS: Final = 100_000
_MANY_DEAD: Final = 20_000
_SHARE_DEAD: Final = 0.2
_FEW_ROWS: Final = 1_000
"""Size, in rows, of a table up to which the planner may read all of it."""
_SLOW_SECONDS: Final = 1.0


class Diagnosis:
    """The checks of one schema on a server."""

    def __init__(self, statements: Statements, clock: Clock, conninfo: str, *, listens: bool) -> None:
        """Store what the checks need; nothing is read yet.

        Args:
            statements: Statements of the schema.
            clock: The clock of this machine.
            conninfo: Connection string of the server.
            listens: Whether the backend listens for notifications.
        """
        self._statements = statements
        self._schema = statements.schema
        self._quoted = in_schema('"rexecutor".', self._schema)[:-1]
        self._clock = clock
        self._conninfo = conninfo
        self._listens = listens

    async def findings(self, connection: Connection) -> list[Finding]:
        """Make the checks that need a connection of the pool. One that fails is a finding, and the others go on."""
        checks: Mapping[str, Check] = {
            "server": self._server,
            "clock": self._clocks,
            "schema": self._tables,
            "indexes": self._indexes,
            "claim": self._claim,
            "dead rows": self._health,
            "old transactions": self._transactions,
        }
        found: list[Finding] = []
        for subject, check in checks.items():
            try:
                async with connection.transaction():
                    await connection.execute(
                        "SELECT set_config('statement_timeout', %s, true)", [f"{CHECK_SECONDS:.0f}s"]
                    )
                    found += [finding async for finding in check(connection)]
            except psycopg.errors.InsufficientPrivilege as error:
                fix = "grant the role USAGE on the schema and all privileges on its tables"
                found.append(Finding(subject, Severity.PROBLEM, f"not allowed: {first_line(error)}", fix))
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
                if not any(one.subject == "schema" and one.severity is Severity.PROBLEM for one in found):
                    found.append(Finding(subject, Severity.PROBLEM, first_line(error), "restore what is missing"))
            except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
                found.append(Finding(subject, Severity.NOTE, f"could not be checked: {first_line(error)}"))
        return found

    async def hearing(self) -> list[Finding]:
        """Check, on separate connections, whether there is a pooler and whether a notification arrives."""
        if not self._listens:
            message = "listens=False: nodes find jobs by polling, about a second late"
            return [Finding("notifications", Severity.NOTE, message)]
        try:
            async with await ImpatientConnection.connect(self._conninfo, autocommit=True) as listener:
                is_pooled = await is_behind_pooler(listener)
                seconds = await self._round_trip(listener)
        except psycopg.Error as error:
            message = f"no connection to listen on: {first_line(error)}"
            return [Finding("notifications", Severity.WARNING, message, "allow one more connection for each node")]
        return [_pooler(is_pooled, keeps_session=seconds is not None), _notifications(seconds, is_pooled=is_pooled)]

    async def _round_trip(self, listener: Connection) -> float | None:
        """Return how long a notification of another connection takes to arrive; None if it does not."""
        channel = cast("LiteralString", f"{channel_of(self._schema)}_trial")  # letters, digits and _
        token = unique_id()
        cutter = Cutter()
        with cutter.cut_after(CHECK_SECONDS, listener):
            await run(listener, Statement("LISTEN " + channel, {}))
        async with await ImpatientConnection.connect(self._conninfo, autocommit=True) as speaker:
            began = self._clock.monotonic()
            with cutter.cut_after(CHECK_SECONDS, speaker):
                await run(
                    speaker, Statement("SELECT pg_notify(%(channel)s, %(token)s)", {"channel": channel, "token": token})
                )
            async for notification in listener.notifies(timeout=CHECK_SECONDS):
                if notification.payload == token:
                    return self._clock.monotonic() - began
        return None

    async def _server(self, connection: Connection) -> AsyncIterator[Finding]:
        [row] = await run(connection, self._statements.of("select_server"))
        number, version, is_read_only, fsync, commits, autovacuum, counts, most, reserved, used = row
        if number // 10_000 < OLDEST_VERSION:
            message = f"PostgreSQL {version} is too old"
            yield Finding("server", Severity.PROBLEM, message, f"update it to {OLDEST_VERSION} or later")
        elif is_read_only:
            message = f"PostgreSQL {version} is read-only: a replica, or no longer the primary"
            yield Finding("server", Severity.PROBLEM, message, "give the primary's address")
        else:
            yield Finding("server", Severity.OK, f"PostgreSQL {version}")
        yield _durability(fsync, commits)
        if used >= _FULL * (most - reserved):
            message = f"{used} of {most - reserved} connections are in use; nodes that start may get none"
            fix = "raise max_connections, lower `max_connections=` of the backends, or put a pooler in between"
            yield Finding("connections", Severity.WARNING, message, fix)
        else:
            yield Finding("connections", Severity.OK, f"{used} of {most - reserved} are in use")
        if "off" in (autovacuum, counts):
            name = "autovacuum" if autovacuum == "off" else "track_counts"
            message = f"{name} is off: dead rows stay, and claims become slower and slower"
            fix = f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"
            yield Finding("autovacuum", Severity.PROBLEM, message, fix)
        else:
            yield Finding("autovacuum", Severity.OK, "it is on")

    async def _clocks(self, connection: Connection) -> AsyncIterator[Finding]:
        best: tuple[timedelta, timedelta] | None = None
        for _ in range(3):  # the quickest reply is the most exact
            before, began = self._clock.now(), self._clock.monotonic()
            [[theirs]] = await run(connection, self._statements.of("select_clock"))
            took = timedelta(seconds=self._clock.monotonic() - began)
            if best is None or took < best[0]:
                best = took, theirs - (before + took / 2)
        assert best is not None  # noqa: S101 - there was a reply
        took, skew = best
        seconds = abs(skew.total_seconds())
        which = "ahead of" if skew > timedelta(0) else "behind"
        if abs(skew) - took / 2 > _SKEW:
            message = (
                f"the server's clock is {seconds:,.1f} s {which} this machine's: moments that the application computes,"
                " such as for `schedule_at`, are wrong by as much"
            )
            yield Finding("clock", Severity.WARNING, message, "synchronise both clocks (NTP)")
        else:
            yield Finding("clock", Severity.OK, f"the server's is {seconds:,.3f} s {which} this machine's")

    async def _tables(self, connection: Connection) -> AsyncIterator[Finding]:
        found = await run_steps(connection, versions(self._schema))
        try:
            check_versions(found, self._schema, connection)
        except SchemaError as error:
            fix = migrate_command(self._schema, connection) if found[1] <= found[0] else None
            yield Finding("schema", Severity.PROBLEM, str(error), fix)
            return
        rows = await run(connection, self._statements.of("select_tables", schema=self._quoted))
        there = {str(row[0]): bool(row[1]) for row in rows}
        missing = [name for name in tables_of(PACKAGE) if name not in there]
        refused = [name for name in tables_of(PACKAGE) if not there.get(name, True)]
        if missing:
            message = f"tables are missing: {', '.join(missing)}"
            yield Finding(
                "schema", Severity.PROBLEM, message, "restore them; `migrate --sql` prints how they are created"
            )
        elif refused:
            message = f"this role may not read and write {', '.join(refused)}"
            fix = f"GRANT ALL ON ALL TABLES IN SCHEMA {self._quoted} TO this role"
            yield Finding("schema", Severity.PROBLEM, message, fix)
        else:
            message = f'schema "{self._schema}" has version {found[0]}; this version of rexecutor can work with it'
            yield Finding("schema", Severity.OK, message)

    async def _indexes(self, connection: Connection) -> AsyncIterator[Finding]:
        rows = await run(connection, self._statements.of("select_indexes", schema=self._quoted))
        there = {str(row[0]): bool(row[1]) for row in rows}
        if not there:
            return  # there is no schema
        bad = False
        for name, text in indexes_of(PACKAGE).items():
            if name not in there:
                fix = in_schema(text, self._schema).replace("INDEX ", "INDEX CONCURRENTLY ", 1)
                message = f"the index {name} is missing: statements read whole tables"
            elif not there[name]:
                fix = f"REINDEX INDEX CONCURRENTLY {self._quoted}.{name}"
                message = f"the index {name} is not valid, so it is written but never read"
            else:
                continue
            bad = True
            yield Finding("indexes", Severity.PROBLEM, message, fix)
        if not bad:
            yield Finding("indexes", Severity.OK, "all indexes are there")

    async def _claim(self, connection: Connection) -> AsyncIterator[Finding]:
        [[executor]] = await run(connection, self._statements.of("select_waiting_executor"))
        claim = self._statements.of(
            "claim_jobs",
            executors=[executor or ""],
            slots=[10],
            limit=10,
            node="",
            epoch=0,
            promoted=True,
            now=None,
        )
        # Only planned, never executed.
        explain = Statement("EXPLAIN (FORMAT JSON)\n" + claim.text, claim.parameters)
        [[[explained]]] = await run(connection, explain)
        sizes = await run(connection, self._statements.of("select_sizes", schema=self._quoted))
        large = {name for name, rows in sizes if rows > _FEW_ROWS}
        whole = {
            str(node["Relation Name"])
            for node in _nodes(explained["Plan"])
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large
        }
        if whole:
            message = f"claims read a whole table: {', '.join(sorted(whole))}"
            fix = "; ".join(f"ANALYZE {self._quoted}.{name}" for name in sorted(whole))
            yield Finding("claim", Severity.WARNING, message, fix)
        else:
            yield Finding("claim", Severity.OK, "claims use their indexes")

    async def _health(self, connection: Connection) -> AsyncIterator[Finding]:
        bad = False
        for name, live, dead, vacuumed, is_vacuumed, size in await run(
            connection, self._statements.of("select_table_health", name=self._schema)
        ):
            table = f"{self._quoted}.{name}"
            if not is_vacuumed:
                bad = True
                message = f"autovacuum is off for {name}: dead rows stay, and claims become slower and slower"
                yield Finding("dead rows", Severity.PROBLEM, message, f"ALTER TABLE {table} RESET (autovacuum_enabled)")
            if dead > _MANY_DEAD and dead > _SHARE_DEAD * live:
                bad = True
                when = "never vacuumed" if vacuumed is None else f"last vacuumed at {vacuumed:%Y-%m-%d %H:%M:%S %Z}"
                message = (
                    f"{name} has {dead:,} dead rows beside {live:,} live ones in {size / 1024 / 1024:,.0f} MiB; {when}"
                )
                fix = f"VACUUM {table}; if that helps little, end the old transactions first"
                yield Finding("dead rows", Severity.WARNING, message, fix)
        if not bad:
            yield Finding("dead rows", Severity.OK, "vacuum keeps up")

    async def _transactions(self, connection: Connection) -> AsyncIterator[Finding]:
        old = await run(
            connection,
            self._statements.of("select_old_transactions", seconds=_OLD_SECONDS, transactions=_MANY_TRANSACTIONS),
        )
        for kind, name, who, seconds, state in old:
            yield _held_back(kind, name, who, float(seconds), state)
        [[hidden]] = await run(connection, self._statements.of("count_hidden_sessions"))
        if hidden:
            message = f"this role may not see the transactions of {hidden} sessions of other roles"
            fix = "GRANT pg_read_all_stats TO the role that runs this"
            yield Finding("old transactions", Severity.NOTE, message, fix)
        elif not old:
            yield Finding("old transactions", Severity.OK, f"none is older than {_OLD_SECONDS:.0f} s")


def _durability(fsync: str, commits: str) -> Finding:
    if fsync == "off":
        message = "fsync is off: a crash of the machine may destroy the database"
        return Finding("durability", Severity.WARNING, message, "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()")
    if commits == "off":
        message = "synchronous_commit is off: a crash of the server may lose the jobs of the last second"
        fix = "ALTER DATABASE … SET synchronous_commit = on, or add `options=-csynchronous_commit%3Don` to the URL"
        return Finding("durability", Severity.WARNING, message, fix)
    return Finding("durability", Severity.OK, f"synchronous_commit is {commits}")


def _pooler(is_pooled: bool, *, keeps_session: bool) -> Finding:  # noqa: FBT001 - the only thing it is about
    if not is_pooled:
        return Finding("pooler", Severity.OK, "there is none between this machine and the server")
    if keeps_session:
        return Finding("pooler", Severity.OK, "there is one; it keeps sessions, or seems to")
    message = "there is one in transaction mode: it keeps no sessions, so each statement is planned anew"
    fix = "give workers the server's own address, or a pool in session mode"
    return Finding("pooler", Severity.WARNING, message, fix)


def _notifications(seconds: float | None, *, is_pooled: bool) -> Finding:
    if seconds is None:
        message = f"none arrived within {CHECK_SECONDS:.0f} s: nodes find jobs by polling, about a second late"
        fix = "give workers the server's own address" if is_pooled else "look for a proxy that drops them"
        return Finding("notifications", Severity.WARNING, message, fix)
    message = f"one took {seconds * 1_000:,.1f} ms to arrive"
    if seconds < _SLOW_SECONDS:
        return Finding("notifications", Severity.OK, message)
    return Finding("notifications", Severity.WARNING, message, "look at the load of the server and of the network")


def _held_back(kind: str, name: str, who: str | None, seconds: float, state: str | None) -> Finding:
    """Return the finding for what keeps vacuum from removing dead rows."""
    effect = "vacuum cannot remove rows that have died since then, and claims become slower"
    if kind == "slot":
        message = f"replication slot {name} holds back {seconds:,.0f} transactions: {effect}"
        return Finding("old transactions", Severity.WARNING, message, f"SELECT pg_drop_replication_slot('{name}')")
    age = timedelta(seconds=round(seconds))
    if kind == "prepared":
        message = f"prepared transaction {name!r} of {who} is {age} old: {effect}"
        quoted = name.replace("'", "''")
        return Finding(
            "old transactions", Severity.WARNING, message, f"ROLLBACK PREPARED '{quoted}', or COMMIT PREPARED"
        )
    message = f"session {name} ({who}; {state}) has had a transaction open for {age}: {effect}"
    fix = f"SELECT pg_terminate_backend({name}); set idle_in_transaction_session_timeout against the next one"
    return Finding("old transactions", Severity.WARNING, message, fix)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    children: Sequence[Mapping[str, Any]] = plan.get("Plans", ())
    for child in children:
        yield from _nodes(child)
