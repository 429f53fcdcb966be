import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from rexecutor.app.connect import connect
from rexecutor.model.cron import Cron
from rexecutor.model.job import NewJob
from rexecutor.model.schedules import Schedule
from tests.cli.command_line import Run

DIGEST = "0123456789abcdef" * 4
JOB = NewJob("report", "1", None, 1, 0, (), None, timedelta(0))


@pytest.fixture
def scheduled(url: str) -> str:
    """A store that knows of two schedules, of which none has ticked."""

    async def tick() -> None:
        async with connect(url) as backend:
            report = Schedule("weekly-report", Cron("0 30 2 * * 1"), ZoneInfo("Europe/Berlin"), JOB)
            await backend.tick([report, Schedule(DIGEST, Cron("@hourly"), UTC, None)], up_since=None)

    asyncio.run(tick())
    return url


def test_preview_prints_the_next_ticks_in_local_time_and_in_utc(rexecutor: Run) -> None:
    answer = rexecutor("cron", "preview", "30 2 1 1 *", "-n", "2", "--timezone", "Asia/Tokyo")

    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert answer.status == 0
    assert rows[0] == ["local", "utc"]
    assert [local[4:] for local, _ in rows[1:]] == ["-01-01T02:30:00+09:00"] * 2
    assert [utc[4:] for _, utc in rows[1:]] == ["-12-31T17:30:00Z"] * 2


def test_preview_shows_ten_ticks_in_utc_unless_told_otherwise(rexecutor: Run) -> None:
    ticks = rexecutor("cron", "preview", "*/5 * * * *", "--json").json["ticks"]

    assert len(ticks) == 10
    assert all(datetime.fromisoformat(tick["local"]) == datetime.fromisoformat(tick["utc"]) for tick in ticks)


def test_preview_as_json_tells_how_the_expression_was_read(rexecutor: Run) -> None:
    answer = rexecutor("cron", "preview", "0 12 * * MON", "-n", "1", "--timezone", "Europe/Berlin", "--json").json

    assert answer["expression"] == "0 0 12 * * 1"
    assert answer["timezone"] == "Europe/Berlin"
    assert len(answer["ticks"]) == 1


@pytest.mark.parametrize("expression", ["61 * * * *", "", "* * *", "@reboot", "0 0 31 2 *", "\udcff * * * *", "a\nb"])
def test_preview_of_what_is_no_cron_expression_is_a_misuse(rexecutor: Run, expression: str) -> None:
    answer = rexecutor("cron", "preview", expression)

    assert answer.status == 2
    assert answer.error.startswith("error: Cron: ")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "Europe", "/etc/passwd", "../UTC", "\udcff", "a\0b"])
def test_preview_in_what_is_no_zone_is_a_misuse(rexecutor: Run, zone: str) -> None:
    answer = rexecutor("cron", "preview", "@daily", "--timezone", zone)

    assert answer.status == 2
    assert "--timezone" in answer.error
    assert "give one such as Europe/Berlin or UTC" in answer.error


@pytest.mark.parametrize("number", ["0", "-1", "10001", "many"])
def test_preview_of_a_number_out_of_range_is_a_misuse(rexecutor: Run, number: str) -> None:
    answer = rexecutor("cron", "preview", "@daily", "-n", number)

    assert answer.status == 2
    assert "-n" in answer.error


def test_list_prints_a_line_a_schedule_with_digests_shortened(rexecutor: Run, scheduled: str) -> None:
    answer = rexecutor("cron", "list", "--url", scheduled)

    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert rows[0] == ["id", "executor", "expression", "timezone", "last_tick", "next_tick"]
    assert rows[1][:5] == ["0123456789ab", "(pruner)", "0 0 * * * *", "UTC", ""]
    assert rows[2][:5] == ["weekly-report", "report", "0 30 2 * * 1", "Europe/Berlin", ""]
    assert rows[1][5].endswith(":00:00Z")


def test_list_as_json_has_whole_ids_and_no_executor_for_a_pruner(rexecutor: Run, scheduled: str) -> None:
    pruner, report = rexecutor("cron", "list", "--json", "--url", scheduled).json

    assert (pruner["id"], pruner["executor"]) == (DIGEST, None)
    assert (report["id"], report["executor"]) == ("weekly-report", "report")
    assert report["last_tick"] is None
    assert datetime.fromisoformat(report["next_tick"]).astimezone(ZoneInfo("Europe/Berlin")).hour == 2


def test_list_of_a_store_without_schedules_is_an_empty_array(rexecutor: Run, url: str) -> None:
    assert rexecutor("cron", "list", "--json", "--url", url).json == []


def test_an_expression_without_quotes_is_told_to_be_quoted(rexecutor: Run) -> None:
    answer = rexecutor("cron", "preview", "0", "0", "app.py", "jobs.db", "app.py", "-n", "2")

    assert answer.status == 2
    assert "quote it, such as" in answer.error


def test_a_zone_that_does_not_exist_is_refused_with_one_that_does(rexecutor: Run) -> None:
    answer = rexecutor("cron", "preview", "@daily", "--timezone", "CEST+9")

    assert answer.status == 2
    assert "give one such as Europe/Berlin" in answer.error
