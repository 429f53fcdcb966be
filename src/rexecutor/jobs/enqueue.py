"""Describes a job with an immutable builder, one method for each setting, and enqueues it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, overload

import msgspec
from msgspec.structs import replace

from rexecutor.backend.app_transaction import SyncTransaction, Transaction, awaited, backend_of, blocking
from rexecutor.backend.base import Backend
from rexecutor.errors import InvalidJobError
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.types import codecs_of
from rexecutor.model.checks import LONGEST_DELAY, checked_aware, checked_delay, checked_instance, mistake
from rexecutor.model.data_key import with_data_key
from rexecutor.model.job import (
    Data,
    Enqueued,
    Limits,
    Metadata,
    NewJob,
    Result,
    checked_max_attempts,
    checked_priority,
    is_storable,
)
from rexecutor.model.unique import UniquenessCriteria, checked_criteria

_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)


class _Missing:
    """Marks a value that was not given; None may be a value."""


_MISSING: Final = _Missing()


class JobBuilder(msgspec.Struct, Generic[Data, Metadata, Result], frozen=True):
    """A job before it is enqueued. Each method returns a changed copy; invalid input raises at once."""

    executor: type[ExecutorDefinition[Data, Metadata, Result]]
    data: Data | _Missing = _MISSING
    metadata: Metadata | None = None
    max_attempts: int | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    scheduled_at: datetime | None = None
    delay: timedelta = timedelta(0)
    criteria: UniquenessCriteria | _Missing | None = _MISSING

    def with_data(self, data: Data) -> "JobBuilder[Data, Metadata, Result]":
        """Set the data, of the executor's data type. It is checked when the job is enqueued."""
        return replace(self, data=data)

    def with_metadata(self, metadata: Metadata) -> "JobBuilder[Data, Metadata, Result]":
        """Set the metadata, of the executor's metadata type. It is optional, whatever that type is."""
        return replace(self, metadata=metadata)

    def with_max_attempts(self, max_attempts: int) -> "JobBuilder[Data, Metadata, Result]":
        """Allow this many attempts (1 to 32,767) instead of the executor's."""
        return replace(self, max_attempts=checked_max_attempts(self.executor.name, max_attempts))

    def with_priority(self, priority: int) -> "JobBuilder[Data, Metadata, Result]":
        """Set the priority: 0, the default, is the most urgent, 32,767 the least."""
        return replace(self, priority=checked_priority(self.executor.name, priority))

    def with_tags(self, *tags: str) -> "JobBuilder[Data, Metadata, Result]":
        """Set the tags, in place of those set before. A tag given twice counts once."""
        for tag in tags:
            _check_tag(self.executor.name, tag)
        return replace(self, tags=tuple(dict.fromkeys(tags)))

    def add_tag(self, tag: str) -> "JobBuilder[Data, Metadata, Result]":
        """Add a tag to those set before."""
        return self.with_tags(*self.tags, tag)

    def schedule_at(self, moment: datetime) -> "JobBuilder[Data, Metadata, Result]":
        """Run the job at this moment, an aware datetime from 1970 to 9998; at once if it is in the past."""
        what = f"{self.executor.name}: schedule_at: moment"
        if not _FIRST_MOMENT <= checked_aware(what, moment, error=InvalidJobError) < _END_OF_TIME:
            raise mistake(what, "in the years 1970 to 9998", moment, error=InvalidJobError)
        return replace(self, scheduled_at=moment.astimezone(UTC), delay=timedelta(0))

    def schedule_in(self, delay: timedelta) -> "JobBuilder[Data, Metadata, Result]":
        """Run the job this long after it is enqueued, on the store's clock; from zero to 1,000 years."""
        what = f"{self.executor.name}: schedule_in: delay"
        checked_delay(what, delay, limit=LONGEST_DELAY, error=InvalidJobError)
        return replace(self, scheduled_at=None, delay=delay)

    def unique(self, criteria: UniquenessCriteria | None) -> "JobBuilder[Data, Metadata, Result]":
        """Set the uniqueness criteria, instead of the executor's. None enqueues the job whatever other jobs exist."""
        if criteria is not None:
            checked_criteria(f"{self.executor.name}: unique: criteria", criteria, error=InvalidJobError)
        return replace(self, criteria=criteria)

    async def enqueue(self, *, backend: Backend | Transaction | None = None) -> JobHandle[Data, Metadata, Result]:
        """Store the job and return a handle to it. Once stored, the job will run.

        If the uniqueness criteria find an existing job, the handle is that job's, and its `disposition` says whether
        the job was changed. Atomic.

        Args:
            backend: Where to store the job; None for the global backend. With `backend.bound_to(connection)` the job
                is part of your transaction and is stored when you commit it.

        Raises:
            InvalidJobError: The job cannot be stored; an `EncodeError` if the cause is its data or metadata.
            ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        return (await enqueue_many([self], backend=backend))[0]

    def enqueue_sync(self, *, backend: Backend | SyncTransaction | None = None) -> JobHandle[Data, Metadata, Result]:
        """Store the job as `enqueue` does, from code without an event loop; blocks until it is stored.

        The backend need not be open. In a running event loop use `await enqueue()`, which does not block the loop.

        Args:
            backend: Where to store the job, as for `enqueue`.

        Raises:
            InvalidJobError: The job cannot be stored.
            ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
                synchronous enqueue; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        return enqueue_many_sync([self], backend=backend)[0]

    def build(self, limits: Limits) -> NewJob:
        """Return the job, checked and encoded, for a store with these limits."""
        executor_cls = self.executor
        codecs = codecs_of(executor_cls, limits)
        data = (
            _encode_nothing(executor_cls, limits) if isinstance(self.data, _Missing) else codecs.data.encode(self.data)
        )
        if len(self.tags) > limits.tags:
            raise InvalidJobError(
                f"{executor_cls.name}: {len(self.tags)} tags given, at most {limits.tags} are allowed"
            )
        for tag in self.tags:
            if len(tag) > limits.tag:
                raise InvalidJobError(
                    f"{executor_cls.name}: tag has {len(tag)} characters, at most {limits.tag} are allowed"
                )
        criteria = executor_cls.uniqueness_criteria if isinstance(self.criteria, _Missing) else self.criteria
        return NewJob(
            executor_cls.name,
            data,
            None if self.metadata is None else codecs.metadata.encode(self.metadata),
            executor_cls.max_attempts if self.max_attempts is None else self.max_attempts,
            self.priority,
            self.tags,
            self.scheduled_at,
            self.delay,
            with_data_key(criteria, codecs.data, data),
        )


