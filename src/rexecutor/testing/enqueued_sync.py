"""`assert_enqueued_sync` and `refute_enqueued_sync`: assertions about stored jobs, for tests without an event loop."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, overload

from rexecutor.backend.app_transaction import SyncTransaction, backend_of, blocking
from rexecutor.backend.base import Backend
from rexecutor.backend.pages import read_sync
from rexecutor.jobs.executor import Executor, ExecutorLike
from rexecutor.model.checks import checked_int
from rexecutor.model.job import Data, Job, Metadata, Result
from rexecutor.testing.checks import expect_enqueued, expect_none
from rexecutor.testing.expectation import UNSET, checked_expectation


@overload
def assert_enqueued_sync(
    count: int | None = ...,
    *,
    for_executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
    with_data: Data = ...,
    with_metadata: Metadata | None = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | SyncTransaction | None = ...,
) -> list[Job[Data, Metadata, Result]]: ...
@overload
def assert_enqueued_sync(
    count: int | None = ...,
    *,
    for_executor: None = ...,
    with_data: object = ...,
    with_metadata: object = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | SyncTransaction | None = ...,
) -> list[Job[Any, Any, Any]]: ...
def assert_enqueued_sync(
    count: int | None = None,
    *,
    for_executor: ExecutorLike | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | SyncTransaction | None = None,
) -> list[Job[Any, Any, Any]]:
    """Assert that matching jobs were enqueued, as `assert_enqueued` does, in a test without an event loop.

    ```python
    (job,) = assert_enqueued_sync(1, for_executor=EmailJob, backend=store.bound_to(connection))
    ```

    The arguments and errors are those of `assert_enqueued`, except that the connection of a
    `backend.bound_to(connection)` must be a blocking one. A backend need not be open.
    """
    __tracebackhide__ = True
    checked_int("assert_enqueued_sync: count", count, 0, or_none=True)
    store = blocking(backend, "assert_enqueued_sync", "`await assert_enqueued`")
    wanted = checked_expectation(
        "assert_enqueued_sync",
        backend_of(store).limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    return read_sync(store, expect_enqueued(wanted, count))


@overload
def refute_enqueued_sync(
    *,
    for_executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
    with_data: Data = ...,
    with_metadata: Metadata | None = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | SyncTransaction | None = ...,
) -> None: ...
@overload
def refute_enqueued_sync(
    *,
    for_executor: None = ...,
    with_data: object = ...,
    with_metadata: object = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | SyncTransaction | None = ...,
) -> None: ...
def refute_enqueued_sync(
    *,
    for_executor: ExecutorLike | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | SyncTransaction | None = None,
) -> None:
    """Assert that no matching job was enqueued, as `refute_enqueued` does, in a test without an event loop.

    The arguments are those of `assert_enqueued_sync`, without `count`.
    """
    __tracebackhide__ = True
    store = blocking(backend, "refute_enqueued_sync", "`await refute_enqueued`")
    unwanted = checked_expectation(
        "refute_enqueued_sync",
        backend_of(store).limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    read_sync(store, expect_none(unwanted))
