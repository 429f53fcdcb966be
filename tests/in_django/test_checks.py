"""The system checks: what `manage.py check` says."""

import io
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.test import modify_settings, override_settings

from rexecutor import SchemaError, Where
from rexecutor.django.checks import check_backend, check_settings, check_tables
from rexecutor.django.stores import Store, bound_store
from tests.in_django import databases
from tests.in_django.databases import drop_tables, jobs_in
from tests.in_django.settings import DATABASES
from tests.in_django.stored import NEW

SQLITE: dict[str, Any] = DATABASES["default"]


def found(options: dict[str, Any], queues: Collection[str] = ("default",), alias: str = "default") -> list[str | None]:
    """Return the ids of what is wrong with these settings."""
    return _ids(check_backend(alias, options, queues))


def test_settings_that_work_are_not_reported() -> None:
    assert found({"DATABASE": "default", "MAX_ATTEMPTS": 3, "MODULES": ["shop.jobs"]}, ["default", "mail-2_x.y"]) == []
    assert found({"DATABASE": "postgres", "SCHEMA": "jobs"}, []) == []
    assert found({"STORE": "memory:"}) == []


def test_a_task_backend_without_the_application_is_a_warning() -> None:
    with modify_settings(INSTALLED_APPS={"remove": ["rexecutor.django"]}):
        assert found({"STORE": "memory:"}) == ["rexecutor.W003"]


def test_a_database_that_is_not_there_is_reported() -> None:
    assert found({"DATABASE": "nowhere"}) == ["rexecutor.E001"]
    assert found({"DATABASE": None}) == ["rexecutor.E001"]  # as of a variable that is not set


@pytest.mark.parametrize("engine", ["django.db.backends.dummy", "tests.in_django.unknown_engine"])
def test_a_database_of_another_kind_is_reported(engine: str) -> None:
    with another_database({"ENGINE": engine}):
        assert found({"DATABASE": "other"}) == ["rexecutor.E001"]


def test_psycopg_2_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections["postgres"].vendor == "postgresql"  # its driver is loaded
    monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", False)

    assert found({"DATABASE": "postgres"}) == ["rexecutor.E002"]


@pytest.mark.parametrize("queue", ["größe", "a b", "", "x" * 120, "mail:async"])
def test_a_queue_that_no_executor_may_be_named_after_is_reported(queue: str) -> None:
    assert found({}, ["default", queue]) == ["rexecutor.E003"]


def test_an_alias_that_no_executor_may_be_named_after_is_reported() -> None:
    assert found({}, alias="a.b") == ["rexecutor.E003"]


def test_sqlite_in_memory_is_reported_with_what_tests_need() -> None:
    with another_database(SQLITE | {"NAME": ":memory:"}):
        (message,) = check_backend("default", {"DATABASE": "other"}, [])

    assert message.id == "rexecutor.E004"
    assert message.hint is not None
    assert '"TEST": {"NAME"' in message.hint
    assert '"STORE": "memory:"' in message.hint


@pytest.mark.parametrize(
    "options",
    [
        {"DATABSE": "default"},
        {"MAX_ATTEMPTS": 0},
        {"MAX_ATTEMPTS": True},
        {"MODULES": "shop.jobs"},
        {"STORE": "redis:"},
        {"STORE": "memory:", "SCHEMA": "jobs"},
        {"DATABASE": "postgres", "SCHEMA": "no schema"},
        {"DATABASE": "postgres", "SCHEMA": ["jobs"]},
        {"STORE": None},
    ],
)
def test_an_option_that_is_unknown_or_not_valid_is_reported(options: dict[str, Any]) -> None:
    assert found(options) == ["rexecutor.E005"]


@pytest.mark.parametrize("mode", [None, "DEFERRED"])
def test_transactions_that_lock_an_sqlite_file_late_are_a_warning(mode: str | None) -> None:
    with another_database(SQLITE | {"OPTIONS": {"transaction_mode": mode} if mode else {}}):
        assert found({"DATABASE": "other"}) == ["rexecutor.W001"]


