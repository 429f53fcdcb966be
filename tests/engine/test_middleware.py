"""Middleware around the runs of jobs: where it is entered, what it sees, and what its errors mean."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import rexecutor
from rexecutor import (
    Cancel,
    ConfigurationError,
    DefinitionError,
    ErrorKind,
    ExecutionResult,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    RexecutorError,
    current_job,
)
from rexecutor.events import JobEnded
from rexecutor.testing import FakeClock
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import Events, soon, until

Kind = type[Scripted] | type[Blocking]
Middleware = Callable[[Job[Any, Any, Any]], Any]
request: ContextVar[str] = ContextVar("request", default="none")
NO_LUCK = ValueError("no luck")


def plain(notes: list[Any], name: str = "plain") -> Middleware:
    @contextmanager
    def around(job: Job[Any, Any, Any]) -> Generator[None]:
        notes.append(f"{name} in")
        try:
            yield
        except BaseException as error:
            notes.append(f"{name} {type(error).__name__}")
            raise
        notes.append(f"{name} out")

    return around


def asynchronous(notes: list[Any], name: str = "async") -> Middleware:
    @asynccontextmanager
    async def around(job: Job[Any, Any, Any]) -> AsyncGenerator[None]:
        await asyncio.sleep(0)  # noqa: TID251 - it may await
        with plain(notes, name)(job):
            yield

    return around


async def run(
    executor: Any, *around: Middleware, data: str = "x", clock: FakeClock | None = None
) -> Job[Any, Any, Any]:
    """Run one job with one attempt within the middleware, and return it as it is stored."""
    backend = InMemoryBackend(clock=clock)
    async with Rexecutor(backend, executors=[executor], around_execute=around):
        handle = await executor.builder().with_data(data).with_max_attempts(1).enqueue(backend=backend)
        return await soon(handle.wait())


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_middleware_is_around_the_run_the_first_outermost(kind: Kind) -> None:
    notes: list[Any] = []
    around = asynchronous(notes, "1"), asynchronous(notes, "2"), plain(notes, "3"), plain(notes, "4")

    job = await run(kind(lambda _: notes.append("run")), *around)

    assert job.status is JobStatus.COMPLETE
    assert notes == ["1 in", "2 in", "3 in", "4 in", "run", "4 out", "3 out", "2 out", "1 out"]


async def test_plain_middleware_of_a_blocking_job_is_entered_in_its_thread_and_asynchronous_on_the_loop() -> None:
    threads: dict[str, int] = {}

    @contextmanager
    def around(_: Any) -> Generator[None]:
        threads["plain"] = threading.get_ident()
        yield

    @asynccontextmanager
    async def around_async(_: Any) -> AsyncGenerator[None]:
        threads["async"] = threading.get_ident()
        yield

    def note(_: Any) -> None:
        threads["job"] = threading.get_ident()

    await run(Blocking(note), around, around_async)

    assert threads["plain"] == threads["job"] != threads["async"] == threading.get_ident()


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_middleware_receives_the_job_and_what_it_sets_is_seen_by_the_job_alone(kind: Kind) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def around(job: Job[Any, Any, Any]) -> AsyncGenerator[None]:
        assert current_job() is job
        seen.append(request.get())
        request.set(f"of {job.data}")
        yield

    backend = InMemoryBackend()
    executor = kind(lambda _: seen.append(request.get()))
    async with Rexecutor(backend, executors=[executor], around_execute=[around]):
        for data in "ab":
            await soon((await executor.builder().with_data(data).enqueue(backend=backend)).wait())

    assert seen == ["none", "of a", "none", "of b"]
    assert request.get() == "none"


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_a_job_leaves_nothing_in_the_context_of_the_next(kind: Kind) -> None:
    seen: list[str] = []

    def script(job: Job[str]) -> None:
        seen.append(request.get())
        request.set(job.data)

    backend = InMemoryBackend()
    request.set("start-up")
    async with Rexecutor(backend, executors=[kind(script)], max_concurrency=1):
        for data in "ab":
            await soon((await kind.builder().with_data(data).enqueue(backend=backend)).wait())

    assert seen == ["none", "none"]


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_middleware_sees_what_the_job_raises(kind: Kind) -> None:
    notes: list[Any] = []

    job = await run(kind(raising(ValueError("no luck"))), asynchronous(notes), plain(notes))

    assert notes == ["async in", "plain in", "plain ValueError", "async ValueError"]
    assert str(Path(rexecutor.__file__).parent) not in job.errors[-1].details, (
        "the traceback begins with the job's code"
    )
    assert (job.status, job.errors[-1].type_name) == (JobStatus.DISCARDED, "ValueError")


class Wrong(Executor[str, None, int]):
    name = "wrong"

    async def execute(self, job: Job[str]) -> Any:
        return "text"


class WrongInThread(Executor[str, None, int]):
    name = "wrong"
    blocking = True

    def execute(self, job: Job[str]) -> Any:
        return "text"


@pytest.mark.parametrize("executor", [Wrong(), WrongInThread()])
async def test_middleware_sees_a_result_that_cannot_be_stored_as_an_error(executor: Any) -> None:
    notes: list[Any] = []

    await run(executor, asynchronous(notes))

    assert notes == ["async in", "async EncodeError"]


@pytest.mark.parametrize("kind", [Scripted, Blocking])
@pytest.mark.parametrize("make", [plain, asynchronous])
async def test_an_exception_that_middleware_swallows_is_a_success(kind: Kind, make: Any) -> None:
    notes: list[Any] = []

    @contextmanager
    def swallow(_: Any) -> Generator[None]:
        try:
            yield
        except ValueError:
            notes.append("swallowed")

    @asynccontextmanager
    async def swallow_async(_: Any) -> AsyncGenerator[None]:
        with swallow(None):
            yield

    job = await run(kind(raising(NO_LUCK)), swallow if make is plain else swallow_async)

    assert (job.status, notes) == (JobStatus.COMPLETE, ["swallowed"])


@contextmanager
def swallow_all(_: Any) -> Generator[None]:
    with suppress(BaseException):
        yield


@asynccontextmanager
async def swallow_all_async(_: Any) -> AsyncGenerator[None]:
    with suppress(BaseException):
        yield


@pytest.mark.parametrize("swallow", [swallow_all, swallow_all_async])
@pytest.mark.parametrize(
    ("why", "status"),
    [("timeout", JobStatus.DISCARDED), ("cancel", JobStatus.CANCELLED), ("shutdown", JobStatus.SCHEDULED)],
)
async def test_a_job_that_was_told_to_stop_is_not_complete_because_middleware_swallows_that(
    clock: FakeClock, swallow: Middleware, why: str, status: JobStatus
) -> None:
    backend, started = InMemoryBackend(clock=clock), asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with backend:
        node = Rexecutor(backend, executors=[Scripted(lambda _: hang())], around_execute=[swallow])
        await node.start()
        data = "slow" if why == "timeout" else "x"
        handle = await Scripted.builder().with_data(data).with_max_attempts(1).enqueue(backend=backend)
        await soon(started.wait())
        if why == "timeout":
            clock.advance(2 * SECOND)
        elif why == "cancel":
            await handle.cancel("not wanted")
        else:
            await soon(node.graceful_shutdown(timedelta(0)))
        await until_status(backend, handle.id, status)
        await soon(node.graceful_shutdown(timedelta(0)))


@pytest.mark.parametrize("kind", [Scripted, Blocking])
@pytest.mark.parametrize("at_exit", [False, True])
async def test_an_error_of_middleware_is_a_failed_attempt(kind: Kind, *, at_exit: bool) -> None:
    @contextmanager
    def broken(_: Any) -> Generator[None]:
        if at_exit:
            yield
        raise NO_LUCK

    job = await run(kind(lambda _: None), broken)

    assert job.status is JobStatus.DISCARDED
    assert [(error.kind, error.type_name) for error in job.errors] == [(ErrorKind.EXCEPTION, "ValueError")]


async def test_what_the_job_returns_passes_through() -> None:
    job = await run(Scripted(lambda _: Cancel("why")), plain([]), asynchronous([]))

    assert (job.status, job.errors[-1].details) == (JobStatus.CANCELLED, "why")


async def test_middleware_is_not_entered_for_data_that_cannot_be_decoded() -> None:
    notes: list[Any] = []

    class Other(Executor[int]):
        name = "scripted"

        async def execute(self, job: Job[int]) -> None: ...

    backend = InMemoryBackend()
    async with Rexecutor(backend, executors=[Other], around_execute=[plain(notes)]):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.DISCARDED)

    assert notes == []


async def test_a_timeout_counts_in_middleware_too(clock: FakeClock) -> None:
    entered = asyncio.Event()

    @asynccontextmanager
    async def hangs(_: Any) -> AsyncGenerator[None]:
        entered.set()
        await asyncio.Event().wait()
        yield

    work = asyncio.create_task(run(Scripted(lambda _: None), hangs, data="slow", clock=clock))
    await soon(entered.wait())
    clock.advance(2 * SECOND)

    assert (await soon(work)).errors[-1].kind is ErrorKind.TIMEOUT


async def test_a_blocking_job_that_timed_out_in_its_middleware_never_runs(clock: FakeClock) -> None:
    entered, let_go, left = threading.Event(), threading.Event(), threading.Event()
    ran: list[Any] = []

    @contextmanager
    def hangs(_: Any) -> Generator[None]:
        entered.set()
        let_go.wait(20)
        try:
            yield
        finally:
            left.set()

    work = asyncio.create_task(run(Blocking(ran.append), hangs, data="slow", clock=clock))
    await until(entered.is_set)
    clock.advance(timedelta(seconds=2))
    job = await soon(work)
    let_go.set()

    assert job.errors[-1].kind is ErrorKind.TIMEOUT
    await until(left.is_set)
    assert ran == []


async def test_the_end_of_an_attempt_is_told_after_its_middleware() -> None:
    notes: list[Any] = []
    backend, events = InMemoryBackend(), Events()

    def note(event: Any) -> None:
        events.append(event)
        if isinstance(event, JobEnded):
            notes.append("told")

    async with Rexecutor(backend, executors=[Scripted(lambda _: None)], around_execute=[plain(notes)], on_event=note):
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert notes == ["plain in", "plain out", "told"]


async def no_manager(job: Job[Any, Any, Any]) -> None: ...


def forgotten(job: Job[Any, Any, Any]) -> Generator[None]:
    yield


def wrong(_: object) -> None:
    """A plain function."""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (plain([]), "must be an iterable of callables, not .*; put it in a list"),
        (["nothing"], "each must be a callable that returns a context manager, not 'nothing'"),
        ([no_manager], "no_manager does not return a context manager; decorate it with `@contextmanager`"),
        ([wrong], "wrong returns None, and must return a context manager; write it with one `yield`"),
        ([forgotten], "forgotten does not return a context manager; decorate it with `@contextmanager`"),
    ],
)
@pytest.mark.parametrize("which", ["around_execute", "around_enqueue"])
def test_what_cannot_be_middleware_is_refused(given: Any, words: str, which: str) -> None:
    settings: Any = {which: given}

    with pytest.raises(ConfigurationError, match=f"Rexecutor: {which}:? {words}"):
        Rexecutor(InMemoryBackend(), **settings)


class Session(AbstractContextManager[None]):
    """A context manager that is false while it holds nothing."""

    def __init__(self) -> None:
        self.entered = 0

    def __len__(self) -> int:
        return 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_a_context_manager_that_is_false_is_one_all_the_same(kind: Kind) -> None:
    session = Session()

    job = await run(kind(lambda _: None), lambda _: session)

    assert (job.status, session.entered) == (JobStatus.COMPLETE, 1)


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_middleware_that_returns_no_context_manager_fails_the_attempt(kind: Kind) -> None:
    job = await run(kind(lambda _: None), lambda _: 7)

    assert "returned a value of type int, which is not a context manager; decorate it" in job.errors[-1].details


class InProcess(Executor[str]):
    """Writes down what the middleware has set in its process."""

    name = "in_process"
    blocking = "process"

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def execute(self, job: Job[str]) -> ExecutionResult:
        with self._notes.open("a") as file:
            file.write(f"job {request.get()}\n")
        if job.data == "fails":
            raise NO_LUCK
        return None


class InEachProcess:
    """Plain middleware that can be pickled."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    @contextmanager
    def _around(self, job: Job[str]) -> Generator[None]:
        token = request.set("child")
        try:
            yield
        except ValueError:
            with self._notes.open("a") as file:
                file.write("failed\n")
            raise
        finally:
            request.reset(token)

    def __call__(self, job: Job[str]) -> Any:
        return self._around(job)


