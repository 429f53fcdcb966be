"""Time and chance: nothing else asks the system for either, so that tests and simulations can decide both."""

import asyncio
import random  # noqa: TID251 - the one place that may
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias, TypeVar

from rexecutor.errors import ConfigurationError

T = TypeVar("T")

_RANDOM = random.Random()  # noqa: S311 - spreads waits; no secret depends on it


class Timer(Protocol):
    """A call that was asked for and has not come yet."""

    def cancel(self) -> None:
        """Call it off; harmless when it has already come."""
        ...


class Clock(ABC):
    """What time it is, and how to wait. `FakeClock` in `rexecutor.testing` stands still until it is moved."""

    @abstractmethod
    def now(self) -> datetime:
        """Answer the wall-clock time, aware, in UTC. It may jump. Callable from any thread."""

    @abstractmethod
    def monotonic(self) -> float:
        """Answer seconds since some moment; never goes back. Callable from any thread."""

    @abstractmethod
    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back in the running event loop once, when `delay` seconds have passed."""

    async def sleep(self, delay: timedelta) -> None:
        """Wait for `delay`; at once when it is zero or less."""
        await self.wait(asyncio.Event(), delay)

    async def wait(self, event: asyncio.Event, timeout: timedelta) -> bool:  # noqa: ASYNC109 - this is where it is built
        """Wait until the event is set, for `timeout` at most; answer whether it is set."""
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
        """Await the work for `timeout` at most; then cancel it, and wait until it has ended.

        Raises:
            TimeoutError: It was cancelled for that.
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
        """Answer the machine's time."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may

    def monotonic(self) -> float:
        """Answer the machine's monotonic time, in seconds."""
        return time.monotonic()  # noqa: TID251 - the one place that may

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back by the running event loop's own timer."""
        return asyncio.get_running_loop().call_later(delay, callback)


Reading: TypeAlias = tuple[datetime, float]
"""What a clock's wall time and its monotonic seconds were at one moment."""


def reading(clock: Clock) -> Reading:
    """Answer what the clock says now, both ways."""
    return clock.now(), clock.monotonic()


def leap(before: Reading, after: Reading) -> float:
    """Answer by how many seconds the wall time has gone ahead of the monotonic one between two readings."""
    return (after[0] - before[0]).total_seconds() - (after[1] - before[1])


def random_between(low: float, high: float) -> float:
    """Answer a number from `low` to `high`, evenly spread; for jitter, not for secrets."""
    return _RANDOM.uniform(low, high)


def unique_id() -> str:
    """Answer 32 hexadecimal digits that no other call, on any machine, answers."""
    return uuid.uuid4().hex  # noqa: TID251 - the one place that may


def checked_delay(
    what: str, delay: object, *, least: timedelta = timedelta(0), most: timedelta | None = None
) -> timedelta:
    """Answer the delay, or raise a `ConfigurationError` that says what it must be: a bare number is never a time."""
    if not isinstance(delay, timedelta):
        raise ConfigurationError(f"{what}: {delay!r} is no timedelta; write timedelta(seconds=…) or the like")
    if delay < least or (most is not None and delay > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ConfigurationError(f"{what}: {delay!r} is out of range; {bounds} expected")
    return delay
