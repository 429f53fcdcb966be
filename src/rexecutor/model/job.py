"""What a job is: to the user (`Job`), to a store (`JobRecord`), and before a store has it (`NewJob`)."""

from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, cast

import msgspec
from typing_extensions import TypeVar

from rexecutor.errors import ConfigurationError, InvalidJobError, JobStateError
from rexecutor.model.json_form import DEPTH
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria

JobId: TypeAlias = int
"""Grows with the enqueues; never used twice in one store."""

ClaimId: TypeAlias = tuple[JobId, int]
"""A job, and the number of its claim: what the fence asks for."""

NodeId: TypeAlias = str
"""Made anew each time a `Rexecutor` starts; never a host's name."""

Disposition: TypeAlias = Literal["inserted", "existing", "replaced"]

Data = TypeVar("Data")
Metadata = TypeVar("Metadata", default=None)

MOST_PRIORITY = 32_767
MOST_ATTEMPTS = 32_767


class ErrorKind(StrEnum):
    """Why an attempt did not succeed."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DECODE = "decode"
    LOST = "lost"


class Run(Protocol):
    """The run of a job, as far as the job itself may end it."""

    async def complete(self, connection: object, /) -> None:
        """Complete the job in the connection's transaction."""

    def complete_sync(self, connection: object, /) -> None:
        """Do the same on a connection that blocks."""


@dataclass(frozen=True, slots=True)
class JobError:
    """One attempt that did not succeed; a job keeps the last of them (`Limits.errors`)."""

    attempt: int
    kind: ErrorKind
    type_name: str
    """The exception's class, or a word for what had none."""
    details: str
    """Message and traceback, or the reason of a cancel; at most `Limits.error_text` characters."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Job(Generic[Data, Metadata]):
    """A job as its executor sees it. Change one with `dataclasses.replace`; all moments are aware, in UTC."""

    id: JobId
    status: JobStatus
    executor: str
    data: Data
    metadata: Metadata | None
    attempt: int
    """How many attempts have started, this one included; 0 before the first."""
    max_attempts: int
    priority: int
    """0 is the most urgent."""
    tags: tuple[str, ...]
    errors: tuple[JobError, ...]
    inserted_at: datetime
    scheduled_at: datetime
    attempted_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    discarded_at: datetime | None
    _version: int = field(default=0, repr=False, compare=False)
    _run: "Run | None" = field(default=None, repr=False, compare=False)

    @property
    def is_final_attempt(self) -> bool:
        """Whether a failure now discards the job."""
        return self.attempt >= self.max_attempts

    async def complete_in(self, connection: Any) -> None:
        """Complete this job in your transaction: your writes and the completion are committed together, or neither is.

        For `execute`, after the writes. What it answers afterwards is ignored; an attempt whose transaction was rolled
        back has failed.

        ```python
        async def execute(self, job: Job[Order]) -> None:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("update orders set charged = true where id = %s", [job.data.id])
                await job.complete_in(connection)
        ```

        Exactly once, for what is in the database of the jobs: the completion is fenced by the job's claim, so that a
        worker which was given up for dead, and whose job another has, cannot commit.

        Args:
            connection: Any that `bound_to` of the job's backend takes and that is awaited; of SQLite, any. One that
                commits each statement by itself completes the job at once.

        Raises:
            LeaseLostError: The job is no longer this worker's; let it roll the transaction back.
            JobStateError: This job does not run here, but was read from the store.
            ConfigurationError: It cannot be used as it is, or the backend shares no transactions; nothing was sent.
            BackendError: The store failed, or, under REPEATABLE READ and SERIALIZABLE, the job has changed since your
                transaction began, as by a cancel: a serialization failure. Roll the transaction back.
        """
        await self._required_run().complete(connection)

    def complete_in_sync(self, connection: Any) -> None:
        """Do what `complete_in` does on a connection that blocks, for an `execute` that is a plain `def`."""
        self._required_run().complete_sync(connection)

    def _required_run(self) -> "Run":
        if self._run is None:
            raise JobStateError(f"complete_in: job {self.id} does not run here; only execute can complete its own job")
        return self._run


_Thawed: Final = make_dataclass(
    "_Thawed", [(one.name, Any) for one in fields(Job)], bases=cast("Any", Job).__orig_bases__, slots=True
)


def job_of(*values: Any) -> Job[Any, Any]:
    """Answer a job of these values, in the order of its fields.

    There is one for every run, and a frozen dataclass takes five times as long to be made as a plain one. So the
    values go into a plain twin, which is then declared to be the frozen one: classes with the same slots may do that.
    """
    thawed: Any = _Thawed(*values)
    thawed.__class__ = Job
    return thawed


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """A job as a store holds it: data and metadata are JSON text.

    This and what follows are msgspec structs and not dataclasses because there is one for every job that is claimed
    or enqueued: a struct is made in a tenth of the time.
    """

    id: JobId
    executor: str
    status: JobStatus
    data: str
    metadata: str | None
    attempt: int
    max_attempts: int
    priority: int
    tags: tuple[str, ...]
    errors: tuple[JobError, ...]
    claims: int
    """The fence: how often a node has taken the job; only grows."""
    snoozes: int
    losses: int
    """How many nodes died with it since it was enqueued or rerun."""
    node: NodeId | None
    """The node that runs it; None unless executing."""
    cancel_reason: str | None
    """A cancel that was asked for while it runs."""
    unique_key: str | None
    """The digest of the uniqueness key that it was enqueued with."""
    revision: int
    """How often anything but a claim or an end has changed it."""
    inserted_at: datetime
    scheduled_at: datetime
    attempted_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    discarded_at: datetime | None = None
    defect: str | None = None
    """What of the stored row could not be read; None for a sound row."""

    @property
    def claim_id(self) -> ClaimId:
        """The job with the number of its claim."""
        return self.id, self.claims

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None when it has not."""
        return self.completed_at or self.cancelled_at or self.discarded_at

    @property
    def version(self) -> int:
        """Grows with each change, up to its end: a copy of another version is stale."""
        return self.claims + self.revision


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """A job that has been checked and encoded, and not yet stored.

    It is due at `scheduled_at`, or `delay` after the store's own time where that is None.
    """

    executor: str
    data: str
    metadata: str | None
    max_attempts: int
    priority: int
    tags: tuple[str, ...]
    scheduled_at: datetime | None
    delay: timedelta
    unique: UniquenessCriteria | None = None


