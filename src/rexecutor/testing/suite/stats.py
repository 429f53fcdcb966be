"""The history of attempts: rows are added up, folded to hours, and forgotten."""

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Final

from rexecutor.model import rules
from rexecutor.model.stats import BUCKETS, HOUR, HOURS_KEPT, MINUTE, MINUTES_KEPT, Counts, OutcomeKind, StatRow
from rexecutor.testing.clock import START
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, MICROSECOND, Store

_LONG_AGO: Final = START - timedelta(days=1_000)
_HOUR: Final = START.replace(minute=0, second=0, microsecond=0)
"""The beginning of an hour."""


def _counts(**buckets: int) -> Counts:
    """Return counts with these numbers in these buckets: `_counts(b3=2)`."""
    return tuple(buckets.get(f"b{number}", 0) for number in range(BUCKETS))


def _row(
    moment: datetime = _HOUR,
    executor: str = ALPHA,
    outcome: OutcomeKind = OutcomeKind.COMPLETE,
    *,
    attempts: int = 1,
    span: timedelta = MINUTE,
) -> StatRow:
    """Return a row of attempts that waited and ran equally long."""
    return StatRow(moment, executor, outcome, attempts, _counts(b3=attempts), _counts(b0=attempts), span)


async def _history(store: Store) -> list[StatRow]:
    return list(await store.backend.stats(_LONG_AGO))


