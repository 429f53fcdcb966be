"""Describes a job, with keyword arguments or with an immutable builder, and enqueues it."""

from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeAlias, overload

import msgspec
from msgspec.structs import replace

from rexecutor.backend.app_transaction import (
    Bound,
    SyncTransaction,
    Transaction,
    awaited,
    backend_of,
    blocking,
    bound,
)
from rexecutor.backend.base import Backend
from rexecutor.errors import ConfigurationError, InvalidJobError
from rexecutor.jobs.await_guard import AwaitGuard, await_guard, marked_async
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.middleware import (
    Manager,
    around_enqueue_of,
    async_manager,
    call_within,
    managers_of,
    name_of,
    run_within,
    sync_manager,
)
from rexecutor.jobs.types import codecs_of
from rexecutor.model.checks import LONGEST_DELAY, checked_aware, checked_delay, checked_instance, checked_texts, mistake
from rexecutor.model.data_key import with_data_key
from rexecutor.model.headers import encoded_headers
from rexecutor.model.job import (
    Data,
    Disposition,
    Enqueued,
    JobId,
    Limits,
    Metadata,
    NewJob,
    Result,
    checked_max_attempts,
    checked_priority,
    is_storable,
)
from rexecutor.model.json_form import NotData
from rexecutor.model.unique import UniquenessCriteria, checked_criteria
from rexecutor.telemetry.events import JobsEnqueued
from rexecutor.telemetry.log import wants_starts
from rexecutor.telemetry.subscribers import emit, is_anybody_subscribed

_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = timedelta(0)
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)


class _Missing:
    """Marks a value that was not given; None may be a value."""

    def __repr__(self) -> str:
        return "<not given>"


MISSING: Final = _Missing()
"""Default of an argument whose value may be None."""


