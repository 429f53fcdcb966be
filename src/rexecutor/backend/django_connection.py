"""Finds the driver's connection behind Django's, and marks Django's transaction if a statement fails.

Django is recognised by class names and never imported. The driver's connection is fetched for each use, because
Django may have closed it and opened another one.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rexecutor.backend.unwrapping import class_name, class_names, first_line, unwrapped
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

_PROXY: Final = "django.utils.connection.ConnectionProxy"
_WRAPPER: Final = "django.db.backends.base.base.BaseDatabaseWrapper"
_PSYCOPG2: Final = "psycopg2.extensions.connection"
_STORES: Final = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
IN_A_COROUTINE: Final = ", in a coroutine through asgiref's `sync_to_async`"
"""Addition to the advice to make a synchronous call."""
_ADVICE: Final = {
    "django.db.transaction.TransactionManagementError": (
        "an error has occurred in the atomic block; let it leave the block, or put what may fail into an atomic block"
        " of its own"
    ),
    "django.core.exceptions.SynchronousOnlyOperation": (
        "its connections cannot be used where an event loop runs; await `sync_to_async(…)` of a function that makes"
        " the synchronous call, such as enqueue_sync"
    ),
}
_MISUSE: Final = {"django.core.exceptions.ImproperlyConfigured", "django.utils.connection.ConnectionDoesNotExist"}


class DjangoConnection(Protocol):
    """The part of Django's `BaseDatabaseWrapper` that is used here: `django.db.connection`, `connections["alias"]`."""

    vendor: str
    alias: str
    in_atomic_block: bool
    needs_rollback: bool
    errors_occurred: bool

    @property
    def connection(self) -> Any:
        """The driver's connection; None before the first use."""

    def cursor(self) -> Any:
        """Return a new cursor; connects first if there is no connection, or if Django finds that it is lost."""

    def validate_thread_sharing(self) -> None:
        """Raise an exception if the connection belongs to another thread."""

    def validate_no_broken_transaction(self) -> None:
        """Raise an exception if the atomic block can only be rolled back."""


def is_django(connection: object) -> bool:
    """Return whether the object is Django's connection, or its proxy for the current thread's connection."""
    return bool(class_names(connection) & {_PROXY, _WRAPPER})


def django_driver_connection(what: str, connection: Any, vendor: str) -> Any:
    """Return the driver's connection behind Django's. Connects if there is none yet.

    Args:
        what: The method called, for error messages.
        connection: Django's connection.
        vendor: Django's name of the database that is needed: `"postgresql"` or `"sqlite"`.

    Raises:
        ConfigurationError: It is to another kind of database, of another thread, used in a coroutine, in a failed
            `atomic()` block, or on psycopg2; nothing was sent.
        BackendError: The database cannot be reached.
    """
    with _translated(what):
        _check_vendor(what, connection, vendor)
        _check_thread(what, connection)
        connection.validate_no_broken_transaction()
        # As before a statement of Django's own, this checks a persistent connection's health, and raises in a test that
        # must not use the database.
        connection.cursor().close()
        driver = unwrapped(connection.connection)
    if _PSYCOPG2 in class_names(driver):
        raise ConfigurationError(
            f"{what}: Django uses psycopg2 for {connection.alias!r}; install psycopg (version 3), which Django prefers"
        )
    return driver


def report_to_django(connection: Any, error: BaseException, *, is_lost: bool) -> None:
    """Mark Django's connection after a failed statement that did not pass through Django's cursors.

    Without this, an application that catches the error within `atomic()` would see its block committed: PostgreSQL ends
    the COMMIT of a failed transaction with a rollback, without an error.

    Args:
        connection: Django's connection.
        error: The error.
        is_lost: Whether the transaction, if there is one, can only be rolled back.
    """
    if not isinstance(error, RexecutorError):
        connection.errors_occurred = True  # at the end of the request, Django checks whether the connection still works
    if is_lost and connection.in_atomic_block:
        connection.needs_rollback = True
        connection.rollback_exc = error


@contextmanager
def advised_to_migrate(connection: Any) -> Generator[None]:
    """If tables are missing, have the error name Django's command, where the connection is Django's."""
    try:
        yield
    except SchemaError as error:
        if error.advice is None or not is_django(connection):
            raise
        command = django_migrate_command(connection.alias)
        advice = f'run `{command}`, or `rexecutor migrate` if "rexecutor.django" is not in INSTALLED_APPS'
        raise SchemaError(error.found, advice) from error.__cause__


def django_migrate_command(alias: str) -> str:
    """Return the command with which Django makes the tables in the database of this alias."""
    return "manage.py migrate" if alias == "default" else f"manage.py migrate --database {alias}"


def _check_vendor(what: str, connection: Any, vendor: str) -> None:
    found = getattr(connection, "vendor", None)
    if found is None:  # Django's caches have the same proxy
        raise ConfigurationError(
            f"{what}: {class_name(connection)} is not a connection to a database; give `django.db.connection` or"
            ' `django.db.connections["alias"]`'
        )
    if found != vendor:
        raise ConfigurationError(
            f"{what}: Django's connection {connection.alias!r} is to {_STORES.get(found, found)}, not to"
            f' {_STORES[vendor]}; give `django.db.connections["alias"]` of the database with the jobs'
        )


def _check_thread(what: str, connection: Any) -> None:
    try:
        connection.validate_thread_sharing()
    except Exception as error:
        if "django.db.utils.DatabaseError" not in class_names(error):
            raise
        raise ConfigurationError(
            f"{what}: Django's connection {connection.alias!r} belongs to another thread; give `django.db.connection`,"
            " which every thread has for itself; nothing was sent"
        ) from error


@contextmanager
def _translated(what: str) -> Generator[None]:
    """Translate Django's exceptions into rexecutor's while its connection is fetched."""
    try:
        yield
    except Exception as error:
        names = class_names(error)
        said = first_line(error)
        why = next((text for kind, text in _ADVICE.items() if kind in names), None)
        if why is None and names & _MISUSE:
            why = said.rstrip(".")
        if why is not None:
            raise ConfigurationError(f"{what}: Django: {why}; nothing was sent") from error
        if "django.db.utils.Error" not in names:
            raise
        raise BackendError(f"{what}: Django: {said}") from error
