"""How what makes a `Rexecutor` is opened and closed."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest

from rexecutor import InMemoryBackend, Rexecutor
from rexecutor.cli import load
from rexecutor.cli.load import StoppedError, opened_rexecutor
from rexecutor.telemetry.events import ProviderNotClosed
from tests.support import Events, soon

REXECUTOR = Rexecutor(InMemoryBackend())


class GoneError(Exception):
    pass


async def test_what_does_not_close_is_left_after_a_while_and_logged(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "CLOSE_TIMEOUT", 0.01)

    @asynccontextmanager
    async def made() -> AsyncGenerator[Rexecutor]:
        yield REXECUTOR
        await asyncio.Event().wait()

    async with opened_rexecutor("app:made", made):
        pass

    (event,) = events.of(ProviderNotClosed)
    assert (event.provider, type(event.error)) == ("app:made", TimeoutError)


@pytest.mark.parametrize("swallows", [False, True])
async def test_an_error_of_the_block_reaches_the_context_manager_and_passes_through(
    events: Events, *, swallows: bool
) -> None:
    seen: list[BaseException] = []

    @contextmanager
    def made() -> Generator[Rexecutor]:
        try:
            yield REXECUTOR
        except GoneError as error:
            seen.append(error)
            if not swallows:
                raise

    async def run() -> None:
        async with opened_rexecutor("app:made", made):
            raise GoneError

    if swallows:
        await run()
    else:
        with pytest.raises(GoneError):
            await run()

    assert len(seen) == 1
    assert events.of(ProviderNotClosed) == []


async def test_it_is_closed_in_the_task_that_opened_it() -> None:
    tasks: list[asyncio.Task[object] | None] = []

    @asynccontextmanager
    async def made() -> AsyncGenerator[Rexecutor]:
        tasks.append(asyncio.current_task())
        yield REXECUTOR
        tasks.append(asyncio.current_task())

    async with opened_rexecutor("app:made", made):
        pass

    assert tasks == [asyncio.current_task()] * 2


async def test_a_cancellation_that_no_signal_has_asked_for_is_one() -> None:
    async def made() -> Rexecutor:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        async with opened_rexecutor("app:made", made):
            pass


async def test_code_that_swallows_the_cancellation_by_a_signal_is_not_started() -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached: list[str] = []

    async def made() -> Rexecutor:
        signal.raise_signal(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            reached.append("cancelled")
        return REXECUTOR

    async def run() -> None:
        async with opened_rexecutor("app:made", made):
            reached.append("started")

    try:
        with pytest.raises(StoppedError):
            await soon(run())
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, before if number is signal.SIGTERM else signal.default_int_handler)

    assert reached == ["cancelled"]
