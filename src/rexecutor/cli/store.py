"""The store that a command works on, from `--url` or `REXECUTOR_URL`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from rexecutor.cli.failure import FailedError, MisusedError, note
from rexecutor.errors import ConfigurationError

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend

T = TypeVar("T")

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="REXECUTOR_URL",
        help="The store: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def use_store(url: str | None, action: "Callable[[Backend], Awaitable[T]]") -> T:
    """Open the store, which must exist, let the action use it, and close it.

    Raises:
        MisusedError: There is no URL, or it names no store.
        FailedError: It names a file that is not there, or has no tables of ours: what looks at jobs makes none.
        RexecutorError: The store cannot be used, or the action failed.
    """
    import asyncio  # a third of the time that `--help` may take

    backend = _connected(url)

    async def act() -> T:
        async with backend:
            return await action(backend)

    return asyncio.run(act())


def _connected(url: str | None) -> "Backend":
    from rexecutor.backend.sqlite.connection import holds_jobs  # loads sqlite3
    from rexecutor.url import sqlite_path  # loads msgspec

    backend = require_store(url)
    path = sqlite_path(url or "")
    if url == "memory:":
        note("memory: is this process's own store, and empty")
    elif path is not None and not path.exists():
        raise FailedError(f"{str(path)!r}: there is no such file; a worker or an enqueue creates it")
    elif path is not None and not holds_jobs(path):
        raise FailedError(f"{str(path)!r}: has no tables of rexecutor; a worker or an enqueue creates them")
    return backend


def require_store(url: str | None) -> "Backend":
    """Answer the store that the URL names, not opened yet.

    Raises:
        MisusedError: There is no URL, or it names no store.
    """
    from rexecutor.url import connect  # loads msgspec

    if not url:
        raise MisusedError("no store given: use --url sqlite:///jobs.db, or set REXECUTOR_URL")
    try:
        return connect(url)
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error