class JobBuilder(NotData, msgspec.Struct, Generic[Data, Metadata, Result], frozen=True, gc=False):
    """A job before it is enqueued. Each method returns a changed copy; invalid input raises at once."""

    # `gc=False`, here and for handles: an enqueue of many jobs makes several of these for each, and each object that
    # the garbage collector knows brings its next run nearer. A cycle through one would never be freed, but only data
    # that hold their own builder would make one.

    executor: type[ExecutorDefinition[Data, Metadata, Result]]
    data: Data | _Missing = MISSING
    metadata: Metadata | None = None
    max_attempts: int | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    scheduled_at: datetime | None = None
    delay: timedelta = _AT_ONCE
    criteria: UniquenessCriteria | _Missing | None = MISSING
    expiry: datetime | timedelta | None = None

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
        return replace(self, tags=_checked_tags(self.executor.name, tags))

    def add_tag(self, tag: str) -> "JobBuilder[Data, Metadata, Result]":
        """Add a tag to those set before."""
        return self.with_tags(*self.tags, tag)

    def schedule_at(self, moment: datetime) -> "JobBuilder[Data, Metadata, Result]":
        """Run the job at this moment, an aware datetime from 1970 to 9998; at once if it is in the past."""
        moment = _checked_moment(f"{self.executor.name}: schedule_at: moment", moment)
        return replace(self, scheduled_at=moment, delay=_AT_ONCE)

    def schedule_in(self, delay: timedelta) -> "JobBuilder[Data, Metadata, Result]":
        """Run the job this long after it is enqueued, on the store's clock; from zero to 1,000 years."""
        delay = _checked_delay(f"{self.executor.name}: schedule_in: delay", delay)
        return replace(self, scheduled_at=None, delay=delay)

    def expires_at(self, moment: datetime) -> "JobBuilder[Data, Metadata, Result]":
        """Never start the job at this moment or later, an aware datetime from 1970 to 9998.

        A job that has not started by then is cancelled with an error of the kind `expired`. The last of `expires_at`
        and `expires_in` counts.
        """
        return replace(self, expiry=_checked_moment(f"{self.executor.name}: expires_at: moment", moment))

    def expires_in(self, delay: timedelta) -> "JobBuilder[Data, Metadata, Result]":
        """Never start the job this long after it is enqueued or later; above zero, at most 1,000 years.

        Counts on the store's clock, and from the enqueue even if the job is scheduled for later; see `expires_at`.
        """
        return replace(self, expiry=_checked_expiry(f"{self.executor.name}: expires_in: delay", delay))

    def unique(self, criteria: UniquenessCriteria | None) -> "JobBuilder[Data, Metadata, Result]":
        """Set the uniqueness criteria, instead of the executor's. None enqueues the job whatever other jobs exist."""
        if criteria is not None:
            checked_criteria(f"{self.executor.name}: unique: criteria", criteria, error=InvalidJobError)
        return replace(self, criteria=criteria)

    @marked_async
    def enqueue(
        self, *, backend: Backend | Transaction | None = None, connection: object = None
    ) -> Coroutine[Any, Any, JobHandle[Data, Metadata, Result]]:
        """Store the job and return the handle to it. Once stored, the job will run.

        If the uniqueness criteria find an existing job, the handle is that job's, and its `disposition` says whether
        the job was changed. Atomic. If nobody awaits the call, no job is stored, and that is logged as an error.

        Args:
            backend: Where to store the job; None for the global backend.
            connection: Your own connection or session, for an enqueue that is part of your transaction and is stored
                when you commit it. The same as `backend=backend.bound_to(connection)`.

        Raises:
            InvalidJobError: The job cannot be stored; an `EncodeError` if the cause is its data or metadata.
            ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        guards: list[AwaitGuard] = []
        coroutine = _enqueue_one(self, backend, connection, guards)
        guards.append(await_guard(coroutine, "enqueue", self))
        return coroutine

    def enqueue_sync(
        self, *, backend: Backend | SyncTransaction | None = None, connection: object = None
    ) -> JobHandle[Data, Metadata, Result]:
        """Store the job as `enqueue` does, from code without an event loop; blocks until it is stored.

        The backend need not be open. In a running event loop use `await enqueue()`, which does not block the loop.

        Args:
            backend: Where to store the job, as for `enqueue`.
            connection: Your own connection or session, a blocking one, as for `enqueue`.

        Raises:
            InvalidJobError: The job cannot be stored.
            ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
                synchronous enqueue; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        return enqueue_many_sync([self], backend=backend, connection=connection)[0]

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
        if criteria is not None:
            criteria = with_data_key(criteria, codecs.data, data)
        expiry = self.expiry
        return NewJob(
            executor_cls.name,
            data,
            None if self.metadata is None else codecs.metadata.encode(self.metadata),
            executor_cls.max_attempts if self.max_attempts is None else self.max_attempts,
            self.priority,
            self.tags,
            self.scheduled_at,
            self.delay,
            criteria,
            expiry if isinstance(expiry, datetime) else None,
            expiry if isinstance(expiry, timedelta) else None,
        )


def builder_with(  # noqa: PLR0913 - one for each setting of a job
    executor_cls: type[ExecutorDefinition[Data, Metadata, Result]],
    data: Data | _Missing,
    *,
    metadata: Metadata | None,
    tags: Collection[str],
    priority: int,
    max_attempts: int | None,
    schedule_at: datetime | None,
    schedule_in: timedelta | None,
    expires_at: datetime | None,
    expires_in: timedelta | None,
    unique: UniquenessCriteria | _Missing | None,
) -> JobBuilder[Data, Metadata, Result]:
    """Return a builder with the settings that were given as keyword arguments; see `Executor.enqueue`.

    Raises:
        InvalidJobError: A setting is not valid, or two exclude each other.
    """
    what = f"{executor_cls.name}: enqueue"
    if schedule_at is not None and schedule_in is not None:
        raise InvalidJobError(f"{what}: schedule_at and schedule_in exclude each other; give one of them")
    if expires_at is not None and expires_in is not None:
        raise InvalidJobError(f"{what}: expires_at and expires_in exclude each other; give one of them")
    if unique is not None and not isinstance(unique, _Missing):
        checked_criteria(f"{what}: unique", unique, error=InvalidJobError)
    expiry: datetime | timedelta | None = None
    if expires_at is not None:
        expiry = _checked_moment(f"{what}: expires_at", expires_at)
    elif expires_in is not None:
        expiry = _checked_expiry(f"{what}: expires_in", expires_in)
    builder = JobBuilder(
        executor_cls,
        data,
        metadata,
        None if max_attempts is None else checked_max_attempts(what, max_attempts),
        checked_priority(what, priority),
        () if tags == () else _checked_tags(what, checked_texts(f"{what}: tags", tags, error=InvalidJobError)),
        None if schedule_at is None else _checked_moment(f"{what}: schedule_at", schedule_at),
        _AT_ONCE if schedule_in is None else _checked_delay(f"{what}: schedule_in", schedule_in),
        unique,
        expiry,
    )
    _check_can_start(builder)
    return builder


