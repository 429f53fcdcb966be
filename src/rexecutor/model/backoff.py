"""How long to wait before the next attempt.

The values are those of the Rust crate's documentation (exponential from 2 s: 2, 4, 8, 16 …; polynomial of
degree 2 from 10 s: 10, 40, 90 …). They stop at `LONGEST`, whereas the crate overflows or truncates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rexecutor.clock import random_between
from rexecutor.model.checks import checked_delay, checked_instance, mistake

LONGEST: Final = timedelta(days=365)
"""The longest possible wait. If a strategy or an executor returns more, this is used."""


def clamp(delay: timedelta) -> timedelta:
    """Return the delay, limited to the range from zero to `LONGEST`."""
    return min(max(delay, timedelta(0)), LONGEST)


@dataclass(frozen=True, slots=True)
class Jitter:
    """How much a wait is changed at random, so that jobs that failed together do not return together."""

    share: float = 0.0
    amount: timedelta = timedelta(0)

    @staticmethod
    def relative(share: float) -> "Jitter":
        """Lengthen or shorten the wait by at most this share of it, from 0 to 1."""
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise mistake("Jitter.relative: share", "a number from 0 to 1", share)
        return Jitter(share=share)

    @staticmethod
    def absolute(amount: timedelta) -> "Jitter":
        """Lengthen or shorten the wait by at most this amount."""
        return Jitter(amount=checked_delay("Jitter.absolute: amount", amount))

    def apply(self, delay: timedelta) -> timedelta:
        """Return the delay with jitter, never below zero and never above `LONGEST`."""
        delay = clamp(delay)  # both are clamped, because sums beyond the largest timedelta raise
        reach = delay * self.share + clamp(self.amount)
        return clamp(delay + reach * random_between(-1, 1)) if reach else delay


@dataclass(frozen=True, slots=True)
class BackoffStrategy:
    """How long to wait before the next attempt, given the number of the one that failed (1, 2, …).

    Immutable: each `with_…` returns a copy. The bounds of `with_min` and `with_max` apply after the jitter too.
    """

    base: timedelta
    growth: Callable[[int], float]
    longest: timedelta = LONGEST
    shortest: timedelta = timedelta(0)
    jitter: Jitter = Jitter()

    @staticmethod
    def constant(delay: timedelta) -> "BackoffStrategy":
        """Wait `delay` after each attempt."""
        return BackoffStrategy(checked_delay("BackoffStrategy.constant: delay", delay), _Power(0.0))

    @staticmethod
    def linear(delay: timedelta) -> "BackoffStrategy":
        """Wait `delay` times the attempt's number."""
        return BackoffStrategy(checked_delay("BackoffStrategy.linear: delay", delay), float)

    @staticmethod
    def polynomial(delay: timedelta, degree: float) -> "BackoffStrategy":
        """Wait `delay` times the attempt's number to the power of `degree` (0 or more)."""
        if not 0 <= degree < math.inf:
            raise mistake("BackoffStrategy.polynomial: degree", "a number of 0 or more", degree)
        base = checked_delay("BackoffStrategy.polynomial: delay", delay)
        return BackoffStrategy(base, _Power(degree))

    @staticmethod
    def exponential(delay: timedelta) -> "BackoffStrategy":
        """Wait `delay` after the first attempt, and twice as long after each further one."""
        base = checked_delay("BackoffStrategy.exponential: delay", delay)
        return BackoffStrategy(base, _doubled)

    def with_max(self, longest: timedelta) -> "BackoffStrategy":
        """Never wait longer than this (and never longer than `LONGEST`)."""
        return replace(self, longest=checked_delay("with_max: longest", longest))

    def with_min(self, shortest: timedelta) -> "BackoffStrategy":
        """Never wait less than this. If it is above the maximum, the maximum wins."""
        return replace(self, shortest=checked_delay("with_min: shortest", shortest))

    def with_jitter(self, jitter: Jitter) -> "BackoffStrategy":
        """Lengthen or shorten each wait at random."""
        expected = "a Jitter, such as Jitter.relative(0.1)"
        return replace(self, jitter=checked_instance("with_jitter: jitter", jitter, Jitter, expected))

    def __call__(self, attempt: int) -> timedelta:
        """Return the wait after this attempt (1, 2, …) has failed."""
        if attempt < 1:
            raise mistake("BackoffStrategy: attempt", "1 or more", attempt)
        try:
            delay = self.base * self.growth(attempt)
        except OverflowError:  # beyond what a float or a timedelta holds
            delay = LONGEST if self.base else self.base
        return self._bounded(self.jitter.apply(self._bounded(delay)))

    def _bounded(self, delay: timedelta) -> timedelta:
        return clamp(min(max(delay, self.shortest), self.longest))


@dataclass(frozen=True, slots=True)
class _Power:
    """The attempt's number to a power. Unlike a lambda, it can be compared and pickled, and so can its strategy."""

    degree: float

    def __call__(self, attempt: int) -> float:
        return float(attempt) ** self.degree


def _doubled(attempt: int) -> float:
    return math.ldexp(1.0, attempt - 1)


DEFAULT_BACKOFF: Final = (
    BackoffStrategy.exponential(timedelta(seconds=4)).with_max(timedelta(days=7)).with_jitter(Jitter.relative(0.1))
)
"""Strategy of an executor that does not define `backoff`: 4 s, 8 s, 16 s …, at most 7 days, 10 % either way."""
