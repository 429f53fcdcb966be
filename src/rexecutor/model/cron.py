"""When a cron expression is due.

The fields are those of Debian's cron, read by `cronsim`: five (minute, hour, day of month, month, day of week), or six
with seconds first. Weekdays are 0 to 7, where 0 and 7 are Sunday, or SUN to SAT; `L` and `LW` are the last day and the
last weekday of the month, `5L` its last Friday, `5#2` its second. If both day fields are given, one of them must
match; if one of them begins with `*`, both must match.

The local time rule is Debian's too. cronsim follows it for five fields only, so it is implemented here:

- **A fixed time of day** is due at the first instant at which the zone's clock shows it *or a later time*. So a time
  that a daylight-saving gap skips is due at the first instant after the gap, and a repeated time the first time only.
- **If the minute or the hour begins with `*`**, elapsed time counts: every instant is due whose local time matches.
  The schedule runs through a repeated hour twice, and times that a gap skips are left out.

An instant is one tick, so all the times that one gap skips are one, whatever their seconds: in a gap from 2:00 to
3:00, `15 30 2 * * *` and `0,30 30 2 * * *` are due once, at 3:00:00.
"""

import calendar
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from rexecutor.clock import SystemClock
from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import checked_aware, checked_instance, checked_int
from rexecutor.model.cron_syntax import fields_of, normal_form, read, wrong

_MAX_PREVIEWED: Final = 10_000

