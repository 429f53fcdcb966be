"""Moments and spans of time as people read them."""

from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_FEW: Final = 10
"""Fewer of a unit are shown with the next smaller unit."""


def span(length: timedelta, *, coarse: bool = False) -> str:
    """Return a span in its largest unit, or in its two largest if the first is small: `4 min`, `1 h 5 min`, `80 ms`.

    If `coarse`, the second is left out.
    """
    seconds = abs(length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < _FEW and seconds % 1:
        return f"{seconds:.1f} s"
    for number, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            smaller = _UNITS[number + 1 : number + 2]
            small = rest // smaller[0][1] if smaller and whole < _FEW and not coarse else 0
            return f"{whole} {unit}" + (f" {small} {smaller[0][0]}" if small else "")
    raise AssertionError(seconds)


def relative(moment: datetime, now: datetime, *, coarse: bool = False) -> str:
    """Return how far away a moment is, see `span`: `in 4 min`, `4 min ago`, `now`."""
    distance = moment - now
    if abs(distance) < timedelta(seconds=1):
        return "now"
    shown = span(timedelta(seconds=int(abs(distance.total_seconds()))), coarse=coarse)
    return f"in {shown}" if distance > timedelta(0) else f"{shown} ago"


def at(moment: datetime, now: datetime) -> str:
    """Return a moment in UTC, without the date if that is today, and how far away it is."""
    shown = moment.astimezone(UTC)
    day = "" if shown.date() == now.astimezone(UTC).date() else f"{shown:%Y-%m-%d} "
    return f"{day}{shown:%H:%M:%S} UTC ({relative(moment, now)})"
