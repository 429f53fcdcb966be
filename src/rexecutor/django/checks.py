"""System checks of the settings, and of the tables if `manage.py check` is given `--database`."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from rexecutor.app.connect import connect
from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.load import find_target
from rexecutor.django.names import ASYNC, executor_name, is_alias, is_queue
from rexecutor.django.stores import Store, is_in_memory, store_of, stores, task_backends
from rexecutor.errors import ConfigurationError, RexecutorError, SchemaError
from rexecutor.model.job import MAX_ATTEMPTS

OPTIONS: Final = frozenset({"DATABASE", "SCHEMA", "STORE", "MAX_ATTEMPTS", "MODULES"})
"""Names that the `OPTIONS` of a task backend may have."""
_LOCKS_FIRST: Final = ("IMMEDIATE", "EXCLUSIVE")


def register_all() -> None:
    """Register these checks, and Django's own check of task backends."""
    if _has_tasks():
        import_module("django.tasks")  # this registers Django's check
    register(check_settings, "rexecutor")
    register(check_tables, Tags.database)


def check_backend(alias: str, options: Mapping[str, Any], queues: Collection[str]) -> list[CheckMessage]:
    """Return what is wrong with the settings of a task backend.

    Args:
        alias: Its alias in `TASKS`.
        options: Its `OPTIONS`.
        queues: Its `QUEUES`; empty if any name is allowed.
    """
    what = f"TASKS[{alias!r}]"
    found = [*_check_installed(what), *_check_options(what, options), *_check_queues(what, alias, queues)]
    return found if "STORE" in options else [*found, *_check_store(what, store_of(options))]


