"""Connections, the schema, and what PostgreSQL's errors mean."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, LiteralString, TypeAlias, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from rexecutor.backend.postgres.statements import PACKAGE, in_schema
from rexecutor.backend.sql import migrations
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

_CONNECT_SECONDS: Final = 10
_ADVICE: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.InvalidPassword: "check user and password",
    psycopg.errors.InvalidCatalogName: "make the database first",
    psycopg.errors.ReadOnlySqlTransaction: "this server is a read-only replica; give the primary's address",
    psycopg.errors.InsufficientPrivilege: "grant the role what it needs on the schema",
    psycopg.errors.TooManyConnections: "the server has no connection left; raise max_connections, or use fewer",
    psycopg.errors.DiskFull: "the server's disk is full; make room",
    psycopg.errors.QueryCanceled: "the statement took longer than the server allows",
}


def checked_conninfo(url: str) -> str:
    """Answer the URL with what every connection needs; raise a `ConfigurationError` where it is none."""
    try:
        known = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        shown = re.sub(r"://.*@", "://…@", url.split("?", maxsplit=1)[0])
        raise ConfigurationError(
            f"PostgresBackend({shown!r}): no URL of PostgreSQL: {_without_secrets(error)}"
        ) from None
    defaults = {"connect_timeout": _CONNECT_SECONDS, "application_name": "rexecutor"}
    return make_conninfo(url, **{key: value for key, value in defaults.items() if key not in known})


def checked_schema(schema: str) -> str:
    """Answer the schema's name; raise a `ConfigurationError` where it is none."""
    if not isinstance(schema, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", schema):  # pyright: ignore[reportUnnecessaryIsInstance] - settings may be untyped
        raise ConfigurationError(
            f"PostgresBackend: schema={schema!r}; a letter or _, then up to 62 letters, digits or _ expected"
        )
    return schema


@contextmanager
def translated(schema: str) -> Generator[None]:
    """Turn the driver's exceptions into ours, with what to do."""
    try:
        yield
    except RexecutorError:
        raise
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise SchemaError(
            f'schema "{schema}" lacks tables of this rexecutor ({_first_line(error)}); run `rexecutor migrate`,'
            " or await backend.migrate()"
        ) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise BackendError(f"PostgreSQL cannot store a value: {type(error).__name__}: {error}") from error
    except psycopg.Error as error:
        advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), None)
        what = _without_secrets(error) or type(error).__name__
        raise BackendError(f"PostgreSQL: {what}" + (f": {advice}" if advice else "")) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _without_secrets(error: Exception) -> str:
    return re.sub(r"(password\s*=\s*)\S+", r"\1…", re.sub(r"://[^@/\s]*@", "://…@", _first_line(error)))


async def migrate(connection: Connection, schema: str) -> None:
    """Bring the schema up to this version; several nodes may do it at the same time."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"rexecutor {schema}",))
        for text in migration_script(schema, await version(connection, schema)):
            await connection.execute(text)


def migration_script(schema: str, current: int) -> list[LiteralString]:
    """Answer the statements that bring a schema from that version to this one."""
    quoted = in_schema('"rexecutor".', schema)[:-1]
    script: list[LiteralString] = []
    if current == 0:
        script.append(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        script.append(
            f"CREATE TABLE IF NOT EXISTS {quoted}.migrations ("
            "version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for number, text in migrations(PACKAGE)[current:]:
        script.append(in_schema(text, schema))
        row = f"INSERT INTO {quoted}.migrations (version) VALUES ({number})"  # noqa: S608 - of ours alone
        script.append(cast("LiteralString", row))
    return script


async def version(connection: Connection, schema: str) -> int:
    """Answer the version of the schema; 0 where there is none."""
    name = in_schema('"rexecutor".migrations', schema)
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return 0
    cursor = await connection.execute(f"SELECT coalesce(max(version), 0) FROM {name}")  # noqa: S608 - ours
    row = await cursor.fetchone()
    return 0 if row is None else row[0]


async def check_version(connection: Connection, schema: str) -> None:
    """Raise a `SchemaError` unless the schema has this version."""
    current, known = await version(connection, schema), len(migrations(PACKAGE))
    if current > known:
        raise SchemaError(
            f'schema "{schema}" has version {current}, this rexecutor knows up to {known}; update rexecutor'
        )
    if current < known:
        found = f"has version {current}, {known} is needed" if current else "has no tables of rexecutor"
        raise SchemaError(f'schema "{schema}" {found}; run `rexecutor migrate`, or await backend.migrate()')
