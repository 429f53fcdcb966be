"""Commands that keep a store in order or look after it, from processes of their own, on each store."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from rexecutor.model.cron import Cron
from rexecutor.model.job import NewJob
from rexecutor.model.schedules import Schedule
from tests.cli.processes import NODE, Place
from tests.postgres import run_postgres

REPORT = NewJob("report", "1", None, 1, 0, (), None, timedelta(0))


@pytest.fixture
def empty(place: Place) -> Iterator[tuple[str, ...]]:
    """The options that name a store of the same kind which has no tables."""
    if place.schema is None:
        yield "--url", f"sqlite:///{place.folder / 'new.db'}"
    else:
        schema = f"{place.schema}_new"
        yield "--url", place.url, "--schema", schema
        run_postgres(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def told_without_tables(place: Place) -> str:
    return "no such file" if place.schema is None else "migrate --url"


def ids(place: Place) -> list[int]:
    return [job["id"] for job in place("jobs", "list", "--json", *place.options).json]


def test_tables_are_missed_then_made_and_then_up_to_date(place: Place, empty: tuple[str, ...]) -> None:
    before = place("migrate", "--check", *empty)
    listed = place("jobs", "list", *empty)
    made = place("migrate", *empty)
    after = place("migrate", "--check", *empty)

    assert (before.status, listed.status, made.status, after.status) == (1, 1, 0, 0)
    assert told_without_tables(place) in listed.error
    assert made.err == after.err == ""
    assert place("jobs", "list", "--json", *empty).json == []


def test_the_script_is_postgresqls_only(place: Place) -> None:
    script = place("migrate", "--sql", *place.options)

    if place.schema is None:
        assert script.status == 2
        assert "--sql" in script.error
    else:
        assert (script.status, script.err) == (0, "")
        assert script.out.startswith(f'-- Brings schema "{place.schema}" up to version')


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--status", "complete", "--older-than", "0s"), [1, 2, 4]),
        (("--status", "discarded", "--keep", "0", "--only", "email"), [1, 2, 3]),
    ],
)
def test_ended_jobs_are_pruned_after_a_dry_run(place: Place, arguments: tuple[str, ...], left: list[int]) -> None:
    dry = place("prune", *arguments, "--dry-run", "--json", *place.options)
    before = ids(place)
    done = place("prune", *arguments, "--json", *place.options)

    assert (dry.json, done.json) == ({"prunable": 4 - len(left)}, {"pruned": 4 - len(left)})
    assert (before, ids(place)) == ([1, 2, 3, 4], left)


def test_a_misused_prune_deletes_nothing(place: Place) -> None:
    refused = place("prune", "--status", "executing", "--keep", "0", *place.options)

    assert refused.status == 2
    assert "only ended jobs" in refused.error
    assert ids(place) == [1, 2, 3, 4]


def test_schedules_are_listed_with_their_next_tick(place: Place) -> None:
    async def tick() -> None:
        async with place.backend() as backend:
            weekly = Schedule("weekly-report", Cron("0 30 2 * * 1"), ZoneInfo("Europe/Berlin"), REPORT)
            await backend.tick([weekly, Schedule("0" * 64, Cron("@hourly"), UTC, None)], up_since=None)

    none = place("cron", "list", "--json", *place.options)
    asyncio.run(tick())
    pruner, report = place("cron", "list", "--json", *place.options).json
    rows = [line.split("\t") for line in place("cron", "list", *place.options).out.splitlines()]

    assert none.json == []
    assert (pruner["id"], pruner["executor"], pruner["last_tick"]) == ("0" * 64, None, None)
    assert (report["id"], report["executor"], report["timezone"]) == ("weekly-report", "report", "Europe/Berlin")
    assert datetime.fromisoformat(report["next_tick"]).astimezone(ZoneInfo("Europe/Berlin")).hour == 2
    assert [row[0] for row in rows] == ["id", "0" * 12, "weekly-report"]


def test_a_preview_needs_no_store(place: Place) -> None:
    shown = place("cron", "preview", "30 2 1 1 *", "-n", "2", "--timezone", "Asia/Tokyo", "--json")
    refused = place("cron", "preview", "61 * * * *")

    assert [tick["local"][4:] for tick in shown.json["ticks"]] == ["-01-01T02:30:00+09:00"] * 2
    assert refused.status == 2
    assert refused.error.startswith("error: Cron: ")


def test_a_store_that_is_well_has_no_problem(place: Place) -> None:
    answer = place("doctor", "--json", *place.options)
    found = {finding["subject"]: finding["severity"] for finding in answer.json}

    assert answer.status == 0
    assert {found["schema"], found["indexes"], found["claim"]} == {"ok"}
    assert "problem" not in found.values()


def test_a_store_without_tables_is_a_problem_with_its_fix(place: Place, empty: tuple[str, ...]) -> None:
    answer = place("doctor", *empty)

    assert answer.status == 1
    assert told_without_tables(place) in answer.out + answer.err


def test_the_health_of_a_store_is_that_of_its_nodes(place: Place) -> None:
    well = place("health", *place.options)
    other = place("health", "--node", "elsewhere", "--json", *place.options)

    assert (well.status, well.out) == (0, "1 live node; all is well\n")
    assert place("health", "--node", NODE.name, *place.options).status == 0
    assert other.status == 1
    assert other.json["complaints"] == ["no live node whose name begins with 'elsewhere'"]


def test_jobs_are_counted_by_executor_and_status(place: Place) -> None:
    counted = place("jobs", "count", "--json", *place.options).json

    statuses = {"scheduled": 1, "executing": 1, "retryable": 0, "complete": 1, "cancelled": 0, "discarded": 1}
    assert (counted["jobs"], counted["statuses"], counted["executors"]) == (4, statuses, {"email": statuses})
