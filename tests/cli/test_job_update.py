import asyncio
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest

from rexecutor.app.connect import connect
from rexecutor.model.job import JobRecord
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn
from tests.cli.command_line import Run
from tests.cli.processes import Place


def _stored(url: str, job_id: int) -> JobRecord:
    async def find() -> JobRecord:
        async with connect(url) as backend:
            return (await backend.query(IdIn(frozenset({job_id}))))[0]

    return asyncio.run(find())


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--priority", "0"], "priority", 0),
        (["--priority", "32767"], "priority", 32_767),
        (["--max-attempts", "9"], "max_attempts", 9),
        (["--set-tag", "new", "--set-tag", "ü", "--set-tag", "new"], "tags", ("new", "ü")),
        (["--set-tag", ""], "tags", ()),
        (["--schedule-at", "2030-01-02T03:04:05+02:00"], "scheduled_at", datetime(2030, 1, 2, 1, 4, 5, tzinfo=UTC)),
        (["--set-data", '{"to": "eve \\u00fc"}'], "data", '{"to":"eve ü"}'),
        (["--set-data", "null"], "data", "null"),
        (["--set-metadata", "[1, 2.5]"], "metadata", "[1,2.5]"),
        (["--set-metadata", "null"], "metadata", None),
    ],
)
@pytest.mark.parametrize("job_id", [1, 2, 3, 7])
def test_update_changes_what_is_given_and_nothing_else(
    rexecutor: Run, url: str, job_id: int, arguments: list[str], field: str, value: Any
) -> None:
    before = _stored(url, job_id)

    answer = rexecutor("jobs", "update", str(job_id), *arguments, "--url", url)

    after = _stored(url, job_id)
    changed = {name for name in JobRecord.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    assert answer.status == 0
    assert getattr(after, field) == value
    assert changed <= {field, "revision"}


def test_update_changes_many_fields_at_once(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "update", "1", "--priority", "1", "--max-attempts", "2", "--set-data", "5", "--url", url)

    record = _stored(url, 1)
    assert answer.out == "job 1 is updated\n"
    assert (record.priority, record.max_attempts, record.data) == (1, 2, "5")


def test_update_of_a_running_job_says_that_the_attempt_goes_on(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "update", "2", "--priority", "1", "--url", url)

    assert "it is executing" in answer.out
    assert _stored(url, 2).status is JobStatus.EXECUTING


def test_update_as_json_is_the_whole_job_after_that(rexecutor: Run, url: str) -> None:
    job = rexecutor("jobs", "update", "1", "--set-data", '{"to":"eve"}', "--json", "--url", url).json

    assert job == rexecutor("jobs", "show", "1", "--json", "--url", url).json
    assert job["data"] == {"to": "eve"}


def test_show_tells_how_often_a_job_was_changed(rexecutor: Run, url: str) -> None:
    rexecutor("jobs", "update", "1", "--priority", "1", "--url", url)

    assert "revision  1" in rexecutor("jobs", "show", "1", "--url", url).out.splitlines()
    assert rexecutor("jobs", "show", "1", "--json", "--url", url).json["revision"] == 1


def test_the_options_that_replace_are_not_the_filters_of_that_name(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "update", "1", "--priority", "1", "--data", "5", "--url", url)

    assert answer.status == 2
    assert "--set-data" in answer.error
    assert _stored(url, 1).priority == 3


@pytest.mark.parametrize(("job_id", "status"), [("4", "complete"), ("5", "cancelled"), ("6", "discarded")])
def test_update_of_a_job_that_has_ended_fails(rexecutor: Run, url: str, job_id: str, status: str) -> None:
    answer = rexecutor("jobs", "update", job_id, "--priority", "1", "--url", url)

    assert answer.status == 1
    assert status in answer.error
    assert _stored(url, int(job_id)).priority == 3


def test_update_of_a_job_that_cannot_be_read_fails(rexecutor: Run, url: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("UPDATE rexecutor_stored_jobs SET tags = 'no json' WHERE id = 1")
    connection.commit()
    connection.close()

    answer = rexecutor("jobs", "update", "1", "--priority", "1", "--url", url)

    assert answer.status == 1
    assert "job 1 (email) cannot be changed" in answer.error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to change"),
        (["--priority", "-1"], "--priority"),
        (["--priority", "32768"], "--priority"),
        (["--max-attempts", "0"], "--max-attempts"),
        (["--max-attempts", "32768"], "--max-attempts"),
        (["--schedule-at", "tomorrow"], "--schedule-at"),
        (["--schedule-at", "2030-01-01"], "no offset"),
        (["--schedule-at", "1969-12-31T00:00Z"], "1970"),
        (["--set-tag", "\udcff"], "contains a NUL or a lone surrogate"),
        (["--set-tag", "a", "--set-tag", ""], "each tag must be"),
        (["--set-tag", "x" * 129], "129 characters"),
        ([argument for n in range(33) for argument in ("--set-tag", str(n))], "33 tags"),
        (["--set-data", "{"], "--set-data"),
        (["--set-data", '"\\u0000"'], "NUL"),
        (["--set-data", "[NaN]"], "--set-data"),
        (["--set-metadata", '"\\udfff"'], "--set-metadata"),
        (["--set-data", '"' + "x" * 1024 * 1024 + '"'], "at most 1,048,576"),
        (["--set-metadata", '"' + "x" * 64 * 1024 + '"'], "at most 65,536"),
    ],
)
def test_a_misused_update_changes_nothing(rexecutor: Run, url: str, arguments: list[str], told: str) -> None:
    before = _stored(url, 1)

    answer = rexecutor("jobs", "update", "1", *arguments, "--url", url)

    assert answer.status == 2
    assert told in answer.error
    assert _stored(url, 1) == before


@pytest.mark.parametrize("chosen", [("1",), ("--executor", "email", "--yes"), ("--executor", "email", "--dry-run")])
def test_new_data_are_checked_if_the_application_is_given(place: Place, chosen: tuple[str, ...]) -> None:
    refused = place("jobs", "update", *chosen, "--set-data", "{}", "--app", "app:rexecutor")
    metadata = place("jobs", "update", *chosen, "--set-metadata", "5", "--app", "app:rexecutor")
    accepted = place("jobs", "update", *chosen, "--set-data", '"new"', "--app", "app:rexecutor")

    assert refused.status == metadata.status == 2
    assert "email" in refused.error
    assert "str" in refused.error
    assert accepted.status == 0


def test_new_data_of_an_executor_that_the_application_has_not_are_not_checked(place: Place) -> None:
    place("jobs", "enqueue", "report", "--data", "1", *place.options)

    answer = place("jobs", "update", "5", "--set-data", "{}", "--app", "app:rexecutor")

    assert answer.status == 0
    assert answer.err == "the application has no executor 'report': the new data of its jobs are not checked\n"
