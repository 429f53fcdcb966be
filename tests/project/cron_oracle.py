"""A brute-force oracle for cron: what is due, minute by minute, around the changes of every zone's clock.

Written from the rule, and on purpose from nothing else: it has a parser of its own, asks `zoneinfo` for each minute,
and shares no code with `rexecutor.model.cron` or cronsim. The full size is `python -m tests.project.cron_oracle`; it
prints one line of JSON, with the results of plain cronsim beside ours. `tests/project/test_cron_oracle.py` runs a
shortened form.

Which changes: all of every zone that the machine knows. Two zones are looked at once where a change has the same
offsets before and after and happens at the same local time, since then all that a schedule sees within the window (the
instants and what the clock shows at each) is the same; changes less than two windows apart are kept whatever their key.
"""

import argparse
import calendar
import json
import random  # noqa: TID251 - seeded: the same expressions each time
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim

from rexecutor.model.cron import Cron

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
WINDOW = timedelta(hours=30)
NARROW = timedelta(hours=3)  # for what is due every few seconds
DENSE = 4_000  # ticks in a window above which the narrow one is looked at
PLAIN_MOST = 150  # ticks in a window up to which plain cronsim is asked too

NAMES = {
    name: number
    for names, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), first)
}


@dataclass(frozen=True)
class Change:
    """A zone's clock is changed."""

    zone: str
    at: datetime
    before: timedelta
    after: timedelta

    @property
    def shown(self) -> datetime:
        """What the clock would have shown."""
        return self.at.replace(tzinfo=None) + self.before


@dataclass(frozen=True)
class Fields:
    """An expression, read."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: tuple[str, ...]
    months: frozenset[int]
    weekdays: tuple[str, ...]
    elapsed: bool
    both_days: bool

    def has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day = any(_is_day(term, day) for term in self.days)
        by_weekday = any(_is_weekday(term, day) for term in self.weekdays)
        return (by_day and by_weekday) if self.both_days else (by_day or by_weekday)


def _numbers(text: str, low: int, high: int) -> Iterator[int]:
    for term in text.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (NAMES[end] if end in NAMES else int(end) for end in span.split("-"))
        else:
            first = NAMES[span] if span in NAMES else int(span)
            last = high if step else first
        yield from range(first, last + 1, int(step or 1))


def _is_day(term: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if term == "l":
        return day.day == last
    if term == "lw":
        return day.day == max(d for d in range(20, last + 1) if date(day.year, day.month, d).isoweekday() < 6)
    return day.day in _numbers(term, 1, 31)


def _is_weekday(term: str, day: date) -> bool:
    number = day.isoweekday() % 7
    if "#" in term:
        name, _, nth = term.partition("#")
        return number in {n % 7 for n in _numbers(name, 0, 7)} and (day.day - 1) // 7 + 1 == int(nth)
    if term.endswith("l") and term[:-1].isdigit():
        return number == int(term[:-1]) % 7 and (day + timedelta(days=7)).month != day.month
    return number in {n % 7 for n in _numbers(term, 0, 7)}


@cache
def read(text: str) -> Fields:
    """Read five or six fields."""
    parts = text.lower().split()
    if len(parts) == 5:
        parts = ["0", *parts]
    second, minute, hour, day, month, weekday = parts
    return Fields(
        frozenset(_numbers(second, 0, 59)),
        frozenset(_numbers(minute, 0, 59)),
        frozenset(_numbers(hour, 0, 23)),
        tuple(day.split(",")),
        frozenset(_numbers(month, 1, 12)),
        tuple(weekday.split(",")),
        elapsed=minute.startswith("*") or hour.startswith("*"),
        both_days=day.startswith("*") or weekday.startswith("*"),
    )


class Window:
    """Every minute around a change, and what the clock shows at it, from a day earlier on."""

    def __init__(self, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        self.start, self.end = start, end
        first = start.replace(second=0) - timedelta(hours=26)
        count = (end - first) // MINUTE + 2
        self.shown = [
            (instant, (instant.astimezone(zone)).replace(tzinfo=None))
            for instant in (first + MINUTE * n for n in range(count))
        ]
        # What the clock shows is sorted into first times, later times and, of what it skips, the instant after.
        self.first_shown: dict[datetime, datetime] = {}
        self.skipped: dict[datetime, datetime] = {}
        furthest = self.shown[0][1] - MINUTE
        for instant, wall in self.shown:
            skipped = furthest + MINUTE
            while skipped < wall:
                self.skipped[skipped] = instant
                skipped += MINUTE
            if wall > furthest:
                self.first_shown[wall] = instant
                furthest = wall
        self.days = {wall.date() for _, wall in self.shown} | {wall.date() for wall in self.skipped}

    def ticks(self, fields: Fields, start: datetime, end: datetime) -> list[datetime]:
        """Return all ticks after `start`, up to and including `end`."""
        days = {day for day in self.days if fields.has_day(day)}
        if not days:
            return []
        minutes, hours, seconds = fields.minutes, fields.hours, sorted(fields.seconds)

        def is_due(wall: datetime) -> bool:
            return wall.minute in minutes and wall.hour in hours and wall.date() in days

        if fields.elapsed:
            due = [instant for instant, wall in self.shown if is_due(wall)]
            late: set[datetime] = set()
        else:
            due = [instant for wall, instant in self.first_shown.items() if is_due(wall)]
            late = {instant for wall, instant in self.skipped.items() if is_due(wall)}
        ticks = late.union(minute + SECOND * second for minute in due for second in seconds)
        return sorted(tick for tick in ticks if start < tick <= end)


def changes(zone: str, start: datetime, end: datetime) -> Iterator[Change]:
    """Find a zone's changes hour by hour, then minute by minute."""
    info, hour = ZoneInfo(zone), timedelta(hours=1)
    instant = start
    before = instant.astimezone(info).utcoffset()
    while instant < end:
        after = (instant + hour).astimezone(info).utcoffset()
        if after != before:
            while instant.astimezone(info).utcoffset() == before:
                instant += MINUTE
            after = instant.astimezone(info).utcoffset()
            assert before is not None
            assert after is not None
            yield Change(zone, instant, before, after)
            before = after
            instant = instant.replace(minute=0)
        instant += hour


