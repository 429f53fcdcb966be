"""Parses the text of a cron expression, and writes its normal form."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from cronsim import CronSim, CronSimError

from rexecutor.errors import ConfigurationError
from rexecutor.model.cron_fields import DAY, FIELDS, MONTH, Field, advice

_ALIASES: Final = {
    **dict.fromkeys(("@YEARLY", "@ANNUALLY"), "0 0 1 1 *"),
    **dict.fromkeys(("@DAILY", "@MIDNIGHT"), "0 0 * * *"),
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@HOURLY": "0 * * * *",
}
_ALIASES_OF_OTHERS: Final = {
    "@SECONDLY": "* * * * * *",
    "@MINUTELY": "* * * * *",
    "@NOON": "0 12 * * *",
    "@QUARTERLY": "0 0 1 1,4,7,10 *",
    "@SEMIANNUALLY": "0 0 1 1,7 *",
}
_EXPECTED: Final = "five fields (minute hour day month weekday) expected, or six with seconds first"
_INTERVAL: Final = "intervals are not supported; write the times at which it is due, such as */5 * * * *"
_WEEKDAY_NUMBER: Final = re.compile("(?<![#/0-9])[1-7](?![0-9])")
_YEARS: Final = re.compile(r"(19|20)[0-9]{2}([-,/][0-9]+)*")
_ZONE: Final = re.compile(r"^(?:CRON_)?TZ=(\S+)|\s([A-Z]{4,}/[A-Z_/]+|ETC/\S+)$", re.IGNORECASE)
_FIELD_COUNT: Final = len(FIELDS)
_MAX_LENGTH: Final = 1_000
_SHOWN_LENGTH: Final = 80
_ANY_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The days of each month, at most."""


def wrong(text: str, why: str) -> ConfigurationError:
    """Return the error for an expression. A long text is cut."""
    shown = repr(text) if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]!r} …"
    return ConfigurationError(f"Cron: {shown}: {why}")


def fields_of(text: object) -> list[str]:
    """Return the six fields of an expression, seconds first, in upper case.

    Raises:
        ConfigurationError: It is not a str, is too long, has another number of fields, or is another program's syntax.
    """
    if isinstance(text, timedelta):
        raise ConfigurationError(f"Cron: timedelta given; {_INTERVAL}")
    if not isinstance(text, str):
        raise ConfigurationError(f'Cron: {type(text).__name__} given, a str such as "0 30 2 * * *" expected')
    if len(text) > _MAX_LENGTH:
        raise wrong(text, f"{len(text)} characters, at most {_MAX_LENGTH} are allowed")
    folded = text.strip().upper()
    fields = _ALIASES.get(folded, folded).split()
    found = _foreign_word(text.strip()) or _foreign_fields(fields)
    if found is not None:
        raise wrong(text, found)
    if len(fields) not in {_FIELD_COUNT - 1, _FIELD_COUNT}:
        raise wrong(text, f"{len(fields)} field{'' if len(fields) == 1 else 's'}; {_EXPECTED}")
    return ["0"] * (_FIELD_COUNT - len(fields)) + fields


def _foreign_word(text: str) -> str | None:
    """Return advice for a text with a word of another program; None if no such word is known."""
    folded = text.upper()
    alias = folded if folded.startswith("@") else f"@{folded}"
    if folded == "@REBOOT":
        return "a start is no time; enqueue the job where the program starts"
    if folded in _ALIASES:
        return None
    if alias in _ALIASES:
        return f"write {alias.lower()}"
    if alias in _ALIASES_OF_OTHERS:
        return f"no such alias; write {_ALIASES_OF_OTHERS[alias]}"
    if re.match(r"@?EVERY\b|RATE\(|R?[0-9]*/?PT?[0-9]", folded):
        return _INTERVAL
    if folded.startswith("@"):
        return f"no such alias; {', '.join(_ALIASES).lower()} or {_EXPECTED}"
    if match := re.fullmatch(r"CRON\((.*)\)", folded):
        return f"only what stands in the brackets is read, without the year; {_without_year(match[1].split()[:5])}"
    if zone := _ZONE.search(text):
        return (
            f'the zone is no part of the expression; leave it out, and give timezone=ZoneInfo("{zone[1] or zone[2]}")'
        )
    if match := re.fullmatch(r"""(['"])(.*)\1""", text):
        return f"the quotes are part of the text; write {match[2]}"
    return None


def _foreign_fields(fields: list[str]) -> str | None:
    """Return advice for fields in the order or form of another program; None if they do not look like that."""
    joined = _joined(fields)
    if joined != fields and len(joined) in {_FIELD_COUNT - 1, _FIELD_COUNT}:
        return f"a field has no spaces; write {' '.join(joined)}"
    last = fields[-1] if fields else ""
    if len(fields) == _FIELD_COUNT + 1 and (last in {"*", "?"} or _YEARS.fullmatch(last)):
        return f"seven fields: there is no year field, leave it out; {_without_year(fields[:-1])}"
    if len(fields) == _FIELD_COUNT and _YEARS.fullmatch(last):
        return f"there is no year field, leave it out; {_without_year(fields[:-1])}"
    if len(fields) == _FIELD_COUNT and "?" in {
        fields[2],
        fields[4],
    }:  # AWS's six fields end in a year; Quartz has ? elsewhere
        return f"six fields begin with the seconds, and there is no year field; {_without_year(fields[:-1])}"
    if len(fields) < _FIELD_COUNT - 1 and any(re.search(r"[0-9*]:[0-9*]|\*-|\.\.", value) for value in fields):
        example = "0 9 * * MON-FRI for Mon..Fri 09:00"
        return f"systemd's calendar is not supported; write cron fields, such as {example}; {_EXPECTED}"
    return None


