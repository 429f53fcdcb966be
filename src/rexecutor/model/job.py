"""Jobs as users see them (`Job`), as stores hold them (`JobRecord`), and before they are stored (`NewJob`)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, overload

import msgspec
from typing_extensions import TypeVar

from rexecutor.errors import InvalidJobError, JobStateError
from rexecutor.model.checks import checked_int, mistake
from rexecutor.model.json_form import DEPTH
from rexecutor.model.quick import quick_maker
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria

JobId: TypeAlias = int
"""A job's id. Later enqueues get higher ids; a store never uses one twice."""

ClaimId: TypeAlias = tuple[JobId, int]
"""A job's id and the number of one of its claims: what the fence compares."""

NodeId: TypeAlias = str
"""A node's id: new each time a `Rexecutor` starts, never a host name."""

Disposition: TypeAlias = Literal["inserted", "existing", "replaced"]

Data = TypeVar("Data")
Metadata = TypeVar("Metadata", default=None)
Result = TypeVar("Result", default=None)

MAX_PRIORITY = 32_767
MAX_ATTEMPTS = 32_767


class ErrorKind(StrEnum):
    """Why an attempt did not succeed."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DECODE = "decode"
    LOST = "lost"
    EXPIRED = "expired"


class JobCompleter(Protocol):
    """The running attempt behind a `Job`: what `Job.complete_in` needs of it."""

    async def complete(self, connection: object, result: object, /) -> None:
        """Complete the job in the connection's transaction, with this result."""

    def complete_sync(self, connection: object, result: object, /) -> None:
        """Complete the job in the transaction of a blocking connection, with this result."""


@dataclass(frozen=True, slots=True)
class JobError:
    """One attempt that did not succeed. A job keeps the latest ones, at most `Limits.errors`."""

    attempt: int
    kind: ErrorKind
    type_name: str
    """Name of the exception's class, or a word such as `Cancel` or `NodeLost` if there was no exception."""
    details: str
    """Message and traceback, or the reason for a cancel; at most `Limits.error_text` characters."""
    recorded_at: datetime
    type_path: str | None = None
    """Module and qualified name of the exception's class, such as `shop.errors.Declined`; None if there was none."""
    node: NodeId | None = None
    """The node that ran the attempt; None if no attempt ran, or if the store ended the job for another reason."""


@dataclass(frozen=True, slots=True)
class Job(Generic[Data, Metadata, Result]):
    """A job as its executor sees it. To change one, use `dataclasses.replace`. All moments are aware, in UTC."""

    id: JobId
    status: JobStatus
    executor: str
    data: Data
    metadata: Metadata | None
    attempt: int
    """Number of attempts that have started, including this one; 0 before the first."""
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
    expires_at: datetime | None = None
    """If no attempt has started by then, the job is cancelled with an error of the kind `expired`; None for never."""
    result: Result | None = None
    """What `execute` returned, if the job is complete and its executor declares a result type; otherwise None."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """What `around_enqueue` middleware has stored with the job, such as a trace id, from name to text.

    Empty if there was none, as for the jobs of schedules. It stays the same for all attempts, updates and reruns.
    """
    _version: int = field(default=0, repr=False, compare=False)
    _completer: "JobCompleter | None" = field(default=None, repr=False, compare=False)

    @property
    def is_final_attempt(self) -> bool:
        """Whether the job is discarded if this attempt fails."""
        return self.attempt >= self.max_attempts

    @overload
    async def complete_in(self: "Job[Data, Metadata, None]", connection: Any, *, result: Any = ...) -> None: ...
    @overload
    async def complete_in(self, connection: Any, *, result: Result) -> None: ...
    async def complete_in(self, connection: Any, *, result: Any = None) -> None:
        """Complete this job in your transaction: your writes and the completion are committed together, or neither is.

        Call it in `execute`, after the writes. What `execute` returns afterwards is ignored, also as a result: give the
        result here. If the transaction is rolled back, the attempt has failed.

        ```python
        async def execute(self, job: Job[Order]) -> None:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("update orders set charged = true where id = %s", [job.data.id])
                await job.complete_in(connection)
        ```

        Writes to the database that holds the jobs take effect exactly once: the completion is fenced by the job's
        claim. If this worker was taken for dead and another one has the job, it cannot commit.

        Args:
            connection: An async connection of any kind that `bound_to` of the job's backend takes; for SQLite, any
                connection. In autocommit mode, the job is completed at once.
            result: The job's result, of the type that its executor declares; None if it declares none. A type checker
                knows the type if the parameter of `execute` is annotated with it, as in `Job[Order, None, Report]`.

        Raises:
            EncodeError: The result is not of the declared type or larger than `Limits.result`, or the executor declares
                no result. Nothing was sent.
            LeaseLostError: The job is no longer this worker's. Let the error roll the transaction back.
            JobStateError: This job is not running here; it was read from the store.
            ConfigurationError: The connection cannot be used as it is, or the backend cannot share transactions.
                Nothing was sent.
            BackendError: The store failed. Or, under REPEATABLE READ and SERIALIZABLE, the job has changed since your
                transaction began, for example by a cancel: a serialization failure. Roll the transaction back.
        """
        await self._required_completer().complete(connection, result)

    @overload
    def complete_in_sync(self: "Job[Data, Metadata, None]", connection: Any, *, result: Any = ...) -> None: ...
    @overload
    def complete_in_sync(self, connection: Any, *, result: Result) -> None: ...
    def complete_in_sync(self, connection: Any, *, result: Any = None) -> None:
        """Complete this job in the transaction of a blocking connection, for an `execute` that is a plain `def`.

        Otherwise the same as `complete_in`.
        """
        self._required_completer().complete_sync(connection, result)

    def _required_completer(self) -> "JobCompleter":
        if self._completer is None:
            raise JobStateError(f"complete_in: job {self.id} does not run here; only execute can complete its own job")
        return self._completer


job_of: Final[Callable[..., Job[Any, Any, Any]]] = quick_maker(Job)
"""Returns a job with these values, given in the order of its fields. One is made for every attempt."""


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """A job as a store holds it: data and metadata are JSON text.

    This class and the next two are msgspec structs, not dataclasses, because one is made for every job that is claimed
    or enqueued: making a struct takes a tenth of the time.
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
    """The fence: how often the job has been claimed. It only grows."""
    snoozes: int
    losses: int
    """How many nodes were lost while running it, since it was enqueued or last rerun."""
    node: NodeId | None
    """The node that runs it; None unless executing."""
    cancel_reason: str | None
    """The reason for a cancel that was requested while it runs; None if there was no such request."""
    unique_key: str | None
    """The digest of the uniqueness key that it was enqueued with; None if there was none."""
    revision: int
    """How often anything other than a claim or the job's end has changed it."""
    inserted_at: datetime
    scheduled_at: datetime
    attempted_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    discarded_at: datetime | None = None
    expires_at: datetime | None = None
    result: str | None = None
    """The result, as JSON text; None if there is none."""
    headers: str | None = None
    """What middleware has sent along with the job: a JSON object of texts, as text; None if nothing."""
    defect: str | None = None
    """Why the stored row cannot be read; None for a sound row."""

    @property
    def claim_id(self) -> ClaimId:
        """The job's id and the number of its latest claim."""
        return self.id, self.claims

    @property
    def ended_at(self) -> datetime | None:
        """When the job ended; None if it has not."""
        return self.completed_at or self.cancelled_at or self.discarded_at

    @property
    def version(self) -> int:
        """Version for optimistic updates: a copy of another version is stale. Grows with each change until the end."""
        return self.claims + self.revision


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """A job that has been checked and encoded, but not yet stored.

    It is due at `scheduled_at`. If that is None, it is due `delay` after the enqueue, on the store's clock.
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
    expires_at: datetime | None = None
    expires_in: timedelta | None = None
    """How long after the enqueue it expires, on the store's clock, if `expires_at` is None."""
    headers: str | None = None
    """What middleware sends along with it: a JSON object of texts, as text; None for nothing."""