def changes_of_all_zones(zones: Iterable[str], first_year: int, last_year: int) -> tuple[int, list[Change]]:
    """Return how many changes there are, and those that differ in what a schedule sees."""
    start, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    distinct: dict[object, Change] = {}
    total = 0
    for zone in sorted(zones):
        ours = list(changes(zone, start, end))
        total += len(ours)
        for at, change in enumerate(ours):
            near = [other for other in ours[max(at - 1, 0) : at + 2] if abs(other.at - change.at) < 2 * WINDOW]
            distinct.setdefault(tuple((one.at, one.before, one.after) for one in [change, *near]), change)
    return total, list(distinct.values())


FIVE = [
    "30 2 * * *", "0 2 * * *", "0 3 * * *", "59 1 * * *", "0 0 * * *", "30 0 * * *", "15 0,1 * * *", "5 23 * * *",
    "59 23 * * *", "0,30 2 * * *", "15,45 1-3 * * *", "0-59 2 * * *", "0-59/7 0-5 * * *", "30 0-23 * * *",
    "0 0-23/2 * * *", "* * * * *", "*/5 * * * *", "*/15 2 * * *", "* 2 * * *", "30 * * * *", "0 */2 * * *",
    "45 */3 * * *", "0 * * * *", "*/20 0 * * *", "* 1-3 * * *", "30 2 * * sun", "30 2 * * 7", "0 3 * * mon",
    "30 2 * * 0#2", "30 2 * * 0L", "30 1 * * 5L", "0 0 * * 5#5", "0 0 L * *", "30 2 LW * *", "0 12 1,15 * 1",
    "0 12 13 * fri", "30 2 */2 * sun", "0 0 1 * *", "30 23 31 * *", "0 2 8-14 3,11 0", "0 2 25-31 mar,oct *",
    "30 2 29 2 *", "0 0 1 1 *", "30 0 24-31 * 5", "0 0 * 4,10 *", "30 2 1-31 * *", "*/30 2-4 * * *", "1/29 2 * * *",
    "0 2/7 * * *", "30 23,0 * * *",
    "*/30 0-4 * 3,4,9-11 0", "*/20 * 8-14 3,11 0", "* 2 * * 0L", "*/15 1-3 25-31 mar,oct *",
]  # fmt: skip
SIX = [
    "0 30 2 * * *", "15 30 2 * * *", "0,30 30 2 * * *", "* 30 2 * * *", "59 59 1 * * *", "0 0 3 * * *", "1 0 3 * * *",
    "30 59 23 * * *", "* * * * * *", "*/10 * * * * *", "*/15 */5 * * * *", "5 * * * * *", "7,37 0-59 1-3 * * *",
    "30 0 */2 * * *", "45 30 2 * * sun", "59 59 23 L * *", "0-59/13 0,30 0 * * *", "20 10 1 * * 0L", "* 0 0 * * *",
    "30 * 2 * * *", "10 20 0-23 * * *", "*/7 59 * * * *", "1 2 3 * * *", "58-59 59 2 * * *",
]  # fmt: skip


