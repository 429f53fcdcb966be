"""The migrations of the application `rexecutor.django`."""

import asyncio
import io
import re
from importlib import import_module, resources
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.db.migrations.state import ProjectState
from django.test import override_settings

from rexecutor.django.checks import check_tables
from rexecutor.django.models import Job
from rexecutor.django.schema import Step
from rexecutor.django.stores import Store, shared_backend
from tests.in_django import databases
from tests.in_django.databases import jobs_in
from tests.in_django.stored import NEW, ask

OURS = "rexecutor.django.migrations"


@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_django_has_one_migration_for_each_of_the_store(store: str) -> None:
    numbers = [_number(file.name) for file in resources.files(f"rexecutor.backend.{store}.migrations").iterdir()]

    assert sorted(filter(None, numbers)) == sorted(_steps())


def test_each_migration_has_the_step_of_its_own_number() -> None:
    assert all(number == step for number, step in _steps().items())


@pytest.mark.parametrize("alias", ["default", "postgres"])
def test_django_finds_nothing_to_migrate_in_the_models(sqlite_database: str, alias: str) -> None:
    with jobs_in(alias):
        call_command("makemigrations", "rexecutor", check=True, dry_run=True, verbosity=0)


def test_django_finds_the_tables_that_the_store_has_made(database: str) -> None:
    with jobs_in(database):
        backend = shared_backend(Store(database))
        asyncio.run(backend.migrate())
        ask(backend, lambda: backend.enqueue([NEW]))
        call_command("migrate", "rexecutor", "zero", database=database, verbosity=0)

        call_command("migrate", "rexecutor", database=database, verbosity=0)

        assert Job.objects.count() == 1


def test_the_store_finds_the_tables_that_django_has_made(database: str) -> None:
    with jobs_in(database):
        backend = shared_backend(Store(database))

        asyncio.run(backend.migrate())

        ask(backend, lambda: backend.enqueue([NEW]))
        assert Job.objects.get().executor == "mail"


@pytest.mark.parametrize("alias", ["default", "postgres"])
def test_a_database_that_holds_no_jobs_gets_no_tables(alias: str, sqlite_database: str, postgres_database: str) -> None:
    other = {"default": "postgres", "postgres": "default"}[alias]
    schema = "elsewhere"
    with jobs_in(other, SCHEMA=schema), connections[alias].schema_editor() as editor:
        Step(1).database_forwards("rexecutor", editor, ProjectState(), ProjectState())

    with jobs_in(alias, SCHEMA=schema), connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'elsewhere'"
            if alias == "postgres"
            else "SELECT count(*) - 1 FROM rexecutor_schema"
        )
        assert cursor.fetchone() == (0,)


def test_jobs_that_move_to_another_schema_get_tables_there_when_it_is_migrated_again(postgres_database: str) -> None:
    with jobs_in("postgres", SCHEMA="elsewhere"):
        assert check_tables(databases=["postgres"])

        call_command("migrate", "rexecutor", "zero", database="postgres", verbosity=0)
        call_command("migrate", "rexecutor", database="postgres", verbosity=0)

        assert check_tables(databases=["postgres"]) == []
        assert Job.objects.count() == 0
        assert Job._meta.db_table == 'elsewhere"."jobs'


def test_a_test_database_in_memory_gets_the_tables() -> None:
    with databases.database("default", NAME=":memory:"), jobs_in("default"):
        with connections["default"].schema_editor() as editor:
            Step(1).database_forwards("rexecutor", editor, ProjectState(), ProjectState())

        assert Job.objects.count() == 0


def test_a_step_that_fails_leaves_nothing(database: str) -> None:
    with jobs_in(database, SCHEMA="elsewhere"), databases.database("default", NAME=":memory:"):
        with pytest.raises(ZeroDivisionError), connections[database].schema_editor(atomic=True) as editor:  # noqa: PT012
            Step(1).database_forwards("rexecutor", editor, ProjectState(), ProjectState())
            raise ZeroDivisionError

        with connections[database].cursor() as cursor:
            tables = connections[database].introspection.get_table_list(cursor)
        assert not [table for table in tables if "rexecutor" in table.name]
        with pytest.raises(DatabaseError):
            Job.objects.count()


def test_the_commands_can_be_printed(database: str) -> None:
    printed = io.StringIO()

    with jobs_in(database):
        call_command("sqlmigrate", "rexecutor", "0001", database=database, stdout=printed)

    assert re.search(r"CREATE TABLE \S*stored_jobs", printed.getvalue())


def test_a_router_may_keep_the_tables_away(database: str) -> None:
    with (
        jobs_in(database, SCHEMA="elsewhere"),
        override_settings(DATABASE_ROUTERS=[NoMigrations()]),
        connections[database].schema_editor(collect_sql=True) as editor,
    ):
        Step(1).database_forwards("rexecutor", editor, ProjectState(), ProjectState())

        assert editor.collected_sql == []


class NoMigrations:
    """A router of Django's that forbids all migrations."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return False


def _steps() -> dict[int, int]:
    """Return the number of each migration's step by the number of its file."""
    names = [file.name for file in resources.files(OURS).iterdir() if _number(file.name)]
    return {_number(name): import_module(f"{OURS}.{Path(name).stem}").Migration.operations[0].number for name in names}


def _number(name: str) -> int:
    found = re.match(r"(\d{4})_\w+\.(sql|py)$", name)
    return int(found[1]) if found else 0
