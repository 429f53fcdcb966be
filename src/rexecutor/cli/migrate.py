"""`rexecutor migrate`: bring a store's tables up to this version."""

from typing import Annotated

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.output import write_line
from rexecutor.cli.store import Schema, Url, named_schema, require_store, use_store


def migrate(
    *,
    url: Url = None,
    schema: Schema = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 0 if the tables are up to date, otherwise 1.")
    ] = False,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Change nothing; print the SQL for a transaction of your own. Needs no --url."),
    ] = False,
) -> None:
    """Bring the store's tables up to this version. Any number of nodes may do so at the same time.

    Workers of the previous version keep working. SQLite's tables are also created when a worker opens the file.
    """
    from rexecutor.app.connect import postgres_url  # loads msgspec
    from rexecutor.errors import ConfigurationError

    if check and sql:
        raise MisusedError("--check and --sql cannot be used together")
    server = postgres_url(url) if url else None
    try:
        if sql:
            if url and server is None:
                require_store(url, schema)  # raises if the URL itself is wrong
                raise MisusedError(
                    "--sql: only PostgreSQL's tables are made by a script; other stores create their own"
                )
            _print_script(named_schema(schema))
        elif server is None:
            _migrate_file(url, schema, check=check)
        else:
            _migrate_schema(server, named_schema(schema), check=check)
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


def _migrate_file(url: str | None, schema: str | None, *, check: bool) -> None:
    """Migrate or check a store that creates its tables itself."""
    if check:
        use_store(url, lambda backend: backend.check_schema(), schema=schema)
        write_line("nothing to do: this store creates its tables itself")
        return
    import asyncio  # a third of the time that `--help` may take

    from rexecutor.app.connect import sqlite_path  # loads msgspec
    from rexecutor.backend.sqlite.connection import holds_jobs  # loads sqlite3

    backend = require_store(url, schema)
    path = sqlite_path(url or "")
    is_new = path is not None and not (path.exists() and holds_jobs(path))
    asyncio.run(backend.migrate())
    if is_new:
        write_line(f"created the tables in {str(path)!r}")
    else:
        write_line("the tables are up to date; this store creates them itself when it is opened")


def _migrate_schema(server: str, schema: str, *, check: bool) -> None:
    import asyncio  # as above

    from rexecutor.backend.postgres import connection as postgres  # loads psycopg

    postgres.checked_schema(schema)
    named, newest = f'schema "{schema}"', postgres.newest()

    async def act() -> tuple[int, int]:
        async with postgres.connected(server, schema) as connection:
            if check:
                before = after = await postgres.version(connection, schema)
            else:
                before, after = await postgres.migrate(connection, schema)
            if after > newest:
                await postgres.check_version(connection, schema)
            return before, after

    before, after = asyncio.run(act())
    if after > newest:
        write_line(
            f"{named} has version {after}, newer than version {newest} of this rexecutor, which can work with it"
        )
        return
    if after < newest:
        raise FailedError(
            f"{named} has version {after}, but version {newest} is needed; run this command without --check"
        )
    write_line(f"{named} has version {after}" + ("" if before == after else f", migrated from {before}"))


def _print_script(schema: str) -> None:
    import sys

    from rexecutor.backend.postgres import connection as postgres  # loads psycopg

    sys.stdout.write(postgres.migration_script(postgres.checked_schema(schema)))