def expressions(count: int, seed: int) -> list[str]:
    """Return the given ones, then random ones, half of them with seconds."""
    chance = random.Random(seed)  # noqa: S311
    drawn = dict.fromkeys(FIVE + SIX)
    while len(drawn) < count:
        drawn[_drawn(chance)] = None
    return list(drawn)[:count]


def _drawn(chance: random.Random) -> str:
    some = [
        lambda: str(chance.randrange(60)),
        lambda: str(chance.choice([0, 0, 15, 30, 30, 45, 59])),
        lambda: f"{(first := chance.randrange(58))}-{chance.randrange(first + 1, 60)}/{chance.randrange(1, 25)}",
        lambda: ",".join(str(chance.randrange(60)) for _ in range(chance.randrange(2, 4))),
    ]
    hours = [
        lambda: str(chance.choice([0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 12, 22, 23, 23])),
        lambda: ",".join(str(chance.randrange(24)) for _ in range(3)),
        lambda: f"{(first := chance.randrange(4))}-{chance.randrange(first + 1, 24)}/{chance.randrange(1, 5)}",
    ]
    minute = chance.choice([*some, *some, lambda: "*", lambda: f"*/{chance.randrange(2, 60)}"])()
    hour = chance.choice([*hours, *hours, lambda: "*", lambda: f"*/{chance.randrange(2, 24)}"])()
    day = chance.choice(["*"] * 8 + ["*/2", "1-7", "8-14", "25-31", "L", "LW", "1,31", "10/3"])
    month = chance.choice(["*"] * 8 + ["3", "10-11", "*/3", "MAR,APR,SEP,OCT"])
    weekday = chance.choice(["*"] * 8 + ["0", "7", "5-7", "SUN", "MON-FRI", "*/2", "0L", "0#2", "5#4", "SAT,4#5"])
    fields = f"{minute} {hour} {day} {month} {weekday}"
    return f"{chance.choice(some)()} {fields}" if chance.random() < 0.5 else fields


@dataclass
class Figures:
    """What was compared."""

    zones: int = 0
    transitions: int = 0
    distinct_transitions: int = 0
    expressions: int = 0
    comparisons: int = 0
    ticks: int = 0
    mismatches: int = 0
    cronsim_five_compared: int = 0
    cronsim_five_differ: int = 0
    cronsim_six_compared: int = 0
    cronsim_six_differ: int = 0
    cronsim_never_ends: int = 0
    seconds: float = 0


def compare(figures: Figures, change: Change, texts: list[str], report: list[str]) -> None:
    """Compare all ticks around a change, one by one, and what is answered at awkward moments."""
    zone = ZoneInfo(change.zone)
    whole = Window(zone, change.at - WINDOW, change.at + WINDOW)
    jump = change.after - change.before
    awkward = [change.at + delta for delta in (-abs(jump), -SECOND, timedelta(0), abs(jump) / 2, abs(jump) - SECOND)]
    for text in texts:
        cron, fields = _cron(text), read(text)
        start, end = whole.start, whole.end
        if len(fields.seconds) * len(fields.minutes) * len(fields.hours) * 2.5 > DENSE:
            start, end = change.at - NARROW, change.at + NARROW
        expected = whole.ticks(fields, start, end)
        answers: list[tuple[str, object, object]] = [
            ("between", cron.between(start, end, zone, 10**6), expected),
            ("latest", cron.latest(start, end, zone), expected[-1] if expected else None),
        ]
        for moment in (one for one in awkward if start <= one < end):
            at = bisect_right(expected, moment)
            if at < len(expected):
                answers.append((f"after {moment}", cron.after(moment, zone), expected[at]))
            if at:
                answers.append((f"latest up to {moment}", cron.latest(start, moment, zone), expected[at - 1]))
        if (first := _first_from_afar(cron, start, zone)) is not None:
            answers.append(("from afar", first if first <= end else None, expected[0] if expected else None))
        figures.ticks += len(expected)
        figures.comparisons += len(answers)
        for what, ours, right in answers:
            if ours != right:
                figures.mismatches += 1
                report.append(f"{text!r} {change}: {what}: {ours} but {right}"[:600])
        if len(expected) <= PLAIN_MOST:
            _compare_plain(figures, text, zone, start, end, expected)


