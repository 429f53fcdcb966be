"""What an exception is to a store: a short, storable text, whatever the exception does when it is asked."""

import traceback
from datetime import datetime

from rexecutor.job import ErrorKind, JobError, storable


def job_error(kind: ErrorKind, type_name: str, details: str, *, attempt: int, now: datetime, most: int) -> JobError:
    """Answer an error that every store takes: no NUL, no lone surrogate, at most `most` characters of details."""
    return JobError(attempt, kind, storable(type_name, 256), storable(details, most), now)


def error_of(error: BaseException, kind: ErrorKind, *, attempt: int, now: datetime, most: int) -> JobError:
    """Answer the error of an exception: its class, and its message and traceback from the user's code on."""
    return job_error(kind, type(error).__name__, _details(error), attempt=attempt, now=now, most=most)


def _details(error: BaseException) -> str:
    trace = error.__traceback__
    try:  # the first frame is the engine's own
        lines = traceback.format_exception(type(error), error, trace.tb_next if trace and trace.tb_next else trace)
        return "".join(lines)
    except Exception as another:  # noqa: BLE001 - an exception's own methods may raise anything
        return f"{type(error).__name__} (it could not be shown: {type(another).__name__})"
