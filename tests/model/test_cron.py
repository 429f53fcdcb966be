"""Cron expressions: what they say, when they are due, and what is refused."""

import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.errors import ConfigurationError
from rexecutor.model.cron import Cron, zone_name

needs_zones = pytest.mark.skipif(
    not available_timezones(), reason="no zone data: neither the system's nor the package tzdata"
)
MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.sampled_from(
    ["@hourly", "@daily", "30 2 * * *", "* * * * * *", "*/7 */5 * * * *", "0 0 29 2 *", "0 0 * * 5#5", "0 0 12 L * *"]
)


def berlin() -> ZoneInfo:
    return ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def day_of(text: str, day: str, zone: tzinfo) -> list[str]:
    """Return the ticks of a local day, as the local clock shows them."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    start, end = (moment.astimezone(UTC) - timedelta(seconds=1) for moment in (midnight, midnight + timedelta(days=1)))
    ticks = Cron(text).between(start, end, zone, 10_000)
    return [tick.astimezone(zone).strftime("%H:%M:%S %z") for tick in ticks]


class TestValue:
    def test_five_fields_run_at_second_zero(self) -> None:
        assert Cron("30 2 * * *") == Cron("0 30 2 * * *")

    def test_six_fields_have_the_seconds_first(self) -> None:
        assert Cron("15 30 2 * * *").after(at("2026-01-01"), UTC) == at("2026-01-01 02:30:15")

    @pytest.mark.parametrize(
        ("alias", "text"),
        [
            ("@hourly", "0 0 * * * *"),
            ("@daily", "0 0 0 * * *"),
            ("@midnight", "0 0 0 * * *"),
            ("@weekly", "0 0 0 * * 0"),
            ("@monthly", "0 0 0 1 * *"),
            ("@yearly", "0 0 0 1 1 *"),
            (" @Annually\n", "0 0 0 1 1 *"),
        ],
    )
    def test_an_alias_is_written_out(self, alias: str, text: str) -> None:
        assert Cron(alias).text == text

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("0  9\t* * mon-fri", "0 09 * * 1-5"),
            ("0 0 * * 7", "0 0 * * SUN"),
            ("0 0 * * 5-7", "0 0 * * 0,5,6"),
            ("30,0 2 * 1-12 *", "0,30 2 * * *"),
            ("*/1 * * * *", "* * * * *"),
            ("0/20 0 2 * * *", "*/20 0 2 * * *"),
            ("0 0 * * 7L,1#2", "0 0 * * 1#2,0L"),
        ],
    )
    def test_schedules_that_mean_the_same_are_equal(self, one: str, other: str) -> None:
        assert Cron(one) == Cron(other)
        assert hash(Cron(one)) == hash(Cron(other))
        assert Cron(one).text == Cron(other).text

    @pytest.mark.parametrize(
        ("one", "other"),
        [("*/30 2 * * *", "0,30 2 * * *"), ("0 * * * *", "0 0-23 * * *"), ("0 0 * * 1", "0 0 1-31 * 1")],
    )
    def test_a_star_is_kept_where_it_has_a_meaning_of_its_own(self, one: str, other: str) -> None:
        assert Cron(one) != Cron(other)

    @given(TEXTS)
    def test_the_normal_form_is_its_own_normal_form(self, text: str) -> None:
        assert Cron(Cron(text).text).text == Cron(text).text

    def test_it_is_shown_as_it_can_be_written(self) -> None:
        assert repr(Cron("30 2 * * *")) == "Cron('0 30 2 * * *')"

    def test_it_can_be_pickled(self) -> None:
        cron = Cron("0 0 * * 5L")

        copy = pickle.loads(pickle.dumps(cron))  # noqa: S301 - our own

        assert copy == cron
        assert copy.after(at("2026-01-01"), UTC) == cron.after(at("2026-01-01"), UTC)

    def test_it_cannot_be_changed(self) -> None:
        cron: Any = Cron("@daily")

        with pytest.raises(AttributeError):
            cron.text = "@hourly"


class TestDays:
    @pytest.mark.parametrize(
        ("text", "tick"),
        [
            ("0 0 * * 0", "2026-01-04"),
            ("0 0 * * 7", "2026-01-04"),
            ("0 0 * * mon", "2026-01-05"),
            ("0 0 13 * 5", "2026-01-02"),  # the 13th or a Friday
            ("0 0 */2 * 5", "2026-01-09"),  # an odd day and a Friday
            ("0 0 L * *", "2026-01-31"),
            ("0 0 LW * *", "2026-01-30"),
            ("0 0 * * 5L", "2026-01-30"),
            ("0 0 * * 5#2", "2026-01-09"),
            ("0 0 29 2 *", "2028-02-29"),
            ("0 0 * 2 sun#5", "2032-02-29"),
        ],
    )
    def test_the_next_day_is(self, text: str, tick: str) -> None:
        assert Cron(text).after(at("2026-01-01 12:00"), UTC) == at(tick)


class TestTicks:
    def test_the_next_tick_is_strictly_after_the_moment(self) -> None:
        assert Cron("@daily").after(at("2026-01-01"), UTC) == at("2026-01-02")

    def test_a_part_of_a_second_before_a_tick_is_before_it(self) -> None:
        assert Cron("@daily").after(at("2026-01-01 23:59:59.999999"), UTC) == at("2026-01-02")

    def test_the_answer_is_in_utc_and_whole_seconds(self) -> None:
        tick = Cron("* * * * * *").after(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))), UTC)

        assert tick is not None
        assert tick == at("2025-12-31 22:00:01")
        assert tick.tzinfo is UTC
        assert tick.microsecond == 0

    def test_the_bounds_are_after_the_start_and_up_to_the_end(self) -> None:
        ticks = Cron("@daily").between(at("2026-01-01"), at("2026-01-03"), UTC, 10)

        assert ticks == [at("2026-01-02"), at("2026-01-03")]

    def test_no_more_ticks_are_answered_than_asked_for(self) -> None:
        assert Cron("@daily").between(at("2026-01-01"), at("2027-01-01"), UTC, 1) == [at("2026-01-02")]

    def test_the_latest_tick_may_be_the_end_but_not_the_start(self) -> None:
        cron = Cron("@daily")

        assert cron.latest(at("2026-01-01"), at("2026-01-03"), UTC) == at("2026-01-03")
        assert cron.latest(at("2026-01-01"), at("2026-01-01 23:00"), UTC) is None
        assert cron.latest(at("2026-01-03"), at("2026-01-01"), UTC) is None

    def test_the_latest_of_three_hundred_million_ticks_is_found(self) -> None:
        assert Cron("* * * * * *").latest(at("2016-01-01"), at("2026-01-01"), UTC) == at("2026-01-01")

    @given(TEXTS, MOMENTS, st.timedeltas(timedelta(0), timedelta(hours=2)))
    def test_the_latest_is_the_last_of_those_between(self, text: str, start: datetime, length: timedelta) -> None:
        end = start + min(length, datetime.max.replace(tzinfo=UTC) - start)

        ticks = Cron(text).between(start, end, UTC, 10_000)

        assert Cron(text).latest(start, end, UTC) == (ticks[-1] if ticks else None)

    @given(TEXTS, MOMENTS)
    def test_ticks_grow(self, text: str, start: datetime) -> None:
        ticks = Cron(text).between(start, datetime.max.replace(tzinfo=UTC), UTC, 5)

        assert all(one < other for one, other in pairwise([start, *ticks]))

    @pytest.mark.parametrize("hours", [-23, 0, 14, 23])
    def test_at_the_end_of_the_calendar_there_is_no_tick_any_more(self, hours: int) -> None:
        zone = timezone(timedelta(hours=hours))

        assert Cron("* * * * * *").after(datetime.max.replace(tzinfo=zone), zone) is None
        assert Cron("* 0 0 1 1 *").after(datetime(9999, 1, 2, tzinfo=zone), zone) is None
        assert Cron("59 59 23 31 12 *").preview(1, zone, start=datetime(9999, 1, 1, tzinfo=zone)) in (
            [],  # west of Greenwich the moment is in the year 10000
            [datetime(9999, 12, 31, 23, 59, 59, tzinfo=zone)],
        )

    @pytest.mark.parametrize("hours", [-23, 0, 14, 23])
    def test_at_the_beginning_of_the_calendar_there_are_ticks(self, hours: int) -> None:
        zone = timezone(timedelta(hours=hours))

        tick = Cron("@daily").after(datetime.min.replace(tzinfo=zone), zone)

        assert tick is not None
        assert tick.year == 1

    def test_an_expression_is_due_again_however_rare_it_is(self) -> None:
        assert Cron("0 0 29 2 *").after(at("1897-01-01"), UTC) == at("1904-02-29")
        assert Cron("0 0 * 2 1#5").after(at("2072-03-01"), UTC) == at("2112-02-29")


@needs_zones
class TestLocalTime:
    def test_a_skipped_time_runs_once_at_the_first_instant_after_the_gap(self) -> None:
        assert day_of("30 2 * * *", "2027-03-28", berlin()) == ["03:00:00 +0200"]

    def test_a_repeated_time_runs_the_first_time_only(self) -> None:
        assert day_of("30 2 * * *", "2026-10-25", berlin()) == ["02:30:00 +0200"]

    def test_the_rule_holds_with_seconds_too(self) -> None:
        assert day_of("15 30 2 * * *", "2027-03-28", berlin()) == ["03:00:00 +0200"]
        assert day_of("15 30 2 * * *", "2026-10-25", berlin()) == ["02:30:15 +0200"]

    def test_several_times_that_one_gap_skips_are_one_tick(self) -> None:
        assert day_of("0,30 30 2 * * *", "2027-03-28", berlin()) == ["03:00:00 +0200"]
        assert day_of("* 30 2 * * *", "2027-03-28", berlin()) == ["03:00:00 +0200"]

    def test_a_skipped_time_and_the_one_at_the_end_of_the_gap_are_one_tick(self) -> None:
        assert day_of("0 2,3,4 * * *", "2027-03-28", berlin()) == ["03:00:00 +0200", "04:00:00 +0200"]

    def test_a_star_in_the_hour_follows_elapsed_time(self) -> None:
        ticks = day_of("30 * * * *", "2026-10-25", berlin())

        assert ticks[1:5] == ["01:30:00 +0200", "02:30:00 +0200", "02:30:00 +0100", "03:30:00 +0100"]
        assert len(day_of("30 * * * *", "2027-03-28", berlin())) == 23

    def test_a_star_in_the_minute_follows_elapsed_time_and_is_left_out_in_a_gap(self) -> None:
        assert len(day_of("*/30 2 * * *", "2026-10-25", berlin())) == 4
        assert day_of("*/30 2 * * *", "2027-03-28", berlin()) == []

    def test_a_star_in_the_seconds_alone_is_a_fixed_time(self) -> None:
        assert len(day_of("* 30 2 * * *", "2026-10-25", berlin())) == 60

    @pytest.mark.parametrize(
        ("zone", "day", "text", "expected"),
        [
            ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["02:30:00 +1100"]),  # half an hour
            ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["01:45:00 +1100"]),
            ("Antarctica/Troll", "2026-03-29", "30 1,2 * * *", ["03:00:00 +0200"]),  # two hours
            ("America/Havana", "2026-03-08", "@daily", ["01:00:00 -0400"]),  # at midnight
            ("America/Santiago", "2026-09-06", "30 0 * * *", ["01:00:00 -0300"]),
            ("Africa/Casablanca", "2024-04-14", "30 2 * * *", ["03:00:00 +0100"]),  # after Ramadan
            ("Europe/Dublin", "2026-10-25", "30 1 * * *", ["01:30:00 +0100"]),  # negative daylight saving
            ("Pacific/Apia", "2011-12-31", "0 12 30 * *", ["00:00:00 +1400"]),  # the 30th was skipped
            ("Africa/Monrovia", "1972-01-07", "30 0 * * *", ["00:44:30 +0000"]),  # 44 minutes and 30 seconds
        ],
    )
    def test_unusual_changes_follow_the_rule(self, zone: str, day: str, text: str, expected: list[str]) -> None:
        assert day_of(text, day, ZoneInfo(zone)) == expected

    def test_from_within_the_repeated_hour_the_next_fixed_tick_is_the_next_day(self) -> None:
        moment = datetime(2026, 10, 25, 2, 10, tzinfo=berlin(), fold=1)

        assert Cron("30 2 * * *").after(moment, berlin()) == at("2026-10-26 01:30")

    def test_a_search_that_never_ends_in_plain_cronsim_ends(self) -> None:
        tick = Cron("45 */3 * * *").after(at("2027-04-03 14:00"), ZoneInfo("Pacific/Chatham"))

        assert tick == at("2027-04-03 15:00")


@needs_zones
class TestPreview:
    def test_ticks_are_shown_in_local_time_with_the_right_offset(self) -> None:
        ticks = Cron("30 * * * *").preview(3, berlin(), start=at("2026-10-25 00:00"))

        shown = [(tick.strftime("%H:%M %z"), tick.fold) for tick in ticks]
        assert shown == [("02:30 +0200", 0), ("02:30 +0100", 1), ("03:30 +0100", 0)]
        assert all(tick.tzinfo == berlin() for tick in ticks)

    def test_it_begins_now_and_in_utc_when_nothing_is_said(self) -> None:
        (first, second) = Cron("0 0 1 1 *").preview(2)

        assert (first.month, first.day, first.tzinfo) == (1, 1, UTC)
        assert second.year == first.year + 1

    def test_ten_thousand_can_be_seen(self) -> None:
        assert len(Cron("* * * * * *").preview(10_000)) == 10_000

    @pytest.mark.parametrize("n", [0, -1, 10_001, 1.5, True, "3", None])
    def test_other_counts_are_refused(self, n: Any) -> None:
        with pytest.raises(ConfigurationError, match="from 1 to 10000"):
            Cron("@daily").preview(n)


class TestMisuse:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "NoneType given"),
            (b"* * * * *", "bytes given"),
            ("", "0 fields"),
            ("   ", "0 fields"),
            ("* * * *", "4 fields; five fields"),
            ("0 0 0 1 1 * 2027", "no year field"),
            ("* * * * * * * *", "8 fields"),
            ("60 * * * *", "minute '60': 0 to 59"),
            ("60 * * * * *", "second '60': 0 to 59"),
            ("0 24 * * *", "hour '24': 0 to 23"),
            ("0 0 0 * *", "day-of-month '0': 1 to 31"),
            ("0 0 1 13 *", "month '13': 1 to 12"),
            ("0 0 * * 8", "day-of-week '8': 0 to 7"),
            ("0 0 * * ?", r"day-of-week '\?'"),
            ("5-1 * * * *", "minute '5-1'"),
            ("*/0 * * * *", r"minute '\*/0'"),
            ("*/90 * * * *", "a step of at most 59"),
            ("0 0 30 2 *", "the month given has at most 29 days"),
            ("0 0 31 4,6 *", "the months given have at most 30 days"),
            ("0 0 */29 * 5#2", "no such day in any year"),
            ("@reboot", "a start is no time"),
            ("@fortnightly", "no such alias; @yearly"),
            ("\0 * * * *", r"minute '\\x00'"),
            ("\ud800 * * * *", r"minute '\\ud800'"),
            ("² * * * *", "minute '²'"),
            ("0 0 * * ²L", "day-of-week '²L'"),
            ("* " * 1_000_000, "2000000 characters"),
            ("9" * 900 + " * * * *", "0 to 59"),
            ("," * 900 + " * * * *", "an entry between commas is empty"),
        ],
    )
    def test_a_text_that_is_wrong_is_refused_with_what_is_expected(self, text: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message) as caught:
            Cron(text)

        assert str(caught.value).startswith("Cron: ")
        assert len(str(caught.value)) < 1_200

    @given(st.text() | st.text("0123456789*/,-#lLwW @\0monfriJAN", max_size=40))
    def test_any_text_is_an_expression_or_a_configuration_error(self, text: str) -> None:
        try:
            cron = Cron(text)
        except ConfigurationError:
            return

        assert cron.after(at("2026-01-01"), UTC) is not None
        assert Cron(cron.text) == cron

    @given(st.lists(st.from_regex(r"(\*|[0-9]{1,2}|[LW5]{1,2})([-/#,][0-9L*]{1,2}){0,3}", fullmatch=True), min_size=5))
    def test_any_fields_are_an_expression_or_a_configuration_error(self, fields: list[str]) -> None:
        try:
            cron = Cron(" ".join(fields[:6]))
        except ConfigurationError:
            return

        assert cron.after(at("2026-01-01"), UTC) is not None
        assert Cron(cron.text) == cron

    def test_a_naive_moment_is_refused(self) -> None:
        naive: Any = at("2026-01-01").replace(tzinfo=None)

        for ask in (
            lambda: Cron("@daily").after(naive, UTC),
            lambda: Cron("@daily").between(naive, at("2026-01-01"), UTC, 1),
            lambda: Cron("@daily").latest(at("2026-01-01"), naive, UTC),
            lambda: Cron("@daily").preview(1, start=naive),
        ):
            with pytest.raises(ConfigurationError, match="must be an aware datetime"):
                ask()

    def test_a_timezone_that_is_a_string_is_refused_with_what_to_write(self) -> None:
        zone: Any = "Europe/Berlin"

        with pytest.raises(ConfigurationError, match=r"write ZoneInfo\('Europe/Berlin'\)"):
            Cron("@daily").after(at("2026-01-01"), zone)

    @pytest.mark.parametrize("zone", [None, 3])
    def test_anything_else_is_no_timezone(self, zone: Any) -> None:
        with pytest.raises(ConfigurationError, match="timezone must be a tzinfo"):
            Cron("@daily").preview(1, zone)

    @pytest.mark.parametrize("most", [0, -1, None, 1.0])
    def test_at_most_no_ticks_is_refused(self, most: Any) -> None:
        with pytest.raises(ConfigurationError, match="limit must be an int of 1 or more"):
            Cron("@daily").between(at("2026-01-01"), at("2026-01-02"), UTC, most)


class Nameless(tzinfo):
    """A zone of somebody's own."""


class TestZoneName:
    def test_utc_is_utc(self) -> None:
        assert zone_name(UTC) == "UTC"

    @needs_zones
    def test_a_zone_is_known_by_its_key(self) -> None:
        assert zone_name(berlin()) == "Europe/Berlin"
        assert zone_name(ZoneInfo("UTC")) == zone_name(UTC)

    def test_a_fixed_offset_is_known_by_the_offset_and_not_by_what_it_is_called(self) -> None:
        assert zone_name(timezone(timedelta(hours=2), "Berlin")) == "UTC+02:00"

    def test_a_zone_without_a_name_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="no stable name"):
            zone_name(Nameless())

    def test_a_zone_from_a_file_has_no_stable_name(self) -> None:
        empty = b"TZif" + bytes(16) + b"\0\0\0\0" * 4 + b"\0\0\0\1\0\0\0\1" + bytes(6) + b"\0"

        with pytest.raises(ConfigurationError, match="no stable name"):
            zone_name(ZoneInfo.from_file(BytesIO(empty)))

    def test_a_string_is_refused(self) -> None:
        zone: Any = "UTC"

        with pytest.raises(ConfigurationError, match="write ZoneInfo"):
            zone_name(zone)
