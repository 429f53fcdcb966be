"""The databases of the tests: each test has its own, copied from one that Django has migrated once a process."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

from asgiref.sync import SyncToAsync
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from psycopg.conninfo import conninfo_to_dict

from tests.in_django.settings import DATABASES_GIVEN, SETTINGS_GIVEN
from tests.postgres import run_postgres, server_url

_ALL_TABLES: Final = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
    WHERE schemaname = 'rexecutor' AND tablename <> 'migrations' OR tablename LIKE 'shop%'
"""
_CHANGED: Final = ("NAME", "HOST", "PORT", "USER", "PASSWORD", "OPTIONS")


@contextlib.contextmanager
def database(alias: str, **given: Any) -> Generator[None]:
    """Let the alias be another database within the block. At its end, the connections to it are closed.

    These are the one of this thread, and that of the thread in which `sync_to_async` calls functions.
    """
    params: dict[str, Any] = connections.settings[alias]
    before = {key: params[key] for key in _CHANGED}
    connections[alias].close()
    params.update(given)
    try:
        yield
    finally:
        _close(alias)
        SyncToAsync.single_thread_executor.submit(_close, alias).result()
        params.update(before)


def _close(alias: str) -> None:
    connections[alias].close()


def jobs_in(alias: str, **changed: Any) -> override_settings:
    """Let the jobs of the one task backend be in this database, within the block; with other options or `QUEUES`."""
    params = {"BACKEND": "rexecutor.django.TaskBackend"}
    params |= {key: changed.pop(key) for key in ("QUEUES",) if key in changed}
    return override_settings(TASKS={"default": {**params, "OPTIONS": {"DATABASE": alias, **changed}}})


def migrated_sqlite(file: Path) -> Path:
    """Have Django make its tables and ours in the file."""
    with database("default", NAME=str(file)), jobs_in("default"):
        call_command("migrate", database="default", run_syncdb=True, verbosity=0)
    return file


@contextlib.contextmanager
def sqlite(template: Path, file: Path) -> Generator[str]:
    """Let `default` be a copy of the migrated file. Return the alias."""
    shutil.copyfile(template, file)
    with database("default", NAME=str(file)):
        yield "default"


@contextlib.contextmanager
def migrated_postgres(name: str) -> Generator[str]:
    """Have Django make its tables and ours in a new database at the run's server. Return the database's name."""
    run_postgres(f"CREATE DATABASE {name}")
    with database("postgres", **_at_the_server(name)), jobs_in("postgres"):
        call_command("migrate", database="postgres", run_syncdb=True, verbosity=0)
    yield name
    run_postgres(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def postgres(template: str, name: str) -> Generator[str]:
    """Let `postgres` be a copy of the migrated database, which is dropped at the end. Return the alias."""
    with copied_postgres(template, name), database("postgres", **_at_the_server(name)):
        yield "postgres"


@contextlib.contextmanager
def copied_postgres(template: str, name: str) -> Generator[str]:
    """Copy the migrated database, and drop the copy at the end. Return its name."""
    run_postgres(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield name
    run_postgres(f"DROP DATABASE {name} WITH (FORCE)")


def drop_tables(alias: str) -> None:
    """Leave none of our tables in the database."""
    with connections[alias].cursor() as cursor:
        if alias == "postgres":
            cursor.execute("DROP SCHEMA rexecutor CASCADE")
            return
        ours = "type IN ('table', 'view') AND name LIKE 'rexecutor%'"
        cursor.execute(f"SELECT type, name FROM sqlite_schema WHERE {ours}")
        for kind, name in cursor.fetchall():
            cursor.execute(f"DROP {kind} {name}")


def new_name() -> str:
    """Return the name of a database that does not exist yet."""
    return f"django_{uuid.uuid4().hex}"  # noqa: TID251 - names of databases at a server that is shared by processes


@contextlib.contextmanager
def emptied_postgres(name: str) -> Generator[None]:
    """Let `postgres` be this migrated database, whose rows are deleted at the end. That is faster than a copy."""
    with database("postgres", **_at_the_server(name)):
        yield
        with connections["postgres"].cursor() as cursor:
            cursor.execute(_ALL_TABLES)
            tables = ", ".join(row[0] for row in cursor.fetchall())
            cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


def _at_the_server(name: str) -> dict[str, Any]:
    """Return Django's settings for the database of this name at the run's server."""
    given: dict[str, Any] = {**conninfo_to_dict(server_url()), "dbname": name}
    names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    return {
        **{key: given.pop(name, "") for name, key in names.items()},
        "OPTIONS": given,
    }


def child_environment(settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the environment in which another process has the present databases, and these settings besides."""
    databases = {
        alias: {key: connections.settings[alias][key] for key in _CHANGED} for alias in ("default", "postgres")
    }
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.in_django.settings",
        DATABASES_GIVEN: json.dumps(databases),
        SETTINGS_GIVEN: json.dumps(settings or {}),
    }
