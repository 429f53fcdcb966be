"""Timeouts of many jobs with one timer: cheaper than a timer for each, and there are never many jobs."""

from collections.abc import Callable, Iterable
from typing import Final

from rexecutor.background import apart
from rexecutor.clock import Clock, Timer

GRACE: Final = 5.0
"""Seconds that code has, once it was told to stop, before its outcome is recorded without it."""


class Deadlines:
    """One timer, set to the earliest deadline there is."""

    def __init__(self, clock: Clock, expire: Callable[[float], Iterable[float]]) -> None:
        """Begin with no deadline.

        Args:
            clock: Whose monotonic seconds deadlines are.
            expire: Is called with the time when a deadline has passed; answers the deadlines that are left.
        """
        self._clock = clock
        self._expire = expire
        self._timer: Timer | None = None
        self._earliest = 0.0

    def add(self, deadline: float) -> None:
        """Take one more deadline into account."""
        if self._timer is None or deadline < self._earliest:
            self.stop()
            self._earliest = deadline
            # Apart: it is set within one job, and comes for all.
            self._timer = apart(self._clock.call_later, max(deadline - self._clock.monotonic(), 0.0), self._fire)

    def stop(self) -> None:
        """Forget all deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        # A timer may come a hair early: a sum of floats is no whole number of the clock's ticks.
        left = list(self._expire(max(self._clock.monotonic(), self._earliest)))
        if left:
            self.add(min(left))
