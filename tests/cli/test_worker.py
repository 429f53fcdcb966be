import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.jobs.enqueue import enqueue_many
from rexecutor.jobs.executor import Executor
from rexecutor.model.job import Job, NewJob
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Everything
from tests.cli.command_line import Run

APPLICATION = """
import asyncio
import contextlib
import os
import signal
import threading

from rexecutor import Executor, Job, Rexecutor, SQLiteBackend

class Greet(Executor[str]):
    name = "greet"

    async def execute(self, job: Job[str]) -> None:
        pass

class Stubborn(Executor[str]):
    name = "stubborn"

    async def execute(self, job: Job[str]) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

class Threaded(Executor[str]):
    name = "threaded"

    async def execute(self, job: Job[str]) -> None:
        await asyncio.to_thread(threading.Event().wait)

class Holder:
    rexecutor = Rexecutor(SQLiteBackend("jobs.db"))
    rexecutor.with_executor(Greet).with_executor(Stubborn).with_executor(Threaded)

rexecutor = Holder.rexecutor

def make() -> Rexecutor:
    return rexecutor

def wants(argument: str) -> Rexecutor:
    return rexecutor

async def later() -> Rexecutor:
    await asyncio.sleep(0)
    return rexecutor

@contextlib.contextmanager
def opened():
    print("opened")
    yield rexecutor
    print("closed")

@contextlib.asynccontextmanager
async def opened_later():
    client = asyncio.get_running_loop()
    print("opened")
    try:
        yield rexecutor
    finally:
        print("closed", client is asyncio.get_running_loop())

@contextlib.asynccontextmanager
async def tells_its_loop():
    print(type(asyncio.get_running_loop()).__module__.partition(".")[0])
    yield rexecutor

@contextlib.asynccontextmanager
async def already_started():
    async with rexecutor:
        yield rexecutor

@contextlib.asynccontextmanager
async def faulty_at_the_end():
    yield rexecutor
    raise KeyError("not closed")

@contextlib.asynccontextmanager
async def faulty_at_the_start():
    raise KeyError("not opened")
    yield rexecutor

@contextlib.asynccontextmanager
async def yields_nothing():
    yield

@contextlib.asynccontextmanager
async def opened_without_awaiting():
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        yield rexecutor
    finally:
        await asyncio.sleep(0.01)
        print("closed")

async def undecorated():
    yield rexecutor

def undecorated_too():
    yield rexecutor

@contextlib.asynccontextmanager
async def opened_slowly():
    print("opening", flush=True)
    try:
        await asyncio.Event().wait()
        yield rexecutor
    finally:
        print("closed")

def nothing() -> None:
    pass

def broken() -> Rexecutor:
    raise KeyError("no\\nsuch setting")

def misnamed() -> Rexecutor:
    return Rexecutor(SQLiteBackend("jobs.db")).with_executor(Greet).with_executor(Greet)

def unreachable() -> Rexecutor:
    return Rexecutor(SQLiteBackend("no/such/folder/jobs.db"))

number = 7
"""


class Greet(Executor[str]):
    """The application's executor, as the process that enqueues knows it."""

    name = "greet"

    async def execute(self, job: Job[str]) -> None:
        raise NotImplementedError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The working directory, with an application in it."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in ("shop", "faulty"):
        sys.modules.pop(name, None)


@contextmanager
def _worker(target: str, *options: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "rexecutor", "worker", target, *options]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


async def _enqueue_and_wait_for_the_start(name: str) -> None:
    async with SQLiteBackend("jobs.db") as backend:
        await backend.enqueue([NewJob(name, '""', None, 1, 0, (), None, timedelta(0))])
        until = backend.clock.now() + timedelta(seconds=20)
        while True:
            since = backend.change_count
            if (await backend.query(Everything()))[0].status is JobStatus.EXECUTING:
                return
            assert backend.clock.now() < until
            await backend.wait_ended(until, since=since)


async def _enqueue_and_wait_for_the_end() -> JobStatus:
    async with SQLiteBackend("jobs.db") as backend:
        (handle,) = await enqueue_many([Greet.builder().with_data("world")], backend=backend)
        return (await handle.wait(timedelta(seconds=20))).status


