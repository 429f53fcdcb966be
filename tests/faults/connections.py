"""The connections to SQLite's files, made of another class."""

from contextlib import AbstractContextManager
from unittest.mock import patch

from rexecutor.backend.sqlite.forks import TrackedConnection


def connecting_as(kind: type[TrackedConnection]) -> AbstractContextManager[object]:
    """Have the library's connections that are opened meanwhile be of this class."""
    return patch("rexecutor.backend.sqlite.connection.TrackedConnection", kind)
