"""What users subclass: a kind of job, with its code, its data's type and its settings."""

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
    """An executor's two types, ready to be encoded and decoded."""

    data: Codec[Data]
    metadata: Codec[Metadata]


class Executor(ABC, Generic[Data, Metadata]):
    """A kind of job. Subclass it, say of which data, give it a `name` and an `execute`.

    An instance serves many jobs at the same time: keep in it what all of them share, such as a client.

    ```python
    class EmailJob(Executor[str]):
        name = "email_job"

        async def execute(self, job: Job[str]) -> None:
            print(f"to {job.data}")
    ```

    Raises:
        DefinitionError: When the class is made: no name, or one with other characters than `A-Z a-z 0-9 _ . : -`
            or more than 128; a setting out of range; an `execute` of the wrong kind; types that JSON cannot hold.
    """

    name: ClassVar[str]
    """What stores know it by; never change it while jobs wait. 1 to 128 of `A-Z a-z 0-9 _ . : -`."""
    max_attempts: ClassVar[int] = 5
    """How often a job may start before a failure discards it: 1 to 32,767."""
    max_concurrency: ClassVar[int | None] = None
    """How many of its jobs one `Rexecutor` runs at a time; None for no limit but that of the `Rexecutor`.

    In child processes None means as many as the machine has processors.
    """
    blocking: ClassVar[bool | Literal["thread", "process"]] = False
    """True (or `"thread"`) when `execute` is a plain `def`: each job then runs in a thread, of which a `Rexecutor` has
    `max_threads`.

    `"process"` runs it in a child process instead, which a timeout or a cancel really ends; see `execute`.
    """
    uniqueness_criteria: ClassVar[UniquenessCriteria | None] = None
    """Which jobs must not be enqueued twice; `JobBuilder.unique` takes its place for one job."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class where it is written, unless it is a base for others."""
        super().__init_subclass__(**kwargs)
        is_base = bool(getattr(cls, "__parameters__", ())) or getattr(cls.execute, "__isabstractmethod__", False)
        if not is_base:
            check_definition(cls)
            _check_types(cls)

    @abstractmethod
    def execute(self, job: Job[Data, Metadata]) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Do the work: `async def`, or `def` with `blocking = True`.

        Return None when it is done, `Cancel(reason)` to give it up, `Snooze(delay)` to be asked again later. Any other
        value is ignored, with one warning for each executor in the log. Any exception is a failed attempt. It may run
        more than once for one job: when the process dies, another starts.

        A timeout, a cancel and a shutdown cancel an `async def`. A thread cannot be stopped: its outcome is recorded,
        and it holds its slot until it ends. A child process (`blocking = "process"`) gets a SIGTERM, upon which
        `finally` blocks run, and after 5 s a SIGKILL. When it dies of the job (a segmentation fault, the kernel's lack
        of memory), that is a failed attempt of this job alone, of the kind `lost`. It works on a copy of the executor,
        made when the process starts, so that the executor must be one that pickle can send; there is no global backend
        in it.
        """

    def backoff(self, job: Job[Data, Metadata]) -> timedelta:
        """Answer the wait before the next attempt; asked after a failure, which is `job.errors[-1]`.

        By default 4 s, 8 s, 16 s …, at most 7 days, 10 % either way. Brought into the range from 0 to 365 days;
        the default holds where this raises.
        """
        return DEFAULT_BACKOFF(job.attempt)

    def timeout(self, job: Job[Data, Metadata]) -> timedelta | None:  # noqa: ARG002 - for subclasses
        """Answer how long the attempt may take; None, the default, for as long as it wants."""
        return None

    @classmethod
    def builder(cls) -> "JobBuilder[Data, Metadata]":
        """Answer a builder for one job of this kind."""
        return _job_builder()(cast("type[Executor[Data, Metadata]]", cls))

    @classmethod
    async def query_jobs(
        cls, where: Where, *, limit: int | None = None, after: JobId | None = None, backend: Backend | None = None
    ) -> list[Job[Data, Metadata]]:
        """Answer this executor's jobs that the expression describes, in the order of their ids.

        A job that cannot be decoded is left out, with a warning in the log.

        Args:
            where: Which jobs.
            limit: How many at the most, 1 or more; None for all of them. Give the last one's id as `after` to go on.
            after: Begin with the first id above this one.
            backend: Which store; the global backend when None.

        Raises:
            ConfigurationError: An argument cannot work.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed.
        """
        from rexecutor.jobs.stored_jobs import query_jobs  # it needs this module

        kind = cast("type[Executor[Data, Metadata]]", cls)
        return await query_jobs(kind, where, limit=limit, after=after, backend=backend)

    @classmethod
    async def update_job(cls, job: Job[Data, Metadata], *, backend: Backend | None = None) -> Job[Data, Metadata]:
        """Store a changed copy of a job that has not ended; answer the job as it is stored then.

        ```python
        await EmailJob.update_job(dataclasses.replace(job, priority=1))
        ```

        Data, metadata, priority, tags, `max_attempts` and `scheduled_at` are stored; all else, the status too, stays
        as it is. Atomic, and optimistic: where the job has changed since the copy was read, nothing is stored.

        Raises:
            StaleJobError: The job has changed since this copy of it was read, also by a start or an end of an attempt.
            JobStateError: It has ended.
            JobNotFoundError: There is no such job of this executor.
            InvalidJobError: No store may hold it; an `EncodeError` where it is the data or the metadata.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        from rexecutor.jobs.stored_jobs import update_job  # it needs this module

        return await update_job(cast("type[Executor[Data, Metadata]]", cls), job, backend=backend)

    @classmethod
    async def cancel_job(cls, job_id: JobId, reason: str, *, backend: Backend | None = None) -> JobStatus:
        """Cancel a job: at once while it waits; while it runs its node is told within a heartbeat, and cancels it.

        Answers the status after that. A job that has ended stays as it is; what ends first counts.

        Raises:
            JobNotFoundError: There is no such job of this executor.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; repeat it.
        """
        return await current_backend(backend).cancel(job_id, reason, executor=cls.name)

    @classmethod
    async def rerun_job(cls, job_id: JobId, *, backend: Backend | None = None) -> None:
        """Run an ended job once more, at once; one more attempt is allowed where none is left.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: There is no such job of this executor.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        await current_backend(backend).rerun(job_id, executor=cls.name)


def codecs_of(kind: type[Executor[Data, Metadata]], limits: Limits) -> Codecs[Data, Metadata]:
    """Answer the codecs of an executor's types; made once, at the first use, when forward references are known.

    Raises:
        DefinitionError: JSON cannot hold one of the types, or none is given.
    """
    return _codecs_of(kind, limits.data, limits.metadata, limits.depth)


def _check_types(kind: type[Executor[Any, Any]]) -> None:
    """Raise a `DefinitionError` if JSON cannot hold the types; not if they name what is defined only later."""
    try:
        codecs_of(kind, _LIMITS)
    except DefinitionError as error:
        if error.__cause__ is None or isinstance(error.__cause__, TypeError):
            raise


@cache
def _job_builder() -> "type[JobBuilder[Any, Any]]":
    from rexecutor.jobs.enqueue import JobBuilder  # builder.py needs this module

    return JobBuilder


@cache
def _codecs_of(kind: type[Executor[Any, Any]], data: int, metadata: int, depth: int) -> Codecs[Any, Any]:
    types = _type_arguments(kind)
    return Codecs(
        Codec(types[0], owner=kind.name, what="data", limit=data, depth=depth),
        Codec(types[1], owner=kind.name, what="metadata", limit=metadata, depth=depth),
    )


def decode(codecs: Codecs[Data, Metadata], record: JobRecord, run: Run | None = None) -> Job[Data, Metadata]:
    """Answer the job that a store's record holds; with its run, where it runs here.

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
    """Find what stands in the brackets of `Executor[…]`, through generic bases in between."""
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
    """Put what is known in the place of type variables, also within `list[T]`."""
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
