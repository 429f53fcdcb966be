"""Commands that messages tell people to run do what they say, as they are printed."""

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from rexecutor import Backend, Executor, InMemoryBackend, Job, PostgresBackend, Rexecutor, SchemaError, SQLiteBackend
from rexecutor.backend.postgres.address import migrate_command, url_of
from rexecutor.command import command, program
from tests.backends import made_backend
from tests.postgres import run_postgres, schema_of, server_url
from tests.support import soon

SECRET = "hunter2"  # noqa: S105 - no one's


class Fails(Executor[None]):
    name = "fails"
    max_attempts = 1

    async def execute(self, job: Job[None]) -> None:
        raise ValueError("on purpose")


async def run_in_shell(line: str, folder: Path) -> str:
    """Run the line as a person would, from another folder; return what it prints."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("REXECUTOR_")}
    ended = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", line], cwd=folder, env=outside, text=True, capture_output=True, timeout=60
    )
    assert ended.returncode == 0, ended
    return ended.stdout


async def printed_for_a_failure(backend: Backend, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.ERROR, "rexecutor"):
        async with Rexecutor(backend).with_executor(Fails):
            await soon((await Fails.builder().enqueue(backend=backend)).wait())
    return caplog.messages[-1]


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
async def test_the_line_of_a_failure_says_how_to_see_the_job(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "my app's"
    folder.mkdir()

    line = await printed_for_a_failure(made_backend(name, folder), caplog)

    shown = await run_in_shell(line.partition("see: ")[2], tmp_path)
    assert "ValueError: on purpose" in shown


async def test_the_line_of_a_failure_in_memory_names_no_command(caplog: pytest.LogCaptureFixture) -> None:
    assert "see" not in await printed_for_a_failure(InMemoryBackend(), caplog)


async def enqueue_in_thread(backend: Backend) -> None:
    await asyncio.to_thread(Fails.builder().enqueue_sync, backend=backend)


@pytest.mark.parametrize("use", [PostgresBackend.check_schema, enqueue_in_thread])
async def test_a_missing_schema_is_made_by_the_command_that_the_error_names(
    use: Callable[[PostgresBackend], Awaitable[None]], tmp_path: Path
) -> None:
    backend = PostgresBackend(server_url(), schema=schema_of(tmp_path))

    async with backend:
        with pytest.raises(SchemaError) as refused:
            await use(backend)
        [line] = re.findall("run `(.*?)`", str(refused.value))
        await run_in_shell(line, tmp_path)

        await backend.check_schema()
    run_postgres(f"DROP SCHEMA {backend.schema} CASCADE")


async def test_help_is_found_by_the_command_that_a_misuse_names(tmp_path: Path) -> None:
    misused = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "rexecutor", "jobs", "show"], text=True, capture_output=True, timeout=60
    )

    assert misused.returncode == 2
    assert "Usage:" in await run_in_shell(misused.stderr.partition("try: ")[2], tmp_path)


def test_a_password_is_asked_for_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    url = f"postgresql://me:{SECRET}@db/app?sslpassword={SECRET}&options=-c%20my.secret%3D{SECRET}"

    line = PostgresBackend(url, schema="mine").command("jobs show 7")

    assert line == f"PGPASSWORD=… {command('jobs', 'show', '7', '--url', 'postgresql://me@db/app', '--schema', 'mine')}"
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert PostgresBackend(url, schema="mine").command("jobs show 7") == line.removeprefix("PGPASSWORD=… ")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"host": "db.example", "port": "6432", "user": "me", "dbname": "app"},
        {"host": "db", "user": "a@b/c d", "dbname": "a b/ü?"},
        {"host": "/run/my sockets", "user": "me", "dbname": "app"},
        {"host": "a,b", "port": "1,2", "target_session_attrs": "read-write"},
        {"host": "::1", "port": "5433"},
        {"port": "5433", "user": "me"},
        {"host": "db", "sslmode": "verify-full", "sslrootcert": "/etc/a b.pem"},
        {"service": "jobs"},
    ],
    ids=str,
)
def test_a_url_means_the_server_that_it_was_made_for(parameters: dict[str, str]) -> None:
    assert conninfo_to_dict(url_of(parameters)) == parameters


@pytest.mark.parametrize("name", ["jobs?.db", "two\nlines.db"])
def test_a_file_that_no_line_can_name_has_no_command(name: str, tmp_path: Path) -> None:
    assert SQLiteBackend(tmp_path / name).command("jobs show 7") is None


def test_a_program_that_is_not_on_the_path_is_called_through_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program.cache_clear()
    assert program() == f"{sys.executable} -m rexecutor"

    installed = tmp_path / "rexecutor"
    installed.touch(0o755)
    program.cache_clear()
    assert program() == "rexecutor"
    program.cache_clear()


def test_the_url_of_a_missing_schema_is_the_one_that_was_given(tmp_path: Path) -> None:
    given = {"host": "127.0.0.1", "port": "5433", "user": "me", "dbname": "shop"}

    class Info:
        password = ""

        def get_parameters(self) -> dict[str, str]:
            return given | {"hostaddr": "127.0.0.1", "sslcertmode": "allow"}  # as psycopg returns them

    connection: Any = SimpleNamespace(info=Info())

    assert migrate_command("rexecutor", connection).endswith("migrate --url postgresql://me@127.0.0.1:5433/shop")
