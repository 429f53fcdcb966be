"""The store's time, as far as a node knows it."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rexecutor.clock import Clock
from rexecutor.model.job import JobRecord

TRUSTED_SECONDS: Final = 10.0
"""Seconds after which a claim is believed even if it seems slower than the last one: clocks drift apart, and leap."""


class StoreClock:
    """The store's clock, which may differ from this machine's. Claims tell its time; the monotonic clock counts on.

    A claim tells when it was made, and returns a little later. So of the claims of ten seconds the quickest is right.
    """

    def __init__(self, clock: Clock) -> None:
        """Take the machine's time for the store's until the first claim."""
        self._clock = clock
        self._moment = clock.now()
        self._shown = clock.monotonic()  # what the monotonic clock showed at that moment
        self._old_at = -math.inf

    def note_claim(self, jobs: Sequence[JobRecord]) -> None:
        """Note the store's time, which the jobs of a claim tell. Call it as soon as the claim has returned."""
        moment = jobs[0].attempted_at if jobs else None
        if moment is not None:
            shown = self._clock.monotonic()
            if shown >= self._old_at or self.seconds_since(moment, shown) < 0:
                self._moment, self._shown, self._old_at = moment, shown, shown + TRUSTED_SECONDS

    def seconds_since(self, moment: datetime, shown: float) -> float:
        """Return the seconds from a moment of the store's until the monotonic clock here showed `shown`."""
        return shown - self._shown - (moment - self._moment).total_seconds()
