"""`assert_enqueued` and `refute_enqueued`: what a test says of the jobs in a store."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, overload

from rexecutor.backend.app_transaction import Transaction, awaited, backend_of
from rexecutor.backend.base import Backend
from rexecutor.jobs.executor import Executor
from rexecutor.model.job import Data, Job, Metadata
from rexecutor.testing.asked import UNSET, AnyExecutor, asked, checked_count
from rexecutor.testing.looking import expect_enqueued, expect_none, look


@overload
async def assert_enqueued(
    count: int | None = ...,
    *,
    for_executor: type[Executor[Data, Metadata]] | Executor[Data, Metadata],
    with_data: Data = ...,
    with_metadata: Metadata | None = ...,
    tagged_with: Collection[str] = ...,
    scheduled_at: datetime | None = ...,
    scheduled_after: datetime | None = ...,
    scheduled_before: datetime | None = ...,
    backend: Backend | Transaction | None = ...,
) -> list[Job[Data, Metadata]]: ...
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
) -> list[Job[Any, Any]]: ...
async def assert_enqueued(
    count: int | None = None,
    *,
    for_executor: AnyExecutor | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | Transaction | None = None,
) -> list[Job[Any, Any]]:
    """Fail unless such jobs have been enqueued, whatever has become of them; answer them, in the order of their ids.

    ```python
    (job,) = await assert_enqueued(1, for_executor=EmailJob, with_data="bob@example.com", tagged_with=["reminder"])
    ```

    A failure says what was asked and how many there are, and shows the nearest jobs, with what differs in each. A job
    that cannot be decoded does not count; the failure names it.

    Args:
        count: How many, exactly; 0 for none. None for at least one.
        for_executor: Whose jobs, as a class or an instance; None for anybody's, whose data are then plain JSON values.
        with_data: These data, compared as JSON values: the order of keys does not matter, and 1 equals 1.0.
        with_metadata: This metadata, compared like data; None for jobs without any.
        tagged_with: All of these tags, and perhaps others.
        scheduled_at: Due at this aware moment, to the microsecond.
        scheduled_after: Due after this aware moment; not at it.
        scheduled_before: Due before this aware moment; not at it.
        backend: Where; the global backend when None. With `backend.bound_to(connection)` also the jobs that the
            connection's transaction has enqueued and not committed.

    Raises:
        AssertionError: There are none, or not as many.
        ConfigurationError: An argument cannot work, such as a naive datetime, or a connection that blocks.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    checked_count("assert_enqueued", count)
    store = awaited(backend, "assert_enqueued", "assert_enqueued_sync")
    wanted = asked(
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
    return await look(store, expect_enqueued(wanted, count))


@overload
async def refute_enqueued(
    *,
    for_executor: type[Executor[Data, Metadata]] | Executor[Data, Metadata],
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
    for_executor: AnyExecutor | None = None,
    with_data: Any = UNSET,
    with_metadata: Any = UNSET,
    tagged_with: Collection[str] = (),
    scheduled_at: datetime | None = None,
    scheduled_after: datetime | None = None,
    scheduled_before: datetime | None = None,
    backend: Backend | Transaction | None = None,
) -> None:
    """Fail if such a job has been enqueued, whatever has become of it; the failure shows those that are there.

    ```python
    await refute_enqueued(for_executor=EmailJob, tagged_with=["reminder"])
    ```

    The arguments are those of `assert_enqueued`. A job that cannot be decoded counts: it is there.

    Raises:
        AssertionError: There is one.
        ConfigurationError: An argument cannot work, such as a naive datetime, or a connection that blocks.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    store = awaited(backend, "refute_enqueued", "refute_enqueued_sync")
    unwanted = asked(
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
    await look(store, expect_none(unwanted))
