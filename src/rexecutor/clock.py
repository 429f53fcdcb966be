"""The only source of time and random numbers, so that tests and simulations can control both."""

import asyncio
import random  # noqa: TID251 - the one place that may
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

_RANDOM = random.Random()  # noqa: S311 - spreads waits; no secret depends on it


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call; does nothing if it has already been made."""
        ...


class Clock(ABC):
    """Tells the time, and waits. `FakeClock` in `rexecutor.testing` stands still until it is moved."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC. It may jump. Thread-safe."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return the seconds since some fixed moment; they never go back. Thread-safe."""

    @abstractmethod
    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, in the running event loop, after `delay` seconds."""

    async def sleep(self, delay: timedelta) -> None:
        """Wait for `delay`; return at once if it is zero or less."""
        await self.wait(asyncio.Event(), delay)

    async def wait(self, event: asyncio.Event, timeout: timedelta) -> bool:  # noqa: ASYNC109 - this is where it is built
        """Wait until the event is set, at most for `timeout`. Return whether it is set."""
        if event.is_set() or timeout <= timedelta(0):
            return event.is_set()
        waiter = asyncio.ensure_future(event.wait())
        timer = self.call_later(timeout.total_seconds(), waiter.cancel)
        try:
            await asyncio.wait((waiter,))
        finally:
            timer.cancel()
            waiter.cancel()
        return event.is_set()

    async def within(self, timeout: timedelta, work: Coroutine[Any, Any, T]) -> T:  # noqa: ASYNC109 - as above
        """Await the work and return its result. After `timeout`, cancel it and wait until it has ended.

        Raises:
            TimeoutError: The work was cancelled because of the timeout.
        """
        task = asyncio.ensure_future(work)
        is_late = False

        def end() -> None:
            nonlocal is_late
            is_late = task.cancel()

        timer = self.call_later(timeout.total_seconds(), end)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            timer.cancel()
        if is_late and task.cancelled():
            raise TimeoutError
        return task.result()


class SystemClock(Clock):
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may

    def monotonic(self) -> float:
        """Return the machine's monotonic time, in seconds."""
        return time.monotonic()  # noqa: TID251 - the one place that may

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` with a timer of the running event loop."""
        return asyncio.get_running_loop().call_later(delay, callback)


Reading: TypeAlias = tuple[datetime, float]
"""A clock's wall time and monotonic seconds, read at one moment."""


def reading(clock: Clock) -> Reading:
    """Return the clock's wall time and monotonic seconds now."""
    return clock.now(), clock.monotonic()


def leap(before: Reading, after: Reading) -> float:
    """Return by how many seconds the wall clock ran ahead of the monotonic one between two readings."""
    return (after[0] - before[0]).total_seconds() - (after[1] - before[1])


def random_between(low: float, high: float) -> float:
    """Return a uniformly distributed number from `low` to `high`; for jitter, not for secrets."""
    return _RANDOM.uniform(low, high)


def unique_id() -> str:
    """Return 32 hexadecimal digits that no other call returns, on any machine."""
    return uuid.uuid4().hex  # noqa: TID251 - the one place that may
