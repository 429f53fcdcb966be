"""A clock for tests: it stands still until it is moved."""

import asyncio
import heapq
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from rexecutor.clock import Clock, Timer
from rexecutor.errors import ConfigurationError

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Where a `FakeClock` begins when nothing else is said."""

_MICROSECOND: Final = timedelta(microseconds=1)


class FakeClock(Clock):
    """Stands still until `advance` or `jump` moves it; all of it may be called from any thread.

    Timers that have become due are called in the loop that asked for them, in the order of their times, when that
    loop runs next: after `advance`, `await` something for them to happen.
    """

    def __init__(self, now: datetime = START) -> None:
        """Begin at a moment, which must be aware.

        Raises:
            ConfigurationError: The moment is naive.
        """
        if now.utcoffset() is None:
            raise ConfigurationError(f"FakeClock: {now!r} is naive; give an aware datetime")
        self._lock = threading.Lock()
        self._now = now.astimezone(UTC)
        self._elapsed = 0  # microseconds: sums of floats would make a timer late by a hair
        self._order = count()
        self._timers: list[tuple[int, int, _FakeTimer]] = []

    def now(self) -> datetime:
        """Answer where the wall clock was moved to, in UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Answer the seconds by which the clock was advanced."""
        with self._lock:
            return self._elapsed / 1_000_000

    @property
    def waiting(self) -> int:
        """How many timers have been asked for and neither come due nor been called off."""
        with self._lock:
            return sum(not timer.cancelled for _, _, timer in self._timers)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back in the running event loop once, when the clock was advanced by `delay` seconds."""
        timer = _FakeTimer(asyncio.get_running_loop(), callback)
        with self._lock:
            due = self._elapsed + round(delay * 1_000_000)
            is_due = due <= self._elapsed
            if not is_due:
                heapq.heappush(self._timers, (due, next(self._order), timer))
        if is_due:
            timer.fire()
        return timer

    def advance(self, step: timedelta) -> None:
        """Let time pass: both clocks move on by `step`, and the timers within it come due.

        Raises:
            ConfigurationError: The step is negative: time passes only forwards; see `jump`.
        """
        if step < timedelta(0):
            raise ConfigurationError(f"FakeClock.advance({step!r}): negative; `jump` sets the wall clock back")
        due: list[_FakeTimer] = []
        with self._lock:
            self._now += step
            self._elapsed += step // _MICROSECOND
            while self._timers and self._timers[0][0] <= self._elapsed:
                due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            timer.fire()

    def jump(self, step: timedelta) -> None:
        """Set the wall clock forwards or back, as an administrator does: no time passes, no timer comes due."""
        with self._lock:
            self._now += step


class _FakeTimer:
    """One call that was asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._callback = callback
        self._context = copy_context()
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                self._loop.call_soon_threadsafe(self._call, context=self._context)

    def _call(self) -> None:
        if not self.cancelled:  # it may have been called off since it came due
            self._callback()
