"""`Executor`, the class that users subclass for each kind of job."""

from collections.abc import Collection, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, overload

from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.jobs.await_guard import marked_async
from rexecutor.jobs.definition import check_definition
from rexecutor.jobs.enqueue import MISSING, JobBuilder, builder_with
from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.stored import StoredJobs
from rexecutor.jobs.types import check_types
from rexecutor.model.checks import mistake
from rexecutor.model.job import Data, Metadata, Result
from rexecutor.model.unique import UniquenessCriteria

_OF_EXECUTOR: Final[Any] = MISSING
"""Default of `unique`: the executor's `uniqueness_criteria`. None would mean none at all."""


class Executor(StoredJobs[Data, Metadata, Result]):
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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class when it is defined, unless it is generic or abstract: a base for other classes."""
        super().__init_subclass__(**kwargs)
        is_base = bool(getattr(cls, "__parameters__", ())) or getattr(cls.execute, "__isabstractmethod__", False)
        if not is_base:
            check_definition(cls)
            check_types(cls)

    @classmethod
    def builder(cls) -> JobBuilder[Data, Metadata, Result]:
        """Return a builder for one job of this executor."""
        return JobBuilder(cls)

    @overload
    @classmethod
    def enqueue(
        cls: type["Executor[None, Metadata, Result]"],
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | Transaction | None = None,
    ) -> Coroutine[Any, Any, JobHandle[None, Metadata, Result]]: ...
    @overload
    @classmethod
    def enqueue(
        cls,
        data: Data,
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | Transaction | None = None,
    ) -> Coroutine[Any, Any, JobHandle[Data, Metadata, Result]]: ...
    @classmethod
    @marked_async
    def enqueue(  # noqa: PLR0913 - one for each setting of a job
        cls,
        data: Any = MISSING,
        /,
        *,
        metadata: Any = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | Transaction | None = None,
    ) -> Coroutine[Any, Any, JobHandle[Any, Any, Any]]:
        """Store a job and return the handle to it. Once stored, the job will run.

        ```python
        handle = await EmailJob.enqueue("bob@example.com", tags=["welcome"], schedule_in=timedelta(hours=1))
        ```

        If the uniqueness criteria find an existing job, the handle is that job's, and its `disposition` says whether
        the job was changed. Atomic. If nobody awaits the call, no job is stored, and that is logged as an error.

        Args:
            data: What the job works on, of the executor's data type. May be left out if that is None.
            metadata: Of the executor's metadata type. Optional, whatever that type is.
            tags: Words to find the job by. A tag given twice counts once.
            priority: 0 is the most urgent, 32,767 the least.
            max_attempts: How many attempts the job may have, 1 to 32,767; None for the executor's `max_attempts`.
            schedule_at: Run the job at this moment, an aware datetime from 1970 to 9998; at once if it is in the past.
            schedule_in: Run the job this long after it is enqueued, on the store's clock; at most 1,000 years.
            expires_at: A job that has not started by then is cancelled, with an error of the kind `expired`. After
                `schedule_at`.
            expires_in: How long after the enqueue it expires, on the store's clock; above zero and `schedule_in`, at
                most 1,000 years.
            unique: Which jobs must not be enqueued twice; None for no such rule. Default: the executor's
                `uniqueness_criteria`.
            connection: Your own connection or session, for an enqueue that is part of your transaction and is stored
                when you commit it. The same as `backend=backend.bound_to(connection)`.
            backend: Where to store the job; None for the global backend.

        Raises:
            InvalidJobError: The job cannot be stored, or two settings exclude each other, such as `schedule_at` and
                `schedule_in`; an `EncodeError` if the cause is its data or metadata.
            ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        builder = builder_with(
            cls,
            data,
            metadata=metadata,
            tags=tags,
            priority=priority,
            max_attempts=max_attempts,
            schedule_at=schedule_at,
            schedule_in=schedule_in,
            expires_at=expires_at,
            expires_in=expires_in,
            unique=unique,
        )
        return builder.enqueue(connection=connection, backend=backend)

    @overload
    @classmethod
    def enqueue_sync(
        cls: type["Executor[None, Metadata, Result]"],
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | SyncTransaction | None = None,
    ) -> JobHandle[None, Metadata, Result]: ...
    @overload
    @classmethod
    def enqueue_sync(
        cls,
        data: Data,
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | SyncTransaction | None = None,
    ) -> JobHandle[Data, Metadata, Result]: ...
    @classmethod
    def enqueue_sync(  # noqa: PLR0913 - one for each setting of a job
        cls,
        data: Any = MISSING,
        /,
        *,
        metadata: Any = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
        connection: object = None,
        backend: Backend | SyncTransaction | None = None,
    ) -> JobHandle[Any, Any, Any]:
        """Store a job as `enqueue` does, from code without an event loop; blocks until it is stored.

        The arguments are those of `enqueue`, with a connection that blocks. The backend need not be open. In a running
        event loop use `await enqueue(…)`, which does not block the loop.

        Raises:
            InvalidJobError: The job cannot be stored, or two settings exclude each other.
            ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
                synchronous enqueue; nothing was stored.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether the job was stored is not known.
        """
        builder = builder_with(
            cls,
            data,
            metadata=metadata,
            tags=tags,
            priority=priority,
            max_attempts=max_attempts,
            schedule_at=schedule_at,
            schedule_in=schedule_in,
            expires_at=expires_at,
            expires_in=expires_in,
            unique=unique,
        )
        return builder.enqueue_sync(connection=connection, backend=backend)

    @overload
    @classmethod
    def new(
        cls: type["Executor[None, Metadata, Result]"],
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
    ) -> JobBuilder[None, Metadata, Result]: ...
    @overload
    @classmethod
    def new(
        cls,
        data: Data,
        /,
        *,
        metadata: Metadata | None = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
    ) -> JobBuilder[Data, Metadata, Result]: ...
    @classmethod
    def new(
        cls,
        data: Any = MISSING,
        /,
        *,
        metadata: Any = None,
        tags: Collection[str] = (),
        priority: int = 0,
        max_attempts: int | None = None,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        unique: UniquenessCriteria | None = _OF_EXECUTOR,
    ) -> JobBuilder[Any, Any, Any]:
        """Return a job that is not stored yet, for `enqueue_many`.

        ```python
        await enqueue_many([EmailJob.new(address, tags=["spring"]) for address in addresses])
        ```

        The arguments are those of `enqueue`, except `connection` and `backend`. The data is checked when the job is
        enqueued, the rest here.

        Raises:
            InvalidJobError: A setting is not valid, or two exclude each other.
        """
        return builder_with(
            cls,
            data,
            metadata=metadata,
            tags=tags,
            priority=priority,
            max_attempts=max_attempts,
            schedule_at=schedule_at,
            schedule_in=schedule_in,
            expires_at=expires_at,
            expires_in=expires_in,
            unique=unique,
        )


AnyExecutor: TypeAlias = Executor[Any, Any, Any]
ExecutorLike: TypeAlias = type[AnyExecutor] | AnyExecutor
"""An executor, as users give it: its class, an instance, or a function job, which is an instance."""


def executor_class(what: str, executor: object) -> type[AnyExecutor]:
    """Return the class of an executor that was given as a class or an instance.

    Raises:
        ConfigurationError: It is not an executor, or has no name because it is a base class for others.
    """
    executor_cls: type[Any] = executor if isinstance(executor, type) else type(executor)
    if Executor not in executor_cls.__mro__ or not isinstance(getattr(executor_cls, "name", None), str):
        raise mistake(what, "an Executor class or an instance of one", executor)
    return executor_cls
