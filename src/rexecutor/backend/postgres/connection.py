"""Connection settings, the schema's migrations and version, and the translation of PostgreSQL's errors."""

import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, LiteralString, TypeAlias, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from rexecutor.backend.masking import masked, masked_url
from rexecutor.backend.postgres.address import migrate_command
from rexecutor.backend.postgres.execution import run_steps
from rexecutor.backend.postgres.statements import PACKAGE, in_schema, versions
from rexecutor.backend.sql import migrations
from rexecutor.backend.unwrapping import first_line
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

_DEFAULTS: Final = {
    "connect_timeout": 3,
    "application_name": "rexecutor",
    "client_encoding": "utf8",  # the default is the database's, and SQL_ASCII is not an encoding
    # With these, a server that vanished silently is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_ADVICE: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.ReadOnlySqlTransaction: "this server is a read-only replica; give the primary's address",
    psycopg.errors.InsufficientPrivilege: "grant the role the privileges that it needs there",
    psycopg.errors.TooManyConnections: "the server has no connection left; raise max_connections, or use fewer",
    psycopg.errors.DiskFull: "the server's disk is full; make room",
    psycopg.errors.LockNotAvailable: "a transaction holds the row; end the one in which `complete_in` was called",
    psycopg.errors.QueryCanceled: "the statement took longer than the server allows",
}
_ADVICE_TO_CONNECT: Final = {
    "resolve host": "check the host's name",
    "too many": "raise max_connections of the server, or the role's limit, or use fewer",
    "connection slots": "raise max_connections of the server, or use fewer",
    "authentication failed": "check user and password",
    'database "': "create the database first",
    'role "': "create the role first",
    "refused": "is the server running there?",
    "No such file": "is the server running there?",
}
"""Advice by words of the error message: for a failed attempt to connect, the driver has no error code."""
_LAST_PORT: Final = 65_535
_ESCAPES: Final = "in a user or password, % is written %25, @ %40, / %2F and a space %20"


def checked_conninfo(url: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return a connection string of the URL, the given libpq settings, and the defaults that it does not set.

    Raises:
        ConfigurationError: The URL is not valid. The message never repeats what may be part of a password.
    """
    given = settings or {}
    if not url.strip() and not given:
        raise _invalid_url(url, "it is empty")
    try:
        known = conninfo_to_dict(url, **given)
    except (psycopg.ProgrammingError, UnicodeError) as error:
        why = (
            _reason(error)
            if isinstance(error, psycopg.ProgrammingError)
            else "it has characters that cannot be encoded"
        )
        raise _invalid_url(url, why) from None
    if "\0" in url:  # libpq would ignore the rest
        raise _invalid_url(url, "it must not contain a NUL character")
    if _has_stray_at(url):
        raise _invalid_url(url, f"it has an @ too many, or a / before the @; {_ESCAPES}")
    for port in str(known.get("port") or "").split(","):
        if port.strip() and not (re.fullmatch(r"\s*[0-9]{1,5}\s*", port) and 1 <= int(port) <= _LAST_PORT):
            raise _invalid_url(url, f"its port must be a number from 1 to {_LAST_PORT}; {_ESCAPES}")
    return make_conninfo(url, **given, **{key: value for key, value in _DEFAULTS.items() if key not in known})


def _invalid_url(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"PostgresBackend: {masked_url(url)!r} is not a URL of PostgreSQL: {why}")


def _reason(error: psycopg.ProgrammingError) -> str:
    """Return libpq's objection to a URL, cut before the part of the URL that it quotes.

    The name of an unknown option is not a secret, so it is kept.
    """
    said = first_line(error)
    if re.fullmatch(r'invalid (URI query parameter:|connection option) "schema"', said):
        return f"{said}; give the schema beside the URL, as `schema=` or `--schema`"
    if re.fullmatch(r'invalid (URI query parameter:|connection option) "\w+"', said):
        return said
    kept = 'missing "="' if said.startswith('missing "="') else said.partition('"')[0].rstrip(" :")
    return f"{kept} …; {_ESCAPES}"


def _has_stray_at(url: str) -> bool:
    """Return whether there is an @ after the one that ends user and password.

    libpq would take part of the password for the host, and show it in errors.
    """
    return "://" in url and "@" in re.sub(r"^[^/]*//([^/@]*@)?", "", url).split("?", maxsplit=1)[0]


def checked_schema(schema: str) -> str:
    """Return the schema's name; raise a `ConfigurationError` if it is not valid."""
    if not isinstance(schema, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", schema):
        raise ConfigurationError(
            f"PostgresBackend: schema must be a letter or _, then up to 62 letters, digits or _, not {schema!r}"
        )
    return schema


@contextmanager
def translated(schema: str) -> Generator[None]:
    """Turn the driver's exceptions into rexecutor's, with advice."""
    try:
        yield
    except RexecutorError:
        raise
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise lacks_tables(schema, first_line(error)) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise BackendError(f"PostgreSQL cannot store a value: {type(error).__name__}: {error}") from error
    except psycopg.Error as error:
        what = masked(first_line(error))
        advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), None)
        if advice is None and what.startswith(("connection failed", "failed to resolve")):
            said = what.partition("failed: ")[2] or what
            advice = next((text for word, text in _ADVICE_TO_CONNECT.items() if word in said), None)
        raise BackendError(f"PostgreSQL: {what}" + (f": {advice}" if advice else "")) from error