def test_each_message_has_a_hint() -> None:
    messages = check_backend("default", {"DATABASE": "nowhere", "x": 1, "MAX_ATTEMPTS": 0, "MODULES": 1}, ["a b"])

    assert len(messages) == 5
    assert all(message.hint for message in messages)


def test_missing_tables_are_a_warning_that_names_the_command(database: str) -> None:
    with jobs_in(database):
        assert check_tables(databases=[database]) == []
        forget_tables(database)

        (message,) = check_tables(databases=[database])

        assert message.id == "rexecutor.W002"
        assert f"`manage.py migrate --database {database}`" in str(message.hint)
        assert check_tables() == []


def test_without_tables_all_advice_is_djangos_command(database: str) -> None:
    with jobs_in(database):
        drop_tables(database)
        command = "manage.py migrate" if database == "default" else f"manage.py migrate --database {database}"

        with pytest.raises(SchemaError, match=f"run `{command}`, or `rexecutor migrate` if"):
            bound_store(Store(database)).enqueue_sync([NEW])
        with pytest.raises(SchemaError, match=f"run `{command}`"):
            bound_store(Store(database)).query_sync(Where.everything())
        (message,) = check_tables(databases=[database])
        assert "--url" not in message.msg


def test_tables_of_a_newer_version_are_a_warning(postgres_database: str) -> None:
    with jobs_in(postgres_database), connections[postgres_database].cursor() as cursor:
        cursor.execute("INSERT INTO rexecutor.migrations (version, is_breaking) VALUES (99, true)")

        assert _ids(check_tables(databases=[postgres_database])) == ["rexecutor.W002"]


def test_the_command_that_makes_the_tables_does_not_miss_them(
    sqlite_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["manage.py", "migrate"])
    with jobs_in(sqlite_database):
        forget_tables(sqlite_database)

        assert check_tables(databases=[sqlite_database]) == []


def test_a_rexecutor_that_can_be_imported_is_not_reported() -> None:
    with override_settings(REXECUTOR="tests.in_django.stored:rexecutor"), jobs_in("default"):
        assert check_settings() == []


@pytest.mark.parametrize(
    "target", ["tests.in_django.stored:nothing", "nowhere:rexecutor", "tests.in_django.stored", 7, ""]
)
def test_a_rexecutor_that_cannot_be_imported_is_reported(target: object) -> None:
    with override_settings(REXECUTOR=target), jobs_in("default"):
        assert _ids(check_settings()) == ["rexecutor.E006"]


def test_without_a_task_backend_the_default_database_is_looked_at_if_there_is_a_rexecutor() -> None:
    with override_settings(TASKS={}), databases.database("default", NAME=":memory:"):
        assert check_settings() == []  # nothing says that there are jobs
        with override_settings(REXECUTOR="tests.in_django.stored:rexecutor"):
            assert _ids(check_settings()) == ["rexecutor.E004"]


def test_django_asks_the_task_backends_and_without_django_tasks_their_settings_are_checked_all_the_same() -> None:
    with jobs_in("nowhere"), pytest.raises(SystemCheckError, match=r"rexecutor\.E001"):
        call_command("check")


def test_django_looks_for_tables_when_asked(sqlite_database: str) -> None:
    printed = io.StringIO()
    with jobs_in(sqlite_database):
        forget_tables(sqlite_database)

        call_command("check", databases=[sqlite_database], stderr=printed)

    assert "rexecutor.W002" in printed.getvalue()


def forget_tables(alias: str) -> None:
    """Let the store be as before its first migration, as far as its version tells."""
    name = "rexecutor.migrations" if alias == "postgres" else "rexecutor_schema"
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP TABLE {name}")


class another_database:  # noqa: N801 - a block, as override_settings
    """Let `DATABASES` have one more, named `other`, within the block."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = params

    def __enter__(self) -> None:
        connections.settings["other"] = connections.configure_settings({"default": self._params})["default"]

    def __exit__(self, *_: object) -> None:
        del connections.settings["other"]
        with suppress(AttributeError):  # nobody has asked for it
            del connections["other"]


def _ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]