@pytest.mark.parametrize(
    "target", ["shop:rexecutor", "shop:make", "shop:Holder.rexecutor", "shop:later", "shop:already_started"]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_runs_jobs_until_a_signal_and_exits_with_0(folder: Path, target: str, number: signal.Signals) -> None:
    with _worker(target) as worker:
        status = asyncio.run(_enqueue_and_wait_for_the_end())
        worker.send_signal(number)
        out, err = worker.communicate(timeout=20)

    assert status is JobStatus.COMPLETE
    assert (worker.returncode, out) == (0, "")
    assert "INFO rexecutor: node" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("target", "said"), [("shop:opened", "opened\nclosed\n"), ("shop:opened_later", "opened\nclosed True\n")]
)
def test_what_a_context_manager_opens_lives_until_after_the_last_job(folder: Path, target: str, said: str) -> None:
    with _worker(target) as worker:
        status = asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        out, err = worker.communicate(timeout=20)

    assert status is JobStatus.COMPLETE
    assert (worker.returncode, out) == (0, said), err


@pytest.mark.parametrize(
    ("options", "loop"), [((), "uvloop"), (("--loop", "uvloop"), "uvloop"), (("--loop", "asyncio"), "asyncio")]
)
def test_a_worker_runs_on_the_loop_that_it_is_told_and_by_itself_on_uvloop(
    folder: Path, options: Sequence[str], loop: str
) -> None:
    with _worker("shop:tells_its_loop", *options) as worker:
        status = asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        out, err = worker.communicate(timeout=20)

    assert status is JobStatus.COMPLETE
    assert (worker.returncode, out) == (0, f"{loop}\n"), err


def test_a_context_manager_that_cannot_be_left_is_logged_and_the_worker_ends_well(folder: Path) -> None:
    with _worker("shop:faulty_at_the_end") as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    assert worker.returncode == 0
    assert "ERROR rexecutor: provider shop:faulty_at_the_end: its object for the worker could not be closed" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_application_opens_what_it_needs_ends_the_worker(
    folder: Path, number: signal.Signals
) -> None:
    with _worker("shop:opened_slowly") as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "opening\n"
        worker.send_signal(number)
        out, err = worker.communicate(timeout=20)

    assert (worker.returncode, out, err) == (0, "closed\n", "")


def test_a_signal_while_code_does_not_await_closes_what_it_has_opened(folder: Path) -> None:
    with _worker("shop:opened_without_awaiting") as worker:
        out, err = worker.communicate(timeout=60)

    assert (worker.returncode, out, err) == (0, "closed\n", "")


def test_a_worker_runs_only_the_executors_that_it_is_asked_to(folder: Path) -> None:
    with _worker("shop:rexecutor", "--executors", "greet, threaded", "--concurrency", "3") as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    assert "started: 3 jobs at a time, executors: greet, threaded\n" in err


def test_an_executor_that_the_application_does_not_have_is_a_misuse(rexecutor: Run, folder: Path) -> None:
    answer = rexecutor("worker", "shop:rexecutor", "--executors", "greet,typo")

    assert answer.status == 2
    assert answer.error == "error: --executors: there is no executor 'typo'; there are greet, stubborn, threaded\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--executors", ","), "names no executor"),
        (("--concurrency", "0"), "--concurrency"),
        (("--grace", "soon"), "--grace"),
        (("--log-format", "xml"), "--log-format"),
        (("--loop", "tokio"), "--loop"),
    ],
)
def test_an_option_that_cannot_work_is_a_misuse(
    rexecutor: Run, folder: Path, options: tuple[str, ...], told: str
) -> None:
    answer = rexecutor("worker", "shop:rexecutor", *options)

    assert answer.status == 2
    assert told in answer.error


def test_a_worker_writes_its_log_as_json(folder: Path) -> None:
    with _worker("shop:rexecutor", "--log-format", "json") as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    lines: list[dict[str, object]] = [json.loads(line) for line in err.splitlines()]
    (ended,) = (line for line in lines if line["logger"] == "rexecutor.jobs")
    assert (ended["level"], ended["job_id"], ended["executor"], ended["attempt"]) == ("info", 1, "greet", 1)
    assert (ended["message"], ended["pid"]) == ("job 1 (greet) complete, attempt 1", worker.pid)


