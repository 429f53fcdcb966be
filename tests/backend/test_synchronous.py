"""Use of a store without an event loop: none is started for it, nor a thread."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.backends import BACKENDS, made_backend
from tests.postgres import postgres_backend, server_url
from tests.support import soon

PROGRAM: Final = """
import asyncio, sys, threading
from datetime import timedelta
from pathlib import Path
from rexecutor import InMemoryBackend, PostgresBackend, SQLiteBackend, Where
from rexecutor.testing.suite.store import new_job
from rexecutor.model.status import JobStatus

def forbid(*arguments, **settings):
    raise AssertionError("started")

asyncio.BaseEventLoop.__init__ = threading.Thread.start = forbid
kind, where, schema = sys.argv[1:]
backend = {
    "memory": lambda: InMemoryBackend(),
    "sqlite": lambda: SQLiteBackend(Path(where)),
    "postgres": lambda: PostgresBackend(where, schema=schema),
}[kind]()
[first, second] = [answer.id for answer in backend.enqueue_sync([new_job(), new_job()])]
print(backend.cancel_sync(first, "enough"))
backend.rerun_sync(first)
[job] = backend.query_sync(Where.id_equals(second))
print(backend.update_sync(second, new_job(priority=3), version=job.version).priority)
print([(count.executor, str(count.status), count.jobs) for count in backend.count_sync()])
found = {}
print(backend.sync_waits.wait([first], found.update, timeout=timedelta(seconds=0.4)))
backend.cancel_sync(first, "enough")
backend.sync_waits.wait([first], found.update)
print([str(one.status) for one in found.values()])
print(threading.enumerate() == [threading.main_thread()])
backend.close_sync()
"""

INTERRUPTED: Final = """
import os, signal, sys, threading
from datetime import timedelta
from pathlib import Path
from rexecutor import Executor, InMemoryBackend, Job, PostgresBackend, SQLiteBackend

class Echo(Executor[str]):
    name = "echo"
    async def execute(self, job: Job[str]) -> None: ...

kind, where, schema = sys.argv[1:]
backend = {
    "memory": lambda: InMemoryBackend(),
    "sqlite": lambda: SQLiteBackend(Path(where)),
    "postgres": lambda: PostgresBackend(where, schema=schema),
}[kind]()
handle = Echo.builder().with_data("a").enqueue_sync(backend=backend)

def interrupt():
    while not backend.sync_waits.threads:
        pass
    threading.Event().wait(float(os.environ["AFTER"]))
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    handle.result_sync()
except KeyboardInterrupt:
    print("interrupted")
print(handle.cancel_sync("enough"))
backend.close_sync()
"""


@pytest.mark.parametrize("name", BACKENDS)
async def test_neither_a_thread_nor_an_event_loop_is_started(name: str, tmp_path: Path) -> None:
    async with made_backend(name, tmp_path):
        pass
    where = server_url() if name == "postgres" else str(tmp_path / "other.db")

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, name, where, postgres_backend(tmp_path).schema), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await soon(process.communicate(), 30)

    assert output.decode().splitlines() == [
        *("cancelled", "3", "[('alpha', 'scheduled', 2)]"),
        *("{1: <JobStatus.SCHEDULED: 'scheduled'>}", "['cancelled']", "True"),
    ]


@pytest.mark.parametrize("after", ["0", "0.4"])
@pytest.mark.parametrize("name", BACKENDS)
async def test_an_interrupted_wait_ends_at_once(name: str, after: str, tmp_path: Path) -> None:
    async with made_backend(name, tmp_path):
        pass
    where = server_url() if name == "postgres" else str(tmp_path / "other.db")

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INTERRUPTED, name, where, postgres_backend(tmp_path).schema),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "AFTER": after},
    )
    output, _ = await soon(process.communicate(), 30)

    assert output.decode().splitlines() == ["interrupted", "cancelled"]
