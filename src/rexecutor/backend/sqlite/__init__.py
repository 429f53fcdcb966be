"""Jobs in an SQLite file: durable, for several processes of one machine, with no server."""

from rexecutor.backend.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