@pytest.mark.parametrize("name", ["stubborn", "threaded"])
def test_worker_ends_though_a_job_does_not(folder: Path, name: str) -> None:
    with _worker("shop:rexecutor") as worker:
        asyncio.run(_enqueue_and_wait_for_the_start(name))
        worker.send_signal(signal.SIGTERM)
        _read_until(worker, "stopping")
        worker.send_signal(signal.SIGTERM)
        err = worker.communicate(timeout=30)[1]

    assert worker.returncode == 0
    assert "given back" in err
    left, last = err.splitlines()[-2:]
    assert last.endswith("WARNING rexecutor: the process exits although code that a job started is still running")
    if name == "stubborn":  # a thread that a job has started belongs to no job that is known
        assert left.endswith("leaving behind code that does not stop: job 1 (stubborn)")


def _read_until(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stderr is not None
    assert any(word in line for line in worker.stderr), "the worker ended without a word"


def test_worker_logs_single_jobs_when_asked_to(folder: Path) -> None:
    with _worker("shop:rexecutor", "--log-level", "debug") as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    assert "DEBUG rexecutor.jobs: job 1 (greet) started" in err
    assert "world" not in err


CONFIGURED = """
import logging.config
import logging

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor, SQLiteBackend

class Greet(Executor[str]):
    name = "greet"

    async def execute(self, job: Job[str]) -> None:
        logging.getLogger("myapp").info("greets")
        logging.getLogger("myapp").debug("secret")

def made() -> Rexecutor:
    return Rexecutor(SQLiteBackend("jobs.db")).with_executor(Greet)

def unconfigured() -> Rexecutor:
    return made()

def basic() -> Rexecutor:
    logging.basicConfig(format="app %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    return made()

def warnings_only() -> Rexecutor:
    logging.basicConfig(format="app %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    return made()

def from_dict() -> Rexecutor:
    rexecutor = made()
    logging.config.dictConfig({
        "version": 1,
        "formatters": {"plain": {"format": "app %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"level": "INFO", "handlers": ["console"]},
    })
    return rexecutor

def own_logger() -> Rexecutor:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("app %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("myapp").addHandler(handler)
    logging.getLogger("myapp").setLevel(logging.INFO)
    return made()
"""


@pytest.mark.parametrize(
    ("target", "options", "told", "not_told"),
    [
        ("unconfigured", (), [" INFO myapp: greets", " INFO rexecutor: node", " INFO rexecutor.jobs: job 1"], []),
        ("unconfigured", ("--log-level", "warning"), [], ["INFO"]),
        ("unconfigured", ("--log-level", "debug"), [" DEBUG rexecutor.jobs: job 1", " INFO myapp: greets"], []),
        ("basic", (), ["app INFO myapp: greets", "app INFO rexecutor: node", "app INFO rexecutor.jobs: job 1"], []),
        ("basic", ("--log-level", "error"), ["app INFO myapp: greets"], ["rexecutor"]),
        ("from_dict", (), ["app INFO myapp: greets", "app INFO rexecutor: node", "app INFO rexecutor.jobs: job 1"], []),
        ("warnings_only", (), [], ["INFO"]),
        ("warnings_only", ("--log-level", "info"), ["app INFO rexecutor: node"], ["myapp"]),
        ("basic", ("--log-format", "json"), ["app INFO rexecutor: node", "--log-format does nothing here"], ["{"]),
        ("own_logger", (), ["app INFO myapp: greets", " INFO rexecutor: node", " INFO rexecutor.jobs: job 1"], []),
    ],
)
def test_worker_logs_where_the_application_has_not_said_how(
    folder: Path, target: str, options: tuple[str, ...], told: list[str], not_told: list[str]
) -> None:
    (folder / "faulty.py").write_text(CONFIGURED)

    with _worker(f"faulty:{target}", *options) as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    assert [word for word in told if word not in err] == []
    assert [word for word in [*not_told, "secret", "Traceback"] if word in err] == []
    assert err.count("greets") <= 1


def test_worker_that_logs_errors_only_is_silent_when_there_are_none(folder: Path) -> None:
    with _worker("shop:rexecutor", "--log-level", "error") as worker:
        asyncio.run(_enqueue_and_wait_for_the_end())
        worker.terminate()
        err = worker.communicate(timeout=20)[1]

    assert err == ""


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("", "MODULE:REXECUTOR"),
        ("shop", "MODULE:REXECUTOR"),
        ("shop:", "MODULE:REXECUTOR"),
        (":rexecutor", "MODULE:REXECUTOR"),
        ("shop.py:rexecutor", "by its name, not its file"),
        ("./shop:rexecutor", "by its name, not its file"),
        (".shop:rexecutor", "by its name, not its file"),
        ("no_such_module:rexecutor", "no_such_module"),
        ("shop.inner:rexecutor", "shop.inner"),
        ("sh op\nü:rexecutor", "no module 'sh op"),
        ("shop:nowhere", "nowhere"),
        ("shop:rexecutor.nowhere", "nowhere"),
        ("shop:number", "int"),
        ("shop:Greet", "is a job; give the Rexecutor"),
        ("shop:nothing", "NoneType"),
        ("shop:wants", "without arguments"),
        ("shop:yields_nothing", "must return or yield a Rexecutor, not an object of type NoneType"),
        ("shop:undecorated", "needs the decorator @contextlib.asynccontextmanager"),
        ("shop:undecorated_too", "needs the decorator @contextlib.contextmanager"),
    ],
)
def test_a_target_that_names_no_rexecutor_is_a_misuse(rexecutor: Run, folder: Path, target: str, told: str) -> None:
    answer = rexecutor("worker", target)

    assert answer.status == 2
    assert told in answer.error


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shop:broken", "KeyError"),
        ("shop:faulty_at_the_start", "KeyError"),
        ("shop:misnamed", "shop.Greet is given twice"),
        ("shop:unreachable", "no/such/folder"),
    ],
)
def test_a_rexecutor_that_cannot_be_made_or_started_is_an_error(
    rexecutor: Run, folder: Path, target: str, told: str
) -> None:
    answer = rexecutor("worker", target)

    assert answer.status == 1
    assert told in answer.error


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import no_such_dependency", "no_such_dependency"),
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
        ("x = '\0'", "null bytes"),
        (
            "from rexecutor import *\nclass A(Executor[str]):\n    name = 'a b'\n    async def execute(self, job): ...",
            "name must be 1 to 128 characters of A-Z a-z 0-9 _ . : -, not 'a b'",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_that_says_why(
    rexecutor: Run, folder: Path, content: str, told: str
) -> None:
    (folder / "faulty.py").write_text(content)

    answer = rexecutor("worker", "faulty:rexecutor")

    assert answer.status == 1
    assert told in answer.error


def test_a_job_in_place_of_a_rexecutor_is_a_misuse(
    rexecutor: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "jobs_only.py").write_text("""
from rexecutor import job

@job
async def add() -> None: ...
""")
    monkeypatch.delitem(sys.modules, "jobs_only", raising=False)

    answer = rexecutor("worker", "jobs_only:add")

    assert answer.status == 2
    assert "'jobs_only:add' is a job; give the Rexecutor that runs it" in answer.error


def test_a_log_level_that_is_none_is_a_misuse(rexecutor: Run, folder: Path) -> None:
    assert rexecutor("worker", "shop:rexecutor", "--log-level", "loud").status == 2


def test_an_application_that_can_be_called_is_named_by_its_type(
    folder: Path, rexecutor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "web.py").write_text("""
class Flask:
    def __call__(self, environ, start_response): ...

app = Flask()
""")
    monkeypatch.delitem(sys.modules, "web", raising=False)

    answer = rexecutor("worker", "web:app")

    assert answer.status == 2
    assert "'web:app' must be a Rexecutor or a function that returns one, not an object of type Flask" in answer.error
