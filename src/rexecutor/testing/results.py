"""`assert_result` and `assert_result_sync`: assertions about the result of a stored job."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.types import codecs_or_plain, encoded_result
from rexecutor.model.checks import checked_instance
from rexecutor.model.codec import canonical
from rexecutor.model.job import JobRecord, Result, detail_lines
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where
from rexecutor.testing.differences import shortened, value_differences

_NONE: Final = "null"
_SHOWN: Final = 5
"""Maximum number of errors shown."""


async def assert_result(handle: JobHandle[Any, Any, Result], value: Result) -> None:
    """Assert that a job is complete and has this result. Does not wait: run the job first, for example by `drain`.

    ```python
    handle = await Build.enqueue(Query("2026-05"))
    await drain(Build)
    await assert_result(handle, Report(rows=7))
    ```

    A failure shows both values and where they differ. If the job is not complete, it shows the status and the errors.

    Args:
        handle: The job's handle, as an enqueue returns it.
        value: The expected result, compared as JSON, like the data of `assert_enqueued`; None for a job without one.

    Raises:
        AssertionError: The job is not complete, has another result, or is not stored.
        EncodeError: The value is not of the type that the executor declares.
        ConfigurationError: The handle is not a `JobHandle`.
        BackendError: The store failed.
    """
    __tracebackhide__ = True
    expected = _expected("assert_result", handle, value)
    _check("assert_result", handle, expected, await handle.backend.query(Where.id_equals(handle.id), limit=1))


def assert_result_sync(handle: JobHandle[Any, Any, Result], value: Result) -> None:
    """Assert that a job is complete and has this result, as `assert_result` does, in a test without an event loop."""
    __tracebackhide__ = True
    expected = _expected("assert_result_sync", handle, value)
    _check("assert_result_sync", handle, expected, handle.backend.query_sync(Where.id_equals(handle.id), limit=1))


def _expected(what: str, handle: JobHandle[Any, Any, Any], value: object) -> str:
    """Return the expected result as JSON text."""
    checked_instance(f"{what}: handle", handle, JobHandle, "a JobHandle, as `await ….enqueue(…)` returns it")
    executor = handle.executor
    codecs = codecs_or_plain(executor, handle.backend.limits)
    return encoded_result(codecs, what if executor is None else executor.name, value) or _NONE


def _check(what: str, handle: JobHandle[Any, Any, Any], expected: str, found: Sequence[JobRecord]) -> None:
    __tracebackhide__ = True
    if not found:
        raise AssertionError(f"{what}: there is no job {handle.id} in this store")
    (record,) = found
    job = f"{what}: job {record.id} of {record.executor}"
    if record.status is not JobStatus.COMPLETE or record.defect is not None:
        lines = [f"{job} is {record.status}, not complete", f"  expected {shortened(expected)}", *_why(record)]
        raise AssertionError("\n".join(lines))
    actual = record.result or _NONE
    if canonical(actual) == canonical(expected):
        return
    lines = [f"{job} has another result", f"  expected {shortened(expected)}", f"  found {shortened(actual)}"]
    lines += [f"  {line}" for line in value_differences("result", expected, actual) if not line.startswith("result:")]
    raise AssertionError("\n".join(lines))


def _why(record: JobRecord) -> Iterator[str]:
    """Yield lines that say why a job is not complete."""
    if record.defect is not None:
        yield f"  {shortened(record.defect)}"
    count = len(record.errors)
    yield f"  attempt {record.attempt} of {record.max_attempts}, {count or 'no'} error{'' if count == 1 else 's'}"
    for error in record.errors[-_SHOWN:]:
        yield f"  attempt {error.attempt}, {error.kind}: {shortened(detail_lines(error)[-1])}"
