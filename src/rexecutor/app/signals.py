"""Handles SIGTERM and SIGINT: the first begins a shutdown, the second cancels jobs, the third ends the process."""

import asyncio
import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, Self

from rexecutor.engine.loop import first_of
from rexecutor.errors import ConfigurationError

WATCHED: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Catches SIGTERM and SIGINT within a `with` block, in the main thread's running loop.

    It uses Python's own handlers and not the loop's, so that the third signal ends the process even while a job blocks
    the loop. After a signal the handlers stay when the block has ended, because the program is about to end: a second
    signal then does no harm, and a third ends a program that hangs.
    """

    def __init__(self) -> None:
        self._caught = 0
        self._reached = 0
        self._lock = threading.RLock()  # reentrant, because a signal may interrupt the handler of another
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._first = asyncio.Event()
        self._on_first: Callable[[], object] = self._first.set
        self._second: Callable[[], object] = lambda: None
        self.before: Final[dict[int, Any]] = {}
        """The previous handlers, by signal number."""
        self.stays = False
        """Whether the block has ended: handlers that are still installed then only guard the end of the program."""

    def __enter__(self) -> Self:
        """Install the handlers.

        Raises:
            ConfigurationError: This is not the main thread.
        """
        try:
            for number in WATCHED:
                before = signal.signal(number, self._catch)
                owner = _owner(before)
                self.before[number] = owner.before[number] if owner is not None and owner.stays else before
        except ValueError as error:
            raise ConfigurationError("run_until_signal: signals can only be caught in the main thread") from error
        _ACTIVE.add(self)
        self.reach(_told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous handlers.

        After a signal, a previous handler is restored only if it belongs to an outer `Signals`, which may still wait
        for a signal. Otherwise the handlers of this one stay until the process ends.
        """
        for number, handler in self.before.items():
            if not self._reached or _owner(handler) is not None:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.stays = True
        _ACTIVE.discard(self)

    @property
    def has_come(self) -> bool:
        """Whether a signal has come."""
        return self._reached > 0

    async def first_or(self, other: Coroutine[Any, Any, object]) -> None:
        """Wait for the first signal, or until `other` has ended."""
        await first_of(self._first.wait(), other)

    def on_first(self, call: Callable[[], object]) -> None:
        """Have `call` called at the first signal, in the event loop; `first_or` then waits for ever."""
        self._on_first = call

    def on_second(self, call: Callable[[], object]) -> None:
        """Have `call` called at the second signal, or at once if that signal has come already."""
        self._second = call
        if self._reached > 1:
            call()

    def _catch(self, number: int, _: FrameType | None) -> None:
        if self._process != os.getpid():  # a forked process inherits the handler, but runs no jobs
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._caught += 1
        if self._caught > 2:  # noqa: PLR2004 - the third
            with contextlib.suppress(OSError):
                os.write(2, b"rexecutor: third signal, ends at once; its jobs will be rescued\n")
            os._exit(128 + number)
        self.reach(self._caught)

    def reach(self, number: int) -> None:
        """Call what is to be called for each signal up to this number, unless it was called before."""
        with self._lock:
            before, self._reached = self._reached, max(self._reached, number)
            reached = range(before + 1, self._reached + 1)
        for each in reached:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
                self._loop.call_soon_threadsafe(self._on_first if each == 1 else self._second)


class CtrlC:
    """Context manager that calls a function at each SIGINT, in addition to the installed handler.

    So the server that has installed that handler still decides what the signal means for the process. It does nothing
    outside the main thread, if no Python function is installed as the handler, or if a `Signals` has installed it.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        """Make the context manager, in the event loop that `call` is to be called in."""
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self.before: Any = None
        """The previous handler; None if there is none to call."""
        self.is_over = False
        """Whether the block has ended."""

    def __enter__(self) -> Self:
        """Install the handler."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(before) and _owner(before) is None:
            self.before = before
            signal.signal(signal.SIGINT, self._catch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous handler, unless another one has been installed meanwhile."""
        self.is_over = True
        if threading.current_thread() is not threading.main_thread():  # Python lets no other set a handler
            return
        while isinstance(last := getattr(signal.getsignal(signal.SIGINT), "__self__", None), CtrlC) and last.is_over:
            signal.signal(signal.SIGINT, last.before)  # blocks of several tasks may end in any order

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self._process == os.getpid() and not self.is_over:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._call)
        self.before(number, frame)


_ACTIVE: Final[set[Signals]] = set()
_told = 0


def tell(number: int) -> None:
    """Have this process do what it does after this many signals, 1 or 2, now and in each later `Signals`.

    A supervisor tells its processes in this way. A terminal or a service manager sends a signal to all of them, and to
    the supervisor, at once: if it sent them one as well, each would count two. So signals and what is told are counted
    apart, and the larger number holds. May be called in any thread.
    """
    global _told  # noqa: PLW0603 - it is about the process
    _told = max(_told, number)
    for signals in list(_ACTIVE):
        signals.reach(number)


def _owner(handler: object) -> Signals | None:
    """Return the `Signals` that the handler belongs to, or None."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Signals) else None


@atexit.register
def _ignore_late_signals() -> None:
    """Ignore the signals during interpreter shutdown, if handlers of a `Signals` are still installed.

    Python removes them late, and the default action would then kill a process that is ending normally.
    """
    for number in WATCHED:
        if _owner(signal.getsignal(number)) is not None:
            signal.signal(number, signal.SIG_IGN)
