"""`Executor`, the class that users subclass for each kind of job: its code, data type and settings."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import timedelta
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    cast,
    get_args,
    get_origin,
)

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.errors import DecodeError, DefinitionError
from rexecutor.jobs.definition import check_definition, place_of
from rexecutor.model.backoff import DEFAULT_BACKOFF
from rexecutor.model.codec import Codec
from rexecutor.model.job import Data, Job, JobId, JobRecord, Limits, Metadata, Run, job_of
from rexecutor.model.outcomes import ExecutionResult
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Where

if TYPE_CHECKING:
    from rexecutor.jobs.enqueue import JobBuilder


_LIMITS: Final = Limits()


class Codecs(NamedTuple, Generic[Data, Metadata]):
    """The codecs of an executor's data and metadata types."""

    data: Codec[Data]
    metadata: Codec[Metadata]


class Executor(ABC, Generic[Data, Metadata]):
    """A kind of job. Subclass it with a data type, and define `name` and `execute`.

    One instance runs many jobs at the same time. Keep in it what they share, such as a client.

    ```python
    class EmailJob(Executor[str]):
        name = "email_job"

        async def execute(self, job: Job[str]) -> None:
            print(f"to {job.data}")
    ```

    Raises:
        DefinitionError: Raised when the class is defined: the name is missing, longer than 128 characters or has
            characters other than `A-Z a-z 0-9 _ . : -`; a setting is out of range; `execute` is of the wrong kind; or
            JSON cannot hold the types.
    """

    name: ClassVar[str]
    """Name of the executor in stores: 1 to 128 characters of `A-Z a-z 0-9 _ . : -`. Never change it while jobs wait."""
    max_attempts: ClassVar[int] = 5
    """How many attempts a job may have before a failure discards it: 1 to 32,767."""
    max_concurrency: ClassVar[int | None] = None
    """How many jobs of this executor one `Rexecutor` runs at a time; None for no limit except the `Rexecutor`'s own.

    For child processes None means as many as the machine has processors.
    """
    blocking: ClassVar[bool | Literal["thread", "process"]] = False
    """Whether `execute` is a plain `def`, which runs in a thread (True or `"thread"`) or in a child process.

    A `Rexecutor` has `max_threads` threads. With `"process"` each job runs in a child process instead, which a timeout
    or a cancel really ends; see `execute`.
    """
    uniqueness_criteria: ClassVar[UniquenessCriteria | None] = None
    """Which jobs must not be enqueued twice. `JobBuilder.unique` overrides it for one job."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class when it is defined, unless it is generic or abstract: a base for other classes."""
        super().__init_subclass__(**kwargs)
        is_base = bool(getattr(cls, "__parameters__", ())) or getattr(cls.execute, "__isabstractmethod__", False)
        if not is_base:
            check_definition(cls)
            _check_types(cls)

    @abstractmethod
    def execute(self, job: Job[Data, Metadata]) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Do the work: `async def`, or `def` with `blocking = True`.

        Return None when the work is done, `Cancel(reason)` to give the job up, `Snooze(delay)` to run it again later.
        Any other value is ignored, and logged as a warning once for each executor. Any exception is a failed attempt.
        One job may run more than once: if the process dies, another process runs the job again.

        An `async def` is cancelled by a timeout, a cancel and a shutdown. A thread cannot be stopped: the outcome is
        recorded, and the thread holds its slot until it ends. A child process (`blocking = "process"`) gets a SIGTERM,
        which runs `finally` blocks, and a SIGKILL after 5 s. If the job kills its process (by a segmentation fault, or
        by using too much memory), only the attempt of this job fails, with an error of the kind `lost`.

        A child process works on a copy of the executor, made when the process starts. The executor must therefore be
        picklable, and there is no global backend in the child.
        """

    def backoff(self, job: Job[Data, Metadata]) -> timedelta:
        """Return how long to wait before the next attempt. Called after a failure, which is `job.errors[-1]`.

        The default is 4 s, 8 s, 16 s …, at most 7 days, with 10 % of jitter either way. The result is clamped to the
        range from 0 to 365 days. If this method raises, the default is used.
        """
        return DEFAULT_BACKOFF(job.attempt)

    def timeout(self, job: Job[Data, Metadata]) -> timedelta | None:  # noqa: ARG002 - for subclasses
        """Return how long the attempt may take; None, the default, for no limit."""
        return None

    @classmethod
    def builder(cls) -> "JobBuilder[Data, Metadata]":
        """Return a builder for one job of this executor."""
        return _job_builder()(cast("type[Executor[Data, Metadata]]", cls))

    @classmethod
    async def query_jobs(
        cls, where: Where, *, limit: int | None = None, after: JobId | None = None, backend: Backend | None = None
    ) -> list[Job[Data, Metadata]]:
        """Return this executor's jobs that match the expression, in order of id.

        A job that cannot be decoded is left out and logged as a warning.

        Args:
            where: Which jobs.
            limit: The most jobs to return, 1 or more; None for all. For the next page, pass the last id as `after`.
            after: Return only jobs with an id above this one.
            backend: Where to look; None for the global backend.

        Raises:
            ConfigurationError: An argument is invalid.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed.
        """
        from rexecutor.jobs.stored_jobs import query_jobs  # it imports this module

        kind = cast("type[Executor[Data, Metadata]]", cls)
        return await query_jobs(kind, where, limit=limit, after=after, backend=backend)

    @classmethod
    async def update_job(cls, job: Job[Data, Metadata], *, backend: Backend | None = None) -> Job[Data, Metadata]:
        """Store a changed copy of a job that has not ended, and return the job as it is stored then.

        ```python
        await EmailJob.update_job(dataclasses.replace(job, priority=1))
        ```

        Data, metadata, priority, tags, `max_attempts` and `scheduled_at` are stored. Everything else stays as it is,
        including the status. Atomic, and optimistic: if the job has changed since the copy was read, nothing is stored.

        Raises:
            StaleJobError: The job has changed since the copy was read. The start or end of an attempt is a change too.
            JobStateError: It has ended.
            JobNotFoundError: There is no such job of this executor.
            InvalidJobError: The job cannot be stored; an `EncodeError` if the cause is its data or metadata.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        from rexecutor.jobs.stored_jobs import update_job  # it imports this module

        return await update_job(cast("type[Executor[Data, Metadata]]", cls), job, backend=backend)

    @classmethod
    async def cancel_job(cls, job_id: JobId, reason: str, *, backend: Backend | None = None) -> JobStatus:
        """Cancel a job and return its status after that.

        A waiting job is cancelled at once. For a running job, its node learns of the request within a heartbeat and
        cancels the attempt; if the attempt ends before that, its outcome counts. A job that has ended stays as it is.

        Raises:
            JobNotFoundError: There is no such job of this executor.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; repeat it.
        """
        return await current_backend(backend).cancel(job_id, reason, executor=cls.name)

    @classmethod
    async def rerun_job(cls, job_id: JobId, *, backend: Backend | None = None) -> None:
        """Run an ended job once more, at once. If no attempt is left, one more is allowed.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: There is no such job of this executor.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        await current_backend(backend).rerun(job_id, executor=cls.name)


def codecs_of(kind: type[Executor[Data, Metadata]], limits: Limits) -> Codecs[Data, Metadata]:
    """Return the codecs of an executor's types. Made once, at first use, when forward references can be resolved.

    Raises:
        DefinitionError: JSON cannot hold one of the types, or none is given.
    """
    return _codecs_of(kind, limits.data, limits.metadata, limits.depth)


def _check_types(kind: type[Executor[Any, Any]]) -> None:
    """Raise a `DefinitionError` if JSON cannot hold the types. A name that is not defined yet is no error here."""
    try:
        codecs_of(kind, _LIMITS)
    except DefinitionError as error:
        if error.__cause__ is None or isinstance(error.__cause__, TypeError):
            raise


@cache
def _job_builder() -> "type[JobBuilder[Any, Any]]":
    from rexecutor.jobs.enqueue import JobBuilder  # enqueue.py imports this module

    return JobBuilder


@cache
def _codecs_of(kind: type[Executor[Any, Any]], data: int, metadata: int, depth: int) -> Codecs[Any, Any]:
    types = _type_arguments(kind)
    return Codecs(
        Codec(types[0], owner=kind.name, what="data", limit=data, depth=depth),
        Codec(types[1], owner=kind.name, what="metadata", limit=metadata, depth=depth),
    )


def decode(codecs: Codecs[Data, Metadata], record: JobRecord, run: Run | None = None) -> Job[Data, Metadata]:
    """Return the job that a stored record holds, with its `run` if this process runs it.

    Raises:
        DecodeError: Its data or metadata is not of the executor's type, or the row could not be read.
    """
    if record.defect is not None:
        raise DecodeError(f"{record.executor}: {record.defect}")
    return job_of(
        record.id,
        record.status,
        record.executor,
        codecs.data.decode(record.data),
        None if record.metadata is None else codecs.metadata.decode(record.metadata),
        record.attempt,
        record.max_attempts,
        record.priority,
        record.tags,
        record.errors,
        record.inserted_at,
        record.scheduled_at,
        record.attempted_at,
        record.completed_at,
        record.cancelled_at,
        record.discarded_at,
        record.version,
        run,
    )


def _type_arguments(kind: type[Executor[Any, Any]]) -> tuple[Any, Any]:
    """Return the type arguments in the brackets of `Executor[…]`, resolved through any generic bases in between."""
    known: dict[Any, Any] = {}
    for ancestor in kind.__mro__:
        for base in cast("tuple[Any, ...]", ancestor.__dict__.get("__orig_bases__", ())):
            origin = get_origin(base)
            arguments = tuple(_substituted(argument, known) for argument in get_args(base))
            if origin is Executor:
                return _resolved(kind, arguments[0]), _resolved(kind, arguments[1])
            known |= dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
    raise DefinitionError(f"{place_of(kind)}: says no data type; write `Executor[str]` or the like")


def _substituted(argument: Any, known: dict[Any, Any]) -> Any:
    """Replace known type variables in an argument, also inside a generic such as `list[T]`."""
    if get_origin(argument) is None:
        return known.get(argument, argument) if isinstance(argument, TypeVar) else argument
    inner = tuple(known.get(parameter, parameter) for parameter in getattr(argument, "__parameters__", ()))
    return argument[inner] if inner else argument


def _resolved(kind: type, argument: Any) -> Any:
    if isinstance(argument, TypeVar):
        raise DefinitionError(f"{place_of(kind)}: {argument} is still open; subclass it with a data type")
    names = vars(inspect.getmodule(kind)) if inspect.getmodule(kind) else {}
    reference = getattr(argument, "__forward_arg__", argument)
    if isinstance(reference, str):
        try:
            return eval(reference, dict(names))  # noqa: S307 - what the class's author wrote in its own brackets
        except NameError as error:
            raise DefinitionError(f"{place_of(kind)}: the type {reference!r} is not known: {error}") from error
    return argument
