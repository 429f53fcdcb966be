"""What an ended job means for those who asked for its result. No I/O."""

from typing import Any, Final

from rexecutor.errors import DecodeError, JobFailedError
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.types import PLAIN, codecs_of, codecs_or_plain, decode
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, Job, JobId, JobRecord, Limits, Result, detail_lines
from rexecutor.model.status import JobStatus

_LONGEST_REASON: Final = 500
"""Maximum length, in characters, of the reason in the message of a `JobFailedError`."""
_UNREADABLE: Final = "the stored data or metadata do not fit the executor's types; the job's last error says how"


def job_of_record(
    executor: type[ExecutorDefinition[Any, Any, Any]] | None, job_id: JobId, record: JobRecord | None, limits: Limits
) -> Job[Any, Any, Any]:
    """Return the job, typed by its executor; with plain JSON values if the executor is None.

    Raises:
        JobNotFoundError: There is no such job (of that executor, if one is given).
        DecodeError: Its data, metadata or result is not of the executor's type, or the row could not be read.
    """
    found = rules.found(record, job_id, None if executor is None else executor.name)
    return decode(codecs_or_plain(executor, limits), found)


def result_of(
    executor: type[ExecutorDefinition[Any, Any, Result]] | None,
    job_id: JobId,
    record: JobRecord | None,
    limits: Limits,
) -> Result:
    """Return the result of an ended job: None if none is stored, plain JSON values if the executor is None.

    The job's data are not decoded: a result does not depend on whether they still fit.

    Args:
        executor: The job's executor; None if it is not known.
        job_id: The job's id, for messages.
        record: The ended job as it is stored; None if it is not there.
        limits: Limits of the backend.

    Raises:
        JobFailedError: The job is cancelled or discarded.
        JobNotFoundError: There is no such job (of that executor, if one is given).
        DecodeError: The stored result is not of the executor's type, or the row could not be read.
    """
    found = rules.found(record, job_id, None if executor is None else executor.name)
    if found.defect is not None:
        raise DecodeError(f"{found.executor}: {found.defect}")
    if found.status is not JobStatus.COMPLETE:
        raise JobFailedError(_message(found), _readable(executor, found, limits))
    codec = codecs_or_plain(executor, limits).result
    nothing: Any = None
    return nothing if found.result is None or codec is None else codec.decode(found.result)


def _readable(
    executor: type[ExecutorDefinition[Any, Any, Any]] | None, record: JobRecord, limits: Limits
) -> Job[Any, Any, Any]:
    """Return the job, with plain JSON values if its data do not fit: perhaps that is why it is discarded."""
    if executor is not None:
        try:
            return decode(codecs_of(executor, limits), record)
        except DecodeError:
            pass
    return decode(PLAIN, record)


def _message(record: JobRecord) -> str:
    """Return what became of the job and why, without its data, which the messages of decoders show."""
    what = f"job {record.id} ({record.executor}) is {record.status}"
    if not record.errors:
        return what
    error = record.errors[-1]
    if error.kind is ErrorKind.DECODE:
        return f"{what}: {_UNREADABLE}"
    lines = detail_lines(error)
    # An exception's message is the last line of its traceback.
    reason = lines[-1] if error.kind is ErrorKind.EXCEPTION else " ".join(lines)
    return f"{what}: {reason[:_LONGEST_REASON]}"
