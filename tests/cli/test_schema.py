"""`--schema`, on every command that opens a store."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from rexecutor.cli.app import app
from rexecutor.testing.suite.store import new_job
from tests.cli.command_line import Run
from tests.postgres import postgres_backend, run_postgres, schema_of, server_url

COMMANDS = [
    ("jobs", "list"),
    ("jobs", "show", "1"),
    ("jobs", "update", "1", "--priority", "3"),
    ("jobs", "cancel", "1"),
    ("jobs", "rerun", "2"),
    ("jobs", "enqueue", "later", "--data", "1"),
    ("stats",),
    ("nodes",),
    ("why", "1"),
    ("pause", "later", "--reason", "a test"),
    ("cron", "list"),
    ("prune", "--status", "complete", "--keep", "0"),
    ("jobs", "count"),
    ("migrate", "--check"),
    ("migrate",),
    ("doctor",),
]

OF_AN_APPLICATION = {"check", "cron run"}
"""Commands that work only with an application; their own tests give them a schema."""


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[str]:
    """A schema of this name, with a job that waits and one that is cancelled."""
    backend = postgres_backend(tmp_path)

    async def fill() -> None:
        async with backend:
            await backend.enqueue([new_job("later"), new_job("later")])
            await backend.cancel(2, "not wanted")

    asyncio.run(fill())
    yield backend.schema
    run_postgres(f"DROP SCHEMA {backend.schema} CASCADE")


def options_of(command: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every command with its options."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        yield path, [option for parameter in command.params for option in parameter.opts]


FAILING = {"health", "resume"}
"""Commands that fail on a store without nodes and pauses."""


def test_no_command_that_opens_a_store_lacks_the_option() -> None:
    known = dict(options_of(get_command(app)))
    with_store = {path for path, options in known.items() if "--url" in options}

    assert with_store == {path for path, options in known.items() if "--schema" in options}
    assert all(
        any(" ".join(command).startswith(path) for command in COMMANDS)
        for path in with_store - OF_AN_APPLICATION - FAILING
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_works_on_the_schema_that_it_is_given(rexecutor: Run, schema: str, command: tuple[str, ...]) -> None:
    answer = rexecutor(*command, "--url", server_url(), "--schema", schema)

    assert answer.status == 0, answer


@pytest.mark.parametrize("command", COMMANDS[:-2], ids=" ".join)
def test_the_schema_may_come_from_the_environment(
    rexecutor: Run, schema: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REXECUTOR_URL", server_url())
    monkeypatch.setenv("REXECUTOR_SCHEMA", schema)

    assert rexecutor(*command).status == 0
    elsewhere = rexecutor(*command, "--schema", f"{schema}x")
    assert elsewhere.status == 1
    assert f"{schema}x" in elsewhere.error


def test_the_environments_schema_does_not_concern_a_store_that_has_none(
    rexecutor: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REXECUTOR_SCHEMA", "jobs")

    assert rexecutor("stats", "--url", url).status == 0
    assert rexecutor("migrate", "--url", url).status == 0


@pytest.mark.parametrize("environment", ["", "jobs"])
@pytest.mark.parametrize("store", ["sqlite:///jobs.db", "memory:"])
def test_a_schema_that_is_given_for_a_store_without_any_is_a_misuse(
    rexecutor: Run, store: str, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REXECUTOR_SCHEMA", environment)

    answer = rexecutor("stats", "--url", store, "--schema", "jobs")

    assert answer.status == 2
    assert "only PostgreSQL has schemas" in answer.error


def test_a_schema_that_cannot_be_one_is_a_misuse(rexecutor: Run, tmp_path: Path) -> None:
    answer = rexecutor("stats", "--url", server_url(), "--schema", f"{schema_of(tmp_path)}-x")

    assert answer.status == 2
    assert "schema must be" in answer.error
