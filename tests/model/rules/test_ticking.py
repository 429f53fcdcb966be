"""What is in `rules.ticking` and not already in the suite; a brute force beside it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from rexecutor.model import rules
from rexecutor.model.cron import Cron
from rexecutor.model.job import NewJob
from rexecutor.model.schedules import CatchUp, Schedule, StoredSchedule
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, MICROSECOND, SECOND, new_job

MINUTE = 60 * SECOND


def schedule(
    text: str = "*/10 * * * * *",
    catch_up: CatchUp = CatchUp.LATEST,
    window: timedelta = MINUTE,
    job: NewJob | None = None,
) -> Schedule:
    return Schedule("s", Cron(text), UTC, job, catch_up, window)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def due(one: Schedule, expected: float, now: datetime, up_since: datetime | None) -> list[float]:
    return [(tick - START) / SECOND for tick in rules.due_ticks(one, at(expected), now, up_since).due]


def test_the_defaults_of_a_schedule() -> None:
    one = Schedule("s", Cron("@daily"), UTC, None)

    assert (one.catch_up, one.window) == (CatchUp.LATEST, MINUTE)


def test_a_schedule_that_is_new_takes_nothing() -> None:
    assert rules.due_ticks(schedule(), None, at(10), at(0)) == rules.Ticks([], at(20))
    assert rules.due_ticks(schedule(), None, at(10) - MICROSECOND, None) == rules.Ticks([], at(10))


def test_before_its_time_a_tick_stays_expected() -> None:
    assert rules.due_ticks(schedule(), at(30), at(30) - MICROSECOND, None) == rules.Ticks([], at(30))
    assert rules.due_ticks(schedule(), at(30), at(30), None) == rules.Ticks([at(30)], at(40))


def test_ticks_before_the_expected_one_are_not_taken_again() -> None:
    assert due(schedule(catch_up=CatchUp.ALL), 30, at(45), None) == [30, 40]


def test_each_policy_at_a_first_look() -> None:
    found = {catch_up: due(schedule(catch_up=catch_up), 10, at(35), None) for catch_up in CatchUp}

    assert found == {CatchUp.SKIP: [], CatchUp.LATEST: [30], CatchUp.ALL: [10, 20, 30]}


def test_a_tick_a_moment_before_the_first_look_was_missed() -> None:
    assert due(schedule(catch_up=CatchUp.SKIP), 30, at(30) + MICROSECOND, None) == []
    assert due(schedule(catch_up=CatchUp.SKIP), 30, at(30), None) == [30]


def test_a_tick_a_moment_before_the_node_was_up_was_missed() -> None:
    assert due(schedule(catch_up=CatchUp.SKIP), 20, at(35), at(20) + MICROSECOND) == [30]
    assert due(schedule(catch_up=CatchUp.SKIP), 20, at(35), at(20)) == [20, 30]
    assert due(schedule(catch_up=CatchUp.SKIP), 30, at(35), at(30) + MICROSECOND) == []
    assert due(schedule(catch_up=CatchUp.SKIP), 30, at(35), at(30)) == [30]


def test_a_tick_as_old_as_the_window_is_within_it() -> None:
    for catch_up, expected in ((CatchUp.ALL, [20, 30]), (CatchUp.LATEST, [30])):
        assert due(schedule(catch_up=catch_up, window=15 * SECOND), 10, at(35), None) == expected
    assert due(schedule(catch_up=CatchUp.ALL, window=15 * SECOND - MICROSECOND), 10, at(35), None) == [30]
    assert due(schedule(catch_up=CatchUp.LATEST, window=5 * SECOND), 10, at(35), None) == [30]
    assert due(schedule(catch_up=CatchUp.LATEST, window=5 * SECOND - MICROSECOND), 10, at(35), None) == []
    assert due(schedule(catch_up=CatchUp.ALL, window=5 * SECOND - MICROSECOND), 10, at(35), None) == []


def test_while_a_node_is_up_the_newest_is_taken_however_late() -> None:
    for catch_up in CatchUp:
        assert due(schedule("0 0 * * * *", catch_up, SECOND), 3600, START + 3 * HOUR - SECOND, at(0)) == [7200]


def test_a_tick_of_the_moment_since_when_the_node_is_up_fell_while_it_was() -> None:
    hourly = schedule("0 0 * * * *", CatchUp.SKIP, SECOND)

    assert due(hourly, 3600, at(3700), at(3600)) == [3600]
    assert due(hourly, 3600, at(3700), at(3600) + MICROSECOND) == []


def test_a_window_beyond_the_calendar_is_a_window() -> None:
    one = schedule(catch_up=CatchUp.ALL, window=timedelta(days=999_999))

    assert due(one, 10, at(25), None) == [10, 20]


def test_no_more_than_one_transaction_takes_are_due_and_the_rest_is_next() -> None:
    one = schedule("* * * * * *", CatchUp.ALL, HOUR)

    full = rules.due_ticks(one, at(1), at(1_000), None)
    more = rules.due_ticks(one, at(1), at(1_001), None)

    assert (len(full.due), full.due[0], full.next) == (rules.MAX_TICKS, at(1), at(1_001))
    assert (more.due, more.next) == (full.due, at(1_001))
    assert rules.due_ticks(one, at(1_001), at(1_001), None) == rules.Ticks([at(1_001)], at(1_002))


def test_after_the_last_tick_there_is_none() -> None:
    end = datetime(9999, 1, 1, tzinfo=UTC)
    one = schedule("0 0 0 1 1 *")

    assert rules.due_ticks(one, end, end + SECOND, None) == rules.Ticks([end], None)
    assert rules.due_ticks(one, None, end, None) == rules.Ticks([], None)


def test_the_jobs_of_ticks_are_due_at_them_and_are_not_unique() -> None:
    one = schedule(job=new_job(data="1", delay=HOUR, unique=UniquenessCriteria.by_executor()))

    jobs = rules.Ticks([at(10), at(20)], None).jobs(one)

    assert [(job.data, job.scheduled_at, job.unique) for job in jobs] == [("1", at(10), None), ("1", at(20), None)]
    assert rules.Ticks([at(10)], None).jobs(schedule()) == []


@given(
    catch_up=st.sampled_from(CatchUp),
    window=st.integers(0, 40).map(lambda half: half * SECOND / 2),
    expected=st.integers(1, 8).map(lambda tens: tens * 10),
    now=st.integers(0, 200).map(lambda half: START + half * SECOND / 2),
    up_for=st.none() | st.integers(0, 200).map(lambda half: half * SECOND / 2),
)
def test_what_is_due_is_what_the_docstring_says(
    catch_up: CatchUp, window: timedelta, expected: int, now: datetime, up_for: timedelta | None
) -> None:
    up_since = None if up_for is None else now - up_for
    ticks = [at(second) for second in range(expected, 120, 10) if at(second) <= now]
    while_up = [tick for tick in ticks if tick >= (up_since or now)]
    before = [tick for tick in ticks if tick not in while_up]
    within = [tick for tick in ticks if tick >= now - window]
    wanted = {tick for tick in while_up if tick in within}
    if catch_up is CatchUp.ALL:
        wanted |= set(within)
    if not wanted and while_up and up_since is not None:
        wanted = {while_up[-1]}
    if not wanted and before and not while_up and before[-1] in within and catch_up is CatchUp.LATEST:
        wanted = {before[-1]}
    if up_since is None and while_up and while_up[-1] not in within:
        wanted.clear()

    found = rules.due_ticks(schedule(catch_up=catch_up, window=window), at(expected), now, up_since)

    assert found.due == sorted(wanted)
    assert found.next is not None
    assert found.next > now


def test_a_look_keeps_what_was_taken_and_what_is_to_come() -> None:
    one = schedule(job=new_job("alpha"))

    first, known = rules.advance(one, None, at(5), None)
    second, kept = rules.advance(one, known, at(20), at(5))

    assert (first.due, known) == ([], StoredSchedule("s", "alpha", "*/10 * * * * *", "UTC", None, at(10)))
    assert (second.due, kept) == ([at(10), at(20)], replace(known, last_tick=at(20), next_tick=at(30)))


def test_a_schedule_without_a_tick_to_come_rests() -> None:
    known = StoredSchedule("s", None, "*/10 * * * * *", "UTC", at(0), None)

    assert rules.advance(schedule(), known, at(50), at(0)) == (rules.Ticks([], None), known)


def test_a_schedule_whose_zone_has_changed_goes_on_with_its_next_tick_and_repeats_none() -> None:
    known = StoredSchedule("s", None, "*/10 * * * * *", "Europe/Berlin", at(40), at(50))

    ticks, kept = rules.advance(schedule(), known, at(25), at(0))

    assert (ticks.due, kept.timezone, kept.last_tick, kept.next_tick) == ([], "UTC", at(40), at(50))
