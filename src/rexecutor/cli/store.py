"""The store that a command works on, from `--url` and `--schema`, or `REXECUTOR_URL` and `REXECUTOR_SCHEMA`."""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import typer

from rexecutor.cli.failure import FailedError, MisusedError, note
from rexecutor.cli.settings import text
from rexecutor.errors import ConfigurationError

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend

T = TypeVar("T")

SCHEMA_VARIABLE: Final = "REXECUTOR_SCHEMA"
DEFAULT_SCHEMA: Final = "rexecutor"

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="REXECUTOR_URL",
        help="The store: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database.",
    ),
]
Schema: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="NAME",
        help=f"The schema of the tables on PostgreSQL; {SCHEMA_VARIABLE} by default, otherwise {DEFAULT_SCHEMA}.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def use_store(url: str | None, action: "Callable[[Backend], Awaitable[T]]", *, schema: str | None) -> T:
    """Open the store, which must exist, run the action on it, close it, and return the action's result.

    Raises:
        MisusedError: There is no URL, or no store can have this URL and schema.
        FailedError: The URL names a file that does not exist or has no tables of rexecutor. Commands that look at jobs
            never create these.
        RexecutorError: The store cannot be used, or the action failed.
    """
    import asyncio  # a third of the time that `--help` may take

    backend = _connected(url, schema)

    async def act() -> T:
        async with backend:
            return await action(backend)

    return asyncio.run(act())


def _connected(url: str | None, schema: str | None) -> "Backend":
    from rexecutor.app.connect import sqlite_path  # loads msgspec
    from rexecutor.backend.sqlite.connection import holds_jobs  # loads sqlite3

    backend = require_store(url, schema)
    path = sqlite_path(url or "")
    if url == "memory:":
        note("memory: is a new, empty store in this process")
    elif path is not None and not path.exists():
        raise FailedError(f"{str(path)!r}: no such file; a worker or an enqueue creates it")
    elif path is not None and not holds_jobs(path):
        raise FailedError(f"{str(path)!r} has no tables of rexecutor; a worker or an enqueue creates them")
    return backend


def require_store(url: str | None, schema: str | None) -> "Backend":
    """Return the backend for the store that the URL and the schema name, not yet open.

    Raises:
        MisusedError: There is no URL, or no store can have this URL and schema.
    """
    from rexecutor.app.connect import connect, postgres_url  # loads msgspec

    if not url:
        raise MisusedError("no store given: use --url sqlite:///jobs.db, or set REXECUTOR_URL")
    if postgres_url(url) is not None:  # for other stores the environment does not count, as they have no schemas
        schema = named_schema(schema)
    try:
        return connect(url, schema=schema)
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


def named_schema(schema: str | None) -> str:
    """Return the schema for PostgreSQL: the given one, that of the environment, that of the file, or the default."""
    return (os.environ.get(SCHEMA_VARIABLE) or text("schema") or DEFAULT_SCHEMA) if schema is None else schema
