"""`blocking = "process"`: work that a timeout, a cancel and a shutdown really stop, and whose death is its own."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from rexecutor import (
    ConfigurationError,
    DefinitionError,
    ErrorKind,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Limits,
    Rexecutor,
    SQLiteBackend,
)
from rexecutor.backend.completion import NoCompletion
from rexecutor.engine import processes, runner
from rexecutor.engine.child import ChildSetup
from rexecutor.engine.node import concurrency
from rexecutor.engine.processes import NotBegunError
from rexecutor.model import rules
from rexecutor.model.outcomes import Failed
from rexecutor.telemetry.events import JobEnded
from rexecutor.testing import perform
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import new_job
from tests.engine.in_children import AddOne, InChild
from tests.support import Events, record_of, soon, until, until_no_threads_of_ours

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
async def rexecutor(notes: Path) -> AsyncIterator[Rexecutor]:
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(notes)) as made:
        yield made
    await until_no_threads_of_ours()


def noted(notes: Path, what: str) -> list[int]:
    """Return the processes that noted it."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(what)]


def lives(pid: int) -> bool:
    """Whether the process is there, and not only a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def run(rexecutor: Rexecutor, deed: str, attempts: int = 1) -> Job[str]:
    handle = await InChild.builder().with_data(deed).with_max_attempts(attempts).enqueue(backend=rexecutor.backend)
    return await soon(handle.wait(), 60)


@pytest.mark.parametrize(
    ("deed", "status", "kind", "type_name", "details"),
    [
        ("nothing", JobStatus.COMPLETE, None, "", ""),
        ("cancel", JobStatus.CANCELLED, ErrorKind.CANCELLED, "Cancel", "why"),
        ("value", JobStatus.COMPLETE, None, "", ""),
        (
            "coroutine",
            JobStatus.DISCARDED,
            ErrorKind.EXCEPTION,
            "TypeError",
            "execute returned coroutine, but the result of a block",
        ),
        ("raise", JobStatus.DISCARDED, ErrorKind.EXCEPTION, "ValueError", "in raise_it"),
        ("unsendable", JobStatus.DISCARDED, ErrorKind.EXCEPTION, "UnsendableError", "UnsendableError"),
        ("closed", JobStatus.DISCARDED, ErrorKind.EXCEPTION, "Exception", "could not be shown: SystemExit"),
        ("sys-exit", JobStatus.DISCARDED, ErrorKind.EXCEPTION, "SystemExit", "4"),
        ("interrupt", JobStatus.DISCARDED, ErrorKind.EXCEPTION, "KeyboardInterrupt", ""),
        ("exit", JobStatus.DISCARDED, ErrorKind.LOST, "ProcessDied", "ended with exit code 3"),
        ("segfault", JobStatus.DISCARDED, ErrorKind.LOST, "ProcessDied", "was ended by SIGSEGV"),
        ("kill", JobStatus.DISCARDED, ErrorKind.LOST, "ProcessDied", "was ended by SIGKILL"),
    ],
)
async def test_whatever_a_job_does_to_its_process_is_an_outcome_of_that_job_alone(
    rexecutor: Rexecutor, deed: str, status: JobStatus, kind: ErrorKind | None, type_name: str, details: str
) -> None:
    ended, neighbour = await asyncio.gather(run(rexecutor, deed), run(rexecutor, "nothing"))

    assert ended.status is status
    assert [(error.kind, error.type_name) for error in ended.errors] == ([] if kind is None else [(kind, type_name)])
    assert all(details in error.details for error in ended.errors)
    assert neighbour.status is JobStatus.COMPLETE


async def test_a_process_runs_job_after_job(rexecutor: Rexecutor, notes: Path) -> None:
    for _ in range(3):
        await run(rexecutor, "nothing")

    assert len(set(noted(notes, "begun"))) == 1
    assert noted(notes, "begun")[0] != os.getpid()


async def test_a_snooze_comes_through(rexecutor: Rexecutor) -> None:
    handle = await InChild.builder().with_data("snooze").enqueue(backend=rexecutor.backend)

    async def is_snoozed() -> bool:
        return (await record_of(rexecutor.backend, handle.id)).snoozes == 1

    await until(is_snoozed, 60)


@pytest.mark.parametrize(("deed", "runs_finally"), [("hang", True), ("deaf", False)])
async def test_a_timeout_ends_the_process(
    notes: Path, deed: str, monkeypatch: pytest.MonkeyPatch, *, runs_finally: bool
) -> None:
    monkeypatch.setattr(runner, "STOP_GRACE", 0.3)
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(notes, limit=0.2)) as rexecutor:
        ended = await run(rexecutor, deed)

        assert [error.kind for error in ended.errors] == [ErrorKind.TIMEOUT]
        (pid,) = noted(notes, "begun")
        await until(lambda: not lives(pid))
        assert noted(notes, "ended") == ([pid] if runs_finally else [])
        assert (await run(rexecutor, "nothing")).status is JobStatus.COMPLETE  # in a process of its own


async def test_a_timeout_of_a_process_is_told_in_one_line_and_its_error(notes: Path, events: Events) -> None:
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(notes, limit=0.2)) as rexecutor:
        await run(rexecutor, "hang")

    (ended,) = events.of(JobEnded)
    assert isinstance(ended.outcome, Failed)
    assert (ended.outcome.error.kind, ended.is_final, ended.attempt) == (ErrorKind.TIMEOUT, True, 1)
    assert ended.exception is not None
    told = "".join(traceback.format_exception(ended.exception))
    assert told == "TimeoutError: the attempt took longer than 0:00:00.200000\n"


async def test_a_cancel_ends_the_process(rexecutor: Rexecutor, notes: Path) -> None:
    handle = await InChild.builder().with_data("hang").enqueue(backend=rexecutor.backend)
    await until(lambda: bool(noted(notes, "begun")), 60)
    await handle.cancel("enough")
    ended = await soon(handle.wait())

    assert (ended.status, ended.errors[-1].details) == (JobStatus.CANCELLED, "enough")
    await until(lambda: not lives(noted(notes, "begun")[0]))


async def test_a_shutdown_ends_the_process_and_gives_the_job_back(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecutor.engine.node.STOP_GRACE", 0.3)
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(InChild(notes)) as rexecutor:
        ids = [(await InChild.builder().with_data(deed).enqueue(backend=backend)).id for deed in ("hang", "deaf")]
        await until(lambda: len(noted(notes, "begun")) == 2, 60)
        await soon(rexecutor.graceful_shutdown(timedelta(0)))

    for job_id in ids:
        record = await record_of(backend, job_id)
        assert (record.status, record.attempt, record.errors) == (JobStatus.SCHEDULED, 0, ())
    assert not any(lives(pid) for pid in noted(notes, "begun"))
    await until_no_threads_of_ours()


@pytest.mark.parametrize("bounds", [{"max_jobs": 2}, {"max_memory": 1}])
async def test_a_process_is_replaced_after_so_many_jobs_or_bytes(notes: Path, bounds: dict[str, int]) -> None:
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(notes)).with_child_processes(**bounds) as rexecutor:
        for _ in range(4):
            await run(rexecutor, "nothing")

    pids = noted(notes, "begun")
    assert [pids.index(pid) for pid in pids] == ([0, 0, 2, 2] if "max_jobs" in bounds else [0, 1, 2, 3])


async def test_an_idle_process_that_died_costs_no_attempt(rexecutor: Rexecutor, notes: Path) -> None:
    await run(rexecutor, "nothing")
    (pid,) = noted(notes, "begun")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not lives(pid))
    ended = await run(rexecutor, "nothing")

    assert (ended.status, ended.attempt, ended.errors) == (JobStatus.COMPLETE, 1, ())
    assert len(set(noted(notes, "begun"))) == 2


async def test_idle_processes_that_died_cost_no_job_its_attempt(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_TRIES", 1)
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(notes)) as rexecutor:
        await asyncio.gather(run(rexecutor, "short"), run(rexecutor, "short"))
        for pid in set(noted(notes, "begun")):
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: not lives(pid))

        assert (await run(rexecutor, "nothing")).status is JobStatus.COMPLETE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_whole_group_is_the_parents_business(
    rexecutor: Rexecutor, notes: Path, number: signal.Signals
) -> None:
    running = asyncio.ensure_future(run(rexecutor, "short"))
    await until(lambda: bool(noted(notes, "begun")), 60)
    (pid,) = noted(notes, "begun")
    os.kill(pid, number)

    assert (await running).status is JobStatus.COMPLETE
    assert (await run(rexecutor, "nothing")).status is JobStatus.COMPLETE
    assert noted(notes, "begun") == [pid, pid]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_so_is_one_while_the_process_starts(rexecutor: Rexecutor, number: signal.Signals) -> None:
    running = asyncio.ensure_future(run(rexecutor, "nothing"))
    await until(lambda: bool(active_children()), 60)
    for child in active_children():
        assert child.pid is not None
        os.kill(child.pid, number)

    assert ((await running).status, (await running).errors) == (JobStatus.COMPLETE, ())


async def test_a_process_that_the_job_forks_answers_for_nobody(rexecutor: Rexecutor, notes: Path) -> None:
    forked, failed = await run(rexecutor, "fork"), await run(rexecutor, "raise")

    assert (forked.status, forked.errors) == (JobStatus.COMPLETE, ())
    assert [error.type_name for error in failed.errors] == ["ValueError"]
    assert len(set(noted(notes, "begun"))) == 1


async def test_a_process_that_the_job_leaves_behind_hides_no_death(rexecutor: Rexecutor, notes: Path) -> None:
    try:
        ended = await run(rexecutor, "leave")
    finally:
        for pid in noted(notes, "left"):
            os.kill(pid, signal.SIGKILL)

    assert [(error.kind, error.details) for error in ended.errors] == [
        (ErrorKind.LOST, "the child process ended with exit code 3")
    ]


def test_a_process_ends_with_its_parent(notes: Path) -> None:
    command = (sys.executable, "-m", "tests.engine.orphan_program", str(notes))
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        asyncio.run(until(lambda: bool(noted(notes, "begun")), 60))
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(until(lambda: not lives(noted(notes, "begun")[0])))


async def test_complete_in_sync_works_in_a_child(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with Rexecutor(SQLiteBackend(path)).with_executor(AddOne) as rexecutor:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE counter (number INTEGER); INSERT INTO counter VALUES (0)")
            handle = await AddOne.builder().with_data(str(path)).enqueue(backend=rexecutor.backend)
            ended = await soon(handle.wait(), 60)

            assert (ended.status, ended.result, ended.errors) == (JobStatus.COMPLETE, 7, ())
            assert connection.execute("SELECT number FROM counter").fetchone() == (1,)


async def test_a_backend_that_shares_no_transaction_says_so_in_a_child(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE counter (number INTEGER); INSERT INTO counter VALUES (0)")
        async with Rexecutor(InMemoryBackend()).with_executor(AddOne) as rexecutor:
            handle = await AddOne.builder().with_data(str(path)).with_max_attempts(1).enqueue(backend=rexecutor.backend)
            ended = await soon(handle.wait(), 60)
        assert "InMemoryBackend shares no transaction" in ended.errors[0].details
        assert connection.execute("SELECT number FROM counter").fetchone() == (0,)


def test_a_job_that_cannot_be_handed_over_leaves_no_view_of_a_buffer_behind(notes: Path) -> None:
    """Collected as garbage, both may crash Python 3.12, and later ones complain of the buffer."""
    child = processes.ChildProcess(ChildSetup((), {"in_child": InChild(notes)}, NoCompletion("none"), Limits()))
    child.wait_ready()
    child.kill()
    assert child._has_ended_in(60)

    with pytest.raises(NotBegunError) as raised:
        child.run(rules.inserted(new_job(InChild.name), 1, START))

    assert raised.value.__cause__ is not None
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__cause__.__traceback__)]
    buffers = [value.obj for frame in frames for value in frame.f_locals.values() if type(value) is memoryview]
    assert not [buffer for buffer in buffers if not isinstance(buffer, bytes)]
    child.close()


def test_an_executor_that_cannot_be_sent_is_refused_where_it_is_registered(notes: Path) -> None:
    class Local(Executor[None]):
        name = "local"
        blocking = "process"

        def execute(self, job: Job[None]) -> None: ...

    held: Any = InChild(notes)
    with pytest.raises(DefinitionError, match=r"local: runs in child processes, but cannot be pickled"):
        Rexecutor(InMemoryBackend()).with_executor(Local)
    held.client = lambda: None
    with pytest.raises(DefinitionError, match=r"in_child: .* make clients and connections within execute"):
        Rexecutor(InMemoryBackend()).with_executor(held)


@pytest.mark.parametrize("bounds", [{"max_jobs": 0}, {"max_jobs": True}, {"max_memory": 0}, {"max_memory": 1.5}])
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(bounds))):
        Rexecutor(InMemoryBackend()).with_child_processes(**bounds)


def test_there_are_as_many_processes_as_processors_where_nothing_else_is_said(notes: Path) -> None:
    class Unlimited(InChild):
        name = "unlimited"
        max_concurrency = None

    assert concurrency(InChild(notes)) == 2
    assert concurrency(Unlimited(notes)) == os.cpu_count()


async def test_perform_runs_it_in_a_thread(notes: Path) -> None:
    assert await perform(InChild(notes), "nothing") is None
    assert noted(notes, "begun") == [os.getpid()]