@overload
def enqueue_many(
    builders: Iterable[JobBuilder[Data, Metadata, Result]],
    *,
    backend: Backend | Transaction | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, list[JobHandle[Data, Metadata, Result]]]: ...
@overload
def enqueue_many(
    builders: Iterable[JobBuilder[Any, Any, Any]],
    *,
    backend: Backend | Transaction | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, list[JobHandle[Any, Any, Any]]]: ...
@marked_async
def enqueue_many(
    builders: Iterable[JobBuilder[Any, Any, Any]],
    *,
    backend: Backend | Transaction | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, list[JobHandle[Any, Any, Any]]]:
    """Store the jobs, all or none, in one transaction. Return their handles in the order given.

    The uniqueness criteria of each job are compared with the store and with the jobs before it. If nobody awaits the
    call, no job is stored, and that is logged as an error.

    Args:
        builders: Jobs of one executor or of several.
        backend: Where to store the jobs; None for the global backend.
        connection: Your own connection or session, for an enqueue that is part of your transaction and is stored when
            you commit it. The same as `backend=backend.bound_to(connection)`.

    Raises:
        InvalidJobError: One of them cannot be stored; none is.
        ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was stored.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed; whether the jobs were stored is not known.
    """
    checked = _checked_builders("enqueue_many", builders)
    guards: list[AwaitGuard] = []
    coroutine = _enqueue_many(checked, backend, connection, guards)
    guards.append(await_guard(coroutine, "enqueue_many", checked))
    return coroutine


@overload
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Data, Metadata, Result]],
    *,
    backend: Backend | SyncTransaction | None = None,
    connection: object = None,
) -> list[JobHandle[Data, Metadata, Result]]: ...
@overload
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Any, Any, Any]],
    *,
    backend: Backend | SyncTransaction | None = None,
    connection: object = None,
) -> list[JobHandle[Any, Any, Any]]: ...
def enqueue_many_sync(
    builders: Iterable[JobBuilder[Any, Any, Any]],
    *,
    backend: Backend | SyncTransaction | None = None,
    connection: object = None,
) -> list[JobHandle[Any, Any, Any]]:
    """Store the jobs as `enqueue_many` does, from code without an event loop; blocks until they are stored.

    Args:
        builders: Jobs of one executor or of several.
        backend: Where to store the jobs; None for the global backend. The backend need not be open.
        connection: Your own connection or session, a blocking one, as for `enqueue_many`.

    Raises:
        InvalidJobError: One of them cannot be stored; none is.
        ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
            synchronous enqueue; nothing was stored.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed; whether the jobs were stored is not known.
    """
    checked = _checked_builders("enqueue_many_sync", builders)
    target = blocking(backend if connection is None else bound("enqueue_sync", backend, connection))
    around = around_enqueue_of(backend_of(target))
    if around and checked:
        return _enqueue_sync_within(around, Enqueueing(checked), target)
    jobs = _built(checked, backend_of(target).limits)
    return _stored(checked, target.enqueue_sync(jobs) if jobs else (), target)


async def _enqueue_one(
    builder: JobBuilder[Data, Metadata, Result],
    backend: Backend | Transaction | None,
    connection: object,
    guards: list[AwaitGuard],
) -> JobHandle[Data, Metadata, Result]:
    guards.clear()
    target = awaited(backend if connection is None else bound("enqueue", backend, connection))
    store = backend_of(target)
    if around := around_enqueue_of(store):
        return (await _enqueue_within(around, Enqueueing([builder]), target))[0]
    _check_can_start(builder)
    [answer] = answers = await target.enqueue([builder.build(store.limits)])
    if is_anybody_subscribed() or wants_starts():
        _tell([builder], answers, target)
    return JobHandle(answer.id, answer.disposition, builder.executor, store)


