"""What the SQL stores keep alike in rows: their jobs have the same columns in the same order."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec

from rexecutor.backend.messages import NodeState
from rexecutor.model.job import JobError, JobRecord, NewJob, is_storable
from rexecutor.model.schedules import Span
from rexecutor.model.stats import BUCKETS, HOUR, MINUTE, OutcomeKind, StatRow
from rexecutor.model.status import JobStatus

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
STATUSES: Final = {str(status): status for status in JobStatus}
UNREADABLE: Final = (ValueError, LookupError, TypeError, OverflowError)
"""Errors raised when a column holds an invalid value."""
_SPANS: Final = msgspec.json.Decoder(tuple[Span, ...])
_MOST_ATTEMPTS: Final = 2**62
_Number = Annotated[int, msgspec.Meta(ge=0, le=_MOST_ATTEMPTS)]
_COUNTS: Final = msgspec.json.Decoder(
    Annotated[tuple[_Number, ...], msgspec.Meta(min_length=BUCKETS, max_length=BUCKETS)]
)
_KINDS: Final = {str(kind): kind for kind in OutcomeKind}
_SPANS_OF_STATS: Final = {1: MINUTE, 60: HOUR}


_LONGEST_LAG: Final = 1e9
"""Seconds."""


class _Said(msgspec.Struct):
    """What a node says of itself, as it is stored."""

    host: str
    pid: int
    version: str
    slots: int
    running: int
    loop_lag: Annotated[float, msgspec.Meta(ge=-_LONGEST_LAG, le=_LONGEST_LAG)]
    stuck: int = 0


_SAID: Final = msgspec.json.Decoder(_Said)
_EXECUTORS: Final = msgspec.json.Decoder(dict[str, int | None])


def state_text(state: NodeState | None) -> str | None:
    """Return what a node says of itself as JSON, without its executors; None if it says nothing."""
    if state is None:
        return None
    said = _Said(state.host, state.pid, state.version, state.slots, state.running, state.loop_lag, state.stuck)
    return msgspec.json.encode(said).decode()


def executors_text(state: NodeState | None) -> str | None:
    """Return a node's executors as JSON: name → how many jobs at a time, or null if only its slots limit them."""
    if state is None:
        return None
    return msgspec.json.encode({name: state.limits.get(name) for name in state.executors}).decode()


def node_state(said: str | None, executors: str | None) -> NodeState | None:
    """Return what a node has said of itself; None if it has said nothing, or nothing that can be read."""
    if said is None:
        return None
    try:
        told = _SAID.decode(said)
        limits = {} if executors is None else _EXECUTORS.decode(executors)
    except UNREADABLE:
        return None
    return NodeState(
        told.host,
        told.pid,
        told.version,
        tuple(sorted(limits)),
        told.slots,
        told.running,
        told.loop_lag,
        {name: limit for name, limit in limits.items() if limit is not None},
        told.stuck,
    )


def may_expire(job: NewJob) -> bool:
    """Whether a new job has a moment of expiry."""
    return job.expires_at is not None or job.expires_in is not None


def needs_full_row(job: NewJob) -> bool:
    """Whether a new job has a value in a column that most jobs leave empty, and that plain inserts leave out."""
    return job.headers is not None or job.expires_at is not None or job.expires_in is not None


def defective(
    row: Sequence[Any],
    error: Exception,
    *,
    tags: Callable[[Any], tuple[str, ...]],
    errors: Callable[[Any], tuple[JobError, ...]],
    moment: Callable[[Any], datetime],
) -> JobRecord:
    """Return a record of the readable columns of a row, with a `defect` that says why the rest cannot be read.

    Args:
        row: The row, with all columns.
        error: Why it cannot be read.
        tags: Decodes the tags column. All three decoders raise one of `UNREADABLE` if they cannot.
        errors: Decodes the errors column.
        moment: Decodes one column with a moment.
    """
    return JobRecord(
        id=row[0],
        executor=row[1],
        status=STATUSES.get(row[2], JobStatus.DISCARDED),
        data=row[3],
        metadata=row[4],
        attempt=row[5],
        max_attempts=row[6],
        priority=row[7],
        tags=_sound(tags, row[8]) or (),
        errors=_sound(errors, row[9]) or (),
        claims=row[10],
        snoozes=row[11],
        losses=row[12],
        node=row[13],
        cancel_reason=row[14],
        unique_key=row[15],
        revision=row[16],
        inserted_at=_sound(moment, row[17]) or EPOCH,
        scheduled_at=_sound(moment, row[18]) or EPOCH,
        attempted_at=_sound(moment, row[19]),
        completed_at=_sound(moment, row[20]),
        cancelled_at=_sound(moment, row[21]),
        discarded_at=_sound(moment, row[22]),
        expires_at=_sound(moment, row[23]),
        result=row[24],
        headers=row[25],
        defect=f"the stored row cannot be read: {type(error).__name__}: {error}",
    )


def _sound(read: Callable[[Any], T], value: Any) -> T | None:
    """Return what `read` makes of the value; None if it cannot be read."""
    try:
        return read(value)
    except UNREADABLE:
        return None


def spans_text(spans: Sequence[Span]) -> str:
    """Return time spans as their column holds them: a JSON list of pairs."""
    return msgspec.json.encode(spans).decode()


def spans_of(text: str) -> tuple[Span, ...]:
    """Return the spans of a JSON text; empty if the text is invalid."""
    try:
        return _SPANS.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return ()


def stat_of(row: Sequence[Any], moment: Callable[[Any], datetime]) -> StatRow | None:
    """Return a row of the history; None if it cannot be read.

    Args:
        row: Its columns, the counts as JSON texts.
        moment: Decodes a column with a moment. Raises one of `UNREADABLE` if it cannot.
    """
    minutes, began, executor, outcome, attempts, waits, runs = row
    if not 0 <= attempts <= _MOST_ATTEMPTS or not is_storable(executor):
        return None
    try:
        return StatRow(
            moment(began),
            executor,
            _KINDS[outcome],
            attempts,
            _COUNTS.decode(waits),
            _COUNTS.decode(runs),
            _SPANS_OF_STATS[minutes],
        )
    except UNREADABLE:
        return None


def minutes_of(row: StatRow) -> int:
    """Return the row's span as its column holds it."""
    return row.span // MINUTE


def counts_text(counts: Sequence[int]) -> str:
    """Return counts as a JSON list."""
    return msgspec.json.encode(counts).decode()
