"""What `SQLiteBackend.diagnose` finds, each beside a store in which it is as it should be."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import BackendClosedError, SQLiteBackend, Where
from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.sqlite import diagnosis
from rexecutor.backend.sqlite.diagnosis import file_system_of
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import HOUR, new_job

SUBJECTS = [
    *("version", "schema", "indexes", "claim", "journal mode", "durability", "file system", "disk", "log", "size"),
    *("clock", "pages"),
]


@pytest.fixture
async def backend(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as made:
        await made.enqueue([new_job()] * 3)
        yield made


def by_hand(backend: SQLiteBackend, *commands: str) -> None:
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as connection:
        for command in commands:
            connection.execute(command)


async def found(backend: SQLiteBackend, subject: str) -> list[Finding]:
    return [finding for finding in await backend.diagnose() if finding.subject == subject]


async def the_one(backend: SQLiteBackend, subject: str, severity: Severity) -> Finding:
    [finding] = await found(backend, subject)
    assert finding.severity is severity, finding
    return finding


async def test_a_sound_file_is_as_it_should_be(backend: SQLiteBackend) -> None:
    findings = await backend.diagnose()

    assert [finding.subject for finding in findings] == SUBJECTS
    local = [one for one in findings if one.subject not in ("version", "file system", "disk")]  # the machine's own
    assert {one.severity for one in local} == {Severity.OK}, local
    assert {one.fix for one in local} == {None}


async def test_a_look_changes_nothing_and_waits_for_no_writer(backend: SQLiteBackend) -> None:
    before = await backend.query_ids(Where.everything())
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        findings = await backend.diagnose()
        connection.execute("ROLLBACK")

    assert [finding.subject for finding in findings] == SUBJECTS
    assert await backend.query_ids(Where.everything()) == before


async def test_a_closed_backend_has_to_be_opened_first(tmp_path: Path) -> None:
    with pytest.raises(BackendClosedError, match="not open"):
        await SQLiteBackend(tmp_path / "jobs.db").diagnose()


async def test_a_missing_index_is_named_with_the_statement_that_makes_it(backend: SQLiteBackend) -> None:
    by_hand(backend, "DROP INDEX rexecutor_queue_due", "DROP INDEX rexecutor_jobs_group")

    indexes = await found(backend, "indexes")
    claims = await the_one(backend, "claim", Severity.PROBLEM)

    assert {finding.severity for finding in indexes} == {Severity.PROBLEM}
    assert ["rexecutor_jobs_group" in indexes[0].message, "rexecutor_queue_due" in indexes[1].message] == [True, True]
    assert "no such index" in claims.message
    by_hand(backend, *(finding.fix or "" for finding in indexes))
    await the_one(backend, "indexes", Severity.OK)
    await the_one(backend, "claim", Severity.OK)


async def test_tables_of_another_version_are_a_problem(backend: SQLiteBackend) -> None:
    by_hand(backend, "INSERT INTO rexecutor_schema VALUES (99)")

    finding = await the_one(backend, "schema", Severity.PROBLEM)

    assert "version 99" in finding.message


async def test_missing_tables_are_a_problem_and_no_error(backend: SQLiteBackend) -> None:
    by_hand(backend, "DROP VIEW rexecutor_jobs", "DROP TABLE rexecutor_stored_jobs", "DROP TABLE rexecutor_schema")

    finding = await the_one(backend, "schema", Severity.PROBLEM)

    assert "has no tables" in finding.message
    assert "rexecutor migrate --url sqlite:///" in (finding.fix or "")


async def test_a_table_that_somebody_has_dropped_is_named(backend: SQLiteBackend) -> None:
    by_hand(backend, "DROP TABLE rexecutor_pauses")

    assert (await the_one(backend, "schema", Severity.PROBLEM)).message == "tables are missing: rexecutor_pauses"


async def test_a_clock_that_was_set_back_is_noticed(backend: SQLiteBackend, clock: FakeClock) -> None:
    clock.jump(-HOUR)
    assert "1:00:00 in the future" in (await the_one(backend, "clock", Severity.WARNING)).message

    clock.jump(HOUR - timedelta(seconds=4))
    await the_one(backend, "clock", Severity.OK)


@pytest.mark.parametrize("moment", ["9223372036854775807", "-9223372036854775807"])
async def test_a_moment_of_nonsense_is_no_error(backend: SQLiteBackend, moment: str) -> None:
    by_hand(backend, f"UPDATE rexecutor_stored_jobs SET inserted_at = {moment}")

    await the_one(backend, "clock", Severity.OK)


async def test_commits_that_a_loss_of_power_may_undo_are_noted(tmp_path: Path) -> None:
    async with SQLiteBackend(tmp_path / "jobs.db", synchronous="NORMAL") as backend:
        finding = await the_one(backend, "durability", Severity.NOTE)

    assert 'synchronous="FULL"' in (finding.fix or "")


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("ext4", Severity.OK),
        ("nfs4", Severity.PROBLEM),
        ("fuse.sshfs", Severity.PROBLEM),
        ("tmpfs", Severity.WARNING),
        ("overlay", Severity.WARNING),
        (None, Severity.NOTE),
    ],
)
async def test_where_the_file_is_says_whether_jobs_are_safe(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, kind: str | None, severity: Severity
) -> None:
    def of(_: Path) -> str | None:
        return kind

    monkeypatch.setattr(diagnosis, "file_system_of", of)

    await the_one(backend, "file system", severity)


def test_the_mount_that_holds_the_file_is_the_deepest_and_the_last(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw,relatime shared:1 - overlay overlay rw\n"
        "2 1 8:2 / /data rw - ext4 /dev/sda1 rw\n"
        "3 1 8:3 / /data/with\\040space rw - nfs4 host:/share rw\n"
        "4 1 8:4 / /database rw - xfs /dev/sdb rw\n"
        "5 1 8:5 / /data rw - btrfs /dev/sdc rw\n"
        "nonsense\n"
    )

    assert file_system_of(Path("/etc/jobs.db"), mounts) == "overlay"
    assert file_system_of(Path("/data/jobs.db"), mounts) == "btrfs"
    assert file_system_of(Path("/data/with space/jobs.db"), mounts) == "nfs4"
    assert file_system_of(Path("/database/jobs.db"), mounts) == "xfs"
    assert file_system_of(Path("/etc/jobs.db"), tmp_path / "missing") is None


async def test_a_disk_that_is_nearly_full_is_a_warning_and_then_a_problem(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, severity in ((2**31, Severity.OK), (2**29, Severity.WARNING), (2**26, Severity.PROBLEM)):
        monkeypatch.setattr(diagnosis.shutil, "disk_usage", disk_with(free))
        await the_one(backend, "disk", severity)


def disk_with(free: int) -> Callable[[Path], object]:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    return lambda _: Usage()


async def test_a_log_that_a_reader_holds_is_a_warning(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LARGE_BYTES", 10)

    assert "a reader keeps it" in (await the_one(backend, "log", Severity.WARNING)).message


async def test_a_check_of_the_pages_ends_in_time(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_CHECK_SECONDS", -1.0)
    monkeypatch.setattr(diagnosis, "_STEPS", 1)

    assert "not checked to the end" in (await the_one(backend, "pages", Severity.NOTE)).message


async def test_a_file_whose_pages_are_damaged_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with SQLiteBackend(path) as backend:
        await backend.enqueue([new_job(data=f'"{"x" * 3_000}"')] * 100)
    with path.open("r+b") as file:
        file.seek(4_096 * 60)
        file.write(b"\xff" * 4_096 * 3)

    async with SQLiteBackend(path) as backend:
        await the_one(backend, "pages", Severity.PROBLEM)
