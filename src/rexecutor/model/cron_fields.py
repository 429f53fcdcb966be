"""The fields of a cron expression: their bounds, and advice for terms that they cannot have.

Such terms come from other programs: Quartz, AWS, Jenkins, systemd and others have a syntax of their own.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final, NamedTuple

_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Field(NamedTuple):
    """A field: its name, its bounds, the names of its values, and a note for messages on what else it takes."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    more: str = ""

    def number(self, word: str) -> int | None:
        """Return the value that a number or a name stands for; None if this field has no such value."""
        if word in self.names:
            return self.names.index(word) + self.low
        number = int(word) if re.fullmatch("[0-9]+", word) else None
        return number if number is not None and self.low <= number <= self.high else None

    def written(self, number: int, *, by_name: bool) -> str:
        """Return the value as text: its name if `by_name` and the field has names, otherwise its number."""
        return self.names[number - self.low] if by_name and self.names else str(number)


SECOND: Final = Field("second", 0, 59)
MINUTE: Final = Field("minute", 0, 59)
HOUR: Final = Field("hour", 0, 23)
DAY: Final = Field("day-of-month", 1, 31, more=", L or LW")
MONTH: Final = Field("month", 1, 12, _MONTHS, " or JAN to DEC")
WEEKDAY: Final = Field("day-of-week", 0, 7, _DAYS, " (0 and 7 are Sunday) or SUN to SAT, 5L or 5#2")
FIELDS: Final = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)


def advice(field: Field, term: str) -> str:
    """Return what is wrong with a term that the field cannot have, and what to write instead."""
    for look in (_foreign, _step, _range, _days, _names):
        found = look(field, term)
        if found is not None:
            return found
    return f"{field.low} to {field.high}{field.more} expected, with * , - / as in cron"


def _foreign(field: Field, term: str) -> str | None:
    """Return advice for a foreign form that means the same in every field; None if the term is not one."""
    if not term:
        return "an entry between commas is empty; leave out the comma"
    if term == "?":
        return "? is not supported; write *"
    if re.fullmatch(r"(H|R)(\(.*\))?", term) or "~" in term:
        return "a value chosen at random is not supported; choose one, such as 7"
    if match := re.fullmatch(r"H(\(.*\))?/([0-9]+)", term):
        return f"a value chosen at random is not supported; write */{match[2]}"
    if match := re.fullmatch(r"([0-9]{1,2}):([0-9]{2})(:[0-9]{2})?", term):
        return f"a time of day takes two fields, the minute first; write {int(match[2])} {int(match[1])}"
    if re.search(r"\w(\.\.|[;|&])\w", term) and not re.search("[^A-Z0-9.;|&]", term):
        return f"write {re.sub('[;|&]', ',', term.replace('..', '-'))}"
    if re.search(r"[0-9]\.[0-9]", term):
        return f"whole numbers expected, {field.low} to {field.high}"
    return None


def _step(field: Field, term: str) -> str | None:
    start, slash, step = term.partition("/")
    if not slash:
        match = re.fullmatch(r"\*([0-9]+)", term)
        return f"write */{match[1]} or {match[1]}" if match else None
    if not re.fullmatch("[0-9]+", step):
        return "a number expected after the /, such as */5"
    if start in {"L", "LW"}:
        return f"no step can follow {start}; write {start}"
    if int(step) == 0:
        return "a step of 1 or more expected; write *" if start == "*" else "a step of 1 or more expected"
    if int(step) > field.high:
        return _long_step(field, int(step))
    return f"write */{step}" if not start else None


def _long_step(field: Field, step: int) -> str:
    found = f"a step of at most {field.high} expected"
    size = field.high + 1
    if field in {SECOND, MINUTE, HOUR} and step % size == 0:
        larger = FIELDS[FIELDS.index(field) + 1]
        rest = "" if step == size else f", and */{step // size} as the {larger.name}"
        return f"{found}; write 0{rest}"
    return found