class StatCases(Cases):
    """The history is what `rules.merged`, `rules.foldable`, `rules.folded` and `rules.outdated` make of its rows."""

    async def test_a_new_store_has_no_history(self, store: Store) -> None:
        assert await _history(store) == []
        assert await store.backend.fold_stats(100) == 0

    async def test_a_row_comes_back_as_it_was_added(self, store: Store) -> None:
        row = StatRow(_HOUR, ALPHA, OutcomeKind.COMPLETE, 7, _counts(b0=1, b5=6), _counts(b2=4, b19=3))

        await store.backend.add_stats([row])

        assert await _history(store) == [row]

    async def test_every_outcome_comes_back(self, store: Store) -> None:
        rows = [_row(outcome=outcome) for outcome in sorted(OutcomeKind)]

        await store.backend.add_stats(rows)

        assert await _history(store) == rows

    async def test_rows_of_one_key_are_added_up(self, store: Store) -> None:
        one = StatRow(_HOUR, ALPHA, OutcomeKind.FAILED, 3, _counts(b1=2, b4=1), _counts(b0=3))
        other = StatRow(_HOUR, ALPHA, OutcomeKind.FAILED, 2, _counts(b4=2), _counts(b0=1, b19=1))

        await store.backend.add_stats([one])
        await store.backend.add_stats([other])

        sums = StatRow(_HOUR, ALPHA, OutcomeKind.FAILED, 5, _counts(b1=2, b4=3), _counts(b0=4, b19=1))
        assert await _history(store) == [sums]

    async def test_rows_of_one_key_in_one_call_are_added_up_as_well(self, store: Store) -> None:
        await store.backend.add_stats([_row(attempts=2), _row(attempts=3)])

        assert await _history(store) == [_row(attempts=5)]

    async def test_rows_that_differ_in_minute_executor_outcome_or_span_stay_apart(self, store: Store) -> None:
        rows = [
            _row(),
            _row(_HOUR + MINUTE),
            _row(executor=BETA),
            _row(outcome=OutcomeKind.SNOOZED),
            _row(span=HOUR),
        ]

        for row in rows:
            await store.backend.add_stats([row])

        assert await _history(store) == sorted(rows, key=rules.stat_key)

    async def test_rows_come_in_order_of_moment_executor_and_outcome(self, store: Store) -> None:
        rows = [
            _row(moment, executor, outcome)
            for moment in (_HOUR + MINUTE, _HOUR)
            for executor in ("b", "_", "Z", "a", "a.b", "a-b")
            for outcome in (OutcomeKind.SNOOZED, OutcomeKind.COMPLETE)
        ]

        await store.backend.add_stats(rows)

        assert await _history(store) == sorted(rows, key=rules.stat_key)

    async def test_rows_before_the_moment_are_left_out(self, store: Store) -> None:
        rows = [_row(_HOUR + number * MINUTE) for number in range(3)]
        await store.backend.add_stats(rows)

        assert await store.backend.stats(_HOUR + MINUTE) == rows[1:]
        assert await store.backend.stats(_HOUR + MINUTE + MICROSECOND) == rows[2:]
        assert await store.backend.stats(_HOUR + HOUR) == []

    async def test_no_rows_change_nothing(self, store: Store) -> None:
        await store.backend.add_stats([])

        assert await _history(store) == []

    async def test_large_numbers_are_kept(self, store: Store) -> None:
        await store.backend.add_stats([_row(attempts=2**40)])
        await store.backend.add_stats([_row(attempts=2**40)])

        assert await _history(store) == [_row(attempts=2**41)]

    async def test_jobs_are_not_touched_and_waits_are_not_woken(self, store: Store) -> None:
        [job] = await store.executing()
        changes = store.backend.change_count

        await store.backend.add_stats([_row()])

        assert store.backend.change_count == changes
        assert await store.job(job.id) == job

    async def test_additions_at_one_moment_all_count(self, store: Store) -> None:
        await asyncio.gather(*(store.backend.add_stats([_row(), _row(executor=BETA)]) for _ in range(20)))

        assert await _history(store) == [_row(attempts=20), _row(executor=BETA, attempts=20)]

    async def test_minutes_of_the_last_day_are_not_folded(self, store: Store) -> None:
        rows = [_row(_HOUR - MINUTES_KEPT + number * MINUTE) for number in range(3)]
        await store.backend.add_stats(rows)

        assert await store.backend.fold_stats(100) == 0
        assert await _history(store) == rows

    async def test_older_minutes_are_folded_to_hours(self, store: Store) -> None:
        await store.backend.add_stats([_row(_HOUR + number * MINUTE) for number in (0, 1, 59, 60)])
        await store.backend.add_stats([_row(_HOUR, BETA), _row(_HOUR, outcome=OutcomeKind.FAILED)])
        store.clock.advance(_HOUR + HOUR + MINUTES_KEPT - store.now)

        assert await store.backend.fold_stats(100) == 5
        assert await store.backend.fold_stats(100) == 0
        assert await _history(store) == [
            _row(_HOUR, attempts=3, span=HOUR),
            _row(_HOUR, outcome=OutcomeKind.FAILED, span=HOUR),
            _row(_HOUR, BETA, span=HOUR),
            _row(_HOUR + HOUR),
        ]

    async def test_an_hour_is_folded_when_all_of_it_is_a_day_old(self, store: Store) -> None:
        await store.backend.add_stats([_row()])
        store.clock.advance(_HOUR + HOUR + MINUTES_KEPT - MICROSECOND - store.now)

        assert await store.backend.fold_stats(100) == 0
        store.clock.advance(MICROSECOND)
        assert await store.backend.fold_stats(100) == 1

    async def test_a_minute_that_comes_late_is_added_to_its_hour(self, store: Store) -> None:
        await store.backend.add_stats([_row()])
        store.clock.advance(MINUTES_KEPT + 2 * HOUR)
        await store.backend.fold_stats(100)
        await store.backend.add_stats([_row(), _row(_HOUR + MINUTE)])

        assert await store.backend.fold_stats(100) == 2
        assert await _history(store) == [_row(attempts=3, span=HOUR)]

    async def test_a_call_folds_no_more_rows_than_asked_and_begins_with_the_oldest(self, store: Store) -> None:
        await store.backend.add_stats([_row(_HOUR + number * MINUTE) for number in range(5)])
        store.clock.advance(MINUTES_KEPT + 2 * HOUR)

        assert await store.backend.fold_stats(2) == 2
        assert await _history(store) == [
            _row(attempts=2, span=HOUR),
            *(_row(_HOUR + number * MINUTE) for number in (2, 3, 4)),
        ]
        assert [await store.backend.fold_stats(2) for _ in range(3)] == [2, 1, 0]
        assert await _history(store) == [_row(attempts=5, span=HOUR)]

    async def test_hours_are_deleted_after_thirty_days(self, store: Store) -> None:
        rows = [_row(_HOUR + number * HOUR, span=HOUR) for number in range(3)]
        await store.backend.add_stats(rows)
        store.clock.advance(_HOUR + HOUR + HOURS_KEPT - MICROSECOND - store.now)

        assert await store.backend.fold_stats(100) == 0
        store.clock.advance(MICROSECOND)
        assert await store.backend.fold_stats(100) == 1
        assert await _history(store) == rows[1:]

    async def test_a_call_deletes_no_more_rows_than_asked_and_begins_with_the_oldest(self, store: Store) -> None:
        rows = [_row(_HOUR + number * HOUR, span=HOUR) for number in range(5)]
        await store.backend.add_stats(rows)
        store.clock.advance(HOURS_KEPT + 10 * HOUR)

        assert await store.backend.fold_stats(2) == 2
        assert await _history(store) == rows[2:]
        assert [await store.backend.fold_stats(2) for _ in range(3)] == [2, 1, 0]

    async def test_old_minutes_that_nobody_folded_in_time_are_forgotten_as_well(self, store: Store) -> None:
        await store.backend.add_stats([_row(_HOUR + number * MINUTE) for number in range(3)])
        store.clock.advance(HOURS_KEPT + 10 * HOUR)

        while await store.backend.fold_stats(2):
            pass

        assert await _history(store) == []

    async def test_several_that_fold_at_once_count_each_row_once(self, store: Store) -> None:
        await store.backend.add_stats([_row(_HOUR + number * MINUTE) for number in range(60)])
        store.clock.advance(MINUTES_KEPT + 2 * HOUR)

        folded = await asyncio.gather(*(store.backend.fold_stats(10) for _ in range(12)))
        while more := await store.backend.fold_stats(10):
            folded.append(more)

        assert sum(folded) == 60
        assert await _history(store) == [_row(attempts=60, span=HOUR)]

    async def test_other_backends_read_and_add_to_the_same_history(self, store: Store) -> None:
        async with store.another_backend() as other:
            await asyncio.gather(store.backend.add_stats([_row()]), other.add_stats([_row()]))

            assert await other.stats(_LONG_AGO) == [_row(attempts=2)]

    async def test_any_zone_may_be_asked_in(self, store: Store) -> None:
        await store.backend.add_stats([_row(), _row(_HOUR - MINUTE)])

        assert await store.backend.stats(_HOUR.astimezone(timezone(timedelta(hours=5, minutes=30)))) == [_row()]