def _first_from_afar(cron: Cron, start: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first tick after the start, found from weeks before; None if there are too many between."""
    tick = start - timedelta(days=40)
    for _ in range(12):
        following = cron.after(tick, zone)
        assert following is not None
        tick = following
        if tick > start:
            return tick
    return None


@cache
def _cron(text: str) -> Cron:
    return Cron(text)


class _PlainCron(CronSim):
    """Plain cronsim, which looks for ever for some schedules: `45 */3 * * *` in Pacific/Chatham in April 2027."""

    steps = 0

    def tick(self, seconds: int = 1) -> None:
        self.steps += 1
        if self.steps > 50_000:
            raise TimeoutError
        super().tick(seconds)


def _compare_plain(
    figures: Figures, text: str, zone: ZoneInfo, start: datetime, end: datetime, expected: list[datetime]
) -> None:
    plain: list[datetime] = []
    try:
        for tick in _PlainCron(text, start.astimezone(zone)):
            if tick.astimezone(UTC) > end or len(plain) > len(expected):
                break
            plain.append(tick.astimezone(UTC))
    except TimeoutError:
        figures.cronsim_never_ends += 1
    if len(text.split()) == 5:
        figures.cronsim_five_compared += 1
        figures.cronsim_five_differ += plain != expected
    else:
        figures.cronsim_six_compared += 1
        figures.cronsim_six_differ += plain != expected


def _compared(turn: tuple[Change, list[str]]) -> tuple[Figures, list[str]]:
    figures, report = Figures(), list[str]()
    compare(figures, *turn, report)
    return figures, report


def _sum(one: Figures, other: Figures) -> Figures:
    more = asdict(other)
    return Figures(**{name: value + more[name] for name, value in asdict(one).items()})


def run(
    zones: Iterable[str], years: tuple[int, int], texts: list[str], *, each: int | None = None, processes: int = 1
) -> tuple[Figures, list[str]]:
    """Run all expressions at all changes; with `each`, that many at each change, taking turns."""
    begun = time.perf_counter()
    names, report = sorted(zones), list[str]()
    total, distinct = changes_of_all_zones(names, *years)
    figures = Figures(zones=len(names), transitions=total, distinct_transitions=len(distinct), expressions=len(texts))
    turns = [
        (change, texts if each is None else [texts[(number * each + k) % len(texts)] for k in range(each)])
        for number, change in enumerate(distinct)
    ]
    if processes == 1:
        for change, turn in turns:
            compare(figures, change, turn, report)
    else:
        with ProcessPoolExecutor(processes) as pool:
            for part, lines in pool.map(_compared, turns):
                figures = _sum(figures, part)
                report += lines
    figures.seconds = round(time.perf_counter() - begun, 1)
    return figures, report


def main() -> int:
    """Run the size that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.project.cron_oracle", description=__doc__)
    parser.add_argument("--expressions", type=int, default=500)
    parser.add_argument("--first-year", type=int, default=2024)
    parser.add_argument("--last-year", type=int, default=2030)
    parser.add_argument("--zones", nargs="*", help="only these (default: all that the machine knows)")
    parser.add_argument("--each", type=int, help="so many expressions at each change, taking turns (default: all)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figures, report = run(
        options.zones or available_timezones(),
        (options.first_year, options.last_year),
        expressions(options.expressions, options.seed),
        each=options.each,
        processes=options.processes,
    )
    for line in report[:20]:
        sys.stderr.write(line + "\n")
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")
    return 1 if figures.mismatches else 0


if __name__ == "__main__":
    raise SystemExit(main())