async def test_plain_middleware_is_entered_in_the_child_process_and_asynchronous_in_the_parent(tmp_path: Path) -> None:
    path, notes = tmp_path / "notes", list[Any]()
    backend, executor = InMemoryBackend(), InProcess(path)

    async with Rexecutor(
        backend, executors=[executor], around_execute=[InEachProcess(path), asynchronous(notes)], max_concurrency=1
    ):
        for data in ("x", "fails"):
            builder = executor.builder().with_data(data).with_max_attempts(1)
            await soon((await builder.enqueue(backend=backend)).wait(), 60)

    assert path.read_text().splitlines() == ["job child", "job child", "failed"]
    assert notes == ["async in", "async out", "async in", "async ChildFailedError"]


class Hanging(Executor[str]):
    name = "hanging"
    blocking = "process"

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def execute(self, job: Job[str]) -> None:
        self._notes.touch()
        threading.Event().wait()


@pytest.mark.parametrize("swallow", [swallow_all, swallow_all_async])
async def test_a_child_process_that_was_told_to_stop_is_not_complete_because_middleware_swallows_that(
    tmp_path: Path, swallow: Middleware
) -> None:
    backend, executor = InMemoryBackend(), Hanging(tmp_path / "begun")

    async with Rexecutor(backend, executors=[executor], around_execute=[swallow]):
        handle = await executor.builder().with_data("x").enqueue(backend=backend)
        await until((tmp_path / "begun").exists, 60)
        await handle.cancel("not wanted")
        job = await soon(handle.wait(), 60)

    assert (job.status, job.errors[-1].details) == (JobStatus.CANCELLED, "not wanted")


