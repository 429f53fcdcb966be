"""What processes write of what they do: one `write()` a line, so that lines of many processes do not mix."""

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened to a job."""

    what: str
    job_id: int
    claims: int
    pid: int
    at: float
    """The machine's monotonic seconds, the same clock in all its processes."""


class History:
    """An append-only file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, job_id: int, claims: int) -> None:
        """Note it; on disk even if the process is killed in the next moment."""
        os.write(self._file, f"{what} {job_id} {claims} {os.getpid()} {monotonic()}\n".encode())


def read(path: Path) -> list[Line]:
    """Return all lines that were written whole."""
    text = path.read_text() if path.exists() else ""
    lines = (line.split() for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [Line(what, int(job_id), int(claims), int(pid), float(at)) for what, job_id, claims, pid, at in lines]
