"""What a fork brings along of SQLite: connections, and locks that the child believes it holds.

A child may neither use nor close its parent's connections. New ones of its own share with them what SQLite keeps in
memory: those to the same file wait for a writer that is not in the child, or take no lock where they should
(https://sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork"); those to any file hang
where another thread was within SQLite at the fork. So a child of a process that had a store open is refused SQLite.
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
    """Known to be open, from before it opens the file until it is closed or let go."""

    def __init__(self, database: str | os.PathLike[str], *arguments: Any, **settings: Any) -> None:
        """Open it."""
        self.path: Final = Path(database)
        _open.add(self)
        try:
            super().__init__(database, *arguments, **settings)
        except BaseException:
            _open.discard(self)
            raise

    def close(self) -> None:
        """Close it."""
        super().close()
        _open.discard(self)


def refuse_after_fork(path: Path) -> None:
    """Refuse to open a file where SQLite may not be used.

    Raises:
        ConfigurationError: This process's parent had a store open when it forked.
    """
    if _inherited:
        raise ConfigurationError(
            f"{path}: this process was forked while its parent had {min(_inherited)} open, and SQLite works in no such"
            " child: start it by `spawn`, or fork before the parent opens its store"
        )


def _after_fork() -> None:
    """Note what was open, and keep it from being let go: its end may change the index of a commit under way."""
    connections = list(_open)
    _inherited.update(connection.path for connection in connections)
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # not even when the interpreter ends


os.register_at_fork(after_in_child=_after_fork)
