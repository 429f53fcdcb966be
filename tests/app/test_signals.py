"""Who has SIGTERM and SIGINT during a shutdown, and after a `run_until_signal`."""

import asyncio
import os
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from rexecutor import Executor, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.app import signals
from rexecutor.app.signals import WATCHED, CtrlC, Signals, tell
from tests.engine.gated import Gated
from tests.support import soon, status_of, until


class EndedError(Exception):
    """Takes the place of the end of the process; its argument is the status."""


@pytest.fixture(autouse=True)
def unhandled(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Let no signal and no end of the process go beyond the test."""

    def end(status: int) -> None:
        raise EndedError(status)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(signals, "_told", 0)
    before = {number: signal.getsignal(number) for number in WATCHED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


async def run_until_signal() -> asyncio.Task[None]:
    """Return a task in which a `Rexecutor` runs and catches signals."""
    rexecutor = Rexecutor(InMemoryBackend(), executors=[Mail])
    running = asyncio.create_task(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)
    return running


async def test_after_a_signal_a_second_does_no_harm_and_a_third_ends_the_process() -> None:
    running = await run_until_signal()
    signal.raise_signal(signal.SIGTERM)
    await soon(running)

    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(EndedError, match=str(128 + signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)


async def test_without_a_signal_they_go_back_to_who_had_them() -> None:
    before = [signal.getsignal(number) for number in WATCHED]
    running = await run_until_signal()
    during = [signal.getsignal(number) for number in WATCHED]

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert during != before
    assert [signal.getsignal(number) for number in WATCHED] == before


async def test_those_that_stayed_do_not_outlive_the_next() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals():
        signal.raise_signal(signal.SIGTERM)

    with Signals():
        pass

    assert signal.getsignal(signal.SIGTERM) == before


async def test_one_within_another_gives_them_back_to_it() -> None:
    with Signals():
        outer = signal.getsignal(signal.SIGTERM)
        with Signals():
            signal.raise_signal(signal.SIGTERM)

        assert signal.getsignal(signal.SIGTERM) == outer


async def test_in_a_child_process_they_do_what_they_do_in_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []

    def send(process: int, number: int) -> None:
        sent.append((process, number))

    with Signals():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        monkeypatch.setattr(os, "kill", send)

        signal.raise_signal(signal.SIGTERM)

        assert sent == [(-1, signal.SIGTERM)]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_a_cancelled_run_until_signal_has_shut_down_what_it_started() -> None:
    rexecutor = Rexecutor(InMemoryBackend()).with_executor(Mail)
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)

    assert not rexecutor.is_running


async def test_with_nothing_to_run_it_runs_until_a_signal() -> None:
    rexecutor = Rexecutor(InMemoryBackend())
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)

    signal.raise_signal(signal.SIGTERM)
    await soon(running)

    assert not rexecutor.is_running


async def test_with_nothing_to_run_a_shutdown_from_elsewhere_ends_it() -> None:
    rexecutor = Rexecutor(InMemoryBackend())
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)

    await rexecutor.graceful_shutdown()

    await soon(running)


async def test_with_nothing_to_run_a_cancel_shuts_down_what_was_started_here() -> None:
    rexecutor = Rexecutor(InMemoryBackend())
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)

    assert not rexecutor.is_running


async def test_what_a_supervisor_tells_ends_it_as_a_signal_does() -> None:
    running = await run_until_signal()

    await asyncio.to_thread(tell, 1)

    await soon(running)


async def test_signals_and_what_a_supervisor_tells_are_counted_apart() -> None:
    hurried = asyncio.Event()
    with Signals() as caught:
        caught.on_second(hurried.set)

        signal.raise_signal(signal.SIGTERM)
        tell(1)
        await asyncio.to_thread(lambda: None)
        assert (caught.has_come, hurried.is_set()) == (True, False)
        tell(2)
        await soon(hurried.wait())
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(EndedError):
            signal.raise_signal(signal.SIGTERM)


async def test_what_was_told_before_holds_for_what_is_run_later() -> None:
    tell(1)

    rexecutor = Rexecutor(InMemoryBackend(), executors=[Mail])

    await soon(rexecutor.run_until_signal())


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """Signals that a server has caught with a handler of its own."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGINT, before)


async def test_a_ctrl_c_during_a_shutdown_cancels_the_jobs_and_reaches_the_server(caught: list[int]) -> None:
    gated, backend = Gated(), InMemoryBackend()
    rexecutor = Rexecutor(backend, executors=[gated])
    of_the_server = signal.getsignal(signal.SIGINT)
    await rexecutor.start()
    handle = await Gated.enqueue("x", backend=backend)
    await soon(gated.started.wait())
    ending = asyncio.ensure_future(rexecutor.graceful_shutdown(timedelta(hours=1)))
    await until(lambda: signal.getsignal(signal.SIGINT) is not of_the_server)

    signal.raise_signal(signal.SIGINT)
    await soon(ending)

    assert caught == [signal.SIGINT]
    assert (gated.cancelled, await status_of(backend, handle.id)) == (1, JobStatus.SCHEDULED)
    assert signal.getsignal(signal.SIGINT) is of_the_server


async def test_shutdowns_that_end_in_any_order_give_the_handler_back(caught: list[int]) -> None:
    of_the_server, told = signal.getsignal(signal.SIGINT), list[str]()
    first, second = CtrlC(lambda: told.append("first")), CtrlC(lambda: told.append("second"))

    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    signal.raise_signal(signal.SIGINT)
    await until(lambda: told != [])
    second.__exit__(None, None, None)

    assert (caught, told) == ([signal.SIGINT], ["second"])
    assert signal.getsignal(signal.SIGINT) is of_the_server


async def test_a_handler_that_the_server_installs_during_a_shutdown_stays(caught: list[int]) -> None:
    def other(_: int, __: object) -> None: ...

    with CtrlC(lambda: None):
        signal.signal(signal.SIGINT, other)

    assert signal.getsignal(signal.SIGINT) is other


async def test_a_shutdown_leaves_those_of_run_until_signal_in_place() -> None:
    with Signals():
        before = signal.getsignal(signal.SIGINT)
        with CtrlC(lambda: None):
            assert signal.getsignal(signal.SIGINT) == before


def test_a_shutdown_in_another_thread_catches_nothing(caught: list[int]) -> None:
    async def elsewhere() -> bool:
        with CtrlC(lambda: None):
            return signal.getsignal(signal.SIGINT) is of_the_server

    of_the_server = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: asyncio.run(elsewhere())).result(20)


async def test_a_shutdown_in_another_thread_leaves_the_handler_of_one_that_is_over(caught: list[int]) -> None:
    async def elsewhere() -> None:
        with CtrlC(lambda: None):
            pass

    with CtrlC(lambda: None):
        of_ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a server does that gives it back
    signal.signal(signal.SIGINT, of_ours)

    await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

    assert signal.getsignal(signal.SIGINT) == of_ours
