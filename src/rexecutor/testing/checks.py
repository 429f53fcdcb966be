"""The checks of `assert_enqueued` and `refute_enqueued` and their failure messages, without I/O."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from rexecutor.backend.pages import Page, Reading
from rexecutor.errors import DecodeError
from rexecutor.jobs.types import decode
from rexecutor.model.job import Job, JobId, JobRecord
from rexecutor.model.where import Everything, Where
from rexecutor.testing.differences import shortened
from rexecutor.testing.expectation import Expectation, moment_text, quoted

PAGE: Final = 5_000
"""Jobs read from the store at a time, which bounds memory."""

CANDIDATES: Final = 5_000
"""Jobs, the newest ones, that are compared to find the nearest ones for a failure message."""

SHOWN: Final = 5
"""Maximum number of jobs shown in each part of a failure message."""


def expect_enqueued(wanted: Expectation, count: int | None) -> Reading[list[Job[Any, Any, Any]]]:
    """Return the expected jobs, in order of id. Fail unless there are exactly `count`, or at least one if None."""
    __tracebackhide__ = True
    jobs: list[Job[Any, Any, Any]] = []
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


def expect_none(unwanted: Expectation) -> Reading[None]:
    """Fail if there is a job that meets the criteria."""
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


def _each(where: Where, take: Callable[[JobRecord], object]) -> Reading[None]:
    after: JobId | None = None
    while page := (yield Page(where, PAGE, after)):
        for record in page:
            take(record)
        if len(page) < PAGE:
            return
        after = page[-1].id


def _nearest(wanted: Expectation) -> Reading[list[str]]:
    """Return lines about the jobs that miss the fewest criteria, the newest first among equals."""
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
    compared.sort(key=lambda pair: (len(pair[0]), -pair[1].id))
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


def _others(wanted: Expectation) -> Reading[list[str]]:
    """Return a line about the jobs of other executors, for a store without a job of the expected executor."""
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