async def _enqueue_many(
    builders: list[JobBuilder[Any, Any, Any]],
    backend: Backend | Transaction | None,
    connection: object,
    guards: list[AwaitGuard],
) -> list[JobHandle[Any, Any, Any]]:
    guards.clear()
    target = awaited(backend if connection is None else bound("enqueue", backend, connection))
    around = around_enqueue_of(backend_of(target))
    if around and builders:
        return await _enqueue_within(around, Enqueueing(builders), target)
    jobs = _built(builders, backend_of(target).limits)
    return _stored(builders, await target.enqueue(jobs) if jobs else (), target)


class Enqueueing:
    """One call of an enqueue, of one job or several, as `around_enqueue` middleware sees it."""

    def __init__(self, jobs: Sequence[JobBuilder[Any, Any, Any]]) -> None:
        self.jobs: Final = tuple(jobs)
        """The builders of the jobs, in the order given. They do not change: their methods return copies."""
        self.headers: Final[dict[str, str]] = {}
        """What each of the jobs gets as `job.headers`, from str to str; empty at first.

        Write to it before the enqueue; later changes have no effect. All headers together may take `Limits.headers`
        bytes as JSON (8 KiB). If they take more, the enqueue raises an `EncodeError`; if one is not a str, an
        `InvalidJobError`. In both cases nothing is stored.
        """
        self.handles: Sequence[JobHandle[Any, Any, Any]] = ()
        """The handles of the jobs after the enqueue, in the order of `jobs`; empty before it, and if it has failed."""


AroundEnqueue: TypeAlias = Callable[[Enqueueing], Manager]
"""Returns the context manager around one enqueue."""


async def _enqueue_within(
    around: Sequence[AroundEnqueue], enqueueing: Enqueueing, target: Backend | Transaction
) -> list[JobHandle[Any, Any, Any]]:
    """Store the jobs within the middleware, the first outermost."""
    managers = managers_of("around_enqueue", around, enqueueing)

    async def store() -> list[JobHandle[Any, Any, Any]]:
        jobs = _built_with_headers(enqueueing, backend_of(target).limits)
        enqueueing.handles = handles = _stored(enqueueing.jobs, await target.enqueue(jobs), target)
        return handles

    return await run_within(managers, store, lambda: _required_handles(enqueueing))


def _enqueue_sync_within(
    around: Sequence[AroundEnqueue], enqueueing: Enqueueing, target: Backend | SyncTransaction
) -> list[JobHandle[Any, Any, Any]]:
    """Store the jobs within the middleware, all of which must be plain context managers."""
    managers: list[AbstractContextManager[Any]] = []
    for middleware in around:
        manager = middleware(enqueueing)
        plain = sync_manager(manager)
        if plain is None:
            async_manager("around_enqueue", middleware, manager)
            raise ConfigurationError(
                f"around_enqueue: {name_of(middleware)} is asynchronous, so it cannot serve a synchronous enqueue;"
                " write it with `@contextmanager`, which serves both"
            )
        managers.append(plain)

    def store() -> list[JobHandle[Any, Any, Any]]:
        jobs = _built_with_headers(enqueueing, backend_of(target).limits)
        enqueueing.handles = handles = _stored(enqueueing.jobs, target.enqueue_sync(jobs), target)
        return handles

    return call_within(managers, store, lambda: _required_handles(enqueueing))


def _built_with_headers(enqueueing: Enqueueing, limits: Limits) -> list[NewJob]:
    headers = encoded_headers(enqueueing.headers, limits)
    jobs = _built(enqueueing.jobs, limits)
    return jobs if headers is None else [replace(job, headers=headers) for job in jobs]


def _required_handles(enqueueing: Enqueueing) -> list[JobHandle[Any, Any, Any]]:
    """Return the handles if the jobs were stored although middleware has swallowed an exception."""
    if not enqueueing.handles:
        raise ConfigurationError(
            "around_enqueue: middleware has swallowed the error of an enqueue, so there is no job to return; let it"
            " pass"
        )
    return list(enqueueing.handles)


# Python names a coroutine that was never awaited in a warning of its own.
_enqueue_one.__qualname__ = "enqueue"
_enqueue_many.__qualname__ = "enqueue_many"


