"""`rexecutor migrate`: bring a store's tables up to this version."""

from typing import Annotated

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.output import write_line
from rexecutor.cli.store import Store, found_store, named_schema, use_store


def migrate(
    *,
    store: Store,
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
    import asyncio  # a third of the time that `--help` may take

    from rexecutor.app.connect import postgres_url  # loads msgspec
    from rexecutor.errors import ConfigurationError

    if check and sql:
        raise MisusedError("--check and --sql cannot be used together")
    try:
        if sql:
            _print_script(asyncio.run(_schema_to_print(store)))
            return
        resolved = store.resolved()
        server = postgres_url(resolved.url) if resolved.url else None
        if server is not None:
            _migrate_schema(server, named_schema(store.schema), check=check)
        elif check:
            use_store(resolved, lambda backend: backend.check_schema())
            write_line("the tables are up to date")
        else:
            asyncio.run(_migrate_backend(resolved))
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


async def _schema_to_print(store: Store) -> str:
    """Return the schema whose script is wanted. No store need be given; if one is, it must be on PostgreSQL."""
    if not store.is_given:
        return named_schema(store.schema)
    async with found_store(store.resolved()) as (backend, _):  # raises if the URL itself is wrong
        schema: object = getattr(backend, "schema", None)
    if not isinstance(schema, str):
        raise MisusedError("--sql: only PostgreSQL's tables are made by a script; other stores create their own")
    return schema


async def _migrate_backend(store: Store) -> None:
    """Migrate the store of an application, or one that creates its tables itself."""
    from rexecutor.backend.sqlite import SQLiteBackend  # loads sqlite3
    from rexecutor.backend.sqlite.connection import holds_jobs

    async with found_store(store) as (backend, _):
        path = backend.path if isinstance(backend, SQLiteBackend) else None
        is_new = path is not None and not (path.exists() and holds_jobs(path))
        await backend.migrate()
    if is_new:
        write_line(f"created the tables in {str(path)!r}")
    else:
        itself = "" if path is None else "; this store creates them itself when it is opened"
        write_line(f"the tables are up to date{itself}")


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
