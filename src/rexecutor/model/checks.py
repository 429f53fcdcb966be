"""Checks of arguments, each written once: one kind of mistake has one wording.

Users' code may be untyped, so the type is checked too. `what` names the argument in the message, with its executor,
class or function: `email_job: priority must be an int from 0 to 32767, not 'high'`. `error` is the exception to raise.
"""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, ParamSpec, TypeVar

from rexecutor.errors import ConfigurationError, RexecutorError
from rexecutor.model.status import JobStatus

P = ParamSpec("P")
T = TypeVar("T")
Int = TypeVar("Int", bound=int | None)
Texts = TypeVar("Texts", bound=Iterable[str])

LONGEST_DELAY: Final = timedelta(days=365_000)
"""The longest delay, age or window that may be given: 1,000 years."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def mistake(
    what: str, expected: str, value: object, advice: str = "", *, error: type[RexecutorError] = ConfigurationError
) -> RexecutorError:
    """Return the error for an argument that is not what was expected. The advice says what to write instead."""
    return error(f"{what} must be {expected}, not {value!r}{advice and f'; {advice}'}")


def checked_int(
    what: str,
    value: Int,
    least: int | None = None,
    limit: int | None = None,
    *,
    or_none: bool = False,
    error: type[RexecutorError] = ConfigurationError,
) -> Int:
    """Return the value, or raise an error unless it is an int from `least` to `limit`. A bool is no count."""
    if or_none and value is None:
        return value
    if type(value) is int and (least is None or least <= value) and (limit is None or value <= limit):
        return value
    bounds = "" if least is None else f" of {least} or more" if limit is None else f" from {least} to {limit}"
    raise mistake(what, f"{'None or ' * or_none}an int{bounds}", value, error=error)


def checked_instance(
    what: str,
    value: T,
    kind: type[Any],
    expected: str,
    advice: str = "",
    *,
    error: type[RexecutorError] = ConfigurationError,
) -> T:
    """Return the value, or raise an error unless it is an instance of `kind`, which `expected` describes."""
    if isinstance(value, kind):
        return value
    raise mistake(what, expected, value, advice, error=error)


def checked_aware(what: str, moment: datetime, *, error: type[RexecutorError] = ConfigurationError) -> datetime:
    """Return the moment, or raise an error unless it is an aware datetime."""
    if isinstance(moment, datetime) and moment.utcoffset() is not None:
        return moment
    raise mistake(what, "an aware datetime, such as one with tzinfo=UTC", moment, error=error)


def checked_moment(what: str, moment: datetime) -> datetime:
    """Return the moment in UTC, or raise a `ConfigurationError` unless it is aware and in datetime's range in UTC."""
    try:
        return checked_aware(what, moment).astimezone(UTC)
    except OverflowError:
        raise mistake(what, "in the years 1 to 9999 in UTC", moment) from None


def checked_delay(
    what: str,
    delay: timedelta,
    *,
    least: timedelta = timedelta(0),
    limit: timedelta | None = None,
    error: type[RexecutorError] = ConfigurationError,
) -> timedelta:
    """Return the delay, or raise an error unless it is a timedelta from `least` to `limit`.

    A bare number is refused, because its unit would be a guess.
    """
    if not isinstance(delay, timedelta):
        raise mistake(what, "a timedelta", delay, "write timedelta(seconds=…) or the like", error=error)
    if delay < least or (limit is not None and delay > limit):
        start, end = (str(bound).removesuffix(", 0:00:00") for bound in (least, limit))
        bounds = f"of {start} or more" if limit is None else f"from {start} to {end}"
        raise mistake(what, f"a timedelta {bounds}", delay, error=error)
    return delay


def checked_name(what: str, name: object, *, error: type[RexecutorError] = ConfigurationError) -> str:
    """Return the name, or raise an error unless it is one that every store accepts for an executor or a schedule."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise mistake(what, "1 to 128 characters of A-Z a-z 0-9 _ . : -", name, error=error)


def checked_texts(what: str, texts: Texts, *, error: type[RexecutorError] = ConfigurationError) -> Texts:
    """Return the texts, or raise an error for a single str, which is a collection of its characters."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        advice = f"write [{texts!r}]" if isinstance(texts, str) else "write [] for none" if texts is None else ""
        raise mistake(what, "a collection of str", texts, advice, error=error)
    return texts


def checked_tags(what: str, tags: Iterable[str], *, error: type[RexecutorError] = ConfigurationError) -> Iterable[str]:
    """Return the tags, or raise an error unless it is a collection of str."""
    for tag in checked_texts(what, tags, error=error):
        checked_instance(f"{what}: each tag", tag, str, "a str", spread(tag), error=error)
    return tags


def checked_statuses(what: str, statuses: Collection[JobStatus]) -> frozenset[JobStatus]:
    """Return the statuses, or raise a `ConfigurationError` if one is not a `JobStatus`."""
    for status in statuses:
        expected = "a JobStatus, such as JobStatus.COMPLETE"
        checked_instance(f"{what}: each status", status, JobStatus, expected, spread(status))
    return frozenset(statuses)


def checked_id(what: str, job_id: int) -> int:
    """Return the id, or raise a `ConfigurationError` unless it is an int. A bool is no id."""
    if type(job_id) is int:
        return job_id
    raise mistake(what, "an int", job_id, f"it is of type {type(job_id).__name__}")


def checked_ids(what: str, ids: Collection[int]) -> frozenset[int]:
    """Return the ids, or raise a `ConfigurationError` if one is not an int."""
    for job_id in ids:
        if type(job_id) is not int:
            raise mistake(f"{what}: each id", "an int", job_id, spread(job_id))
    return frozenset(ids)


def spread(value: object) -> str:
    """Return the advice for a collection that was given as one of several arguments."""
    return f"write *{value!r}" if isinstance(value, list | tuple | set | frozenset) else ""


def with_advice(what: str, others: Mapping[str, str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator with which an unknown keyword raises a `TypeError` that names the one to write.

    Args:
        what: What is called, for messages.
        others: Keyword of another library → the one that is meant.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        known = inspect.signature(function).parameters

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known:
                    meant = others.get(name) or next(iter(get_close_matches(name, known, 1)), None)
                    advice = (
                        f"it has {', '.join(each for each in known if each != 'self')}"
                        if meant is None
                        else f"use {meant}"
                    )
                    raise TypeError(f"{what} has no setting {name!r}; {advice}")
            return function(*args, **kwargs)

        return checked

    return decorate
