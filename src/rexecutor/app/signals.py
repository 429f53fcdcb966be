"""SIGTERM and SIGINT: the first asks, the second insists, the third ends the process."""

import asyncio
import atexit
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
    Once one has come they stay, for the program is about to end: another does no harm, the third ends what hangs.
    """

    def __init__(self) -> None:
        """Begin with none caught."""
        self._caught = 0
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._first = asyncio.Event()
        self._second: Callable[[], object] = lambda: None
        self.before: Final[dict[int, Any]] = {}
        """Who had the signals before."""
        self.stays = False
        """Whether it has the signals only until the program ends."""

    def __enter__(self) -> Self:
        """Begin to catch."""
        try:
            for number in WATCHED:
                before = signal.signal(number, self._catch)
                owner = _owner(before)
                self.before[number] = owner.before[number] if owner is not None and owner.stays else before
        except ValueError as error:
            raise ConfigurationError("run_until_signal: signals can only be caught in the main thread") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back to who had them before; unless one has come, and that was nobody who still waits for it."""
        for number, handler in self.before.items():
            if not self._caught or _owner(handler) is not None:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.stays = True

    async def first_or(self, other: Coroutine[Any, Any, object]) -> None:
        """Wait for the first signal, or for the other thing."""
        await first_of(self._first.wait(), other)

    def on_second(self, call: Callable[[], object]) -> None:
        """Call this at the second signal; at once when it has come."""
        self._second = call
        if self._caught > 1:
            call()

    def _catch(self, number: int, _: FrameType | None) -> None:
        if self._process != os.getpid():  # a fork has brought the handler along, where nothing of ours runs
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._caught += 1
        if self._caught > 2:  # noqa: PLR2004 - the third
            with contextlib.suppress(OSError):
                os.write(2, b"rexecutor: third signal, ends at once; its jobs will be rescued\n")
            os._exit(128 + number)
        heard = self._first.set if self._caught == 1 else self._second
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
            self._loop.call_soon_threadsafe(heard)


def _owner(handler: object) -> Signals | None:
    """Answer whose handler it is, where it is one of ours."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Signals) else None


@atexit.register
def _ignore_late_signals() -> None:
    """Let none kill a program that has come to its end: of the handlers that stay, Python's last steps take leave."""
    for number in WATCHED:
        if _owner(signal.getsignal(number)) is not None:
            signal.signal(number, signal.SIG_IGN)
