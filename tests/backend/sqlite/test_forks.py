"""A child that was forked while its parent had a store open may not use SQLite: its locks did not come along."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support import soon

PROGRAM: Final = """
import asyncio, os, sqlite3, sys
from datetime import timedelta
from pathlib import Path
from rexecutor import Executor, RexecutorError, SQLiteBackend, Where

class Echo(Executor[str]):
    name = "echo"
    async def execute(self, job): ...

def enqueue(backend):
    asyncio.run(Echo.builder().with_data("x").enqueue(backend=backend))

def enqueue_sync(backend):
    Echo.builder().with_data("x").enqueue_sync(backend=backend)

def read_sync(backend):
    [job] = backend.query_sync(Where.everything())
    print(backend.sync_waits.wait([job.id], print, timeout=timedelta(seconds=0.1)), flush=True)
    print(backend.cancel_sync(job.id, "enough"), flush=True)

def bound(backend):
    connection = sqlite3.connect(backend.path)
    Echo.builder().with_data("x").enqueue_sync(backend=backend.bound_to(connection))
    connection.commit()

async def use(path):
    async with SQLiteBackend(path) as backend:
        await Echo.builder().with_data("x").enqueue(backend=backend)

def own(backend):
    asyncio.run(use(backend.path))

def other(backend):
    asyncio.run(use(backend.path.with_name("other.db")))

def in_child(act, backend):
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    asyncio.set_event_loop(None)
    try:
        act(backend)
    except RexecutorError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(7)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)

def grandchild(backend):
    os._exit(in_child(own, backend))

act = globals()[sys.argv[1]]
backend = SQLiteBackend(Path(sys.argv[2]))
loop = asyncio.new_event_loop()
loop.run_until_complete(backend.open())
if sys.argv[3] == "closed":
    loop.run_until_complete(backend.close())
    enqueue_sync(backend)
print(in_child(act, backend))
loop.run_until_complete(backend.close())
"""


async def come_to(act: str, path: Path, when: str) -> tuple[str, int]:
    """Do it in a child of a process that has the file open, or closed, and return what it said, and how it ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", PROGRAM, act, str(path), when, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await soon(process.communicate(), 30)
    *said, status = output.decode().splitlines()
    return "\n".join(said), int(status)


@pytest.mark.parametrize("act", ["enqueue_sync", "read_sync", "own", "other", "bound", "grandchild"])
async def test_a_child_of_a_process_that_had_a_store_open_is_refused_sqlite(tmp_path: Path, act: str) -> None:
    said, status = await come_to(act, tmp_path / "jobs.db", "open")

    assert status == 7
    assert said.startswith("ConfigurationError: ")
    assert f"forked while its parent had {tmp_path / 'jobs.db'} open" in said


async def test_a_backend_that_was_open_at_a_fork_is_refused_in_the_child(tmp_path: Path) -> None:
    said, status = await come_to("enqueue", tmp_path / "jobs.db", "open")

    assert status == 7
    assert said.startswith("BackendClosedError: ")
    assert "opened before a fork" in said


@pytest.mark.parametrize("act", ["own", "other", "enqueue_sync"])
async def test_a_child_of_a_process_that_has_closed_its_store_may_use_sqlite(tmp_path: Path, act: str) -> None:
    assert await come_to(act, tmp_path / "jobs.db", "closed") == ("", 0)


async def test_a_child_of_a_process_that_has_closed_its_store_may_read_and_change_it(tmp_path: Path) -> None:
    said, status = await come_to("read_sync", tmp_path / "jobs.db", "closed")

    assert (said.splitlines(), status) == (["{1: <JobStatus.SCHEDULED: 'scheduled'>}", "cancelled"], 0)
