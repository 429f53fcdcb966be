"""Checks a file for all that keeps jobs from running, makes them slow or may lose them; see `Backend.diagnose`."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.indexes import indexes_of, tables_of
from rexecutor.backend.sqlite.checkpoint import LARGE_BYTES
from rexecutor.backend.sqlite.connection import check_version, connect, file_command, translated
from rexecutor.backend.sqlite.rows import moment_or_none
from rexecutor.errors import SchemaError

Check = Callable[[sqlite3.Connection], Iterator[Finding]]

_PACKAGE: Final = "rexecutor.backend.sqlite"
_SAFE: Final = (3, 51, 3)
"""The first version of SQLite without the error in checkpoints that `checkpoint.py` works around."""
_NETWORK: Final = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2", "beegfs"),
    *("davfs", "vboxsf", "virtiofs", "prl_fs", "fuse.grpcfuse"),
)
"""File systems shared between machines, or between a machine and its host."""
_NETWORK_PREFIXES: Final = ("fuse.sshfs", "fuse.s3", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "fuse.davfs")
_LEAST_FREE: Final = 100 * 1024 * 1024
_LITTLE_FREE: Final = 1024 * 1024 * 1024
_CHECK_SECONDS: Final = 2.0
"""Seconds after which the check of the file's pages is given up."""
_STEPS: Final = 10_000
"""Steps of SQLite's virtual machine after which that check reads the clock again."""
_AHEAD: Final = timedelta(seconds=5)
_WASTE: Final = 256 * 1024 * 1024


