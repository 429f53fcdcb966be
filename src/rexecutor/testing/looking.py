"""What `assert_enqueued` and `refute_enqueued` look for, and what they say when they fail, without I/O.

A look is a generator: it yields which page of jobs it needs and is sent that page. So one look serves a store that is
awaited and a connection that blocks.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.errors import ConfigurationError, DecodeError
from rexecutor.jobs.executor import decode
from rexecutor.model.job import Job, JobId, JobRecord
from rexecutor.model.where import Everything, Where
from rexecutor.testing.asked import Asked, moment_text, quoted
from rexecutor.testing.differences import shortened

PAGE: Final = 5_000
"""How many jobs are asked of the store at a time, so that not all of them are in memory at the same time."""

CANDIDATES: Final = 5_000
"""Among how many jobs, the newest, a failure looks for the nearest."""

SHOWN: Final = 5
"""How many jobs a failure shows."""

T = TypeVar("T")


class Page(NamedTuple):
    """The next `PAGE` jobs that the expression describes, in the order of their ids."""

    where: Where
    after: JobId | None


Look: TypeAlias = Generator[Page, Sequence[JobRecord], T]


async def look(store: Backend | Transaction, steps: Look[T]) -> T:
    """Do the look at a store that is awaited."""
    __tracebackhide__ = True
    try:
        page = next(steps)
        while True:
            page = steps.send(await store.query(page.where, limit=PAGE, after=page.after))
    except StopIteration as done:
        return done.value


def look_sync(what: str, store: Backend | SyncTransaction, steps: Look[T]) -> T:
    """Do the look at a connection that blocks, or at a store in memory, which has nothing to wait for.

    Raises:
        ConfigurationError: It is a store that must be awaited.
    """
    __tracebackhide__ = True
    if isinstance(store, InMemoryBackend):
        looking = look(store, steps)
        try:
            looking.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("InMemoryBackend.query waits for something")  # pragma: no cover
    if isinstance(store, Backend):
        kind = type(store).__name__
        raise ConfigurationError(
            f"{what}: {kind} has to be awaited; give backend={kind}(…).bound_to(connection), or await the function"
            " without _sync"
        )
    try:
        page = next(steps)
        while True:
            page = steps.send(store.query_sync(page.where, limit=PAGE, after=page.after))
    except StopIteration as done:
        return done.value


def expect_enqueued(wanted: Asked, count: int | None) -> Look[list[Job[Any, Any]]]:
    """Return such jobs, in the order of their ids; fail unless there are some, or exactly as many."""
    __tracebackhide__ = True
    jobs: list[Job[Any, Any]] = []
    first: list[JobRecord] = []
    unreadable: list[str] = []
    found = 0

    def take(record: JobRecord) -> None:
        nonlocal found
        try:
            job = decode(wanted.codecs, record)
        except DecodeError as error:
            unreadable.append(f"job {record.id} cannot be read: {error}")
            return
        found += 1
        if count is None or found <= count:
            jobs.append(job)
        if found <= SHOWN:
            first.append(record)

    yield from _each(wanted.where, take)
    if found != count if count is not None else not found:
        expected = "at least 1 job" if count is None else f"{count} job{'' if count == 1 else 's'}"
        lines = [f"{wanted.what}: {expected} expected, {found} found", *_indented(wanted.described())]
        lines += _listed("found:", first, found)
        if found < (count or 1):
            lines += unreadable[:SHOWN]
            lines += yield from _nearest(wanted)
        raise AssertionError("\n".join(lines))
    return jobs


def expect_none(unwanted: Asked) -> Look[None]:
    """Fail if there is such a job."""
    __tracebackhide__ = True
    first: list[JobRecord] = []
    found = 0

    def take(record: JobRecord) -> None:
        nonlocal found
        found += 1
        if found <= SHOWN:
            first.append(record)

    yield from _each(unwanted.where, take)
    if found:
        lines = [f"{unwanted.what}: no job expected, {found} found", *_indented(unwanted.described())]
        raise AssertionError("\n".join([*lines, *_listed("found:", first, found)]))


def _each(where: Where, take: Callable[[JobRecord], object]) -> Look[None]:
    after: JobId | None = None
    while page := (yield Page(where, after)):
        for record in page:
            take(record)
        if len(page) < PAGE:
            return
        after = page[-1].id


def _nearest(wanted: Asked) -> Look[list[str]]:
    """Return lines about the jobs that meet most of what was asked, the newest first among equals."""
    candidates: deque[JobRecord] = deque(maxlen=CANDIDATES)
    total = 0

    def take(record: JobRecord) -> None:
        nonlocal total
        total += 1
        candidates.append(record)

    yield from _each(wanted.of_executor, take)
    if not total:
        return (yield from _others(wanted))
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


def _others(wanted: Asked) -> Look[list[str]]:
    """Return a line about a store without a job of the executor."""
    jobs: Counter[str] = Counter()
    yield from _each(Everything(), lambda record: jobs.update([record.executor]))
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
