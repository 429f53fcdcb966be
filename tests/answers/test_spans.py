from datetime import UTC, datetime, timedelta

import pytest

from rexecutor.answers.spans import at, relative, span

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0804, "80 ms"),
        (1, "1 s"),
        (2.55, "2.5 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_599, "59 min"),
        (3_900, "1 h 5 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
        (-90, "1 min 30 s"),
    ],
)
def test_a_span_is_shown_in_one_unit_or_two(seconds: float, shown: str) -> None:
    assert span(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "now"), (0.9, "now"), (-0.9, "now"), (1.5, "in 1 s"), (-61.7, "1 min 1 s ago"), (7_200, "in 2 h")],
)
def test_a_moment_is_shown_as_it_is_seen_from_now(seconds: float, shown: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == shown


def test_a_moment_of_another_day_has_its_date() -> None:
    assert at(NOW + timedelta(hours=13), NOW) == "23:00:00 UTC (in 13 h)"
    assert at(NOW - timedelta(days=1), NOW) == "2026-11-26 10:00:00 UTC (1 d ago)"
