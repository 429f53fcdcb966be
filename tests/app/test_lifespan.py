"""`Rexecutor.lifespan` in an ASGI application, as servers and test clients drive it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, MutableMapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rexecutor import (
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    SQLiteBackend,
)
from tests.backends import BACKENDS, made_backend
from tests.engine.gated import Gated
from tests.support import soon, status_of, until_no_threads_of_ours

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Greet(Executor[str]):
    name = "greet"

    async def execute(self, job: Job[str]) -> None: ...


async def greeted() -> JobStatus:
    """Respond to a request: enqueue a job on the global backend, and wait until it has run."""
    handle = await Greet.builder().with_data("bob").enqueue()
    return (await soon(handle.wait())).status


class Application:
    """An ASGI application that treats its lifespan as Starlette does, and responds to each request with `greeted`."""

    def __init__(self, lifespan: "Callable[[Application], AbstractAsyncContextManager[None]]") -> None:
        self.lifespan = lifespan

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.body", "body": await greeted()})
            return
        said = "startup"
        assert (await receive())["type"] == "lifespan.startup"
        try:
            async with self.lifespan(self) as state:
                assert state is None
                await send({"type": "lifespan.startup.complete"})
                said = "shutdown"
                assert (await receive())["type"] == "lifespan.shutdown"
        except BaseException as error:
            await send({"type": f"lifespan.{said}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


class Server:
    """Drives one life of an application in the running event loop, as a server does."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._to: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._life: asyncio.Task[None] | None = None

    async def say(self, what: str) -> Message:
        """Say `startup` or `shutdown` to the application, and return its response."""
        await self._to.put({"type": f"lifespan.{what}"})
        if self._life is None:
            scope = {"type": "lifespan"}
            self._life = asyncio.ensure_future(self._application(scope, self._to.get, self._said.put))
        response = await soon(self._said.get())
        if response["type"] != "lifespan.startup.complete":
            await asyncio.gather(self._life, return_exceptions=True)
        return response

    async def request(self) -> Any:
        """Send a request and return the body of the response."""
        said: asyncio.Queue[Message] = asyncio.Queue()
        await self._application({"type": "http"}, asyncio.Queue[Message]().get, said.put)
        return (await said.get())["body"]


@asynccontextmanager
async def serving(application: Application) -> AsyncGenerator[Server]:
    """Serve the application within the block."""
    server = Server(application)
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    yield server
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}


@contextmanager
def client_of(application: Application) -> Generator[Callable[[], JobStatus]]:
    """Serve the application within the block in an event loop of another thread, as test clients do."""
    up: Future[tuple[asyncio.AbstractEventLoop, Server]] = Future()
    is_over = threading.Event()

    async def serve() -> None:
        try:
            async with serving(application) as server:
                up.set_result((asyncio.get_running_loop(), server))
                await asyncio.to_thread(is_over.wait)
        except BaseException as error:
            if not up.done():
                up.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        loop, server = up.result(20)
        yield lambda: asyncio.run_coroutine_threadsafe(server.request(), loop).result(20)
    finally:
        is_over.set()
        thread.join(20)


@pytest.mark.parametrize("store", BACKENDS)
async def test_it_runs_jobs_while_the_application_is_up(store: str, tmp_path: Path) -> None:
    rexecutor = Rexecutor(made_backend(store, tmp_path), executors=[Greet]).set_global_backend()

    async with serving(Application(rexecutor.lifespan)) as server:
        assert rexecutor.is_running
        assert await server.request() is JobStatus.COMPLETE

    assert not rexecutor.is_running
    assert rexecutor.backend.is_open == (store == "memory")
    await until_no_threads_of_ours()


async def test_the_end_waits_for_running_jobs() -> None:
    gated, backend = Gated(), InMemoryBackend()
    server = Server(Application(Rexecutor(backend, executors=[gated]).lifespan))
    await server.say("startup")
    handle = await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())

    ending = asyncio.ensure_future(server.say("shutdown"))
    done, _ = await asyncio.wait((ending,), timeout=0.05)
    gated.let_go.set()

    assert await soon(ending) == {"type": "lifespan.shutdown.complete"}
    assert not done
    assert await status_of(backend, handle.id) is JobStatus.COMPLETE


