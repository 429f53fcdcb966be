"""Cron beside the brute-force oracle; `python -m tests.project.cron_oracle` is the full size."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecutor.model.cron import Cron
from tests.project.cron_oracle import Window, changes_of_all_zones, expressions, read, run

ZONES = available_timezones()
pytestmark = pytest.mark.skipif(not ZONES, reason="no zone data: neither the system's nor the package tzdata")

CURIOUS = sorted(
    ZONES
    & {
        "Africa/Cairo", "Africa/Casablanca", "Africa/El_Aaiun", "America/Asuncion", "America/Havana", "America/Nuuk",
        "America/New_York", "America/Santiago", "America/St_Johns", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza",
        "Australia/Lord_Howe", "Europe/Berlin", "Europe/Dublin", "Pacific/Chatham", "UTC",
    }
)  # fmt: skip
TEXTS = expressions(300, seed=1)


def test_cron_equals_the_oracle_around_each_change_of_the_curious_zones() -> None:
    figures, report = run(CURIOUS, (2024, 2030), TEXTS, each=3)

    assert report == []
    assert figures.transitions > 150
    assert figures.comparisons > 2_000


def test_cron_equals_the_oracle_in_every_zone_of_the_machine() -> None:
    figures, report = run(ZONES, (2026, 2026), TEXTS, each=6)

    assert report == []
    assert figures.zones == len(ZONES)
    assert figures.comparisons > 1_500


@pytest.mark.parametrize(
    ("zone", "year"),
    [
        ("Pacific/Apia", 2011),  # a whole day skipped
        ("Pacific/Kwajalein", 1993),  # another, by 23 hours
        ("Asia/Pyongyang", 2018),  # half an hour, at 23:30
        ("America/Caracas", 2016),
        ("America/Juneau", 1983),  # back by two hours
        ("Africa/Cairo", 2014),  # changes a month apart
        ("Antarctica/Casey", 2010),  # back by three hours
    ],
)
def test_cron_equals_the_oracle_at_changes_of_the_past(zone: str, year: int) -> None:
    figures, report = run([zone], (year, year), TEXTS, each=150)

    assert report == []
    assert figures.transitions > 0


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CURIOUS),
    st.sampled_from(TEXTS),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_cron_equals_the_oracle_on_any_day(zone: str, text: str, start: datetime) -> None:
    start = start.replace(microsecond=0)
    end = start + timedelta(hours=6)

    ticks = Cron(text).between(start, end, ZoneInfo(zone), 100_000)

    assert ticks == Window(ZoneInfo(zone), start, end).ticks(read(text), start, end)


@given(st.sampled_from(TEXTS))
def test_the_normal_form_means_the_same_to_the_oracle(text: str) -> None:
    given_, normal = read(text), read(Cron(text).text)
    days = [datetime(2024, 1, 1, tzinfo=UTC).date() + timedelta(days=n) for n in range(0, 1_500, 3)]

    assert (normal.seconds, normal.minutes, normal.hours) == (given_.seconds, given_.minutes, given_.hours)
    assert (normal.months, normal.elapsed) == (given_.months, given_.elapsed)
    assert [normal.has_day(day) for day in days] == [given_.has_day(day) for day in days]


def test_the_oracle_itself_knows_the_changes_of_berlin() -> None:
    total, (spring, autumn) = changes_of_all_zones(["Europe/Berlin"], 2026, 2026)

    assert total == 2
    assert spring.at == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert autumn.at == datetime(2026, 10, 25, 1, tzinfo=UTC)
