"""Where Django's jobs are: the stores that the settings name, and the backends that this process shares."""

import threading
from collections.abc import Mapping
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
"""Class whose subclasses, and itself, are task backends of this package."""

_lock: Final = threading.Lock()
_backends: Final[dict[tuple[str, str], Backend]] = {}
"""The backends of this process by address and schema. A test database has another address than the one it replaces."""


class SQLite(Protocol):
    """The part of Django's connection to SQLite that other databases do not have."""

    def is_in_memory_db(self) -> bool:
        """Return whether the database is in memory."""
        ...


class Store(NamedTuple):
    """Where jobs are: in a database of Django's, or at a URL."""

    database: str | None
    """Alias of the database in `DATABASES`; None for a URL."""
    schema: str = DEFAULT_SCHEMA
    """Schema of the tables on PostgreSQL."""
    url: str | None = None
    """URL of a store that is no database of Django's, as `connect` takes it, such as `memory:`."""


def store_of(options: Mapping[str, Any]) -> Store:
    """Return the store that the `OPTIONS` of a task backend name: `STORE`, or `DATABASE` and `SCHEMA`."""
    url = options.get("STORE")
    schema: str = options.get("SCHEMA", DEFAULT_SCHEMA)
    return Store(options.get("DATABASE", "default"), schema) if url is None else Store(None, schema, url)


def task_backends() -> dict[str, Mapping[str, Any]]:
    """Return the settings of those task backends in `TASKS` that are of this package, by alias."""
    named: Mapping[str, Mapping[str, Any]] = getattr(settings, "TASKS", {})
    return {alias: params for alias, params in named.items() if _is_ours(params.get("BACKEND"))}


def stores() -> tuple[Store, ...]:
    """Return the stores of all task backends of this package, each once; of the database `default` if there is none."""
    named = dict.fromkeys(store_of(params.get("OPTIONS", {})) for params in task_backends().values())
    return tuple(named) or (Store("default"),)


def backend_for(database: str = "default", *, schema: str = DEFAULT_SCHEMA) -> Backend:
    """Return the backend on a database of Django's, with connections of its own. It is not open yet.

    Each process has one backend for a database and schema. Give it to the `Rexecutor` that runs your jobs:

    ```py
    rexecutor = Rexecutor(backend_for("default"), executors=[send_email])
    ```

    Args:
        database: Alias of the database in `DATABASES`, of PostgreSQL (with psycopg 3) or SQLite (a file).
        schema: Schema of the tables on PostgreSQL.

    Raises:
        ConfigurationError: There is no such database, or it cannot hold jobs.
    """
    return shared_backend(Store(database, schema))


def shared_backend(store: Store) -> Backend:
    """Return this process's backend for the store, not necessarily open. No I/O.

    Raises:
        ConfigurationError: The store cannot hold jobs, or the settings name none of this alias.
    """
    address = _address(store)
    with _lock:
        known = _backends.get((address, store.schema))
        if known is None:
            known = _backends[address, store.schema] = _made(store, address)
        return known


def bound_store(store: Store) -> Backend | SyncTransaction:
    """Return what this thread enqueues with and reads jobs from: Django's own connection, in its transaction.

    For a store at a URL, return the backend itself.
    """
    backend = shared_backend(store)
    if store.database is None:
        return backend
    made = bound("rexecutor.django", backend, connections[store.database])
    assert isinstance(made, SyncTransaction)  # noqa: S101 - Django's connections block
    return made


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a connection of Django's to SQLite is to a database in memory."""
    return cast("SQLite", connection).is_in_memory_db()


def _address(store: Store) -> str:
    """Return what the backend of the store is made with: a connection string, the path of a file, or a URL."""
    if store.database is None:
        return store.url or "memory:"
    try:
        connection = connections[store.database]
    except ConnectionDoesNotExist as error:
        raise ConfigurationError(f"DATABASES has no {store.database!r}, which holds the jobs") from error
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
    """Return libpq's connection string for the database, without the options that are Django's or psycopg's own."""
    from psycopg.conninfo import make_conninfo  # psycopg is an extra

    known = _libpq_options()
    names = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    options = {name: value for name, value in given.get("OPTIONS", {}).items() if name in known}
    options |= {name: str(given[key]) for key, name in names.items() if given.get(key)}
    return make_conninfo(**options)


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
    """Return whether the path in `BACKEND` is that of our task backend or of a subclass."""
    if path in ("rexecutor.django.TaskBackend", _OURS):
        return True
    try:
        found: object = import_string(str(path))
    except ImportError:
        return False
    return isinstance(found, type) and any(f"{base.__module__}.{base.__qualname__}" == _OURS for base in found.__mro__)


def forget(store: Store) -> None:
    """Forget the backend of the store, so that the next use makes a new one. Jobs in memory are gone."""
    with _lock:
        _backends.pop((_address(store), store.schema), None)


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    """Forget the backends when a test changes the settings that name them, and the jobs in memory with them."""
    if setting in ("TASKS", "DATABASES"):
        with _lock:
            _backends.clear()