@asynccontextmanager
async def connected(url: str, schema: str) -> AsyncGenerator[Connection]:
    """Connect in autocommit, for work outside a backend's pool; close the connection afterwards."""
    with translated(schema):
        async with await psycopg.AsyncConnection.connect(checked_conninfo(url), autocommit=True) as connection:
            yield connection


async def migrate(connection: Connection, schema: str) -> tuple[int, int]:
    """Bring the schema up to this version. Several nodes may call it at the same time; a newer schema stays as it is.

    Returns the version before and after.
    """
    async with connection.transaction():
        # In a stricter level, the snapshot would predate the lock and hide the migrations that others just did.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute(_lock(schema))
        before = await version(connection, schema)
        await connection.execute(migration_script(schema))
    return before, max(before, newest())


def newest() -> int:
    """Return the schema's version that this rexecutor creates: the number of its migrations."""
    return len(migrations(PACKAGE))


def migration_script(schema: str, last: int | None = None, *, first: int = 1) -> LiteralString:
    """Return one statement that brings the schema up to version `last`, by default the newest.

    It runs alone or within any transaction, from any version, or with `first` from that before it or a later one. It
    does nothing if the schema has version `last` already.
    """
    quoted = in_schema('"rexecutor".', schema)[:-1]
    to = newest() if last is None else last
    since = "any version before" if first == 1 else f"version {first - 1}"
    steps = "".join(_guarded(number, text, quoted) for number, text in migrations(PACKAGE)[first - 1 : last])
    # The catalogue is checked first: IF NOT EXISTS needs the right to create even if there is nothing to create.
    script = f"""\
-- Brings schema {quoted} up to version {to} of rexecutor's tables, from {since}.
-- It is one statement, all or nothing, and may run in a transaction of your own:
-- a migration of Django or Alembic, or `psql --single-transaction`. A second run changes nothing.
DO $rexecutor$
BEGIN
PERFORM {_lock(schema).removeprefix("SELECT ")};
IF to_regnamespace('{quoted}') IS NULL THEN
    CREATE SCHEMA {quoted};
END IF;
IF to_regclass('{quoted}.migrations') IS NULL THEN
    CREATE TABLE {quoted}.migrations (
        version integer PRIMARY KEY,
        is_breaking boolean NOT NULL DEFAULT false,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
END IF;
{steps}
END
$rexecutor$;
"""
    return cast("LiteralString", script)


def _guarded(number: int, migration: str, quoted: str) -> str:
    """Return the commands that run a migration only if the schema has an earlier version."""
    row = f"({number}, {str(is_breaking(migration)).lower()})"
    return f"""
IF NOT EXISTS (SELECT FROM {quoted}.migrations WHERE version >= {number}) THEN
EXECUTE $step$
{in_schema(migration, quoted[1:-1]).strip()}
$step$;
INSERT INTO {quoted}.migrations (version, is_breaking) VALUES {row};
END IF;
"""  # noqa: S608 - only from this package's files


def is_breaking(migration: str) -> bool:
    """Return whether workers of earlier versions cannot work after the migration, as its first line declares."""
    return migration.startswith("-- Breaking:")


def _lock(schema: str) -> LiteralString:
    name = cast("LiteralString", schema)  # only letters, digits and _
    return f"SELECT pg_advisory_xact_lock(hashtextextended('rexecutor {name}', 0))"


async def version(connection: Connection, schema: str) -> int:
    """Return the version of the schema; 0 if it has no tables of rexecutor."""
    return (await run_steps(connection, versions(schema)))[0]


async def check_version(connection: Connection, schema: str) -> None:
    """Raise a `SchemaError` unless this rexecutor can work with the schema."""
    check_versions(await run_steps(connection, versions(schema)), schema, connection)


def check_versions(found: tuple[int, int], schema: str, connection: psycopg.Connection[Any] | Connection) -> None:
    """Raise a `SchemaError` unless this rexecutor can work with the schema, whose `versions` were found.

    A newer version is fine if its last breaking migration is known here.
    """
    (current, breaking), known = found, newest()
    if breaking > known:
        raise SchemaError(
            f'schema "{schema}" has version {current}, this rexecutor knows up to {known}, and version {breaking} is'
            " not for it; update rexecutor"
        )
    if current < known:
        what = f"has version {current}, {known} is needed" if current else "has no tables of rexecutor"
        raise SchemaError(f'schema "{schema}" {what}', advice_to_migrate(schema, connection))


def lacks_tables(schema: str, what: str) -> SchemaError:
    """Return the error for a schema in which a statement did not find what it needs; `what` says what."""
    return SchemaError(f'schema "{schema}" lacks tables of this rexecutor ({what})', advice_to_migrate(schema))


def advice_to_migrate(schema: str, connection: psycopg.Connection[Any] | Connection | None = None) -> str:
    """Return the advice to migrate, for messages; it names the server if a connection is given."""
    return f"run `{migrate_command(schema, connection)}`, or await backend.migrate()"
