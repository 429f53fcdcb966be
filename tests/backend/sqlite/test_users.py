"""Users who may not write the file or its folder: refused before a file is made that would lock the owner out."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend.sqlite.connection import check_path
from rexecutor.model.job import NewJob

NOBODY = 65_534
CHILD = """
import asyncio, os, sys, tempfile
from datetime import timedelta
from pathlib import Path
from rexecutor import RexecutorError, SQLiteBackend
from rexecutor.backend.sqlite.connection import holds_jobs
from rexecutor.model.job import NewJob

JOB = NewJob("echo", "1", None, 1, 0, (), None, timedelta(0))

async def open_and_enqueue(path):
    async with SQLiteBackend(path) as backend:
        await backend.enqueue([JOB])

USES = {
    "open": lambda path: asyncio.run(open_and_enqueue(path)),
    "enqueue_sync": lambda path: SQLiteBackend(path).enqueue_sync([JOB]),
    "holds_jobs": holds_jobs,
}
with tempfile.TemporaryDirectory() as folder:  # imports all there is, which the other user may not read
    for use in USES.values():
        use(Path(folder) / "jobs.db")
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for name, use in USES.items():
    try:
        use(Path(sys.argv[2]))
    except RexecutorError as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        print(f"{name}: done")
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="not run as root, so that no child of this process can become another user"
)


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder that others can reach: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def path(folder: Path) -> Path:
    path = folder / "jobs.db"
    enqueue(path)
    path.chmod(0o666)
    return path


def enqueue(path: Path) -> None:
    SQLiteBackend(path).enqueue_sync([NewJob("echo", "1", None, 1, 0, (), None, timedelta(0))])


def as_nobody(path: Path) -> list[str]:
    """Return what each use of the file comes to in a child of another user."""
    child = [sys.executable, "-c", CHILD, str(NOBODY), str(path)]
    return subprocess.run(child, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


@contextmanager
def nothing_made(folder: Path) -> Generator[None]:
    before = {file.name: file.stat().st_uid for file in folder.iterdir()}
    yield
    assert {file.name: file.stat().st_uid for file in folder.iterdir()} == before


def check_refusals(told: list[str], reason: str) -> None:
    assert [line.split(":")[0] for line in told] == ["open", "enqueue_sync", "holds_jobs"]
    for line in told:
        assert f"ConfigurationError: {reason}" in line
        assert "; run as a user that may" in line


def test_a_user_who_may_write_file_and_folder_is_served(path: Path, folder: Path) -> None:
    assert as_nobody(path) == ["open: done", "enqueue_sync: done", "holds_jobs: done"]

    assert [file.name for file in folder.iterdir()] == ["jobs.db"]


def test_a_user_who_may_only_read_the_file_is_refused(path: Path, folder: Path) -> None:
    path.chmod(0o644)

    with nothing_made(folder):
        told = as_nobody(path)

    check_refusals(told, f"{path}: user {NOBODY} may not write {path} (of user 0, -rw-r--r--)")
    enqueue(path)


def test_a_user_who_may_not_write_the_folder_is_refused(path: Path, folder: Path) -> None:
    folder.chmod(0o755)

    with nothing_made(folder):
        told = as_nobody(path)

    check_refusals(told, f"{path}: user {NOBODY} may not write {folder} (of user 0, drwxr-xr-x)")


def test_a_user_who_may_not_make_the_file_is_refused(folder: Path) -> None:
    folder.chmod(0o755)

    with nothing_made(folder):
        told = as_nobody(folder / "new.db")

    check_refusals(told, f"{folder / 'new.db'}: user {NOBODY} may not write {folder} (of user 0")


def test_a_user_who_may_not_open_the_folder_is_refused(path: Path, folder: Path) -> None:
    folder.chmod(0o700)

    with nothing_made(folder):
        told = as_nobody(path)

    check_refusals(told, f"{path}: ")


@pytest.mark.parametrize("name", ["jobs.db-wal", "jobs.db-shm"])
async def test_a_user_who_may_not_write_what_another_has_left_beside_the_file_is_refused(
    name: str, path: Path, folder: Path
) -> None:
    async with SQLiteBackend(path):
        path.with_name(name).chmod(0o644)

        with nothing_made(folder):
            told = as_nobody(path)

    check_refusals(told, f"{path}: user {NOBODY} may not write {path.with_name(name)} (of user 0, -rw-r--r--)")


def test_a_link_is_judged_by_the_file_to_which_it_leads(path: Path, folder: Path) -> None:
    folder.chmod(0o755)
    with tempfile.TemporaryDirectory() as elsewhere:
        Path(elsewhere).chmod(0o777)
        link = Path(elsewhere) / "linked.db"
        link.symlink_to(path)

        told = as_nobody(link)

    check_refusals(told, f"{link}: user {NOBODY} may not write {folder}")


def test_a_log_that_another_connection_makes_just_then_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    access = os.access

    def make_log_after(place: Path, needed: int, *, effective_ids: bool) -> bool:
        answer = access(place, needed, effective_ids=effective_ids)
        if place.name.endswith("-wal"):
            place.touch()
        return answer

    monkeypatch.setattr(os, "access", make_log_after)
    monkeypatch.setattr(os, "supports_effective_ids", {make_log_after})

    check_path(path)
