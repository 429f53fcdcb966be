"""What a store does with the history of attempts: adds rows up, folds minutes to hours, and forgets old hours."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from rexecutor.model.rules.matching import shifted
from rexecutor.model.stats import HOUR, HOURS_KEPT, MINUTE, MINUTES_KEPT, StatRow, added, hour_of


def stat_key(row: StatRow) -> tuple[datetime, str, str, timedelta]:
    """Return what tells a row from others. Rows are returned in this order."""
    return row.moment, row.executor, str(row.outcome), row.span


def merged(rows: Iterable[StatRow]) -> list[StatRow]:
    """Return the rows with those of one key added up, in order of their keys."""
    found: dict[tuple[datetime, str, str, timedelta], StatRow] = {}
    for row in rows:
        key = stat_key(row)
        known = found.get(key)
        found[key] = row if known is None else plus(known, row)
    return [found[key] for key in sorted(found)]


def plus(one: StatRow, other: StatRow) -> StatRow:
    """Return the sum of two rows of one key."""
    return replace(
        one,
        attempts=one.attempts + other.attempts,
        waits=added(one.waits, other.waits),
        runs=added(one.runs, other.runs),
    )


def folds_before(now: datetime) -> datetime:
    """Return the moment before which rows of minutes are folded: the beginning of an hour, more than a day ago."""
    return hour_of(shifted(now, -MINUTES_KEPT))


def deletes_before(now: datetime) -> datetime:
    """Return the moment before which rows of hours are deleted: the beginning of an hour, more than 30 days ago."""
    return hour_of(shifted(now, -HOURS_KEPT))


def foldable(rows: Iterable[StatRow], now: datetime, limit: int) -> list[StatRow]:
    """Return the first `limit` rows of minutes to fold, the oldest first."""
    before = folds_before(now)
    return sorted((row for row in rows if row.span == MINUTE and row.moment < before), key=stat_key)[:limit]


def folded(rows: Iterable[StatRow]) -> list[StatRow]:
    """Return the rows of hours that these rows of minutes add to, in order of their keys."""
    return merged(replace(row, moment=hour_of(row.moment), span=HOUR) for row in rows)


def outdated(rows: Iterable[StatRow], now: datetime, limit: int) -> list[StatRow]:
    """Return the first `limit` rows of hours to delete, the oldest first."""
    before = deletes_before(now)
    return sorted((row for row in rows if row.span == HOUR and row.moment < before), key=stat_key)[:limit]
