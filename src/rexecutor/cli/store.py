"""The store that a command works on: from `--url` and `--schema`, from `--app`, or from the environment."""

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import typer

from rexecutor.cli.failure import FailedError, MisusedError, note
from rexecutor.cli.settings import text
from rexecutor.errors import ConfigurationError

if TYPE_CHECKING:
    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend

T = TypeVar("T")

URL_VARIABLE: Final = "REXECUTOR_URL"
SCHEMA_VARIABLE: Final = "REXECUTOR_SCHEMA"
APP_VARIABLE: Final = "REXECUTOR_APP"
DEFAULT_SCHEMA: Final = "rexecutor"

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The options that name a store by its address."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The store: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database;"
            f" {URL_VARIABLE} by default.",
        ),
    ] = None
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="NAME",
            help=f"The schema of the tables on PostgreSQL; {SCHEMA_VARIABLE} by default, otherwise {DEFAULT_SCHEMA}.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store(Address):
    """The options that say which store a command works on."""

    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:REXECUTOR",
            help="The application, as `worker` takes it: its store is used if there is no --url, and its executors;"
            f" {APP_VARIABLE} by default.",
        ),
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether an option, the environment or the file names a store."""
        of_file = (text("url"), text("app"))
        return any((self.url, self.app, os.environ.get(URL_VARIABLE), os.environ.get(APP_VARIABLE), *of_file))

    def resolved(self) -> "Store":
        """Return the store with what the environment and `pyproject.toml` say, if the options do not.

        An option outranks every variable, and a variable the file; of the same rank, a URL outranks an application.

        Raises:
            MisusedError: No store is given, or a schema for the store of an application.
        """
        app = self.app or os.environ.get(APP_VARIABLE)
        url = self.url or (None if self.app else os.environ.get(URL_VARIABLE)) or (None if app else text("url"))
        app = app or text("app")
        if not url and not app:
            raise MisusedError(
                f"no store given: use --url sqlite:///jobs.db, or --app MODULE:REXECUTOR; or set {URL_VARIABLE}, or"
                f" {APP_VARIABLE}, or url or app in pyproject.toml"
            )
        if not url and self.schema is not None:
            raise MisusedError(f"--schema {self.schema}: {app} says which schema it uses; give --schema with --url")
        return Store(url=url or None, schema=self.schema, app=app or None)


def use_store(store: Store, action: "Callable[[Backend], Awaitable[T]]") -> T:
    """Open the store, which must exist, run the action on it, close it, and return the action's result.

    Raises:
        MisusedError: There is no URL and no application, or no store can have this URL and schema.
        FailedError: The store is a file that does not exist or has no tables of rexecutor. Commands that look at jobs
            never create these.
        RexecutorError: The store cannot be used, or the action failed.
    """
    import asyncio  # a third of the time that `--help` may take

    resolved = store.resolved()

    async def act() -> T:
        async with found_store(resolved) as (backend, _):
            _require_tables(backend)
            async with backend:
                return await action(backend)

    return asyncio.run(act())


def use_app(
    store: Store, action: "Callable[[Backend, Rexecutor], Awaitable[T]]", *, advice: str = "use --app MODULE:REXECUTOR"
) -> T:
    """Act on the store as `use_store` does, with the application, which must be given.

    Args:
        store: The store.
        action: What is done.
        advice: How the command takes an application.

    Raises:
        MisusedError: No application is given.
        FailedError: The application cannot be imported or made.
    """
    import asyncio  # as above

    resolved = store.resolved()
    if resolved.app is None:
        raise MisusedError(f"no application given: {advice}, or set {APP_VARIABLE}, or app in pyproject.toml")

    async def act() -> T:
        async with found_store(resolved, loads_app=True) as (backend, rexecutor):
            assert rexecutor is not None  # noqa: S101 - it was asked for
            _require_tables(backend)
            async with backend:
                return await action(backend, rexecutor)

    return asyncio.run(act())


@asynccontextmanager
async def found_store(store: Store, *, loads_app: bool = False) -> "AsyncGenerator[tuple[Backend, Rexecutor | None]]":
    """Give the backend of the resolved store, not open, and the application if it is needed or asked for.

    What the application prints goes to stderr: stdout is for the command's own output, which may be JSON.

    Raises:
        MisusedError: No store can have this URL and schema, or there is no such application.
        FailedError: The application cannot be imported or made.
    """
    with ExitStack() as quiet:
        async with AsyncExitStack() as stack:
            rexecutor = None
            if store.app is not None and (loads_app or store.url is None):
                from rexecutor.cli.load import find_target, opened_rexecutor  # loads the engine

                with redirect_stdout(sys.stderr):
                    rexecutor = await stack.enter_async_context(opened_rexecutor(store.app, find_target(store.app)))
                stack.callback(quiet.enter_context, redirect_stdout(sys.stderr))  # while the application is closed
            backend = connected(store) if rexecutor is None or store.url is not None else rexecutor.backend
            yield backend, rexecutor


def _require_tables(backend: "Backend") -> None:
    from rexecutor.backend.memory import InMemoryBackend  # loads msgspec
    from rexecutor.backend.sqlite import SQLiteBackend  # loads sqlite3
    from rexecutor.backend.sqlite.connection import holds_jobs

    if isinstance(backend, InMemoryBackend):
        note("memory: is a new, empty store in this process")
    elif isinstance(backend, SQLiteBackend):
        if not backend.path.exists():
            raise FailedError(f"{str(backend.path)!r}: no such file; a worker{_or_migrate(backend)} creates it")
        if not holds_jobs(backend.path):
            path = str(backend.path)
            raise FailedError(f"{path!r} has no tables of rexecutor; a worker{_or_migrate(backend)} creates them")


def _or_migrate(backend: "Backend") -> str:
    line = backend.command("migrate")
    return "" if line is None else f", or `{line}`,"


def connected(store: Address) -> "Backend":
    """Return the backend for the store that the URL and the schema name, not yet open.

    Raises:
        MisusedError: No store can have this URL and schema.
    """
    from rexecutor.app.connect import connect, postgres_url  # loads msgspec

    url, schema = store.url or "", store.schema
    if postgres_url(url) is not None:  # for other stores the environment does not count, as they have no schemas
        schema = named_schema(schema)
    try:
        return connect(url, schema=schema)
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


def named_schema(schema: str | None) -> str:
    """Return the schema for PostgreSQL: the given one, that of the environment, that of the file, or the default."""
    return (os.environ.get(SCHEMA_VARIABLE) or text("schema") or DEFAULT_SCHEMA) if schema is None else schema
