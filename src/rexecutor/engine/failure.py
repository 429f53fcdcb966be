"""What an exception is to a store: a short, storable text, whatever the exception does when it is asked."""

import traceback
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from rexecutor.errors import DecodeError
from rexecutor.model.job import ErrorKind, JobError, storable
from rexecutor.telemetry.log import traceback_of

_ENGINE: Final = str(Path(__file__).parent)
_RAISED_VALUE: Final = "exceptions must derive from BaseException"
"""What Python says of `raise Cancel(…)`, and of anything else that is no exception."""
_RETURN_IT: Final = "If that was a Cancel or a Snooze: return it, do not raise it.\n"


class Failure(NamedTuple):
    """What a job raised, as text: an exception may be of a kind that cannot be sent."""

    kind: ErrorKind
    type_name: str
    details: str


class ChildFailedError(Exception):
    """The job failed in its child process, or the child itself did."""

    def __init__(self, failure: Failure) -> None:
        """Keep what is known of it."""
        super().__init__(failure.details)
        self.failure = failure


def job_error(kind: ErrorKind, type_name: str, details: str, *, attempt: int, now: datetime, most: int) -> JobError:
    """Answer an error that every store takes: no NUL, no lone surrogate, at most `most` characters of details."""
    return JobError(attempt, kind, storable(type_name, 256), storable(details, most), now)


def error_of(error: BaseException, kind: ErrorKind, *, attempt: int, now: datetime, most: int) -> JobError:
    """Answer the error of an exception: its class, and its message and traceback from the user's code on."""
    type_name, details = shown(error)
    return job_error(kind, type_name, details, attempt=attempt, now=now, most=most)


def told_exception(error: JobError, raised: BaseException | None) -> BaseException | None:
    """Return the exception to tell of together with a failed attempt's error.

    That is what the attempt raised, except where it raised only because its time was over, and where the data could not
    be decoded: the decoder's messages show the data.
    """
    if error.kind is ErrorKind.TIMEOUT:
        timeout = TimeoutError(error.details)
        if type(raised) is ChildFailedError:  # `isinstance` would ask the exception
            if raised.failure.kind is ErrorKind.LOST:  # the timeout has ended the child, and there is no more to tell
                return timeout
            raised.__traceback__ = None  # its message has the traceback of the child
        elif raised is not None:
            BaseException.with_traceback(raised, _without_ours(traceback_of(raised)))  # not a method of its own
        timeout.__cause__ = raised
        return timeout
    if error.kind is ErrorKind.DECODE:
        return DecodeError("the stored data or metadata do not fit the executor's types; the job's last error says how")
    return raised


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame on that is not the engine's."""
    theirs = trace
    while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(_ENGINE):
        theirs = theirs.tb_next
    return trace if theirs is None else theirs


def shown(error: BaseException) -> tuple[str, str]:
    """Return the name of its class, and its message and traceback, however long. Raises nothing."""
    try:  # an exception's own methods, and its class's, may raise anything
        lines = traceback.format_exception(type(error), error, _without_ours(traceback_of(error)))
        if type(error) is TypeError and str(error) == _RAISED_VALUE:
            lines.append(_RETURN_IT)
        return type(error).__name__, "".join(lines)
    except BaseException as another:  # noqa: BLE001 - see above
        return "Exception", f"an exception that could not be shown: {_name_of(type(another))}"


def _name_of(kind: type[object]) -> str:
    """Return the name of a class, without asking its metaclass."""
    return type.__dict__["__name__"].__get__(kind)
