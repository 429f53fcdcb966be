"""A clock for tests that stands still until it is moved."""

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
from rexecutor.model.checks import checked_moment

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Default start time of a `FakeClock`."""

_MICROSECOND: Final = timedelta(microseconds=1)


class FakeClock(Clock):
    """A clock that stands still until `advance` or `jump` moves it. Every method may be called from any thread.

    A due timer's callback is scheduled in the event loop that set the timer, and runs when that loop runs next: after
    `advance`, `await` something so that it happens. Timers run in the order of their due times.
    """

    def __init__(self, now: datetime = START) -> None:
        """Start the clock.

        Args:
            now: The start time, an aware datetime.

        Raises:
            ConfigurationError: `now` is naive.
        """
        self._lock = threading.Lock()
        self._now = checked_moment("FakeClock: now", now)
        self._elapsed = 0  # in microseconds, as sums of floats would make timers slightly late
        self._order = count()
        self._timers: list[tuple[int, int, _FakeTimer]] = []

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Return how far the clock was advanced in all, in seconds. `jump` does not count."""
        with self._lock:
            return self._elapsed / 1_000_000

    @property
    def waiting(self) -> int:
        """Number of timers that are neither due nor cancelled."""
        with self._lock:
            return sum(not timer.cancelled for _, _, timer in self._timers)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, in the running event loop, after the clock has advanced by `delay` seconds."""
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
        """Let time pass: move the wall clock and the monotonic clock on by `step`, and fire the timers due by then.

        Raises:
            ConfigurationError: `step` is negative; `jump` sets the wall clock back.
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
        """Set the wall clock forwards or back, as an administrator may. No time passes and no timer becomes due."""
        with self._lock:
            self._now += step


class _FakeTimer:
    """One callback that waits for its time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._callback = callback
        self._context = copy_context()
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            with suppress(RuntimeError):  # the loop is closed, so nothing waits for this timer any more
                self._loop.call_soon_threadsafe(self._call, context=self._context)

    def _call(self) -> None:
        if not self.cancelled:  # it may have been cancelled after it became due
            self._callback()
