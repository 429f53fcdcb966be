"""`assert_enqueued` and `refute_enqueued`: what a test says of the jobs in a store."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, overload

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.errors import ConfigurationError, DecodeError
from rexecutor.executor import Executor, decode
from rexecutor.job import Data, Job, JobId, JobRecord, Metadata
from rexecutor.testing.asked import UNSET, AnyExecutor, Asked, asked, moment_text, quoted
from rexecutor.testing.differences import shortened
from rexecutor.where import Where

PAGE: Final = 5_000
"""How many jobs are asked of the store at a time."""

CANDIDATES: Final = 5_000
"""Among how many jobs, the newest, a failure looks for the nearest."""

SHOWN: Final = 5
"""How many jobs a failure shows."""


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
    backend: Backend | None = ...,
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
    backend: Backend | None = ...,
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
    backend: Backend | None = None,
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
        backend: Where; the global backend when None.

    Raises:
        AssertionError: There are none, or not as many.
        ConfigurationError: An argument cannot work, such as a naive datetime.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    if count is not None and (type(count) is not int or count < 0):
        raise ConfigurationError(f"assert_enqueued: count is {count!r}; 0 or more expected, or None for at least one")
    store = current_backend(backend)
    wanted = asked(
        "assert_enqueued",
        store.limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    jobs: list[Job[Any, Any]] = []
    first: list[JobRecord] = []
    unreadable: list[str] = []
    found = 0
    async for record in _all(store, wanted.where):
        try:
            job = decode(wanted.codecs, record)
        except DecodeError as error:
            unreadable.append(f"job {record.id} cannot be read: {error}")
            continue
        found += 1
        if count is None or found <= count:
            jobs.append(job)
        if found <= SHOWN:
            first.append(record)
    if found != count if count is not None else not found:
        expected = "at least 1 job" if count is None else f"{count} job{'' if count == 1 else 's'}"
        lines = [f"assert_enqueued: {expected} expected, {found} found", *_indented(wanted.described())]
        lines += _listed("found:", first, found)
        if found < (count or 1):
            lines += unreadable[:SHOWN]
            lines += await _nearest(store, wanted)
        raise AssertionError("\n".join(lines))
    return jobs


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
    backend: Backend | None = ...,
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
    backend: Backend | None = ...,
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
    backend: Backend | None = None,
) -> None:
    """Fail if such a job has been enqueued, whatever has become of it; the failure shows those that are there.

    ```python
    await refute_enqueued(for_executor=EmailJob, tagged_with=["reminder"])
    ```

    The arguments are those of `assert_enqueued`. A job that cannot be decoded counts: it is there.

    Raises:
        AssertionError: There is one.
        ConfigurationError: An argument cannot work, such as a naive datetime.
        EncodeError: The data or the metadata is not of the executor's type.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    store = current_backend(backend)
    unwanted = asked(
        "refute_enqueued",
        store.limits,
        for_executor,
        data=with_data,
        metadata=with_metadata,
        tags=tagged_with,
        at=scheduled_at,
        after=scheduled_after,
        before=scheduled_before,
    )
    first: list[JobRecord] = []
    found = 0
    async for record in _all(store, unwanted.where):
        found += 1
        if found <= SHOWN:
            first.append(record)
    if found:
        lines = [f"refute_enqueued: no job expected, {found} found", *_indented(unwanted.described())]
        raise AssertionError("\n".join([*lines, *_listed("found:", first, found)]))


async def _all(store: Backend, where: Where) -> AsyncIterator[JobRecord]:
    """Answer the jobs page by page, so that not all of them are in memory at the same time."""
    after: JobId | None = None
    while page := await store.query(where, limit=PAGE, after=after):
        for record in page:
            yield record
        if len(page) < PAGE:
            return
        after = page[-1].id


async def _nearest(store: Backend, wanted: Asked) -> list[str]:
    """Answer lines about the jobs that meet most of what was asked, the newest first among equals."""
    candidates: deque[JobRecord] = deque(maxlen=CANDIDATES)
    total = 0
    async for record in _all(store, wanted.of_executor):
        candidates.append(record)
        total += 1
    if not total:
        return await _others(store, wanted)
    compared = [(wanted.differences(record), record) for record in candidates]
    compared = [(differences, record) for differences, record in compared if differences]
    compared.sort(key=lambda one: (len(one[0]), -one[1].id))
    if not compared:
        return []
    whose = "all executors" if wanted.executor is None else wanted.executor
    among = f"the newest {CANDIDATES:,} of {total:,}" if total > CANDIDATES else str(total)
    lines = [f"nearest among {among} of {whose}:"]
    for differences, record in compared[:SHOWN]:
        lines += [f"  job {record.id}, {record.status}:"]
        lines += _indented(_indented(line for criterion in differences for line in criterion))
        lines += _indented(_indented(_defect(record)))
    return lines


async def _others(store: Backend, wanted: Asked) -> list[str]:
    """Answer a line about a store without a job of the executor."""
    jobs: Counter[str] = Counter()
    for one in await store.count():
        jobs[one.executor] += one.jobs
    if not jobs:
        return ["there are no jobs at all"]
    listed = ", ".join(f"{name} ({number:,})" for name, number in jobs.most_common(SHOWN))
    more = ", …" if len(jobs) > SHOWN else ""
    return [f"there are no jobs at all of {wanted.executor}; there are {jobs.total():,} of others: {listed}{more}"]


def _listed(title: str, records: Sequence[JobRecord], total: int) -> Iterator[str]:
    if records:
        yield title
    for record in records:
        due = moment_text(record.scheduled_at)
        yield f"  job {record.id} of {record.executor}, {record.status}, scheduled at {due}"
        yield f"    data {shortened(record.data)}"
        if record.metadata is not None:
            yield f"    metadata {shortened(record.metadata)}"
        if record.tags:
            yield f"    tags {quoted(record.tags)}"
        yield from _indented(_indented(_defect(record)))
    if total > len(records) > 0:
        yield f"  … and {total - len(records):,} more"


def _defect(record: JobRecord) -> Iterator[str]:
    if record.defect is not None:
        yield shortened(record.defect)


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
