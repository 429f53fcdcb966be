"""Which jobs match an expression."""

from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from rexecutor.model.codec import canonical, canonical_at
from rexecutor.model.job import JobRecord
from rexecutor.model.where import (
    And,
    Between,
    DataAt,
    DataEquals,
    ErrorIs,
    Everything,
    ExecutorIn,
    IdIn,
    Inserted,
    KeyIs,
    MetadataEquals,
    Moment,
    Not,
    Or,
    Scheduled,
    StatusIn,
    TaggedByAllOf,
    TaggedByOneOf,
    Where,
    node_of,
)

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)


def matches(where: Where, record: JobRecord, now: datetime) -> bool:  # noqa: C901, PLR0912 - one case a kind
    """Whether the record matches the expression at `now` on the store's clock."""
    node = node_of(where)
    match node:
        case Everything():
            return True
        case IdIn(ids):
            return record.id in ids
        case StatusIn(statuses):
            return record.status in statuses
        case ExecutorIn(names):
            return record.executor in names
        case KeyIs(digest):
            return record.unique_key == digest
        case DataEquals(json):
            return canonical(record.data) == json
        case DataAt(path, json):
            return canonical_at(record.data, path) == json
        case MetadataEquals(json):
            return canonical(record.metadata or "null") == json
        case TaggedByOneOf(tags):
            return not tags.isdisjoint(record.tags)
        case TaggedByAllOf(tags):
            return tags.issubset(record.tags)
        case ErrorIs(type_name, is_last):
            return any(error.type_name == type_name for error in (record.errors[-1:] if is_last else record.errors))
        case Scheduled():
            return _is_between(node, record.scheduled_at, now)
        case Inserted():
            return _is_between(node, record.inserted_at, now)
        case And(parts):
            return all(matches(part, record, now) for part in parts)
        case Or(parts):
            return any(matches(part, record, now) for part in parts)
        case Not(part):
            return not matches(part, record, now)
        case _:
            assert_never(node)


def _is_between(where: Between, moment: datetime, now: datetime) -> bool:
    after = None if where.after is None else moment_of(where.after, now)
    before = None if where.before is None else moment_of(where.before, now)
    if where.ends_count and moment in (after, before):
        return (after is None or after <= moment) and (before is None or moment <= before)
    return (after is None or after < moment) and (before is None or moment < before)


def moment_of(moment: Moment, now: datetime) -> datetime:
    """Return a datetime as it is, and a timedelta as the moment that long before `now`, within datetime's range."""
    return moment if isinstance(moment, datetime) else shifted(now, -moment)


def shifted(moment: datetime, by: timedelta) -> datetime:
    """Return the moment shifted by `by`; the first or the last datetime if it would be out of range."""
    try:
        return moment + by
    except OverflowError:
        return LATEST if by > timedelta(0) else EARLIEST
