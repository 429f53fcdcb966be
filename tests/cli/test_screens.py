"""Screens of commands in a terminal of 80 columns, kept as text in `screens/`.

`REXECUTOR_KEEP_SCREENS=1` writes the files anew; look at the difference before it is committed.
"""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend.messages import Demand, Node, NodeState
from rexecutor.model.job import ErrorKind, JobError, NewJob
from rexecutor.model.outcomes import Complete, Failed, Settlement
from rexecutor.model.stats import BUCKETS, OutcomeKind, StatRow
from rexecutor.testing import FakeClock
from tests.cli.terminal import Terminal, steady

KEPT = Path(__file__).parent / "screens"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "mail.py", line 7, in send\n    connect()\nSmtpError: no such host'
)
STATE = NodeState("worker-1", 71, "1.2.3", ["email", "resize_image"], 10, 4, 0.002, {"email": 2})


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is always as long, with a store, `jobs.db`, that was used a day ago."""
    with TemporaryDirectory(prefix="screens-", dir="/tmp") as name:
        asyncio.run(_fill(Path(name) / "jobs.db"))
        yield Path(name)


async def _fill(path: Path) -> None:
    now = SQLiteBackend(path).clock.now()
    # All moments are on another day, at any time of the day: moments of today are shown without their date.
    clock = FakeClock(now - timedelta(days=1, minutes=30, seconds=30))
    async with SQLiteBackend(path, clock=clock) as backend:
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node-1", "worker-1:71", timedelta(days=400), state=STATE))
        heartbeats.close()
        mails = [NewJob("email", f'{{"to":"{n}"}}', None, 5, 0, ("weekly",), None, timedelta(0)) for n in range(5)]
        later = NewJob("email", "7", None, 5, 3, (), None, timedelta(days=3, minutes=31))
        image = NewJob("resize_image", '{"id":7}', '{"by":"ann"}', 1, 0, ("user-7",), None, timedelta(0))
        orphan = NewJob("report", "null", None, 5, 0, (), None, timedelta(0))
        await backend.enqueue([*mails, later, image, orphan])
        await backend.claim(Demand({"email": 4, "resize_image": 1}, 5), "node-1")
        error = JobError(1, ErrorKind.EXCEPTION, "SmtpError", TRACEBACK, clock.now())
        await backend.settle(
            [
                Settlement(1, 1, Complete('{"sent":1}')),
                Settlement(2, 1, Failed(error, timedelta(days=2, hours=3, minutes=31))),
                Settlement(7, 1, Failed(error, timedelta(0))),
            ]
        )
        counts = (0, 0, 8, *(0,) * (BUCKETS - 4), 1)
        minute = (now - timedelta(minutes=3)).replace(second=0, microsecond=0)
        await backend.add_stats([StatRow(minute, "email", OutcomeKind.COMPLETE, 9, counts, counts)])
        await backend.pause("resize_image", "disk is full", lasting=None)


SCREENS = {
    "jobs list": ("jobs", "list"),
    "jobs list newest": ("jobs", "list", "--newest", "--limit", "3"),
    "jobs show": ("jobs", "show", "2"),
    "jobs count": ("jobs", "count"),
    "nodes": ("nodes",),
    "stats": ("stats",),
    "pause": ("pause",),
    "health": ("health",),
    "why retry": ("why", "2"),
    "why executing": ("why", "3"),
    "why busy": ("why", "5"),
    "why scheduled": ("why", "6"),
    "why discarded": ("why", "7"),
    "why no node": ("why", "8"),
    "help": ("jobs", "cancel", "--help"),
}


def check(name: str, screen: str, folder: Path) -> None:
    """Compare a screen with the kept one."""
    file = KEPT / f"{name.replace(' ', '_')}.txt"
    if "REXECUTOR_KEEP_SCREENS" in os.environ:
        KEPT.mkdir(exist_ok=True)
        file.write_text(steady(screen, folder), encoding="utf-8")
    assert steady(screen, folder) == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was(folder: Path, name: str) -> None:
    terminal = Terminal(*SCREENS[name], folder=folder, environment={"REXECUTOR_URL": "sqlite:///jobs.db"})

    _, screen = terminal.end()

    check(name, screen, folder)


ABOUT_THE_MACHINE = ("version", "file system", "disk")
"""What the doctor finds that is different on another machine."""


def of_store(screen: str) -> str:
    """The doctor's findings about the store alone, with sizes replaced by letters of the same number."""
    findings = re.split(r"^(?=(?:ok|note|warning|problem) +[\w ]+: )", screen, flags=re.MULTILINE)
    kept = [each for each in findings if not re.match(rf"\w+ +(?:{'|'.join(ABOUT_THE_MACHINE)}): ", each)]
    assert len(kept) == len(findings) - len(ABOUT_THE_MACHINE)
    return re.sub(r"[\d.]+(?= MiB)", lambda found: "N" * len(found[0]), "".join(kept))


@pytest.mark.parametrize("name", ["doctor", "doctor problem"])
def test_the_screen_of_the_doctor_is_as_it_was(folder: Path, name: str) -> None:
    if name == "doctor problem":
        with contextlib.closing(sqlite3.connect(folder / "jobs.db")) as connection:
            connection.execute("DROP INDEX rexecutor_jobs_executor")
            connection.execute("DROP INDEX rexecutor_queue_due")
    terminal = Terminal("doctor", folder=folder, environment={"REXECUTOR_URL": "sqlite:///jobs.db"})

    status, screen = terminal.end()

    check(name, of_store(screen), folder)
    assert status == (0 if name == "doctor" else 1)


def test_stats_are_watched_until_they_are_interrupted(folder: Path) -> None:
    environment = {"REXECUTOR_URL": "sqlite:///jobs.db"}
    terminal = Terminal("stats", "--watch", "--interval", "0.2", folder=folder, environment=environment)

    first = terminal.read_until(lambda screen: "resize_image" in screen)
    headings = {first.splitlines()[0]}
    terminal.read_until(lambda screen: screen.splitlines()[0] not in {"", *headings})  # it was drawn anew
    terminal.process.send_signal(signal.SIGINT)
    status, _ = terminal.end()

    check("stats watch", first, folder)
    assert status == 0


@pytest.mark.parametrize(("typed", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_a_change_of_many_jobs_asks_and_obeys(folder: Path, typed: str, status: int) -> None:
    environment = {"REXECUTOR_URL": "sqlite:///jobs.db"}
    terminal = Terminal("jobs", "cancel", "--executor", "email", folder=folder, environment=environment)

    terminal.answer("[y/N]:", typed)
    ended, screen = terminal.end()

    assert ended == status
    check(f"jobs cancel {typed or 'nothing'}", screen, folder)
