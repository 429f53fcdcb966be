"""Mutants of the SQL stores' statements for claim, settle, rescue and prune: `python -m tests.project.sql_mutants`.

Each changes one word of one statement in a copy of the package, and runs the store's tests on it. A mutant that no test
notices has survived. Prints the survivors, the test that noticed each of the others, and one JSON line. Those that only
took too long are counted apart: run them again on a machine that is less busy.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from demo.postgres_server import PostgresServer
from rexecutor import PostgresBackend
from tests import postgres
from tests.faults.processes import ROOT
from tests.pgbouncer import leave


@dataclass(frozen=True, slots=True)
class Store:
    """The statements of one store, and the tests of them, those first that notice most."""

    statements: tuple[str, ...]
    tests: tuple[str, ...]
    """Arguments of pytest."""


STORES = {
    "sqlite": Store(
        (
            "begin_lease",
            "ask_cancel",
            "complete_jobs",
            "complete_with_results",
            "count_ended",
            "delete_dead_nodes",
            "delete_ended",
            "delete_orphans",
            "dequeue_jobs",
            "lock_node",
            "move_epoch",
            "promote_jobs",
            "queue_jobs",
            "renew_lease",
            "requeue_job",
            "select_cancels",
            "select_due_executors",
            "select_due_jobs",
            "select_ended",
            "select_ended_executors",
            "select_lease",
            "select_next_due",
            "select_orphans",
            "select_running",
            "select_started",
            "start_jobs",
            "stop_jobs",
            "update_job",
        ),
        (
            "tests/backend/sqlite/test_suite.py",
            "tests/backend/sqlite/test_files.py",
            "tests/backend/sqlite/test_plans.py",
            "tests/backend/sqlite/test_pruning.py",
            "tests/backend/sqlite/test_corrupt_rows.py",
        ),
    ),
    "postgres": Store(
        (
            "claim_before",
            "claim_jobs",
            "claim_marked",
            "claim_after",
            "promote_jobs",
            "dequeue_running",
            "settle_complete",
            "settle_jobs",
            "lock_place",
            "update_job",
            "heartbeat",
            "select_running",
            "lock_node",
            "move_epoch",
            "prune_names",
            "prune_older",
            "prune_beyond",
            "prune_doomed",
        ),
        (
            "tests/backend/postgres/test_suite.py::TestPostgresBackend",
            "tests/backend/postgres/test_races.py",
            "tests/backend/postgres/test_low_marks.py",
            "tests/backend/postgres/test_corrupt_rows.py",
            "tests/backend/postgres/test_large_batches.py",
            "tests/backend/postgres/test_scopes.py",
            "tests/backend/postgres/test_awaited.py",
            "tests/backend/test_changed_meanwhile.py",
            "tests/backend/test_complete_in.py",
            "tests/backend/test_complete_in_meanwhile.py",
            "tests/backend/test_fence.py",
            "-k not sqlite",
        ),
    ),
}

# What is written, and what takes its place.
CHANGES = (
    (r"<=", "<"),
    (r"<>", "="),
    (r"(?<![<>@])>(?![=>])", ">="),
    (r"(?<![<>])>=", ">"),
    (r"<(?![=>])", "<="),
    (r"(?<![<>=:])=(?!=)", "<>"),
    (r"\bAND\b", "OR"),
    (r"\bOR\b", "AND"),
    (r"\+ 1\b", "+ 2"),
    (r"- 1\b", "- 0"),
    (r"\b1\b(?=\))", "2"),
    (r"'executing'", "'scheduled'"),
    (r"'retryable'", "'discarded'"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bNOT (?!EXISTS|NULL|MATERIALIZED|DISTINCT|IN\b)", ""),
    (r"\bIS DISTINCT\b", "IS NOT DISTINCT"),
    (r"\bmin\b", "max"),
    (r"\bORDER BY priority, ", "ORDER BY "),
    (r"\bhead.priority, ", ""),
    (r"\bscheduled_at, id\b", "id"),
    (r"\bORDER BY [a-z_., ]+(?= DESC|\n|\))", ""),
    (r" DESC\b", ""),
    (r"\bLIMIT :\w+", "LIMIT 1"),
    (r"\bLIMIT %\(\w+\)s", "LIMIT 1"),
    (r"\n *LIMIT [^\n]+", ""),
    (r"\bWITH TIES\b", "ONLY"),
    (r"= NULL\b", "= 'x'"),
    (r"\bdue = 0\b", "due = due"),
    (r"\bdue = true\b", "due = false"),
    (r" SKIP LOCKED\b", ""),
    (r"FOR (?:KEY SHARE|UPDATE)[^\n)]*", ""),
    (r"ELSE [^\n]+? END\b", "END"),
    (r"ON CONFLICT [^\n]+ DO NOTHING", ""),
)


ONE_SORT = (
    "since PostgreSQL 16 one sort serves all three lists; on 15 `test_outcomes_are_right_in_whatever_order…` notices"
)
EQUIVALENT = {
    "settle_complete, line 33: 'ORDER BY id' to ''": ONE_SORT,
    "settle_complete, line 34: 'ORDER BY id' to ''": ONE_SORT,
    "settle_complete, line 35: 'ORDER BY id' to ''": ONE_SORT,
    "settle_complete, line 54: 'ORDER BY id' to ''": "the pruner sorts the ids of a row itself",
    "claim_marked, line 26: 'ORDER BY head.priority, head.scheduled_at, head.id' to ''": (
        "the two spans come in the order of VALUES, and that is the order of their jobs"
    ),
    "prune_older, line 21: '<' to '<='": "the limit below cuts what is too much",
    "heartbeat, line 37: 'ORDER BY run.id' to ''": "no lock is waited for, so the order of locks does not matter",
    "heartbeat, line 134: 'ORDER BY id' to ''": "the pruner sorts the ids of a row itself",
    "heartbeat, line 155: '<' to '<='": "a scope is forgotten a microsecond earlier",
    "prune_beyond, line 16: '\\n                LIMIT %(kept)s + 1  -- each row is of one job at least' to ''": (
        "more of the log is read, and the same boundary is found"
    ),
    "prune_beyond, line 17: '+ 1' to '+ 2'": "one more row of the log is read, and the same boundary is found",
    "prune_beyond, line 20: '>' to '>='": "the boundary may be one row later; then nothing of its moment is too many",
    "prune_beyond, line 56: '<' to '<='": "the limit below cuts what is too much",
    "promote_jobs, line 5: 'ORDER BY scheduled_at' to ''": "SQLite reads the index, which has this order",
    "select_running, line 8: 'ORDER BY run.id' to ''": "SQLite reads the table, which has this order",
    "settle_jobs, line 101: 'ORDER BY id' to ''": "the pruner sorts the ids of a row itself",
    "start_jobs, line 11: '1' to '2'": "any later claim fences the earlier one off",
    "start_jobs, line 11: '+ 1' to '+ 2'": "any later claim fences the earlier one off",
    "select_due_executors, line 4: 'AND' to 'OR'": "more executors are named, of which no due job is found",
    "select_due_jobs, line 5: 'ORDER BY priority, scheduled_at, id' to ''": (
        "the index that the statement names has this order"
    ),
    "select_ended_executors, line 4: 'AND' to 'OR'": "more executors are named, of which no ended job is found",
    "select_ended, line 6: 'ORDER BY ended_at, id' to ''": "the index that the statement names has this order",
    "select_ended, line 7: 'LIMIT :limit' to 'LIMIT 1'": "pages of one job, with the same jobs on them",
    "select_ended, line 6: '\\nLIMIT :limit' to ''": "one page, with the same jobs on it",
    "update_job, line 27: '>' to '>='": "of the row's deletion and its update, the deletion happens to be done",
}
"""Mutants that do the same as the statement, each with the reason. They are not run."""
ENDLESS = {
    "prune_names, line 13: '>' to '>='",
    "prune_names, line 13: 'AND' to 'OR'",
    "select_due_executors, line 6: '>' to '>='",
    "select_due_executors, line 6: 'AND' to 'OR'",
    "select_ended_executors, line 8: '>' to '>='",
    "select_ended_executors, line 8: 'AND' to 'OR'",
    "select_ended_executors, line 11: 'IS NOT NULL' to 'IS NULL'",
}
"""Mutants whose statement never ends, so that every test of it runs into its limit of time. They are not run."""


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Yield what was changed, and the changed text. Comments stay as they are."""
    for pattern, other in CHANGES:
        for found in re.finditer(pattern, text):
            line = text.rfind("\n", 0, found.start()) + 1
            if text[line:].lstrip().startswith("--"):
                continue
            changed = text[: found.start()] + other + text[found.end() :]
            where = f"line {text.count(chr(10), 0, found.start()) + 1}: {found.group()!r} to {other!r}"
            yield where, changed


