"""`assert_enqueued` and `refute_enqueued`: assertions about the jobs in a store."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, overload

from rexecutor.backend.app_transaction import Transaction, awaited, backend_of
from rexecutor.backend.base import Backend
from rexecutor.backend.pages import read
from rexecutor.jobs.executor import Executor, ExecutorLike
from rexecutor.model.checks import checked_int
from rexecutor.model.job import Data, Job, Metadata, Result
from rexecutor.testing.checks import expect_enqueued, expect_none
from rexecutor.testing.expectation import UNSET, checked_expectation


@overload
async def assert_enqueued(
    count: int | None = ...,
    *,
    for_executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
    with_data: Data = ...,
    with_metadata: Metadata | None = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | Transaction | None = ...,
) -> list[Job[Data, Metadata, Result]]: ...
@overload
async def assert_enqueued(
    count: int | None = ...,
    *,
    for_executor: None = ...,
    with_data: object = ...,
    with_metadata: object = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | Transaction | None = ...,
) -> list[Job[Any, Any, Any]]: ...
async def assert_enqueued(
    count: int | None = None,
    *,
    for_executor: ExecutorLike | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | Transaction | None = None,
) -> list[Job[Any, Any, Any]]:
    """Assert that matching jobs were enqueued, in any status. Return them in order of id.

    ```python
    (job,) = await assert_enqueued(1, for_executor=EmailJob, with_data="bob@example.com", tagged_with=["reminder"])
    ```

    A failure repeats the criteria, says how many jobs match, and shows the nearest jobs with their differences. A job
    that cannot be decoded does not count; the failure names it.

    Args:
        count: Exact number of matching jobs, 0 or more; None for at least one.
        for_executor: The executor whose jobs count, as a class or an instance. None for jobs of any executor; their
            data are returned as plain JSON values.
        with_data: Data that a job must have, compared as JSON values: the order of keys does not matter, and 1 equals
            1.0.
        with_metadata: Metadata that a job must have, compared like data; None for jobs without metadata.
        tagged_with: Tags that a job must have, all of them; it may have others.
        scheduled_at: Aware moment at which a job must be due, to the microsecond.
        scheduled_after: Aware moment after which a job must be due; exactly at it does not count.
        scheduled_before: Aware moment before which a job must be due; exactly at it does not count.
        backend: The backend to look in; the global backend if None. With `backend.bound_to(connection)`, jobs that
            the connection's transaction has enqueued but not committed count too.

    Raises:
        AssertionError: No job matches, or not `count` jobs.
        ConfigurationError: An argument cannot work, such as a naive datetime or a blocking connection.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    checked_int("assert_enqueued: count", count, 0, or_none=True)
    store = awaited(backend, "assert_enqueued", "assert_enqueued_sync")
    wanted = checked_expectation(
        "assert_enqueued",
        backend_of(store).limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    return await read(store, expect_enqueued(wanted, count))


@overload
async def refute_enqueued(
    *,
    for_executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
    with_data: Data = ...,
    with_metadata: Metadata | None = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | Transaction | None = ...,
) -> None: ...
@overload
async def refute_enqueued(
    *,
    for_executor: None = ...,
    with_data: object = ...,
    with_metadata: object = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | Transaction | None = ...,
) -> None: ...
async def refute_enqueued(
    *,
    for_executor: ExecutorLike | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | Transaction | None = None,
) -> None:
    """Assert that no matching job was enqueued, in any status. A failure shows the matching jobs.

    ```python
    await refute_enqueued(for_executor=EmailJob, tagged_with=["reminder"])
    ```

    The arguments are those of `assert_enqueued`, without `count`. A job that cannot be decoded counts too.

    Raises:
        AssertionError: A job matches.
        ConfigurationError: An argument cannot work, such as a naive datetime or a blocking connection.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    store = awaited(backend, "refute_enqueued", "refute_enqueued_sync")
    unwanted = checked_expectation(
        "refute_enqueued",
        backend_of(store).limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    await read(store, expect_none(unwanted))