class Enqueued(msgspec.Struct, frozen=True, gc=False):
    """A store's answer to one new job."""

    id: JobId
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a job may be; checked at the enqueue, before the backend."""

    data: int = 1024 * 1024
    """Bytes of the data's JSON."""
    metadata: int = 64 * 1024
    """Bytes of the metadata's JSON."""
    depth: int = DEPTH
    """How deep lists and objects may be nested in data and metadata: 1 to 100.

    It may not be higher: beyond that pydantic, CPython and PostgreSQL have limits of their own, which differ.
    """
    tags: int = 32
    tag: int = 128
    """Characters of one tag."""
    error_text: int = 8 * 1024
    """Characters of one error's details; what is longer loses its middle."""
    errors: int = 20
    """How many errors a job keeps: the latest."""
    losses: int = 3
    """A job whose node died this often is discarded, whatever its `max_attempts`."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"Limits.{name}: {getattr(self, name)!r}, 1 or more expected")
        if self.depth > DEPTH:
            raise ConfigurationError(f"Limits.depth: {self.depth!r}, at most {DEPTH} expected")


def checked_priority(executor: str, priority: int) -> int:
    """Answer the priority, or raise an `InvalidJobError` when no store may hold it."""
    return _in_range(executor, "priority", priority, 0, MOST_PRIORITY)


def is_storable(text: str) -> bool:
    """Whether every store takes the text: it holds no NUL and no lone surrogate."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))


def checked_max_attempts(executor: str, max_attempts: int) -> int:
    """Answer the number of attempts, or raise an `InvalidJobError` when no store may hold it."""
    return _in_range(executor, "max_attempts", max_attempts, 1, MOST_ATTEMPTS)


def _in_range(executor: str, what: str, value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InvalidJobError(f"{executor}: {what} is {value!r}, a whole number from {low} to {high:,} expected")
    return value


def storable(text: str, most: int) -> str:
    """Answer the text as every store takes it: no NUL, no lone surrogate, at most `most` characters.

    What is longer loses its middle.
    """
    if len(text) > most:
        gap = f"\n… {len(text) - most:,} characters left out …\n"
        kept = max(most - len(gap), 0)
        text = (text[: kept - kept // 2] + gap + text[len(text) - kept // 2 :])[:most]
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