@overload
async def enqueue_many(
    builders: Iterable[JobBuilder[Data, Metadata, Result]], *, backend: Backend | Transaction | None = None
) -> list[JobHandle[Data, Metadata, Result]]: ...
@overload
async def enqueue_many(
    builders: Iterable[JobBuilder[Any, Any, Any]], *, backend: Backend | Transaction | None = None
) -> list[JobHandle[Any, Any, Any]]: ...
async def enqueue_many(
    builders: Iterable[JobBuilder[Any, Any, Any]], *, backend: Backend | Transaction | None = None
) -> list[JobHandle[Any, Any, Any]]:
    """Store the jobs, all or none, in one transaction; return their handles in the order given.

    The uniqueness criteria of each job are compared with the store and with the jobs before it.

    Args:
        builders: Jobs of one executor or of several.
        backend: Where to store the jobs; None for the global backend, `bound_to(connection)` for your transaction.

    Raises:
        InvalidJobError: One of them cannot be stored; none is.
        ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was stored.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed; whether the jobs were stored is not known.
    """
    target = awaited(backend)
    builders, jobs = _built("enqueue_many", builders, backend_of(target).limits)
    return _handles(builders, await target.enqueue(jobs) if jobs else (), backend_of(target))


@overload
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Data, Metadata, Result]], *, backend: Backend | SyncTransaction | None = None
) -> list[JobHandle[Data, Metadata, Result]]: ...
@overload
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Any, Any, Any]], *, backend: Backend | SyncTransaction | None = None
) -> list[JobHandle[Any, Any, Any]]: ...
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Any, Any, Any]], *, backend: Backend | SyncTransaction | None = None
) -> list[JobHandle[Any, Any, Any]]:
    """Store the jobs as `enqueue_many` does, from code without an event loop; blocks until they are stored.

    Args:
        builders: Jobs of one executor or of several.
        backend: Where to store the jobs; None for the global backend. The backend need not be open.

    Raises:
        InvalidJobError: One of them cannot be stored; none is.
        ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
            synchronous enqueue; nothing was stored.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed; whether the jobs were stored is not known.
    """
    target = blocking(backend)
    builders, jobs = _built("enqueue_many_sync", builders, backend_of(target).limits)
    return _handles(builders, target.enqueue_sync(jobs) if jobs else (), backend_of(target))


def _built(
    what: str, builders: Iterable[JobBuilder[Any, Any, Any]], limits: Limits
) -> tuple[list[JobBuilder[Any, Any, Any]], list[NewJob]]:
    builders = list(builders)
    for builder in builders:
        expected = "a JobBuilder, such as MyExecutor.builder()"
        checked_instance(f"{what}: each builder", builder, JobBuilder, expected, error=InvalidJobError)
    jobs: list[NewJob] = []
    for place, builder in enumerate(builders, 1):
        try:
            jobs.append(builder.build(limits))
        except InvalidJobError as error:
            if len(builders) == 1:
                raise
            raise type(error)(f"job {place} of {len(builders)}: {error}") from error
    return builders, jobs


def _handles(
    builders: list[JobBuilder[Any, Any, Any]], answers: Sequence[Enqueued], backend: Backend
) -> list[JobHandle[Any, Any, Any]]:
    return [
        JobHandle(answer.id, answer.disposition, builder.executor, backend)
        for builder, answer in zip(builders, answers, strict=True)
    ]


def _encode_nothing(executor_cls: type[ExecutorDefinition[Any, Any, Any]], limits: Limits) -> str:
    codec = codecs_of(executor_cls, limits).data
    try:
        return codec.encode(None)
    except InvalidJobError:
        raise codec.missing() from None


def _check_tag(executor: str, tag: object) -> None:
    if not isinstance(tag, str) or not tag:
        raise mistake(f"{executor}: each tag", "a non-empty str", tag, error=InvalidJobError)
    if not is_storable(tag):
        raise InvalidJobError(f"{executor}: tag {tag!r} contains a NUL or a lone surrogate, which no store accepts")
