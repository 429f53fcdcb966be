"""Refuses SQLite in a child process that was forked while its parent had a store open.

The child inherits the parent's connections, and a record of locks that only the parent holds. It may neither use nor
close these connections, and new ones share SQLite's state in memory with them. New connections to the same file wait
for a writer that does not exist in the child, or fail to take a lock that they need
(https://sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork"). New connections to any
file hang if another thread was inside SQLite at the fork.
"""

import ctypes
import os
import sqlite3
import weakref
from pathlib import Path
from typing import Any, Final

from rexecutor.errors import ConfigurationError

_open: Final["weakref.WeakSet[TrackedConnection]"] = weakref.WeakSet()
_inherited: Final[set[Path]] = set()


class TrackedConnection(sqlite3.Connection):
    """A connection that is listed as open, from before it opens the file until it is closed or collected."""

    def __init__(self, database: str | os.PathLike[str], *arguments: Any, **settings: Any) -> None:
        """Open the file; the arguments are those of `sqlite3.Connection`."""
        self.path: Final = Path(database)
        _open.add(self)
        try:
            super().__init__(database, *arguments, **settings)
        except BaseException:
            _open.discard(self)
            raise

    def close(self) -> None:
        """Close the connection."""
        super().close()
        _open.discard(self)


def refuse_after_fork(path: Path) -> None:
    """Raise if SQLite may not be used in this process.

    Args:
        path: The file that was to be opened, for the error message.

    Raises:
        ConfigurationError: This process's parent had a store open when it forked.
    """
    if _inherited:
        raise ConfigurationError(
            f"{path}: this process was forked while its parent had {min(_inherited)} open, and SQLite works in no such"
            " child: start it by `spawn`, or fork before the parent opens its store"
        )


def _after_fork() -> None:
    """Remember the inherited files and leak their connections on purpose. Runs in the child after a fork.

    Closing one, even from the garbage collector, may corrupt the WAL index while the parent commits.
    """
    connections = list(_open)
    _inherited.update(connection.path for connection in connections)
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # keeps it alive even when the interpreter ends


os.register_at_fork(after_in_child=_after_fork)