class Checker:
    """Finds mutants that are no SQL: PostgreSQL refuses to prepare them, so that no test need notice them."""

    def __init__(self, url: str, sql: Path) -> None:
        self._url = url
        self._sql = sql
        asyncio.run(self._migrate())

    async def _migrate(self) -> None:
        async with PostgresBackend(self._url, schema="rexecutor", listens=False) as backend:
            await backend.migrate()

    def accepts(self, name: str) -> bool:
        """Return whether PostgreSQL can prepare the statement, or all those of which it is a part."""
        marker = f"-- include {name}\n"
        texts = [self._text(path) for path in self._sql.glob("*.sql") if marker in path.read_text()]
        with psycopg.connect(self._url) as connection:
            try:
                for text in texts or [self._text(self._sql / f"{name}.sql")]:
                    connection.execute(cast("LiteralString", f"PREPARE mutant AS {text}"))
                    connection.execute("DEALLOCATE mutant")
            except psycopg.Error:
                return False
        return True

    def _text(self, path: Path) -> str:
        def part(found: re.Match[str]) -> str:
            return (self._sql / f"{found[1]}.sql").read_text()

        text = re.sub(r"-- include (\w+)\n", part, path.read_text())
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
        return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said of a package."""

    by: str | None
    """The test that failed first; None if all passed."""
    is_late: bool = False
    """Whether only a limit of time ended the tests. On a busy machine that says nothing."""


LIMIT = 1800
"""Seconds that all tests may take."""


def run_tests(folder: Path, tests: tuple[str, ...], url: str | None) -> Verdict:
    """Run the tests on the package in the folder, until the first of them fails."""
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        *tests,
    )
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    if url is not None:
        environment[postgres.GIVEN] = url
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Verdict("all of them together", is_late=True)
    if done.returncode == 0:
        return Verdict(None)
    found = re.search(r"^(?:FAILED|ERROR) (.*)", done.stdout, re.MULTILINE)
    return Verdict(found[1] if found else done.stdout[-200:], is_late="Failed: Timeout (>" in done.stdout)


def main() -> None:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--only", help="names of statements, with commas between them; all if not given")
    parser.add_argument("--share", default="0/1", help="which part: 0/2 and 1/2 run beside each other")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, leave)
    part, parts = (int(number) for number in given.share.split("/"))
    store = STORES[given.store]
    killed, late, survivors = 0, 0, list[str]()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="rexecutor-mutants-")))
        url: str | None = os.environ.get(postgres.GIVEN)
        if given.store == "postgres" and url is None:
            url = opened.enter_context(PostgresServer(settings=postgres.SETTINGS)).url
        shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True)
        sql = folder / "rexecutor" / "backend" / given.store / "sql"
        checker = Checker(url, sql) if url is not None else None
        everything = [
            (name, where, changed)
            for name in (given.only.split(",") if given.only else store.statements)
            for where, changed in mutants((sql / f"{name}.sql").read_text())
        ]
        if (sound := run_tests(folder, store.tests, url)).by is not None:
            sys.exit(f"the tests fail without a mutant: {sound.by}")
        for name, where, changed in everything[part::parts]:
            if f"{name}, {where}" in EQUIVALENT or f"{name}, {where}" in ENDLESS:
                continue
            path = sql / f"{name}.sql"
            text = path.read_text()
            path.write_text(changed)
            verdict = Verdict("PostgreSQL, which refuses it")
            if checker is None or checker.accepts(name):
                verdict = run_tests(folder, store.tests, url)
            path.write_text(text)
            if verdict.by is None:
                survivors.append(f"{name}, {where}")
                print(survivors[-1], flush=True)  # noqa: T201
            elif verdict.is_late:
                late += 1
                print(f"    took too long: {name}, {where}: {verdict.by}", flush=True)  # noqa: T201
            else:
                killed += 1
                print(f"    noticed: {name}, {where}: {verdict.by}", flush=True)  # noqa: T201
    counts = {"mutants": killed + late + len(survivors), "killed": killed, "late": late, "survived": len(survivors)}
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    main()
