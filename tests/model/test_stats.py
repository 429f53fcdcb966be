"""Buckets of times, and what is read from them."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from rexecutor.model.job import ErrorKind, JobError
from rexecutor.model.outcomes import (
    COMPLETE,
    Cancelled,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Snooze,
)
from rexecutor.model.stats import (
    BOUNDS,
    BUCKETS,
    NO_COUNTS,
    OutcomeKind,
    added,
    bucket_of,
    hour_of,
    kind_of,
    percentile,
    total,
)

NOTHING = timedelta(0)
ERROR = JobError(1, ErrorKind.EXCEPTION, "ValueError", "boom", datetime(2026, 1, 1, tzinfo=UTC))


def counts_of(*times: timedelta) -> list[int]:
    """Return the counts of these times."""
    counts = [0] * BUCKETS
    for time in times:
        counts[bucket_of(time.total_seconds())] += 1
    return counts


def test_there_are_twenty_buckets_and_their_bounds_grow() -> None:
    assert BUCKETS == len(NO_COUNTS) == 20
    assert list(BOUNDS) == sorted(set(BOUNDS))


def test_each_bound_is_two_to_six_times_the_one_before() -> None:
    ratios = [later / earlier for earlier, later in pairwise(BOUNDS)]

    assert min(ratios) >= 2
    assert max(ratios) <= 6


@pytest.mark.parametrize("number", range(BUCKETS - 1))
def test_a_bucket_ends_with_its_bound(number: int) -> None:
    bound = BOUNDS[number].total_seconds()

    assert bucket_of(bound) == number
    assert bucket_of(bound * 1.0001) == number + 1


def test_the_last_bucket_has_no_end_and_the_first_no_beginning() -> None:
    assert bucket_of(float("inf")) == BUCKETS - 1
    assert bucket_of(-1e9) == bucket_of(0) == 0


def test_no_attempts_have_no_percentile() -> None:
    assert percentile(NO_COUNTS, 0.5) is None


@pytest.mark.parametrize("time", [timedelta(milliseconds=3), timedelta(seconds=7), timedelta(minutes=90)])
def test_a_percentile_is_in_the_bucket_of_its_time(time: timedelta) -> None:
    bucket = bucket_of(time.total_seconds())

    for share in (0.01, 0.5, 0.99, 1.0):
        found = percentile(counts_of(*[time] * 10), share)
        assert found is not None
        assert BOUNDS[bucket - 1] <= found <= BOUNDS[bucket]


def test_times_in_a_bucket_count_as_spread_evenly() -> None:
    counts = counts_of(*[timedelta(milliseconds=70)] * 100)  # from 50 to 100 ms

    assert percentile(counts, 0.5) == timedelta(milliseconds=75)
    assert percentile(counts, 1) == timedelta(milliseconds=100)
    assert percentile(counts, 0) == timedelta(milliseconds=50)


def test_one_slow_attempt_in_a_hundred_is_beyond_the_ninety_ninth_percentile() -> None:
    fast, slow = timedelta(milliseconds=1), timedelta(seconds=9)

    assert percentile(counts_of(*[fast] * 99, slow), 0.99) == fast
    two_slow = percentile(counts_of(*[fast] * 98, slow, slow), 0.99)
    assert two_slow is not None
    assert two_slow > timedelta(seconds=5)


def test_for_a_time_beyond_the_last_bound_that_bound_is_returned() -> None:
    assert percentile(counts_of(timedelta(days=3)), 0.5) == BOUNDS[-1] == timedelta(hours=6)


@pytest.mark.parametrize(("share", "same_as"), [(-1.0, 0.0), (2.0, 1.0)])
def test_a_share_out_of_range_is_the_nearest_in_range(share: float, same_as: float) -> None:
    counts = counts_of(timedelta(seconds=1), timedelta(minutes=1))

    assert percentile(counts, share) == percentile(counts, same_as)


def test_counts_are_added_up_bucket_by_bucket() -> None:
    one, other = counts_of(timedelta(seconds=1)), counts_of(timedelta(seconds=1), timedelta(days=1))

    assert added(one, other) == total([one, other]) == tuple(counts_of(*[timedelta(seconds=1)] * 2, timedelta(days=1)))
    assert total([]) == NO_COUNTS


@pytest.mark.parametrize(
    ("outcome", "is_last", "kind"),
    [
        (COMPLETE, False, OutcomeKind.COMPLETE),
        (COMPLETE, True, OutcomeKind.COMPLETE),
        (Failed(ERROR, NOTHING), False, OutcomeKind.FAILED),
        (Failed(ERROR, NOTHING), True, OutcomeKind.DISCARDED),
        (Discarded(ERROR), False, OutcomeKind.DISCARDED),
        (Cancelled(ERROR), False, OutcomeKind.CANCELLED),
        (Snooze(NOTHING), True, OutcomeKind.SNOOZED),
        (Expired(), False, None),
        (Interrupted(), True, None),
    ],
)
def test_an_outcome_is_counted_by_what_becomes_of_the_job(
    outcome: Outcome, is_last: bool, kind: OutcomeKind | None
) -> None:
    assert kind_of(outcome, is_last=is_last) is kind


def test_a_kind_tells_whether_the_job_has_ended_and_whether_the_attempt_failed() -> None:
    assert {kind for kind in OutcomeKind if not kind.ends_job} == {OutcomeKind.FAILED, OutcomeKind.SNOOZED}
    assert {kind for kind in OutcomeKind if kind.is_failure} == {OutcomeKind.FAILED, OutcomeKind.DISCARDED}


def test_hours_are_those_of_utc() -> None:
    nepal = timezone(timedelta(hours=5, minutes=45))

    assert hour_of(datetime(2026, 1, 1, 12, 50, 7, tzinfo=nepal)) == datetime(2026, 1, 1, 7, tzinfo=UTC)
