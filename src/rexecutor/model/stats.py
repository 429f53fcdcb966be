"""The history of attempts: how many ended, how long their jobs had waited, and how long they ran.

Times are counted in buckets, so that many attempts fit into one row, and rows can be added up.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeAlias

from rexecutor.model.outcomes import (
    Cancelled,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Snooze,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment from which minutes are counted."""
MINUTE: Final = timedelta(minutes=1)
"""Span of a new row."""
HOUR: Final = timedelta(hours=1)
"""Span of a folded row."""
MINUTES_KEPT: Final = timedelta(days=1)
"""Age at which rows of minutes are folded to rows of hours."""
HOURS_KEPT: Final = timedelta(days=30)
"""Age at which rows of hours are deleted."""

BOUNDS: Final[tuple[timedelta, ...]] = (
    *(timedelta(milliseconds=number) for number in (1, 2, 5, 10, 25, 50, 100, 250, 500)),
    *(timedelta(milliseconds=number) for number in (1_000, 2_500, 5_000, 10_000, 30_000)),
    *(timedelta(minutes=number) for number in (1, 5, 20, 60, 360)),
)
"""Upper bound of each bucket except the last, which counts all longer times. A time equal to a bound is within it.

Stored rows depend on the bounds: whoever changes them has to convert those rows.
"""
BUCKETS: Final = len(BOUNDS) + 1
"""Number of buckets."""
_SECONDS: Final = tuple(bound.total_seconds() for bound in BOUNDS)

Counts: TypeAlias = tuple[int, ...]
"""Number of attempts in each bucket; `BUCKETS` numbers."""
NO_COUNTS: Final[Counts] = (0,) * BUCKETS
"""The counts of no attempts."""


class OutcomeKind(StrEnum):
    """How an attempt ended, as the history counts it. The value is the lower-case word that stores hold.

    Attempts that do not count are left out: those that a shutdown interrupted, or that never began.
    """

    COMPLETE = "complete"
    """The attempt succeeded."""
    FAILED = "failed"
    """The attempt failed, and the job is retried."""
    DISCARDED = "discarded"
    """The attempt failed, and it was the last."""
    CANCELLED = "cancelled"
    """`execute` returned `Cancel`, or a cancel was requested while the attempt ran."""
    SNOOZED = "snoozed"
    """`execute` returned `Snooze`."""

    @property
    def ends_job(self) -> bool:
        """Whether the job has ended as well."""
        return self not in (OutcomeKind.FAILED, OutcomeKind.SNOOZED)

    @property
    def is_failure(self) -> bool:
        """Whether the attempt failed, be it the last or not."""
        return self in (OutcomeKind.FAILED, OutcomeKind.DISCARDED)


@dataclass(frozen=True, slots=True)
class StatRow:
    """The attempts of one executor that ended in one way, in one minute or hour."""

    moment: datetime
    """When the minute or hour began, on the store's clock."""
    executor: str
    outcome: OutcomeKind
    attempts: int
    """Number of attempts."""
    waits: Counts
    """Number of attempts by how long the job had been due when they began."""
    runs: Counts
    """Number of attempts by how long they ran."""
    span: timedelta = MINUTE
    """`MINUTE` or `HOUR`."""


def kind_of(outcome: Outcome, *, is_last: bool) -> OutcomeKind | None:
    """Return how the history counts an outcome; None if it does not.

    Args:
        outcome: How the attempt ended.
        is_last: Whether it was the last attempt that the job had.
    """
    match outcome:
        case Complete():
            return OutcomeKind.COMPLETE
        case Failed():
            return OutcomeKind.DISCARDED if is_last else OutcomeKind.FAILED
        case Discarded():
            return OutcomeKind.DISCARDED
        case Cancelled():
            return OutcomeKind.CANCELLED
        case Snooze():
            return OutcomeKind.SNOOZED
        case Expired() | Interrupted():
            return None


def bucket_of(seconds: float) -> int:
    """Return the index of the bucket that counts this time; that of the first for a negative one, as of two clocks."""
    return bisect_left(_SECONDS, seconds)


def added(one: Sequence[int], other: Sequence[int]) -> Counts:
    """Return the sums of two lists of counts."""
    return tuple(map(int.__add__, one, other))


def total(rows: Iterable[Sequence[int]]) -> Counts:
    """Return the sums of any number of lists of counts, such as the `runs` of several rows."""
    counts = NO_COUNTS
    for row in rows:
        counts = added(counts, row)
    return counts


def percentile(counts: Sequence[int], share: float) -> timedelta | None:
    """Return an estimate of the time that this share of the attempts did not exceed; None if there are no attempts.

    The result is in the right bucket, within which times are taken to be spread evenly. For attempts beyond the last
    bound, that bound is returned, so a result of `BOUNDS[-1]` means that time or any longer one.

    Args:
        counts: Number of attempts in each bucket.
        share: 0 to 1: 0.5 for the median, 0.99 for the time that one attempt in a hundred exceeds.
    """
    attempts = sum(counts)
    if not attempts:
        return None
    wanted = attempts * min(max(share, 0.0), 1.0)
    for (lower, upper), number in zip(pairwise((timedelta(0), *BOUNDS)), counts, strict=False):
        if number and wanted <= number:
            return lower + (upper - lower) * (wanted / number)
        wanted -= number
    return BOUNDS[-1]


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour, in UTC: zones with half hours divide time otherwise."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
