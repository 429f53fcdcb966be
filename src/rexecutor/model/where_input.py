"""Checks of the values given to the constructors of `Where`."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from rexecutor.clock import checked_delay
from rexecutor.errors import ConfigurationError
from rexecutor.model.codec import compared


def given_canonical(owner: str, value: object) -> str:
    """Return the value's JSON in canonical form, or raise an `EncodeError` if JSON cannot hold it."""
    return compared(value, owner=owner, what="value")


def given_tags(what: str, tags: Iterable[str]) -> frozenset[str]:
    """Return the tags, or raise a `ConfigurationError` if one is not a str."""
    for tag in tags:
        if not isinstance(tag, str):
            raise ConfigurationError(f"{what}: {tag!r} is no tag; spread texts: {what}(*tags)")
    return frozenset(tags)


def given_age(what: str, age: timedelta) -> timedelta:
    """Return the age, or raise a `ConfigurationError` unless it is a timedelta from zero to 1,000 years."""
    return checked_delay(what, age, limit=timedelta(days=365_000))


def given_moment(what: str, moment: datetime) -> datetime:
    """Return the moment in UTC, or raise a `ConfigurationError` if it is not aware or out of range in UTC."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise ConfigurationError(f"{what}: {moment!r}: give an aware datetime, such as one with tzinfo=UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ConfigurationError(f"{what}: {moment!r} is beyond the years 1 to 9999 in UTC") from None