def check_settings(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with `REXECUTOR`, and with the stores that no task backend checks."""
    found = [*_check_rexecutor()]
    backends = task_backends()
    if not backends and getattr(settings, "REXECUTOR", None) is not None:
        # The default database is only assumed to hold the jobs. Another one may, so this one need not be able to.
        store = Store("default")
        found += [one for one in _check_store("DATABASES['default']", store) if one.id != "rexecutor.E001"]
    elif not _has_tasks():  # otherwise Django calls `TaskBackend.check`
        for alias, params in backends.items():
            found += check_backend(alias, params.get("OPTIONS", {}), params.get("QUEUES", ["default"]))
    return found


def check_tables(*, databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Return a warning for each store whose tables are missing, or of a version that cannot be used.

    It queries the databases, so Django calls it only with `--database`.
    """
    if sys.argv[1:2] == ["migrate"]:  # it makes the tables
        return []
    found: list[CheckMessage] = []
    for store in stores():
        error = _defect_of(store) if store.database in (databases or ()) else None
        if error is not None:
            migrate, option = "manage.py migrate", f"--database {store.database}"
            hint = (
                f"Run `{migrate} {option}`. If Django says that nothing is to be done, because the jobs were elsewhere"
                f" before, run `{migrate} rexecutor zero {option}` first: it deletes nothing."
            )
            found.append(Warning(error.found, hint=hint, id="rexecutor.W002"))
    return found


def _has_tasks() -> bool:
    return find_spec("django.tasks") is not None


def _check_installed(what: str) -> Iterator[CheckMessage]:
    if not apps.is_installed("rexecutor.django"):
        text = f"{what}: rexecutor.django is not an installed application: there are no migrations and no worker of it."
        yield Warning(text, hint='Add "rexecutor.django" to INSTALLED_APPS.', id="rexecutor.W003")


def _check_options(what: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for name in sorted(options.keys() - OPTIONS):
        hint = f"Use one of {', '.join(sorted(OPTIONS))}."
        yield Error(f"{what}: unknown option {name!r} in OPTIONS.", hint=hint, id="rexecutor.E005")
    most = options.get("MAX_ATTEMPTS", 1)
    if type(most) is not int or not 1 <= most <= MAX_ATTEMPTS:
        text = f"{what}: MAX_ATTEMPTS is {most!r}, which is not a valid number of attempts."
        yield Error(text, hint=f"Give an int from 1 to {MAX_ATTEMPTS}.", id="rexecutor.E005")
    modules: Any = options.get("MODULES", ())
    if not isinstance(modules, Sequence) or isinstance(modules, str):
        text = f"{what}: MODULES is {modules!r}, which is not a list of modules."
        yield Error(text, hint='Give their names, such as ["shop.jobs"].', id="rexecutor.E005")
    if "STORE" in options:
        yield from _check_url(what, options)


def _check_url(what: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for name in ("DATABASE", "SCHEMA"):
        if name in options:
            text = f"{what}: OPTIONS has both STORE and {name}."
            yield Error(text, hint=f"Leave {name} out: it is for jobs in a database of DATABASES.", id="rexecutor.E005")
    try:
        connect(options["STORE"])
    except (RexecutorError, ImportError) as error:
        yield Error(f"{what}: STORE: {error}", hint='Give a URL, such as "memory:".', id="rexecutor.E005")


def _check_queues(what: str, alias: str, queues: Collection[str]) -> Iterator[CheckMessage]:
    if not is_alias(alias):
        text = f"{what}: this alias cannot be part of an executor's name."
        yield Error(text, hint="Use letters, digits, '_' and '-'.", id="rexecutor.E003")
        return
    for queue in queues:
        try:
            executor_name("queue", alias, queue, is_async=True)
        except ConfigurationError:
            text = f"{what}: the queue {queue!r} cannot be part of an executor's name, as in 'django.{alias}.{queue}'."
            hint = "Use letters, digits, '_', '.' and '-', about 100 at most."
            yield Error(text, hint=hint, id="rexecutor.E003")
        else:
            if not is_queue(queue):
                text = f"{what}: the queue {queue!r} is empty, or ends with {ASYNC!r}."
                yield Error(text, hint=f"Give it a name that does not end with {ASYNC!r}.", id="rexecutor.E003")


def _check_store(what: str, store: Store) -> Iterator[CheckMessage]:
    try:
        connection = connections[store.database or ""]
    except ConnectionDoesNotExist:
        text = f"{what}: DATABASES has no {store.database!r}."
        yield Error(text, hint="Give an alias of DATABASES as DATABASE in OPTIONS.", id="rexecutor.E001")
        return
    except ImproperlyConfigured as error:
        hint = "For PostgreSQL: pip install 'rexecutor[django,postgres]'."
        yield Error(f"{what}: the database {store.database!r} cannot be used: {error}", hint=hint, id="rexecutor.E001")
        return
    if connection.vendor == "postgresql":
        yield from _check_postgres(what, store)
    elif connection.vendor == "sqlite":
        yield from _check_sqlite(what, store, connection)
    else:
        text = f"{what}: the database {store.database!r} is {connection.display_name}, which cannot hold jobs."
        hint = "Name a database of PostgreSQL or SQLite in OPTIONS, as DATABASE."
        yield Error(text, hint=hint, id="rexecutor.E001")


def _check_postgres(what: str, store: Store) -> Iterator[CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3  # needs a driver

    if not is_psycopg3:
        text = f"{what}: Django uses psycopg 2 for the database {store.database!r}."
        yield Error(text, hint="pip install 'rexecutor[django,postgres]', which has psycopg 3.", id="rexecutor.E002")
        return
    from rexecutor.backend.postgres.connection import checked_schema  # as above

    try:
        checked_schema(store.schema)
    except ConfigurationError:
        text = f"{what}: SCHEMA is {store.schema!r}."
        hint = "Give a letter or _, then up to 62 letters, digits or _."
        yield Error(text, hint=hint, id="rexecutor.E005")


def _check_sqlite(what: str, store: Store, connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    alias = store.database
    if is_in_memory(connection):
        text = f"{what}: the database {alias!r} is in memory, where no worker can find the jobs."
        hint = (
            "Give a file. Django's test database is in memory unless DATABASES says otherwise: give it"
            ' "TEST": {"NAME": BASE_DIR / "test.sqlite3"}, or in tests give the task backend'
            ' "OPTIONS": {"STORE": "memory:"}.'
        )
        yield Error(text, hint=hint, id="rexecutor.E004")
    elif connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") not in _LOCKS_FIRST:
        text = f"{what}: transactions in the database {alias!r} lock the file only when they first write."
        hint = (
            f'Give DATABASES[{alias!r}] "OPTIONS": {{"transaction_mode": "IMMEDIATE"}}. Otherwise a transaction'
            ' that has read before may fail to enqueue: "database is locked".'
        )
        yield Warning(text, hint=hint, id="rexecutor.W001")


def _check_rexecutor() -> Iterator[CheckMessage]:
    path: object = getattr(settings, "REXECUTOR", None)
    if path is None:
        return
    try:
        find_target(str(path))
    except (MisusedError, FailedError, RexecutorError) as error:
        hint = 'Give the module and the name of a Rexecutor, as in "shop.jobs:rexecutor".'
        yield Error(f"REXECUTOR: {path!r} cannot be imported: {error}", hint=hint, id="rexecutor.E006")


def _defect_of(store: Store) -> SchemaError | None:
    """Return what is wrong with the tables of the store; None if nothing is."""
    connection = connections[store.database or ""]
    connection.ensure_connection()
    try:
        if connection.vendor == "postgresql":
            _check_schema(connection, store.schema)
        elif connection.vendor == "sqlite":
            _check_file(connection)
    except SchemaError as error:
        return error
    return None


def _check_schema(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Raise a `SchemaError` unless this version can work with the schema."""
    from rexecutor.backend.postgres.connection import check_versions  # psycopg is an extra
    from rexecutor.backend.postgres.statements import versions

    script = versions(schema)
    statement = next(script)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(statement.text, statement.parameters)
            try:
                statement = script.send(cursor.fetchall())
            except StopIteration as done:
                check_versions(done.value, schema, connection.connection)
                return


def _check_file(connection: BaseDatabaseWrapper) -> None:
    """Raise a `SchemaError` unless this version can work with the tables in the file."""
    from rexecutor.backend.sqlite.connection import check_version  # loads what the store needs

    check_version(connection.connection, Path(str(connection.settings_dict["NAME"])))