def test_middleware_that_cannot_be_sent_to_child_processes_is_refused(tmp_path: Path) -> None:
    words = r"in_process: runs in child processes, but plain\.<locals>\.around of around_execute cannot be pickled"

    with pytest.raises(DefinitionError, match=words):
        Rexecutor(InMemoryBackend(), executors=[InProcess(tmp_path)], around_execute=[plain([])])


async def test_middleware_that_is_added_is_outside_that_which_is_there(clock: FakeClock) -> None:
    notes: list[Any] = []
    executor = Scripted(lambda _: notes.append("run"))
    added, given = plain(notes, "added"), plain(notes, "given")
    runner = Rexecutor(InMemoryBackend(), executors=[executor], around_execute=[given])

    async with runner.with_around_execute(added, given, added) as running:
        handle = await executor.builder().with_data("x").enqueue(backend=running.backend)
        await soon(handle.wait())
        with pytest.raises(RexecutorError, match="with_around_execute: this Rexecutor is already running"):
            running.with_around_execute(added)

    assert notes == ["added in", "given in", "run", "given out", "added out"]


def test_middleware_that_cannot_be_is_not_added(tmp_path: Path) -> None:
    runner = Rexecutor(InMemoryBackend(), executors=[InProcess(tmp_path)])
    not_callable: Any = 7

    with pytest.raises(ConfigurationError, match="with_around_execute: middleware: each must be a callable"):
        runner.with_around_execute(not_callable)
    with pytest.raises(DefinitionError, match="in_process: runs in child processes"):
        runner.with_around_execute(plain([]))
    runner.with_around_execute(asynchronous([]))
    with pytest.raises(DefinitionError, match=r"cannot be\s+pickled"):
        Rexecutor(InMemoryBackend()).with_around_execute(plain([])).with_executor(InProcess(tmp_path))
