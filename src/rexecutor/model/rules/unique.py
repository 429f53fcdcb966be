"""What an enqueue with uniqueness criteria does: add a job, return an existing one, or change an existing one."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.rules.life import due_at, expires_at
from rexecutor.model.rules.matching import shifted
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import And, ExecutorIn, KeyIs, Scheduled, StatusIn, Where


def conflicting(new: NewJob, unique: UniquenessCriteria, now: datetime) -> Where:
    """Return the expression for the jobs that conflict with a new one: those that match all of its criteria."""
    parts: list[Where] = [StatusIn(unique.statuses)]
    if unique.is_by_executor:
        parts.append(ExecutorIn(frozenset({new.executor})))
    if unique.key is not None:
        parts.append(KeyIs(unique.key))
    if unique.window is not None:
        due = due_at(new, now)
        start, end = shifted(due, -unique.window), shifted(due, unique.window)
        parts.append(Scheduled(after=start, before=end, ends_count=True))
    return And(tuple(parts))


def pick_existing(unique: UniquenessCriteria, found: Iterable[JobRecord]) -> JobRecord | None:
    """Return the conflicting job that the enqueue returns or replaces; None if there is no conflict.

    This is the first one that may be replaced, otherwise the first of all; in order of due time, then id.
    """
    return min(
        found,
        key=lambda record: (not _is_replaceable(unique, record), record.scheduled_at, record.id),
        default=None,
    )


def replaced(record: JobRecord, new: NewJob, unique: UniquenessCriteria, now: datetime) -> JobRecord:
    """Return the existing job after an enqueue of the new one; the same record if that changes nothing.

    With `scheduled_at`, the moment of expiry is replaced too.
    """
    if unique.replacement is None or not _is_replaceable(unique, record):
        return record
    fields: AbstractSet[str] = unique.replacement.fields
    if record.executor != new.executor:
        fields -= {"data", "metadata"}
    given: Mapping[str, Any] = {
        "priority": new.priority,
        "data": new.data,
        "metadata": new.metadata,
        "scheduled_at": due_at(new, now),
        "expires_at": expires_at(new, now),
        "max_attempts": new.max_attempts,
    }
    if not fields:
        return record
    if "scheduled_at" in fields:
        fields |= {"expires_at"}
    return replace(record, revision=record.revision + 1, **{name: given[name] for name in fields})


def _is_replaceable(unique: UniquenessCriteria, record: JobRecord) -> bool:
    return unique.replacement is not None and record.status in unique.replacement.statuses
