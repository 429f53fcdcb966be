"""The text of a cron expression: what may stand in it, and its normal form."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from cronsim import CronSim, CronSimError

from rexecutor.errors import ConfigurationError

_ALIASES: Final = {
    **dict.fromkeys(("@YEARLY", "@ANNUALLY"), "0 0 1 1 *"),
    **dict.fromkeys(("@DAILY", "@MIDNIGHT"), "0 0 * * *"),
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@HOURLY": "0 * * * *",
}
_FIELDS: Final = {  # by the names that cronsim's messages have
    "second": (0, 59, ""),
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day-of-month": (1, 31, " (a day which these months have), L or LW"),
    "month": (1, 12, " or JAN to DEC"),
    "day-of-week": (0, 7, " (0 and 7 are Sunday) or SUN to SAT, 5L or 5#2"),
}
_EXPECTED: Final = "five fields (minute hour day month weekday) expected, or six with seconds first"
_LONGEST_TEXT: Final = 1_000
_SHOWN: Final = 80
_ANY_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def wrong(text: str, why: str) -> ConfigurationError:
    """Answer the error for a text, of which the beginning is shown."""
    shown = repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r} …"
    return ConfigurationError(f"Cron: {shown}: {why}")


def fields_of(text: object) -> list[str]:
    """Answer the six fields, seconds first, in upper case."""
    if not isinstance(text, str):
        raise ConfigurationError(f'Cron: {type(text).__name__} given, a str such as "0 30 2 * * *" expected')
    if len(text) > _LONGEST_TEXT:
        raise wrong(text, f"{len(text)} characters, at most {_LONGEST_TEXT} expected")
    folded = text.strip().upper()
    fields = _ALIASES.get(folded, folded).split()
    if folded == "@REBOOT":
        raise wrong(text, "a start is no time; enqueue the job where the program starts")
    if fields and fields[0].startswith("@"):
        raise wrong(text, f"no such alias; {', '.join(_ALIASES).lower()} or {_EXPECTED}")
    if len(fields) == len(_FIELDS) + 1:
        raise wrong(text, f"seven fields: there is no year field, leave it out; {_EXPECTED}")
    if len(fields) not in {len(_FIELDS), len(_FIELDS) - 1}:
        raise wrong(text, f"{len(fields)} fields; {_EXPECTED}")
    return ["0"] * (len(_FIELDS) - len(fields)) + fields


def read(text: str, fields: list[str]) -> CronSim:
    """Answer what cronsim makes of the fields; its search for ticks is not used."""
    for value, (name, (_, high, _)) in zip(fields, _FIELDS.items(), strict=True):
        if any(int(step) > high for step in re.findall("/([0-9]+)", value)):  # cronsim would run */90 each hour
            raise wrong(text, f"{name} {value!r}: a step of at most {high} expected")
    try:
        return CronSim(" ".join(fields), _ANY_MOMENT)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        low, high, more = _FIELDS[name]
        value = fields[list(_FIELDS).index(name)]
        raise wrong(text, f"{name} {value!r}; {low} to {high}{more} expected, with * , - / as in cron") from error


def normal_form(fields: list[str], parsed: CronSim) -> str:
    """Answer the text that all expressions with the same meaning have."""
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
    """Answer a field's normal form: a leading `*` as it was given, or, where it means nothing more, to be brief."""
    for step in range(1, high + 2):  # the smallest is the same however the field was written
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