class Enqueued(msgspec.Struct, frozen=True, gc=False):
    """What a backend returns for one new job."""

    id: JobId
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a job may be. Sizes are checked at the enqueue, before the backend is called."""

    data: int = 1024 * 1024
    """Maximum size of the data's JSON, in bytes."""
    metadata: int = 64 * 1024
    """Maximum size of the metadata's JSON, in bytes."""
    result: int = 64 * 1024
    """Maximum size of the JSON of a result, in bytes."""
    headers: int = 8 * 1024
    """Maximum size of the JSON of all headers of a job, in bytes."""
    depth: int = DEPTH
    """How deep lists and objects may be nested in data and metadata: 1 to 100.

    100 is the maximum because pydantic, CPython and PostgreSQL have different limits of their own beyond it.
    """
    tags: int = 32
    """Maximum number of a job's tags."""
    tag: int = 128
    """Maximum length of one tag, in characters."""
    error_text: int = 8 * 1024
    """Maximum length of one error's details, in characters. The middle of a longer text is cut out."""
    errors: int = 20
    """Maximum number of errors that a job keeps: the latest."""
    losses: int = 3
    """A job whose nodes were lost this often is discarded, even if it has attempts left."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise mistake(f"Limits.{name}", "1 or more", getattr(self, name))
        if self.depth > DEPTH:
            raise mistake("Limits.depth", f"at most {DEPTH}", self.depth)


def detail_lines(error: JobError) -> list[str]:
    """Return the lines of an error's details, at least one: the type's name if it has none."""
    return error.details.strip().splitlines() or [error.type_name]


def last_line(error: JobError) -> str:
    """Return the error in one line, with the name of its type: of a traceback, the exception, without its module."""
    line = detail_lines(error)[-1]
    named = re.match(rf"(?:[\w.<>]+\.)?({re.escape(error.type_name)}(?::|$).*)", line)
    return f"{error.type_name}: {line}" if named is None else named[1]


def checked_priority(executor: str, priority: int) -> int:
    """Return the priority, or raise an `InvalidJobError` unless it is an int from 0 to `MAX_PRIORITY`."""
    return checked_int(f"{executor}: priority", priority, 0, MAX_PRIORITY, error=InvalidJobError)


def is_storable(text: str) -> bool:
    """Whether every store accepts the text: it holds no NUL and no lone surrogate."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))


def checked_max_attempts(executor: str, max_attempts: int) -> int:
    """Return `max_attempts`, or raise an `InvalidJobError` unless it is an int from 1 to `MAX_ATTEMPTS`."""
    return checked_int(f"{executor}: max_attempts", max_attempts, 1, MAX_ATTEMPTS, error=InvalidJobError)


def storable(text: str, limit: int) -> str:
    """Return the text in a form that every store accepts: no NUL, no lone surrogate, at most `limit` characters.

    The middle of a longer text is cut out; NUL and lone surrogates are replaced.
    """
    if len(text) > limit:
        gap = f"\n… {len(text) - limit:,} characters left out …\n"
        kept = max(limit - len(gap), 0)
        text = (text[: kept - kept // 2] + gap + text[len(text) - kept // 2 :])[:limit]
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
