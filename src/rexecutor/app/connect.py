"""Makes a backend from its URL, as settings files and the command line give it."""

import re
from pathlib import Path
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.masking import masked_url
from rexecutor.errors import ConfigurationError

_ACCEPTED: Final = "give memory:, sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database"


def connect(url: str, *, schema: str | None = None) -> Backend:
    """Return the backend that the URL names, not yet opened.

    `memory:` is an `InMemoryBackend`. `sqlite:///jobs.db` is an `SQLiteBackend` on a file relative to the working
    directory, `sqlite:////var/lib/jobs.db` on an absolute one; the path is taken as it is written (`%20` stays
    `%20`), and a file that is missing is created when the backend is opened. `postgresql://user@host/database` is a
    `PostgresBackend`, with the options of libpq after a question mark; `postgresql+psycopg:` means the same.

    Args:
        url: Where the store is.
        schema: Schema of the tables on PostgreSQL; `"rexecutor"` by default. Other stores have no schemas.

    Raises:
        ConfigurationError: The URL is not that of a store that this version supports, or a schema is given for a
            store that has none.
    """
    path = sqlite_path(url)
    if schema is not None and postgres_url(url) is None and (path is not None or url == "memory:"):
        raise ConfigurationError(f"schema {schema!r}: only PostgreSQL has schemas; leave it out for other stores")
    if path is not None:
        from rexecutor.backend.sqlite import SQLiteBackend  # loads sqlite3, which not every process needs

        return SQLiteBackend(path)
    if url == "memory:":
        from rexecutor.backend.memory import InMemoryBackend  # as above

        return InMemoryBackend()
    server = postgres_url(url)
    if server is not None:
        try:
            from rexecutor.backend.postgres import PostgresBackend  # loads psycopg, an extra
        except ImportError as error:
            raise ConfigurationError(f"{masked_url(url)!r}: {error}") from error

        return PostgresBackend(server) if schema is None else PostgresBackend(server, schema=schema)
    if re.match(r"postgres(ql)?\+", url, re.IGNORECASE):
        raise ConfigurationError(
            f"{masked_url(url)!r}: the driver is psycopg; give postgresql: without a driver's name"
        )
    raise ConfigurationError(f"{masked_url(url)!r} is not the URL of a store; {_ACCEPTED}")


def postgres_url(url: str) -> str | None:
    """Return the URL as libpq reads it if it names a PostgreSQL server; None for any other URL."""
    server = re.match(r"postgres(ql)?(\+psycopg)?:", url, re.IGNORECASE)
    return None if server is None else "postgresql:" + url[server.end() :]


def sqlite_path(url: str) -> Path | None:
    """Return the file that an SQLite URL names; None for any other URL.

    Raises:
        ConfigurationError: It is not a str, or it is an SQLite URL that names no file or has options.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be a str, not {type(url).__name__}; {_ACCEPTED}")
    if not re.match(r"sqlite:", url, re.IGNORECASE):
        return None
    path = url[len("sqlite:") :]
    if not path.startswith("///"):
        raise ConfigurationError(f"{masked_url(url)!r} must begin with sqlite:///; {_ACCEPTED}")
    path = path[len("///") :]
    if path == ":memory:":
        raise ConfigurationError(f"{masked_url(url)!r}: for a store in memory, give memory:")
    if path in ("", "/") or "\0" in path:
        raise ConfigurationError(f"{masked_url(url)!r} does not name a file; {_ACCEPTED}")
    if "?" in path:
        raise ConfigurationError(f"{masked_url(url)!r}: an SQLite URL must not have options after a question mark")
    return Path(path)