@pytest.mark.parametrize("store", BACKENDS)
def test_test_clients_start_and_stop_it_one_after_the_other(store: str, tmp_path: Path) -> None:
    rexecutor = Rexecutor(made_backend(store, tmp_path), executors=[Greet]).set_global_backend()
    application = Application(rexecutor.lifespan)

    for _ in range(3):
        with client_of(application) as request:
            assert request() is JobStatus.COMPLETE
        assert not rexecutor.is_running

    asyncio.run(until_no_threads_of_ours())
    with pytest.raises(GlobalBackendError, match="no backend"):
        asyncio.run(greeted())


async def test_the_global_backend_is_set_again_at_each_start_unless_another_has_it() -> None:
    rexecutor = Rexecutor(InMemoryBackend(), executors=[Greet]).set_global_backend()
    async with rexecutor:
        pass

    async with Rexecutor(InMemoryBackend()).set_global_backend():
        with pytest.raises(GlobalBackendError, match="is set already"):
            await rexecutor.start()
        assert not rexecutor.is_running
    async with rexecutor:
        assert await greeted() is JobStatus.COMPLETE


async def test_without_being_asked_to_it_sets_no_global_backend() -> None:
    async with serving(Application(Rexecutor(InMemoryBackend(), executors=[Greet]).lifespan)) as server:
        with pytest.raises(GlobalBackendError, match="no backend"):
            await server.request()


async def test_a_start_that_fails_is_reported_and_the_next_works(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    rexecutor = Rexecutor(SQLiteBackend(folder / "jobs.db"), executors=[Greet]).set_global_backend()
    application = Application(rexecutor.lifespan)

    response = await Server(application).say("startup")
    folder.mkdir()

    assert response["type"] == "lifespan.startup.failed"
    assert str(folder) in response["message"]
    async with serving(application) as server:
        assert await server.request() is JobStatus.COMPLETE


async def test_a_second_one_at_the_same_time_is_refused() -> None:
    application = Application(Rexecutor(InMemoryBackend(), executors=[Greet]).set_global_backend().lifespan)

    async with serving(application) as server:
        second = await Server(application).say("startup")

        assert second["type"] == "lifespan.startup.failed"
        assert "start: this Rexecutor is already running" in second["message"]
        assert await server.request() is JobStatus.COMPLETE


async def test_it_ends_also_when_the_application_raises() -> None:
    rexecutor = Rexecutor(InMemoryBackend(), executors=[Greet])

    with pytest.raises(ZeroDivisionError):
        async with rexecutor.lifespan(object()):
            raise ZeroDivisionError

    assert not rexecutor.is_running


async def test_a_lifespan_of_ones_own_holds_it_beside_other_things() -> None:
    rexecutor = Rexecutor(InMemoryBackend(), executors=[Greet]).set_global_backend()
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(_: Application) -> AsyncGenerator[None]:
        async with rexecutor:
            seen.append(rexecutor.is_running)
            yield
            seen.append(rexecutor.is_running)

    async with serving(Application(lifespan)) as server:
        assert await server.request() is JobStatus.COMPLETE

    assert seen == [True, True]
    assert not rexecutor.is_running


async def test_a_call_without_entering_it_does_nothing(tmp_path: Path) -> None:
    rexecutor = Rexecutor(SQLiteBackend(tmp_path / "jobs.db"), executors=[Greet])

    rexecutor.lifespan(object())

    assert not rexecutor.is_running
    assert not rexecutor.backend.is_open


async def test_what_starts_with_an_application_that_only_enqueues_is_no_node() -> None:
    backend = InMemoryBackend()

    async with serving(Application(Rexecutor(backend).set_global_backend().lifespan)):
        handle = await Greet.builder().with_data("bob").enqueue()
        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
        assert not backend._leases
