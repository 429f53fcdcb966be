"""Turns exceptions into short, storable texts, whatever the exceptions' own methods do."""

import traceback
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from rexecutor.errors import DecodeError
from rexecutor.jobs import definition, function, middleware, signature
from rexecutor.model.job import ErrorKind, JobError, JobRecord, storable
from rexecutor.telemetry.log import traceback_of

OURS: Final = (
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / "django"),
    *(str(module.__file__) for module in (definition, function, middleware, signature)),
)
"""Folders and files of the code that calls jobs."""
_RAISED_VALUE: Final = "exceptions must derive from BaseException"
"""Python's message for `raise Cancel(…)`, and for raising any other value that is not an exception."""
_RETURN_IT: Final = "If that was a Cancel or a Snooze: return it, do not raise it.\n"


class Failure(NamedTuple):
    """An exception that a job raised, as text, because not every exception can be pickled."""

    kind: ErrorKind
    type_name: str
    details: str
    discarded_by: str | None = None
    """Name of the class in the executor's `discard_on` that the exception belongs to; None if there is none."""
    type_path: str | None = None
    """Module and qualified name of the exception's class; None if there is no exception."""


class ChildFailedError(Exception):
    """The job failed in its child process, or the child itself did."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details)
        self.failure = failure


def failure_of(error: BaseException, discard_on: tuple[type[BaseException], ...] = ()) -> Failure:
    """Return the class of an exception, its message and traceback, and whether it discards the job. Never raises.

    Its classes are compared with `discard_on` as an `except` does it. `isinstance` and `issubclass` might call methods
    of the exception or of its metaclass, which may raise anything.
    """
    type_name, details = shown(error)
    listed = (one for one in discard_on if any(one is ancestor for ancestor in _ancestors_of(type(error))))
    by = next(listed, None)
    discarded_by = None if by is None else _name_of(by)
    return Failure(ErrorKind.EXCEPTION, type_name, details, discarded_by, _path_of(type(error)))


def job_error(failure: Failure, record: JobRecord, *, now: datetime, limit: int) -> JobError:
    """Return the error of a job's attempt that every store accepts.

    It has no NUL, no lone surrogate, and at most `limit` characters of details.
    """
    path = None if failure.type_path is None else storable(failure.type_path, 512)
    name, details = storable(failure.type_name, 256), storable(failure.details, limit)
    return JobError(record.attempt, failure.kind, name, details, now, path, record.node)


def told_exception(error: JobError, raised: BaseException | None) -> BaseException | None:
    """Return the exception that the event of a failed attempt carries, if any.

    It is the one that the attempt raised, except in two cases. After a timeout it is a `TimeoutError`, caused by that
    one. If the data could not be decoded, it is a new `DecodeError`: the decoder's messages show the data.
    """
    if error.kind is ErrorKind.TIMEOUT:
        timeout = TimeoutError(error.details)
        if type(raised) is ChildFailedError:  # `isinstance` would read the exception's `__class__`
            if raised.failure.kind is ErrorKind.LOST:  # the timeout ended the child: no more to say
                return timeout
            raised.__traceback__ = None  # its message holds the child's traceback
        elif raised is not None:
            BaseException.with_traceback(raised, _without_ours(traceback_of(raised)))  # not its own method
        timeout.__cause__ = raised
        return timeout
    if error.kind is ErrorKind.DECODE:
        return DecodeError("the stored data or metadata do not fit the executor's types; the job's last error says how")
    return raised


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is not ours; all of it if there is no such frame."""
    theirs = trace
    while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(OURS):
        theirs = theirs.tb_next
    return trace if theirs is None else theirs


def shown(error: BaseException) -> tuple[str, str]:
    """Return the name of the exception's class, and its message and traceback in full. Never raises."""
    try:  # an exception's own methods, and its class's, may raise anything
        lines = traceback.format_exception(type(error), error, _without_ours(traceback_of(error)))
        if type(error) is TypeError and str(error) == _RAISED_VALUE:
            lines.append(_RETURN_IT)
        return type(error).__name__, "".join(lines)
    except BaseException as another:  # noqa: BLE001 - see above
        return "Exception", f"an exception that could not be shown: {_name_of(type(another))}"


def _ancestors_of(kind: type[object]) -> tuple[type[object], ...]:
    """Return a class and its bases without calling its metaclass."""
    return type.__dict__["__mro__"].__get__(kind)


def _name_of(kind: type[object]) -> str:
    """Return the name of a class without calling its metaclass."""
    return type.__dict__["__name__"].__get__(kind)


def _path_of(kind: type[object]) -> str | None:
    """Return the module and qualified name of a class without calling its metaclass; None if it has no module."""
    try:
        module: object = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        return None
    return f"{module}.{type.__dict__['__qualname__'].__get__(kind)}" if isinstance(module, str) else None
