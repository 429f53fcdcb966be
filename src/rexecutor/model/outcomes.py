"""What can happen to a job: what an executor returns, how an attempt ends, and every change of a status."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from rexecutor.model.backoff import LONGEST
from rexecutor.model.checks import checked_delay, checked_instance
from rexecutor.model.job import JobError, JobId, NodeId


@dataclass(frozen=True, slots=True)
class Cancel:
    """Returned by `execute`: never run this job again. It ends as cancelled, with the reason in its last error."""

    reason: str

    def __post_init__(self) -> None:
        checked_instance("Cancel: reason", self.reason, str, "a str")


@dataclass(frozen=True, slots=True)
class Snooze:
    """Returned by `execute`: run this job again after the delay. The attempt does not count."""

    delay: timedelta

    def __post_init__(self) -> None:
        checked_delay("Snooze: delay", self.delay, limit=LONGEST)


ExecutionResult: TypeAlias = Cancel | Snooze | None
"""What `execute` returns: None if the work is done."""


class Undeclared(NamedTuple):
    """Stands for a value that `execute` returned but may not return. Only the type is kept: the value may be data."""

    type_name: str


class Complete(msgspec.Struct, frozen=True, gc=False):
    """The attempt succeeded. A struct, because there may be one for each job."""

    result: str | None = None
    """What `execute` returned, as JSON text; None if that is null, or if the executor declares no result."""


COMPLETE: Final = Complete()
"""The success without a result, made once for all."""

Returned: TypeAlias = Cancel | Snooze | Complete | Undeclared
"""What `execute` returned, checked and encoded. It can be pickled, whatever the value was."""


def returned(value: object, encode: Callable[[Any], str] | None) -> Returned:
    """Check what `execute` returned, and encode it if it is a result.

    Args:
        value: What `execute` returned.
        encode: Encodes a result of the declared type as JSON text; None if the executor declares no result.

    Raises:
        TypeError: The value stands for work that was not done: a coroutine, another awaitable, or a generator. Or it
            is the class `Cancel` or `Snooze`, and not an instance.
        EncodeError: The value is not of the declared type, or is too large.
    """
    if not _is_result(type(value)) or value is Cancel or value is Snooze:
        if isinstance(value, Cancel | Snooze):
            return value
        if value is Cancel or value is Snooze:
            example = 'Cancel("why")' if value is Cancel else "Snooze(timedelta(minutes=5))"
            raise TypeError(f"execute returned the class {value.__name__}; return an instance, such as {example}")
        raise TypeError(f"execute returned a {type(value).__name__}, so its work was not done; await or run it")
    if encode is None:
        return COMPLETE if value is None else Undeclared(type(value).__name__)
    text = encode(value)
    return COMPLETE if text == "null" else Complete(text)


@lru_cache(maxsize=1_000)
def _is_result(kind: type[object]) -> bool:
    """Return whether a value of this type may be a result: it does not name the outcome, and no work is left in it."""
    return not issubclass(kind, (Cancel, Snooze, Awaitable, GeneratorType, AsyncGeneratorType))


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt ended in a cancel. The error holds the reason."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. The next one is due after the delay, unless this was the last."""

    error: JobError
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Discarded:
    """The attempt failed with an exception that must not be retried."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Expired:
    """The moment came by which the job should have started. It never runs.

    As an outcome: the job was claimed after that moment, and its code was not called. The attempt does not count.
    """


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was cut off through no fault of the job, or never started. It does not count."""


Outcome: TypeAlias = Complete | Cancelled | Snooze | Failed | Discarded | Expired | Interrupted
"""How an attempt ended."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A node took the job to run it."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Lost:
    """The node that ran the job let its lease run out."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A cancel was requested: a waiting job is cancelled at once; for a running job, its node is notified."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rerun:
    """A rerun of an ended job was requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldUpdate:
    """New values for fields of jobs that have not ended. What is UNSET stays as it is."""

    data: str | UnsetType = UNSET
    """JSON text, as `NewJob` has it."""
    metadata: str | UnsetType | None = UNSET
    """JSON text; None for no metadata."""
    max_attempts: int | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    scheduled_at: datetime | UnsetType = UNSET


Change: TypeAlias = Outcome | Claimed | Lost | CancelAsked | Rerun
"""Everything that changes a job's status; the argument of `rules.transition`."""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """An outcome on its way to the store, with its fence: it is recorded only for this claim of this job.

    It is a msgspec struct and not a dataclass because one is made for every attempt, as with `JobRecord`.
    """

    job_id: JobId
    claims: int
    outcome: Outcome
    commit_unknown: bool = False
    """Whether `Job.complete_in` was called. If its transaction was committed, the job is complete already."""


def kinds_of(settlements: Iterable[Settlement]) -> frozenset[type[Outcome]]:
    """Return the types of the outcomes."""
    return frozenset([type(one.outcome) for one in settlements])


def makes_work(kinds: Iterable[type[Outcome]]) -> bool:
    """Return whether an outcome of one of these types may let its job run again. The others end their jobs."""
    return any(issubclass(kind, Failed | Snooze | Interrupted) for kind in kinds)