def _range(field: Field, term: str) -> str | None:
    match = re.fullmatch(r"([A-Z0-9]+)-([A-Z0-9]+)(?:/([0-9]+))?", term)
    start, end = (field.number(match[1]), field.number(match[2])) if match else (None, None)
    if match is None or start is None or end is None or end >= start:
        return None
    last = 6 if field is WEEKDAY else field.high
    values = [*range(start, last + 1), *range(field.low, end + 1)] if start <= last else list(range(end + 1))
    values = values[:: int(match[3] or 1)]
    if len(values) > last - field.low:
        return "the range wraps around; write *"
    by_name = match[1] in field.names
    return f"the range wraps around; write {_joined(field, values, by_name=by_name)}"


def _joined(field: Field, values: Iterable[int], *, by_name: bool) -> str:
    """Return the values as a list, with ranges for three in a row or more."""
    terms: list[str] = []
    for _, group in groupby(enumerate(values), lambda pair: pair[1] - pair[0]):
        run = [field.written(number, by_name=by_name) for _, number in group]
        terms += [f"{run[0]}-{run[-1]}"] if run[2:] else run
    return ",".join(terms)


def _names(field: Field, term: str) -> str | None:
    """Return advice for a longer or shorter form of a name, or a name of another field; None if there is none."""
    if field is DAY and term == "LAST":
        return "write L"
    words: list[str] = re.findall("[A-Z]{2,}", term)
    for word in words:
        if word in field.names:
            continue
        meant = _name(word, field.names)
        if meant is not None:
            return f"write {re.sub('[A-Z]{2,}', lambda found: _name(found[0], field.names) or found[0], term)}"
        for other, what in ((WEEKDAY, "a weekday"), (MONTH, "a month")):
            if other is not field and _name(word, other.names) is not None:
                return f"{word} is {what} and belongs in the {other.name} field"
    return None


def _name(word: str, names: tuple[str, ...]) -> str | None:
    found = [name for name in names if word.startswith(name) or name.startswith(word)]
    return found[0] if len(found) == 1 else None


def _days(field: Field, term: str) -> str | None:
    """Return advice for a wrong use of `L`, `W` or `#`; None if there is none."""
    if field is DAY:
        return _day(term)
    if field is WEEKDAY:
        return _weekday(term)
    if term in {"L", "LW"}:
        return f"{term} belongs in the day-of-month field"
    return None


def _day(term: str) -> str | None:
    if match := re.fullmatch("([0-9]{1,2})W", term):
        day = int(match[1])
        if DAY.low <= day <= DAY.high:
            low, high = (day - 1 or 1), min(day + 1, 31)
            low, high = (1, 3) if low == day else (29, 31) if high == day else (low, high)
            return f"W is supported in LW only; write {day}, or {low}-{high} and choose the day in `execute`"
    if term in {"W", "WL"}:
        return "write LW for the last weekday of the month"
    if re.fullmatch("L-[0-9]+", term):
        return "days are not counted from the end; write L for the last day, or a number"
    match = re.fullmatch("([A-Z0-9]+)(L|#[0-9]+)", term)
    if match and WEEKDAY.number(match[1]) is not None:
        return f"{term} belongs in the day-of-week field"
    return None


def _weekday(term: str) -> str | None:
    if term == "L":
        return "L needs a weekday; write 6L for the last Saturday of the month, or 6 for each Saturday"
    match = re.fullmatch("([A-Z0-9]+?)(?:#L|L)", term) or re.fullmatch("L-?([A-Z0-9]+)", term)
    if match and (last := WEEKDAY.number(match[1])) is not None:
        return f"write {last}L"
    day, hash_, which = term.partition("#")
    if not hash_:
        return None
    if WEEKDAY.number(day) is not None:
        return f"1 to 5 expected after the #; for the last one write {WEEKDAY.number(day)}L"
    start, end = (WEEKDAY.number(side) for side in (day.partition("-")[0], day.partition("-")[2]))
    if start is not None and end is not None:
        days = ",".join(f"{one}#{which}" for one in range(start, end + 1))
        return f"one weekday expected before the #; write {days}"
    return None
