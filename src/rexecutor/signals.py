"""SIGTERM and SIGINT: the first asks, the second insists, the third ends the process."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, Self

from rexecutor.engine.loop import first_of
from rexecutor.errors import ConfigurationError

WATCHED: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Catches the signals while it is entered, in the main thread's running loop.

    By Python's own handlers and not the loop's: the third signal ends the process even while a job blocks the loop.
    """

    def __init__(self) -> None:
        """Begin with none caught."""
        self._caught = 0
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        self._first = asyncio.Event()
        self._second: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        """Begin to catch."""
        try:
            for number in WATCHED:
                self._before[number] = signal.signal(number, self._catch)
        except ValueError as error:
            raise ConfigurationError("run_until_signal: signals can only be caught in the main thread") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    async def first_or(self, other: Coroutine[Any, Any, object]) -> None:
        """Wait for the first signal, or for the other thing."""
        await first_of(self._first.wait(), other)

    def on_second(self, call: Callable[[], object]) -> None:
        """Call this at the second signal; at once when it has come."""
        self._second = call
        if self._caught > 1:
            call()

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._caught += 1
        if self._caught > 2:  # noqa: PLR2004 - the third
            with contextlib.suppress(OSError):
                os.write(2, b"rexecutor: third signal, ends at once; its jobs will be rescued\n")
            os._exit(128 + number)
        heard = self._first.set if self._caught == 1 else self._second
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
            self._loop.call_soon_threadsafe(heard)
