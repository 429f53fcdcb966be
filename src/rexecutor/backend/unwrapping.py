"""Finds the driver's connection behind what an application uses as one: proxies, SQLAlchemy sessions and connections.

Libraries are recognised by their class names, so that none is imported that the application does not use.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rexecutor.errors import BackendError, ConfigurationError

_SESSIONS: Final = {"sqlalchemy.orm.session.Session", "sqlalchemy.orm.scoping.scoped_session"}
_ASYNC_SESSIONS: Final = {
    "sqlalchemy.ext.asyncio.session.AsyncSession",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session",
}
_CONNECTIONS: Final = {"sqlalchemy.engine.base.Connection"}
_ASYNC_CONNECTIONS: Final = {"sqlalchemy.ext.asyncio.engine.AsyncConnection"}
_DJANGO: Final = 'give `django.db.connection` or `django.db.connections["alias"]`'
_MAKES_THEM: Final = "give a connection or a session that it has made"
_INSTEAD: Final = {
    "builtins.NoneType": "of Django, give `django.db.connection` itself, whose own `connection` is None at first",
    "django.db.backends.utils.CursorWrapper": _DJANGO,
    "django.db.utils.ConnectionHandler": _DJANGO,
    "sqlalchemy.pool.base._ConnectionFairy": "give SQLAlchemy's Session or Connection, or its `driver_connection`",
    "sqlalchemy.engine.base.Engine": _MAKES_THEM,
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": _MAKES_THEM,
    "sqlalchemy.orm.session.sessionmaker": _MAKES_THEM,
    "sqlalchemy.ext.asyncio.session.async_sessionmaker": _MAKES_THEM,
    "psycopg_pool.base.BasePool": _MAKES_THEM,
    "asyncpg.pool.Pool": _MAKES_THEM,
}
"""Advice for objects that are easily taken for a connection, by class name."""
_FAILED: Final = {"sqlalchemy.exc.DBAPIError", "sqlalchemy.exc.TimeoutError", "builtins.OSError"}
"""Errors of the database, its driver or the pool. They do not mean that the session cannot be used."""
_ADVICE: Final = {
    "sqlalchemy.exc.UnboundExecutionError": "the session has several engines (`binds=`) or none; give it one engine,"
    ' or give its connection: `session.connection(bind_arguments={"mapper": YourModel})`',
    "sqlalchemy.exc.PendingRollbackError": "its transaction has failed; call its `rollback()`, and begin again",
}
_BEGIN: Final = "SELECT 1"
_PROXIES: Final = 10
"""Maximum number of nested proxies that are unwrapped."""


class SqlAlchemyConnection(Protocol):
    """The part of SQLAlchemy's `Connection` that is used here."""

    def exec_driver_sql(self, statement: str, /) -> Any:
        """Execute; begins SQLAlchemy's transaction."""

    @property
    def connection(self) -> Any:
        """The driver's connection, in SQLAlchemy's pool proxy."""


class SqlAlchemyAsyncConnection(Protocol):
    """The part of SQLAlchemy's `AsyncConnection` that is used here."""

    async def exec_driver_sql(self, statement: str, /) -> Any:
        """Execute; begins SQLAlchemy's transaction."""

    async def get_raw_connection(self) -> Any:
        """Return the driver's connection, in SQLAlchemy's pool proxy."""


class SqlAlchemySession(Protocol):
    """The part of SQLAlchemy's `Session` that is used here."""

    def connection(self) -> SqlAlchemyConnection:
        """Return the connection of its transaction."""
        ...


class SqlAlchemyAsyncSession(Protocol):
    """The part of SQLAlchemy's `AsyncSession` that is used here."""

    async def connection(self) -> SqlAlchemyAsyncConnection:
        """Return the connection of its transaction."""
        ...


def class_names(thing: object) -> set[str]:
    """Return the full names of the object's class and its bases."""
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(thing).__mro__}


def class_name(thing: object) -> str:
    """Return the full name of the object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def is_sqlalchemy(connection: object) -> bool:
    """Return whether the object is a `Session` or `Connection` of SQLAlchemy."""
    return bool(class_names(connection) & (_SESSIONS | _CONNECTIONS))


def is_async_sqlalchemy(connection: object) -> bool:
    """Return whether the object is an `AsyncSession` or `AsyncConnection` of SQLAlchemy."""
    return bool(class_names(connection) & (_ASYNC_SESSIONS | _ASYNC_CONNECTIONS))


def unwrapped(connection: Any) -> Any:
    """Return the object behind proxies of wrapt (used by tracing libraries) and werkzeug.

    The statements of an enqueue need the connection itself, which has the same transaction as its proxy.
    """
    for _ in range(_PROXIES):
        if "werkzeug.local.LocalProxy" in class_names(connection):
            connection = connection._get_current_object()  # noqa: SLF001 - its public way, whatever the name
            continue
        try:
            # Not getattr: an object that forwards every attribute would forward this one too.
            connection = object.__getattribute__(connection, "__wrapped__")
        except AttributeError:
            break
    return connection


def driver_connection(what: str, connection: Any) -> Any:
    """Return the driver's connection of a `Session` or `Connection`, within its transaction.

    Raises:
        ConfigurationError: It cannot tell its connection, or has no usable transaction; nothing was sent.
        BackendError: The database, or its driver, failed.
    """
    with _translated(what):
        if class_names(connection) & _SESSIONS:
            connection = connection.connection()
        connection.exec_driver_sql(_BEGIN).close()  # SQLAlchemy commits only a transaction that it has seen begin
        return unwrapped(connection.connection.driver_connection)


async def async_driver_connection(what: str, connection: Any) -> Any:
    """Return the driver's connection of an `AsyncSession` or `AsyncConnection`, as `driver_connection` does."""
    with _translated(what):
        if class_names(connection) & _ASYNC_SESSIONS:
            connection = await connection.connection()
        await connection.exec_driver_sql(_BEGIN)
        return unwrapped((await connection.get_raw_connection()).driver_connection)


def first_line(error: Exception) -> str:
    """Return the first line of the error's message, or its type if that is empty."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def refusal(what: str, given: object, store: str, wanted: str) -> ConfigurationError:
    """Return the error for an object that cannot be used as a connection to the store, with advice what to give."""
    name = "None" if given is None else class_name(given)
    known = [text for kind, text in _INSTEAD.items() if kind in class_names(given)]
    advice = known if known and given is not None else [f"give {wanted}", *known]
    return ConfigurationError(f"{what}: {name} cannot be used as a connection to {store}; {'; '.join(advice)}")


@contextmanager
def _translated(what: str) -> Generator[None]:
    """Translate SQLAlchemy's exceptions into rexecutor's while its connection is fetched."""
    try:
        yield
    except Exception as error:
        names = class_names(error)
        said = first_line(error)
        if names & _FAILED:
            raise BackendError(f"{what}: SQLAlchemy: {said}") from error
        if "sqlalchemy.exc.SQLAlchemyError" not in names:
            raise
        why = next((text for kind, text in _ADVICE.items() if kind in names), said.rstrip("."))
        raise ConfigurationError(f"{what}: SQLAlchemy: {why}; nothing was sent") from error