def _checked_builders(what: str, builders: Iterable[JobBuilder[Any, Any, Any]]) -> list[JobBuilder[Any, Any, Any]]:
    if not isinstance(builders, Iterable):
        expected = "an iterable of JobBuilders"
        raise mistake(f"{what}: builders", expected, builders, "put them in a list", error=InvalidJobError)
    builders = list(builders)
    for builder in builders:
        expected = "a JobBuilder, such as MyExecutor.new(…)"
        checked_instance(f"{what}: each builder", builder, JobBuilder, expected, error=InvalidJobError)
    return builders


def _built(builders: Sequence[JobBuilder[Any, Any, Any]], limits: Limits) -> list[NewJob]:
    jobs: list[NewJob] = []
    for place, builder in enumerate(builders, 1):
        try:
            _check_can_start(builder)
            jobs.append(builder.build(limits))
        except InvalidJobError as error:
            if len(builders) == 1:
                raise
            raise type(error)(f"job {place} of {len(builders)}: {error}") from error
    return jobs


def _stored(
    builders: Sequence[JobBuilder[Any, Any, Any]], answers: Sequence[Enqueued], target: Backend | Bound
) -> list[JobHandle[Any, Any, Any]]:
    """Emit that the jobs were stored, and return their handles."""
    if answers and (is_anybody_subscribed() or wants_starts()):
        _tell(builders, answers, target)
    backend = backend_of(target)
    return [
        JobHandle(answer.id, answer.disposition, builder.executor, backend)
        for builder, answer in zip(builders, answers, strict=True)
    ]


def _tell(builders: Sequence[JobBuilder[Any, Any, Any]], answers: Sequence[Enqueued], target: Backend | Bound) -> None:
    pairs = zip(builders, answers, strict=True)
    jobs: list[tuple[JobId, str, Disposition]] = [
        (answer.id, builder.executor.name, answer.disposition) for builder, answer in pairs
    ]
    emit(JobsEnqueued(tuple(jobs), is_committed=not isinstance(target, Bound)), source=backend_of(target))


def _encode_nothing(executor_cls: type[ExecutorDefinition[Any, Any, Any]], limits: Limits) -> str:
    codec = codecs_of(executor_cls, limits).data
    try:
        return codec.encode(None)
    except InvalidJobError:
        raise codec.missing() from None


def _checked_tags(what: str, tags: Iterable[str]) -> tuple[str, ...]:
    tags = tuple(tags)
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            raise mistake(f"{what}: each tag", "a non-empty str", tag, error=InvalidJobError)
        if not is_storable(tag):
            raise InvalidJobError(f"{what}: tag {tag!r} contains a NUL or a lone surrogate, which no store accepts")
    return tuple(dict.fromkeys(tags))


def _checked_moment(what: str, moment: datetime) -> datetime:
    if not _FIRST_MOMENT <= checked_aware(what, moment, error=InvalidJobError) < _END_OF_TIME:
        raise mistake(what, "in the years 1970 to 9998", moment, error=InvalidJobError)
    return moment.astimezone(UTC)


def _checked_delay(what: str, delay: timedelta) -> timedelta:
    return checked_delay(what, delay, limit=LONGEST_DELAY, error=InvalidJobError)


def _checked_expiry(what: str, delay: timedelta) -> timedelta:
    if isinstance(delay, timedelta) and not _AT_ONCE < delay <= LONGEST_DELAY:
        bounds = f"above zero and of at most {LONGEST_DELAY.days} days"
        raise mistake(what, f"a timedelta {bounds}", delay, error=InvalidJobError)
    return _checked_delay(what, delay)


def _check_can_start(builder: JobBuilder[Any, Any, Any]) -> None:
    """Raise an `InvalidJobError` if the new job expires before it is due.

    A moment and a delay are not compared: the delay counts on the store's clock, from the enqueue. A stored job is not
    checked in this way: its retry may be due after its expiry.
    """
    expiry = builder.expiry
    if isinstance(expiry, datetime):
        is_too_late = builder.scheduled_at is not None and expiry <= builder.scheduled_at
        given = f"expires_at {expiry} is not after schedule_at {builder.scheduled_at}"
    elif expiry is not None:
        is_too_late = builder.scheduled_at is None and expiry <= builder.delay
        given = f"expires_in {expiry} is not longer than schedule_in {builder.delay}"
    else:
        return
    if is_too_late:
        raise InvalidJobError(
            f"{builder.executor.name}: enqueue: {given}, so the job would never start; let it expire later, or start"
            " earlier"
        )
