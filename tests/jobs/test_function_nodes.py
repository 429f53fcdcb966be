"""Function jobs that a node runs, on every backend there is: results, what is provided, child processes."""

import os
import threading
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from rexecutor import (
    PROVIDED,
    Backend,
    Cancel,
    ErrorKind,
    InMemoryBackend,
    JobFailedError,
    JobHandle,
    JobStatus,
    Provide,
    Rexecutor,
    Where,
    current_job,
    job,
    override_provider,
)
from rexecutor.jobs.executor import executor_class
from tests.support import soon, until


class Report(msgspec.Struct):
    pages: int


def get_client() -> str:
    return "client"


@job
async def build(pages: int, *, client: Annotated[str, Provide(get_client)] = PROVIDED) -> Report | Cancel:
    return Report(pages * len(client)) if pages else Cancel("no pages")


@job(max_attempts=1)
async def wrong(pages: int) -> int:
    return {"pages": pages}  # type: ignore[return-value]  # pyright: ignore[reportReturnType] - that is what is tested


@job
async def unannotated(pages: int):  # type: ignore[no-untyped-def]
    return pages


@job(blocking=True)
def blocking(words: list[str]) -> int:
    return len(words) + current_job().attempt


@job
async def parent(pages: int) -> int:
    handle = await build.enqueue(pages)
    return handle.id


@job(blocking="process", max_attempts=1, timeout=timedelta(seconds=2))
def hang(note: str) -> None:
    Path(note).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(120)  # noqa: TID251 - what is to be ended


@job(blocking="process")
def in_child(numbers: list[int]) -> int:
    return sum(numbers)


async def test_a_result_is_stored_and_read_with_its_type(backend: Backend) -> None:
    async with Rexecutor(backend, executors=[build]):
        handle = await build.options(backend=backend).enqueue(3)
        result = await soon(handle.result())
        (stored,) = await build.query_jobs(Where.id_equals(handle.id), backend=backend)

    assert result == stored.result == Report(18)


async def test_an_outcome_that_is_no_result_is_none(backend: Backend) -> None:
    async with Rexecutor(backend, executors=[build, unannotated]):
        cancelled = await build.options(backend=backend).enqueue(0)
        with pytest.raises(JobFailedError, match="no pages"):
            await soon(cancelled.result())
        without = await unannotated.options(backend=backend).enqueue(3)

        assert await soon(without.result()) is None


async def test_a_result_of_another_type_is_a_failed_attempt(backend: Backend) -> None:
    async with Rexecutor(backend, executors=[wrong]):
        ended = await soon((await wrong.options(backend=backend).enqueue(3)).wait())

    assert ended.status is JobStatus.DISCARDED
    assert (ended.errors[-1].kind, ended.errors[-1].type_name) == (ErrorKind.EXCEPTION, "EncodeError")


async def test_a_blocking_function_has_its_result_and_its_job_too(backend: Backend) -> None:
    async with Rexecutor(backend, executors=[blocking]):
        handle = blocking.options(backend=backend)

        assert await soon((await handle.enqueue(["a", "b"])).result()) == 3


async def test_a_job_enqueues_a_job(backend: Backend) -> None:
    async with Rexecutor(backend, executors=[parent, build]).set_global_backend():
        first = await parent.enqueue(2)
        second = JobHandle(await soon(first.result()), "existing", executor_class("build", build), backend)

        assert await soon(second.result()) == Report(12)


async def test_stored_arguments_that_the_function_does_not_take_are_a_failed_attempt(backend: Backend) -> None:
    @job(name="build", max_attempts=1)
    async def newer(pages: int, format: str) -> None: ...  # noqa: A002

    handle = await build.options(backend=backend).enqueue(3)
    async with Rexecutor(backend, executors=[newer]):
        await until(lambda: _has_failed(backend, handle.id))
    (error,) = (await handle.fetch()).errors

    assert error.kind is ErrorKind.DECODE
    assert "missing required field `format`" in error.details


async def _has_failed(backend: Backend, job_id: int) -> bool:
    (record,) = await backend.query(Where.id_equals(job_id))
    return bool(record.errors)


async def test_an_override_from_another_thread_is_seen_by_the_node(backend: Backend) -> None:
    is_set, is_over = threading.Event(), threading.Event()

    def override() -> None:
        with override_provider(get_client, lambda: "a"):
            is_set.set()
            is_over.wait(20)

    thread = threading.Thread(target=override)
    async with Rexecutor(backend, executors=[build]):
        thread.start()
        await until(is_set.is_set)
        during = await soon((await build.options(backend=backend).enqueue(1)).result())
        is_over.set()
        await until(lambda: not thread.is_alive())
        after = await soon((await build.options(backend=backend).enqueue(1)).result())

    assert (during, after) == (Report(1), Report(6))


LOG: list[str] = []


async def get_pool() -> AsyncGenerator[list[str]]:
    LOG.append("open")
    yield LOG
    LOG.append("close")


async def get_connection(pool: Annotated[list[str], Provide(get_pool, scope="worker")]) -> AsyncGenerator[str]:
    pool.append("begin")
    yield f"connection {len(pool)}"
    pool.append("end")


@job
async def use_pool(pool: Annotated[list[str], Provide(get_pool, scope="worker")] = PROVIDED) -> None:
    pool.append("use")


@job
async def use_connection(connection: Annotated[str, Provide(get_connection)] = PROVIDED) -> str:
    LOG.append("use")
    return connection


async def test_what_the_worker_has_is_made_once_and_closed_after_its_last_job(backend: Backend) -> None:
    LOG.clear()

    async with Rexecutor(backend, executors=[use_pool, use_connection]):
        for each in (use_pool, use_connection, use_pool):
            await soon((await each.options(backend=backend).enqueue()).wait())

    assert LOG == ["open", "use", "begin", "use", "end", "use", "close"]


class TestChildProcesses:
    async def test_a_child_process_returns_the_result(self) -> None:
        async with Rexecutor(InMemoryBackend(), executors=[in_child]).set_global_backend():
            assert await soon((await in_child.enqueue([1, 2])).result(), 60) == 3

    async def test_a_timeout_ends_the_child_process(self, tmp_path: Path) -> None:
        note = tmp_path / "pid"
        async with Rexecutor(InMemoryBackend(), executors=[hang]).set_global_backend():
            ended = await soon((await hang.enqueue(str(note))).wait(), 60)
            pid = int(note.read_text(encoding="utf-8"))

            assert (ended.status, ended.errors[-1].kind) == (JobStatus.DISCARDED, ErrorKind.TIMEOUT)
            await until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