def _joined(fields: list[str]) -> list[str]:
    """Return the fields without the spaces around commas, hyphens, slashes and number signs."""
    joined: list[str] = []
    for value in fields:
        if joined and (joined[-1][-1] in ",-/#" or value[0] in ",#" or value in {"-", "/"}):
            joined[-1] += value
        else:
            joined.append(value)
    return joined


def _without_year(fields: list[str]) -> str:
    ours = _from_sunday(fields)
    note = "" if ours is None else ", because 1 is Monday here, Sunday in Quartz and AWS"
    return f"write {' '.join(fields if ours is None else ours).replace('?', '*')}{note}"


def _from_sunday(fields: list[str]) -> list[str] | None:
    """Return the fields with weekdays from 0 for Sunday, if a `?` shows that they begin with 1; None otherwise."""
    weekday = _WEEKDAY_NUMBER.sub(lambda number: str(int(number[0]) - 1), fields[-1])
    return [*fields[:-1], weekday] if "?" in fields and weekday != fields[-1] else None


def _without_question_mark(text: str, fields: list[str]) -> str:
    """Return a note for an expression with a `?`, where weekday 1 may be Sunday (Quartz) or Monday (Spring)."""
    ours = _from_sunday(fields)
    if ours is None:
        return ""
    written = " ".join(ours[-len(text.split()) :]).replace("?", "*")
    return f"; if it comes from Quartz or AWS, where 1 is Sunday, write {written}"


def read(text: str, fields: list[str]) -> CronSim:
    """Return the fields parsed by cronsim. Its search for ticks is not used.

    Raises:
        ConfigurationError: A field has a wrong term, or no month has such a day.
    """
    for value, field in zip(fields, FIELDS, strict=True):
        for term in value.split(","):
            if not _is_read(field, term):
                shown = f"{field.name} {value!r}" if term == value else f"{field.name} {term!r} in {value!r}"
                note = _without_question_mark(text, fields) if term == "?" else ""
                raise wrong(text, f"{shown}: {advice(field, term)}{note}")
    try:
        return CronSim(" ".join(fields), _ANY_MOMENT)
    except CronSimError as error:  # each field by itself is right, so it is a day that no month has
        raise wrong(text, _no_such_day(fields[FIELDS.index(DAY)], fields[FIELDS.index(MONTH)])) from error


def _is_read(field: Field, term: str) -> bool:
    """Return whether cronsim accepts the term and reads it as it was meant."""
    start, _, step = term.partition("/")
    if not term or (start in {"L", "LW"} and step):  # cronsim reads L/2 as L
        return False
    if step.isdecimal() and int(step) > field.high:  # cronsim reads */90 as */60
        return False
    try:
        CronSim(" ".join(term if each is field else "*" for each in FIELDS), _ANY_MOMENT)
    except CronSimError:
        return False
    return True


def _no_such_day(days: str, months: str) -> str:
    numbers = CronSim(f"0 0 1 {months} *", _ANY_MOMENT).months
    limit = max(_DAYS[month - 1] for month in numbers)
    have = "the month given has" if len(numbers) == 1 else "the months given have"
    return f"{DAY.name} {days!r}: {have} at most {limit} days; write L for the last day of the month, or another month"


def normal_form(fields: list[str], parsed: CronSim) -> str:
    """Return the normal form: the same text for all expressions with the same meaning."""
    star = [value.startswith("*") for value in fields]
    days = {day for day in parsed.days if day > 0}
    words = [word for word, day in (("L", CronSim.LAST), ("LW", CronSim.LAST_WEEKDAY)) if day in parsed.days]
    weekdays = {item % 7 for item in parsed.weekdays if isinstance(item, int)}
    special = sorted({(item[0] % 7, item[1]) for item in parsed.weekdays if not isinstance(item, int)})
    parts = (
        _written(parsed.seconds, 0, 59),
        _written(parsed.minutes, 0, 59, star=star[1]),
        _written(parsed.hours, 0, 23, star=star[2]),
        _written(days, 1, 31, words, star=star[3]),
        _written(parsed.months, 1, 12),
        _written(weekdays, 0, 6, [f"{d}L" if n == CronSim.LAST else f"{d}#{n}" for d, n in special], star=star[5]),
    )
    return " ".join(parts)


def _written(numbers: set[int], low: int, high: int, more: Iterable[str] = (), *, star: bool | None = None) -> str:
    """Return the normal form of one field.

    Args:
        numbers: The values that match.
        low: The field's lowest value.
        high: The field's highest value.
        more: Terms that are not numbers, such as `L`.
        star: Whether the field begins with `*`, which changes what the expression means. None for a field in which
            it changes nothing: then `*` is written if that is shorter.
    """
    for step in range(1, high + 2):  # the smallest such step does not depend on how the field was written
        stepped = set(range(low, high + 1, step))
        if stepped <= numbers:
            break
    else:
        step, stepped = 0, set[int]()
    if star is None:
        star = numbers == stepped and low + 2 * step <= high
    terms = ["*" if step == 1 else f"*/{step}"] if star else []
    for _, group in groupby(enumerate(sorted(numbers - stepped if star else numbers)), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        terms.extend([f"{run[0]}-{run[-1]}"] if run[2:] else map(str, run))
    return ",".join([*terms, *more])
