"""Who has SIGTERM and SIGINT after a `run_until_signal`."""

import asyncio
import os
import signal
from collections.abc import Generator

import pytest

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor
from rexecutor.app import signals
from rexecutor.app.signals import WATCHED, Signals, tell
from tests.support import soon, until


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
