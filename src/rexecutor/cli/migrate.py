"""`rexecutor migrate`: bring a store's tables up to this version."""

from typing import Annotated, Final

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.output import write_line
from rexecutor.cli.store import Url, require_store, use_store

SCHEMA: Final = "rexecutor"


def migrate(
    *,
    url: Url = None,
    schema: Annotated[str, typer.Option(metavar="NAME", help="The schema of the tables, on PostgreSQL.")] = SCHEMA,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 unless the tables have this version.")
    ] = False,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Change nothing; print for psql what is missing, or without --url all there is."),
    ] = False,
) -> None:
    """Bring the store's tables up to this version; any number of nodes may do so at the same time.

    Workers of the version before may go on. SQLite's tables are made when a worker or an enqueue opens the file.
    """
    from rexecutor.errors import ConfigurationError
    from rexecutor.url import postgres_url  # loads msgspec

    if check and sql:
        raise MisusedError("--check and --sql are not possible together")
    server = postgres_url(url) if url else None
    try:
        if not url and sql:
            _print_script(None, schema)
        elif server is None:
            if url and schema != SCHEMA:
                raise MisusedError("--schema: only PostgreSQL has schemas; leave it out for other stores")
            _see_to_file(url, check=check, sql=sql)
        else:
            _see_to_schema(server, schema, check=check, sql=sql)
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


def _see_to_file(url: str | None, *, check: bool, sql: bool) -> None:
    """See to a store that makes its tables itself."""
    if sql:
        raise MisusedError("--sql: only PostgreSQL's tables are made by a script; other stores make theirs themselves")
    if check:
        use_store(url, lambda backend: backend.ready())
        write_line("nothing to do: this store makes its tables itself")
        return
    import asyncio  # a third of the time that `--help` may take

    backend = require_store(url)

    async def act() -> None:
        async with backend:
            await backend.migrate()

    asyncio.run(act())
    write_line("done: this store makes its tables itself, whenever it is opened")


def _see_to_schema(server: str, schema: str, *, check: bool, sql: bool) -> None:
    if sql:
        _print_script(server, schema)
        return
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
        write_line(f"{named} has version {after}, newer than {newest} of this rexecutor, which can work with it")
        return
    if after < newest:
        raise FailedError(f"{named} has version {after}, {newest} is needed; run `rexecutor migrate`")
    write_line(f"{named} has version {after}" + ("" if before == after else f", migrated from {before}"))


def _print_script(server: str | None, schema: str) -> None:
    import asyncio  # as above
    import sys

    from rexecutor.backend.postgres import connection as postgres  # as above

    postgres.checked_schema(schema)

    async def find(url: str) -> int:
        async with postgres.connected(url, schema) as connection:
            current = await postgres.version(connection, schema)
            if current > postgres.newest():
                await postgres.check_version(connection, schema)
            return current

    current = 0 if server is None else asyncio.run(find(server))
    if current >= postgres.newest():
        write_line(f'-- schema "{schema}" has version {current}: nothing to do')
    else:
        sys.stdout.write(postgres.migration_text(schema, current))