class Diagnosis:
    """The checks of one file. They read on a separate connection, so nobody waits for them."""

    def __init__(self, path: Path, *, synchronous: str, now: datetime, monotonic: Callable[[], float]) -> None:
        """Store what the checks need; nothing is read yet.

        Args:
            path: The file.
            synchronous: The setting with which the backend writes.
            now: The time.
            monotonic: Returns the seconds of a clock that is never set.
        """
        self._path = path
        self._synchronous = synchronous
        self._now = now
        self._monotonic = monotonic

    def findings(self) -> list[Finding]:
        """Make all checks, and return their findings."""
        checks: Sequence[Check] = (
            *(_version, self._schema, _indexes, _claim, self._journal, self._durability, self._file_system),
            *(self._disk, self._log, _waste, self._clock, self._pages),
        )
        with closing(connect(self._path, synchronous=self._synchronous)) as connection, translated(self._path):
            return [finding for check in checks for finding in check(connection)]

    def _schema(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        try:
            check_version(connection, self._path)
        except SchemaError as error:
            yield Finding("schema", Severity.PROBLEM, str(error), file_command("migrate", self._path))
            return
        there = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        missing = [name for name in tables_of(_PACKAGE) if name not in there]
        if missing:
            yield Finding("schema", Severity.PROBLEM, f"tables are missing: {', '.join(missing)}", "restore a backup")
        else:
            yield Finding("schema", Severity.OK, "this version of rexecutor can work with the tables")

    def _journal(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode == "wal":
            yield Finding("journal mode", Severity.OK, "WAL: readers and the writer do not wait for each other")
        else:
            yield Finding(
                "journal mode",
                Severity.PROBLEM,
                f"it is {mode!r}, because this file system cannot do WAL; workers and readers block each other",
                "move the file to a local disk, or use PostgreSQL",
            )

    def _durability(self, _: sqlite3.Connection) -> Iterator[Finding]:
        if self._synchronous == "FULL":
            yield Finding("durability", Severity.OK, "synchronous=FULL: each commit is on the disk before it counts")
        else:
            message = f"synchronous={self._synchronous}: a loss of power may undo the last commits"
            yield Finding("durability", Severity.NOTE, message, 'SQLiteBackend(…, synchronous="FULL")')

    def _file_system(self, _: sqlite3.Connection) -> Iterator[Finding]:
        kind = file_system_of(self._path.resolve())
        if kind is None:
            yield Finding("file system", Severity.NOTE, "not known on this platform; it must be a local disk")
        elif kind in _NETWORK or kind.startswith(_NETWORK_PREFIXES):
            yield Finding(
                "file system",
                Severity.PROBLEM,
                f"the file is on {kind}, a network file system, whose locks SQLite cannot trust: jobs may be lost or"
                " run twice",
                "move the file to a local disk, or use PostgreSQL",
            )
        elif kind in {"tmpfs", "ramfs"}:
            message = f"the file is in memory ({kind}); the jobs are gone when the machine restarts"
            yield Finding("file system", Severity.WARNING, message, "move the file to a disk")
        elif kind in {"overlay", "aufs"}:
            message = f"the file is in the container's own layer ({kind}); the jobs are removed with the container"
            yield Finding("file system", Severity.WARNING, message, "put the file into a mounted volume")
        else:
            yield Finding("file system", Severity.OK, f"the file is on {kind}, a local file system")

    def _disk(self, _: sqlite3.Connection) -> Iterator[Finding]:
        free = shutil.disk_usage(self._path.resolve().parent).free
        severity = Severity.OK
        if free < _LITTLE_FREE:
            severity = Severity.PROBLEM if free < _LEAST_FREE else Severity.WARNING
        fix = None if severity is Severity.OK else "make room; enqueues fail when the disk is full"
        yield Finding("disk", severity, f"{_size(free)} are free", fix)

    def _log(self, _: sqlite3.Connection) -> Iterator[Finding]:
        try:
            size = Path(f"{self._path.resolve()}-wal").stat().st_size
        except OSError:  # there is none, or it has just been removed
            size = 0
        if size < LARGE_BYTES:
            yield Finding("log", Severity.OK, f"the write-ahead log has {_size(size)}")
        else:
            yield Finding(
                "log",
                Severity.WARNING,
                f"the write-ahead log has {_size(size)}, because a reader keeps it from being written back",
                "end the transaction that has been open for long, in the application or in a tool such as sqlite3",
            )

    def _clock(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        if not _has_tables(connection):
            return
        row = connection.execute(statement(_PACKAGE, "select_newest_moment")).fetchone()
        try:
            newest = None if row is None else moment_or_none(row[0])
        except (OverflowError, TypeError):  # somebody has written nonsense by hand
            newest = None
        if newest is not None and newest > self._now + _AHEAD:
            yield Finding(
                "clock",
                Severity.WARNING,
                f"the newest job was enqueued {newest - self._now} in the future: the machine's clock was set back, and"
                " jobs that were due at once wait until then",
                "check that the clock is synchronised (NTP); `jobs update --schedule-at` makes jobs due earlier",
            )
        else:
            yield Finding("clock", Severity.OK, "no job was enqueued in the future")

    def _pages(self, connection: sqlite3.Connection) -> Iterator[Finding]:
        until = self._monotonic() + _CHECK_SECONDS
        connection.set_progress_handler(lambda: int(self._monotonic() > until), _STEPS)
        try:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            message = f"not checked to the end: that takes longer than {_CHECK_SECONDS:.0f} s"
            yield Finding("pages", Severity.NOTE, message, f"sqlite3 {self._path} 'PRAGMA quick_check'")
        else:
            if found == "ok":
                yield Finding("pages", Severity.OK, "the file's pages are sound (quick_check)")
            else:
                yield Finding("pages", Severity.PROBLEM, f"the file is damaged: {found}", "restore it from a backup")
        finally:
            connection.set_progress_handler(None, 0)


def _version(_: sqlite3.Connection) -> Iterator[Finding]:
    if sqlite3.sqlite_version_info >= _SAFE:
        yield Finding("version", Severity.OK, f"SQLite {sqlite3.sqlite_version}")
        return
    safe = ".".join(map(str, _SAFE))
    yield Finding(
        "version",
        Severity.NOTE,
        f"SQLite {sqlite3.sqlite_version}: before {safe}, a checkpoint may lose commits at a rare moment. rexecutor"
        " avoids that; a checkpoint of the application's own connections does not",
        f"use a Python with SQLite {safe} or later",
    )


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables that other checks need. If not, the check of the schema has reported that."""
    found = "SELECT count(*) FROM sqlite_master WHERE name IN ('rexecutor_queue', 'rexecutor_stored_jobs')"
    return connection.execute(found).fetchone()[0] == len(("queue", "stored_jobs"))


def _indexes(connection: sqlite3.Connection) -> Iterator[Finding]:
    if not _has_tables(connection):
        return
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    missing = {name: text for name, text in indexes_of(_PACKAGE).items() if name not in there}
    for name, text in missing.items():
        message = f"the index {name} is missing: statements that name it fail, and others read whole tables"
        yield Finding("indexes", Severity.PROBLEM, message, text)
    if not missing:
        yield Finding("indexes", Severity.OK, "all indexes are there")


def _claim(connection: sqlite3.Connection) -> Iterator[Finding]:
    if not _has_tables(connection):
        return
    text = "EXPLAIN QUERY PLAN " + statement(_PACKAGE, "select_due_jobs")
    try:
        steps = [row[3] for row in connection.execute(text, {"executor": "", "now": 0, "slots": 1})]
    except sqlite3.OperationalError as error:  # its index is missing; the check of the indexes names the fix
        yield Finding("claim", Severity.PROBLEM, f"claims fail: {error}", "create the missing index")
        return
    if all("rexecutor_queue_due" in step for step in steps):
        yield Finding("claim", Severity.OK, "claims use their index")
    else:
        yield Finding(
            "claim", Severity.WARNING, f"claims are slow: they read the table ({'; '.join(steps)})", "ANALYZE"
        )


def _waste(connection: sqlite3.Connection) -> Iterator[Finding]:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if free * size > _WASTE and free * 2 > pages:
        message = f"{_size(free * size)} of the file's {_size(pages * size)} are unused"
        yield Finding("size", Severity.NOTE, message, "VACUUM, while no worker runs; new jobs use that room as well")
    else:
        yield Finding("size", Severity.OK, f"the file has {_size(pages * size)}")


def _size(number: int) -> str:
    return f"{number / 1024 / 1024:,.1f} MiB"


def file_system_of(file: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of the file system that holds the file; None if that is not known.

    Args:
        file: Absolute path without links.
        mounts: Linux's list of this process's mounts.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found: tuple[int, str] | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < len(("id", "parent", "device", "root", "place")) or not after:
            continue
        place = Path(_unescaped(fields[4]))
        # Of two mounts at one place, the later one hides the other.
        if file.is_relative_to(place) and (found is None or len(place.parts) >= found[0]):
            found = len(place.parts), after.split(" ")[0]
    return None if found is None else found[1]


def _unescaped(text: str) -> str:
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, character)
    return text
