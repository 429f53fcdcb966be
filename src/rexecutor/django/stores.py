"""The stores that a project's settings name, and the backends for them that this process shares."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple, Protocol, cast

from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import receiver
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from rexecutor.app.connect import connect
from rexecutor.backend.app_transaction import SyncTransaction, bound
from rexecutor.backend.base import Backend
from rexecutor.errors import ConfigurationError

DEFAULT_SCHEMA: Final = "rexecutor"
_OURS: Final = "rexecutor.django.task_backend.TaskBackend"
"""The task backend of this package; its subclasses count too."""

_lock: Final = threading.Lock()
_backends: Final[dict[tuple[str, str], Backend]] = {}
"""The backends of this process by address and schema. A test database has another address than the one it replaces."""


class SQLiteWrapper(Protocol):
    """The part of Django's connection to SQLite that other databases do not have."""

    def is_in_memory_db(self) -> bool:
        """Return whether the database is in memory."""
        ...


class Store(NamedTuple):
    """Location of jobs: a database in `DATABASES`, or a URL."""

    database: str | None
    """Alias of the database; None for a URL."""
    schema: str = DEFAULT_SCHEMA
    """Schema of the tables on PostgreSQL."""
    url: str | None = None
    """URL of a store that is not in `DATABASES`, as `connect` takes it, such as `memory:`."""


def store_of(options: Mapping[str, Any]) -> Store:
    """Return the store that the `OPTIONS` of a task backend name, by `STORE`, or by `DATABASE` and `SCHEMA`.

    A value that is not a text, such as the None of a variable that is not set, becomes a text that names nothing.
    """
    schema = str(options.get("SCHEMA", DEFAULT_SCHEMA))
    if "STORE" in options:
        return Store(None, schema, str(options["STORE"]))
    return Store(str(options.get("DATABASE", "default")), schema)


def task_backends() -> dict[str, Mapping[str, Any]]:
    """Return the settings of this package's task backends in `TASKS`, by alias."""
    named: Mapping[str, Mapping[str, Any]] = getattr(settings, "TASKS", {})
    return {alias: params for alias, params in named.items() if _is_ours(params.get("BACKEND"))}


def stores() -> tuple[Store, ...]:
    """Return the stores of this package's task backends, each once; the database `default` if there is none."""
    named = dict.fromkeys(store_of(params.get("OPTIONS", {})) for params in task_backends().values())
    return tuple(named) or (Store("default"),)


def backend_for(database: str = "default", *, schema: str = DEFAULT_SCHEMA) -> Backend:
    """Return the backend for a database in `DATABASES`, with connections of its own. No I/O.

    Each process has one backend for a database and schema: a later call returns the same one. Give it to the
    `Rexecutor` that runs your jobs, which opens it:

    ```py
    rexecutor = Rexecutor(backend_for("default"), executors=[send_email])
    ```

    Args:
        database: Alias in `DATABASES` of a PostgreSQL database (with psycopg 3) or an SQLite file.
        schema: Schema of the tables on PostgreSQL.

    Raises:
        ConfigurationError: There is no such alias, or the database cannot hold jobs.
    """
    return shared_backend(Store(database, schema))


def shared_backend(store: Store) -> Backend:
    """Return this process's backend for the store, which may be open or not. No I/O.

    Raises:
        ConfigurationError: The store cannot hold jobs, or `DATABASES` has no such alias.
    """
    address = _address(store)
    with _lock:
        known = _backends.get((address, store.schema))
        if known is None:
            known = _backends[address, store.schema] = _made(store, address)
        return known


def bound_store(store: Store) -> Backend | SyncTransaction:
    """Return the store bound to this thread's connection of Django, so that its calls are in Django's transaction.

    For a store at a URL, return the backend itself.

    Raises:
        ConfigurationError: As in `shared_backend`, or the connection cannot be used.
    """
    backend = shared_backend(store)
    if store.database is None:
        return backend
    made = bound("rexecutor.django", backend, connections[store.database])
    assert isinstance(made, SyncTransaction)  # noqa: S101 - Django's connections block
    return made


def database_of(backend: Backend) -> str | None:
    """Return the alias of the database that the backend is on; None if it is none that the settings name for jobs."""
    for store in stores():
        with suppress(ConfigurationError):  # a check says so
            if store.database is not None and shared_backend(store) is backend:
                return store.database
    return None


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Return whether Django's connection to SQLite is to a database in memory."""
    return cast("SQLiteWrapper", connection).is_in_memory_db()


def _address(store: Store) -> str:
    """Return the address that the backend is made with: a connection string, the path of a file, or a URL."""
    if store.database is None:
        return str(store.url)
    try:
        connection = connections[store.database]
    except ConnectionDoesNotExist as error:
        raise ConfigurationError(f"DATABASES has no {store.database!r}; give one of its aliases") from error
    if connection.vendor == "postgresql":
        return _conninfo(connection.settings_dict)
    if connection.vendor != "sqlite":
        raise ConfigurationError(
            f"DATABASES[{store.database!r}]: jobs need PostgreSQL or SQLite, not {connection.display_name}"
        )
    if is_in_memory(connection):
        raise ConfigurationError(
            f"DATABASES[{store.database!r}]: SQLite in memory cannot hold jobs, because a worker has connections of its"
            ' own; give a file, or in tests "OPTIONS": {"STORE": "memory:"}'
        )
    return str(connection.settings_dict["NAME"])


def _conninfo(given: Mapping[str, Any]) -> str:
    """Return libpq's connection string for the database, without options that libpq does not know."""
    known = _libpq_options()
    names = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    options = {name: value for name, value in given.get("OPTIONS", {}).items() if name in known and value is not None}
    options |= {name: given[key] for key, name in names.items() if given.get(key)}
    return _joined(tuple((name, str(value)) for name, value in options.items()))


@cache
def _joined(options: tuple[tuple[str, str], ...]) -> str:
    """Return the connection string with these options. Each enqueue asks for it, and psycopg parses it to check it."""
    from psycopg.conninfo import make_conninfo  # psycopg is an extra

    return make_conninfo(**dict(options))


@cache
def _libpq_options() -> frozenset[str]:
    from psycopg import pq  # as above

    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _made(store: Store, address: str) -> Backend:
    if store.database is None:
        return connect(address)
    if connections[store.database].vendor == "sqlite":
        from rexecutor.backend.sqlite import SQLiteBackend  # loads what the store needs

        return SQLiteBackend(address)
    from rexecutor.backend.postgres import PostgresBackend  # as above

    return PostgresBackend(address, schema=store.schema)


def _is_ours(path: object) -> bool:
    """Return whether the path is that of this package's `TaskBackend` or of a subclass."""
    if path in ("rexecutor.django.TaskBackend", _OURS):
        return True
    try:
        found: object = import_string(str(path))
    except ImportError:
        return False
    return isinstance(found, type) and any(f"{base.__module__}.{base.__qualname__}" == _OURS for base in found.__mro__)


def forget(store: Store) -> None:
    """Forget the backend of the store; the next use makes a new one. Jobs in memory are lost."""
    with _lock:
        _backends.pop((_address(store), store.schema), None)


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    """Forget all backends, and so the jobs in memory, when a test changes the settings that name them."""
    if setting in ("TASKS", "DATABASES"):
        with _lock:
            _backends.clear()
