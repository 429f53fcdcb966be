"""`rexecutor migrate`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecutor.backend.postgres.connection import newest
from tests.cli.command_line import Run
from tests.postgres import run_postgres, schema_of, server_url

SECRET = "hunter2"  # noqa: S105 - no one's


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[str]:
    name = schema_of(tmp_path)
    yield name
    run_postgres(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def test_it_makes_the_tables_and_then_has_nothing_to_do(rexecutor: Run, schema: str) -> None:
    where = ("--url", server_url(), "--schema", schema)

    before = rexecutor("migrate", *where, "--check")
    first = rexecutor("migrate", *where)
    second = rexecutor("migrate", *where)
    after = rexecutor("migrate", *where, "--check")

    assert (before.status, first.status, second.status, after.status) == (1, 0, 0, 0)
    assert "version 0" in before.err
    assert "run this command without --check" in before.err
    assert "migrated from 0" in first.out
    assert first.out.startswith(second.out.strip())


def test_the_url_may_come_from_the_environment(rexecutor: Run, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REXECUTOR_URL", server_url())

    assert rexecutor("migrate", "--schema", schema).status == 0


def test_the_script_is_the_same_for_every_database_and_brings_any_up_to_date(rexecutor: Run, schema: str) -> None:
    where = ("--url", server_url(), "--schema", schema)

    script = rexecutor("migrate", "--sql", "--schema", schema)
    of_none = rexecutor("migrate", *where, "--sql")
    unchanged = rexecutor("migrate", *where, "--check")
    run_postgres(script.out, script.out)
    done = rexecutor("migrate", *where, "--check")
    of_all = rexecutor("migrate", *where, "--sql")

    assert script.out == of_none.out == of_all.out
    assert (unchanged.status, done.status) == (1, 0)


def test_the_script_ends_no_transaction_and_says_that_it_may_run_in_one(rexecutor: Run) -> None:
    script = rexecutor("migrate", "--sql").out

    assert not re.search(r"^\s*(BEGIN|COMMIT)\b.*;", script, re.MULTILINE)
    assert "--single-transaction" in script.splitlines()[2]


@pytest.mark.parametrize("flags", [(), ("--check",)])
def test_a_newer_schema_is_told(rexecutor: Run, schema: str, flags: tuple[str, ...]) -> None:
    where = ("--url", server_url(), "--schema", schema)
    rexecutor("migrate", *where)
    run_postgres(f"INSERT INTO {schema}.migrations (version, is_breaking) VALUES ({newest() + 1}, true)")

    answer = rexecutor("migrate", *where, *flags)

    assert answer.status == 1
    assert "update rexecutor" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--check", "--sql"), "cannot be used together"),
        (("--sql", "--url", "sqlite:///jobs.db"), "--sql"),
        (("--url", "postgresql://here/jobs", "--schema", "no-name"), "schema must be"),
        (("--sql", "--schema", 'a"b'), "schema must be"),
        (("--sql", "--url", "nonsense"), "not the URL of a store"),
        (("--url", "sqlite:///jobs.db", "--schema", "mine"), "only PostgreSQL has schemas"),
        (("--url", "postgresql://here/jobs?schema=mine"), "give the schema beside the URL, as `schema=` or `--schema`"),
        (("--url", f"mysql://me:{SECRET}@here/jobs"), "not the URL of a store"),
        (("--url", f"postgresql://me:{SECRET}@here/jobs?no_such=1"), "no_such"),
    ],
)
def test_what_cannot_work_is_a_misuse(rexecutor: Run, arguments: tuple[str, ...], said: str) -> None:
    answer = rexecutor("migrate", *arguments)

    assert answer.status == 2, answer
    assert said in answer.err
    assert SECRET not in answer.err
    assert "Traceback" not in answer.err


def test_a_server_that_is_not_there_is_told(rexecutor: Run, tmp_path: Path) -> None:
    answer = rexecutor("migrate", "--url", f"postgresql://me:{SECRET}@/jobs?host={tmp_path}")

    assert answer.status == 1
    assert str(tmp_path) in answer.err
    assert SECRET not in answer.err
    assert "Traceback" not in answer.err


def test_a_file_makes_its_tables_itself(rexecutor: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"

    without = rexecutor("migrate", "--check", "--url", url)
    made = rexecutor("migrate", "--url", url)
    then = rexecutor("migrate", "--check", "--url", url)

    assert (without.status, made.status, then.status) == (1, 0, 0)
    assert "no such file" in without.err


def test_it_says_that_it_has_made_the_tables_in_a_new_file(rexecutor: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"

    first, second = rexecutor("migrate", "--url", url), rexecutor("migrate", "--url", url)

    assert first.out == f"created the tables in '{tmp_path / 'new.db'}'\n"
    assert second.out.startswith("the tables are up to date")
