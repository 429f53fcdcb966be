"""Parses and checks the values of options."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import typer

from rexecutor.cli.failure import MisusedError, note

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_PATH: Final = re.compile(r"[^\s\"{}\[\]=.]+(\.[^\s\"{}\[\]=.]+)*")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST: Final = timedelta(days=365_000)


def duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `15m`, `12h`, `31d` or `2w`, of at most 1,000 years."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} must be a whole number and a unit: 90s, 15m, 12h, 31d or 2w")
    try:
        parsed = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):
        parsed = timedelta.max
    if parsed > _LONGEST:
        raise typer.BadParameter(f"{text!r} is longer than 1,000 years")
    return parsed


def moment(text: str) -> datetime:
    """Parse a moment in ISO 8601, which must have an offset from UTC, and return it in UTC."""
    example = "2026-08-01T09:30:00Z or 2026-08-01T09:30:00+02:00"
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.utcoffset() is None:
            raise typer.BadParameter(f"{text!r} has no offset from UTC; write {example}")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} must be a moment in ISO 8601, such as {example}") from None


def moment_or_now(text: str) -> datetime:
    """Parse a moment as `moment` does, or `now`, which is this machine's time."""
    from rexecutor.clock import SystemClock  # loads asyncio, which --help does not need

    return SystemClock().now() if text == "now" else moment(text)


@dataclass(frozen=True, slots=True)
class Point:
    """A moment, or how long before the store's time it is."""

    when: datetime | timedelta


def point(text: str) -> Point:
    """Parse a moment in ISO 8601, or how long ago it was, such as `2h`."""
    if _DURATION.fullmatch(text):
        return Point(duration(text))
    if not text[:4].isdigit():
        raise typer.BadParameter(
            f"{text!r} must be how long ago, such as 90s, 2h or 7d, or a moment, such as 2026-08-01T09:30:00Z"
        )
    return Point(moment(text))


@dataclass(frozen=True, slots=True)
class Value:
    """What data are compared with: a value, and the path in the data where it stands, if it is not all of them."""

    json: str
    path: str | None = None


def value_of(text: str) -> Value:
    """Parse JSON, or a path and a value: `user.id=7`, `name=bob`. A value that is not JSON stands for itself."""
    path, equals, value = text.partition("=")
    if equals and _PATH.fullmatch(path):
        return Value(json_text(value if _is_json(value) else _quoted(value)), path)
    if not _is_json(text):
        raise typer.BadParameter(
            f"""{text!r} must be KEY=VALUE, such as user.id=7, or all of the data as JSON, such as '"bob"'"""
        )
    return Value(json_text(text))


def _is_json(text: str) -> bool:
    import msgspec  # not needed for --help

    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)


def json_text(text: str) -> str:
    """Check that the text is JSON that every store accepts, and return it as stores write it, without extra spaces."""
    import msgspec  # not needed for --help

    from rexecutor.errors import EncodeError
    from rexecutor.model.codec import Codec, canonical

    try:
        written = Codec[object](object, owner="JSON", what="the value").encode(msgspec.json.decode(text))
    except EncodeError as error:
        raise typer.BadParameter(str(error)) from error
    except (ValueError, RecursionError) as error:  # ValueError: msgspec's errors and UnicodeEncodeError
        advice = """a str needs its own quotes: '"bob"', and arguments are an object: '{"to": "bob"}'"""
        raise typer.BadParameter(f"not JSON: {error}; {advice}") from error
    if canonical(written) != canonical(text):
        raise typer.BadParameter("a number has more digits than can be stored")
    return written


def check_texts(option: str, texts: Iterable[str]) -> frozenset[str]:
    """Return the texts without duplicates; raise a `MisusedError` if stores cannot hold one of them."""
    found = frozenset(texts)
    for text in found:
        check_text(option, text)
    return found


def check_text(option: str, text: str) -> None:
    """Raise a `MisusedError` if stores cannot hold the text."""
    from rexecutor.model.job import is_storable  # loads msgspec, which --help does not need

    if not is_storable(text):  # in argv, bytes that are not UTF-8 become lone surrogates
        raise MisusedError(f"{option} {text!r} must be UTF-8 text")


async def note_unknown(backend: "Backend", names: Iterable[str]) -> None:
    """Print a note on stderr for each executor that has no job in the store: its name may be misspelt."""
    from rexecutor.model.where import ExecutorIn  # not needed for --help

    for name in sorted(names):
        if not await backend.query(ExecutorIn(frozenset({name})), limit=1):
            line = backend.command("jobs count")
            note(
                f"no job in this store has the executor {name!r}" + (f"; to list the executors: {line}" if line else "")
            )