_DAY: Final = 86_400
_REACH: Final = 2 * _DAY  # datetime keeps offsets within a day of UTC, so no two are further apart
_SECOND: Final = timedelta(seconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _SECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _SECOND
_EPOCH_DAY: Final = _EPOCH.toordinal()


@dataclass(frozen=True, slots=True, repr=False)
class Cron:
    """A cron expression. Immutable. Two are equal if their normal forms are.

    Raises a `ConfigurationError` for a text that is not a cron expression or is never due. The methods raise it for a
    naive datetime, a timezone that is not a tzinfo, and a count out of range. Ticks are whole seconds.

    Attributes:
        text: The normal form: six fields, aliases such as `@daily` written out, names as numbers, lists in order.
    """

    text: str
    _parsed: CronSim = field(init=False, compare=False)
    _minutes: tuple[int, ...] = field(init=False, compare=False)
    _seconds: tuple[int, ...] = field(init=False, compare=False)
    _elapsed: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        fields = fields_of(self.text)
        parsed = read(self.text, fields)
        minutes = sorted(hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes)
        object.__setattr__(self, "_parsed", parsed)
        object.__setattr__(self, "_minutes", tuple(minutes))
        object.__setattr__(self, "_seconds", tuple(sorted(parsed.seconds)))
        object.__setattr__(self, "_elapsed", fields[1][0] == "*" or fields[2][0] == "*")
        # All fourteen calendars that a year can have are among these 28 years.
        if self._next_day(date(2000, 1, 1).toordinal(), date(2027, 12, 31).toordinal()) is None:
            raise wrong(self.text, "there is no such day in any year; change the day, the month or the weekday")
        object.__setattr__(self, "text", normal_form(fields, parsed))

    def __repr__(self) -> str:
        return f"Cron({self.text!r})"

    def __reduce__(self) -> tuple[type["Cron"], tuple[str]]:
        return Cron, (self.text,)

    def after(self, moment: datetime, timezone: tzinfo) -> datetime | None:
        """Return the first tick strictly after the moment, in UTC; None if there is none up to the year 9999."""
        tick = self._next(_instant("Cron.after: moment", moment), _checked_zone("Cron.after: timezone", timezone))
        return None if tick is None else _EPOCH + timedelta(seconds=tick)

    def between(self, start: datetime, end: datetime, timezone: tzinfo, limit: int) -> list[datetime]:
        """Return the ticks after `start`, up to and including `end`, in UTC: the first `limit` of them (1 or more)."""
        what = "Cron.between"
        checked_int(f"{what}: limit", limit, 1)
        since, until = _instant(f"{what}: start", start), _instant(f"{what}: end", end)
        return self._ticks(since, until, _checked_zone(f"{what}: timezone", timezone), limit)

    def latest(self, start: datetime, end: datetime, timezone: tzinfo) -> datetime | None:
        """Return the latest tick after `start`, up to and including `end`, in UTC; None if there is none.

        It costs about thirty times as much as `after`, no matter how long ago `start` is.
        """
        low, high = _instant("Cron.latest: start", start), _instant("Cron.latest: end", end)
        zone, last, newest = _checked_zone("Cron.latest: timezone", timezone), high, None
        while low < high:  # bisects: as the moment moves on, the next tick never moves back
            middle = (low + high) // 2
            tick = self._next(middle, zone)
            if tick is None or tick > last:
                high = middle
            else:
                newest = low = tick
        return None if newest is None else _EPOCH + timedelta(seconds=newest)

    def preview(self, n: int, timezone: tzinfo = UTC, *, start: datetime | None = None) -> list[datetime]:
        """Return the next `n` ticks (1 to 10,000) after `start`, by default now, in the local time of `timezone`."""
        what = "Cron.preview"
        checked_int(f"{what}: n", n, 1, _MAX_PREVIEWED)
        zone = _checked_zone(f"{what}: timezone", timezone)
        since = _instant(f"{what}: start", SystemClock().now() if start is None else start)
        return [tick.astimezone(zone) for tick in self._ticks(since, _LAST, zone, n)]

    def _ticks(self, start: int, end: int, zone: tzinfo, limit: int) -> list[datetime]:
        ticks: list[datetime] = []
        tick = self._next(start, zone)
        while tick is not None and tick <= end and len(ticks) < limit:
            ticks.append(_EPOCH + timedelta(seconds=tick))
            tick = self._next(tick, zone)
        return ticks

    def _next(self, instant: int, zone: tzinfo) -> int | None:
        """Return the first tick after the instant, by walking from one change of the zone's offset to the next.

        Instants are seconds since 1970 in UTC. Walls are times on the local clock, as seconds since 1970 on that clock.
        """
        now = max(instant + 1, _FIRST)
        fixed = None if self._elapsed else self._next_wall(_furthest_shown(now - 1, zone) + 1)
        while True:
            offset = _offset(now, zone)
            wall = self._next_wall(now + offset) if self._elapsed else fixed
            if wall is None:
                return None
            due = max(wall - offset, now)  # if the clock has leapt past a fixed wall, it is due at once
            end = min(due, now + _REACH)
            change = _change_of_offset(now, end, zone)
            if change is None and end == due:
                return due if due <= _LAST else None
            # The offset does not change within `_REACH` of now. So until `_REACH` before `due`, every wall shown lies
            # between the present one and the one looked for, and none of these matches: that time is skipped.
            now = max(end, due - _REACH) if change is None else change

    def _next_wall(self, wall: int) -> int | None:
        """Return the first matching wall at or after this one; None after the year 9999."""
        today, second = wall // _DAY + _EPOCH_DAY, wall % _DAY
        day = self._next_day(today)
        time = self._next_time(second if day == today else 0)
        if time is None:
            day, time = self._next_day(today + 1), self._next_time(0)
        return None if day is None or time is None else (day - _EPOCH_DAY) * _DAY + time

    def _next_time(self, second: int) -> int | None:
        """Return the first matching second of the day at or after this one; None if there is none that day."""
        minute, rest = divmod(second, 60)
        if rest > self._seconds[-1]:
            minute, rest = minute + 1, 0
        at = bisect_left(self._minutes, minute)
        if at == len(self._minutes):
            return None
        matching = self._minutes[at]
        return matching * 60 + self._seconds[bisect_left(self._seconds, rest if matching == minute else 0)]

    def _next_day(self, day: int, last: int = date.max.toordinal()) -> int | None:
        """Return the first matching day from `day` to `last`, as ordinals; None if there is none."""
        day = max(day, 1)
        while day <= last:
            candidate = date.fromordinal(day)
            if candidate.month not in self._parsed.months:
                day += calendar.monthrange(candidate.year, candidate.month)[1] - candidate.day + 1
            elif self._parsed.match_day(candidate):
                return day
            else:
                day += 1
        return None


def zone_name(timezone: tzinfo) -> str:
    """Return the name under which a timezone is stored: the key of a `ZoneInfo`, "UTC", or an offset like "UTC+02:00".

    Raises:
        ConfigurationError: It is not a tzinfo, or has no name that always means the same.
    """
    zone = _checked_zone("timezone", timezone)
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    if isinstance(zone, type(UTC)):
        return str(type(UTC)(zone.utcoffset(None)))  # not its tzname, which may be any text
    raise ConfigurationError(f'timezone {zone!r} has no stable name; write ZoneInfo("Europe/Berlin") or the like')


def _offset(instant: int, zone: tzinfo) -> int:
    """Return the zone's offset from UTC at the instant, in seconds.

    Within two days of the first and the last datetime, the offset two days from it is returned: a local time must not
    be out of range.
    """
    within = min(max(instant, _FIRST + _REACH), _LAST - _REACH)
    offset = (_EPOCH + timedelta(seconds=within)).astimezone(zone).utcoffset()
    return offset // _SECOND if offset else 0


def _change_of_offset(low: int, high: int, zone: tzinfo) -> int | None:
    """Return the first instant after `low`, up to `high`, with a different offset than `low`; None if it is the same.

    `low` and `high` are at most two days apart. No zone of the IANA database has ever changed its offset twice in that
    time, so a bisection finds the change.
    """
    before = _offset(low, zone)
    if _offset(high, zone) == before:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _furthest_shown(instant: int, zone: tzinfo) -> int:
    """Return the latest wall shown up to the instant: in a repeated hour, the end of its first run."""
    shown = instant + _offset(instant, zone)
    change = _change_of_offset(instant - _REACH, instant, zone)
    return shown if change is None else max(shown, change - 1 + _offset(change - 1, zone))


def _instant(what: str, moment: datetime) -> int:
    return (checked_aware(what, moment) - _EPOCH) // _SECOND


def _checked_zone(what: str, zone: tzinfo) -> tzinfo:
    name = repr(zone) if isinstance(zone, str) else '"Europe/Berlin"'
    advice = f"write ZoneInfo({name}) or datetime.UTC"
    return checked_instance(what, zone, tzinfo, "a tzinfo", advice)
