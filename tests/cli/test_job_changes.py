"""Changes of several jobs: by their ids, or all that match filters."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import BackendError, SQLiteBackend
from rexecutor.app.connect import connect
from rexecutor.backend.messages import MOST_CHANGED
from rexecutor.model.job import NewJob
from rexecutor.model.status import JobStatus
from tests.cli.command_line import Run
from tests.cli.processes import Place


def statuses(rexecutor: Run, url: str) -> dict[int, str]:
    return {job["id"]: job["status"] for job in rexecutor("jobs", "list", "--json", "--url", url).json}


BEFORE = dict(enumerate(JobStatus, 1)) | {7: "scheduled"}


def test_several_ids_are_changed_one_by_one_and_each_is_told(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "1", "2", "7", "1", "--url", url)

    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "job 1 is cancelled",
        "job 2 is executing: its node was asked to cancel it",
        "job 7 is cancelled",
    ]


def test_ids_that_cannot_be_changed_fail_and_the_others_are_changed(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "rerun", "4", "1", "99", "--url", url)

    assert answer.status == 1
    assert answer.out == "job 4 is scheduled again\n"
    assert answer.err == (
        "error: 2 of 3 jobs could not be scheduled again: job 1 (email) has not ended: it is scheduled;"
        " there is no job 99 in this store\n"
    )
    assert statuses(rexecutor, url) == BEFORE | {4: "scheduled"}


def test_ids_as_json_say_what_became_of_each(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "1", "4", "99", "--json", "--url", url)

    assert answer.status == 1
    assert answer.json == {
        "changed": [{"id": 1, "status": "cancelled"}],
        "unchanged": [{"id": 4, "status": "complete"}],
        "missing": [99],
    }


def test_all_that_match_are_changed_without_a_question_if_that_is_asked_for(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "--executor", "email", "--yes", "--url", url)

    assert answer.out == "cancelled 3 jobs; 1 of them are executing: their nodes were asked to cancel them\n"
    assert statuses(rexecutor, url) == BEFORE | {1: "cancelled", 3: "cancelled"}


def test_a_dry_run_changes_nothing_and_says_how_many_of_which_executors(rexecutor: Run, url: str) -> None:
    filtered = rexecutor("jobs", "cancel", "--status", "scheduled", "--dry-run", "--url", url)
    as_json = rexecutor("jobs", "rerun", "--since", "1h", "--dry-run", "--json", "--url", url)
    by_id = rexecutor("jobs", "update", "1", "2", "--priority", "0", "--dry-run", "--url", url)

    assert filtered.out == "would cancel 2 jobs (email 1, report 1)\n"
    assert as_json.json == {"jobs": 3, "executors": {"email": 3}}
    assert by_id.out == "would update 2 jobs\n"
    assert statuses(rexecutor, url) == BEFORE


def test_where_nobody_can_be_asked_nothing_is_changed(place: Place) -> None:
    answer = place("jobs", "cancel", "--status", "scheduled", *place.options, answer="y\n")

    assert answer.status == 2
    assert "would cancel 1 job (email 1), and nobody can be asked here: add --yes, or --dry-run" in answer.error


def test_filters_without_a_match_ask_nothing(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "--tag", "nobody's", "--url", url)

    assert (answer.status, answer.out) == (0, "cancelled 0 jobs\n")


def test_updates_of_many_leave_what_is_not_given(rexecutor: Run, url: str) -> None:
    rexecutor("jobs", "update", "--executor", "email", "--data", "to=later ü", "--priority", "0", "--yes", "--url", url)

    jobs = {job["id"]: job for job in rexecutor("jobs", "list", "--json", "--url", url).json}
    assert {job_id: job["priority"] for job_id, job in jobs.items() if job_id != 7} == {
        job_id: 0 if job_id == 1 else 3 for job_id in range(1, 7)
    }
    assert jobs[1]["data"] == {"to": "later ü"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cancel"], "no job given"),
        (["rerun", "--yes"], "no job given"),
        (["cancel", "1", "--executor", "email"], "cannot be used together"),
        (["update", "--executor", "email"], "nothing to change"),
        (["cancel", "--status", "done"], "--status"),
    ],
)
def test_a_misused_change_changes_nothing(rexecutor: Run, url: str, arguments: list[str], said: str) -> None:
    answer = rexecutor("jobs", *arguments, "--url", url)

    assert answer.status == 2
    assert said in answer.error
    assert statuses(rexecutor, url) == BEFORE


def enqueue(url: str, number: int) -> None:
    new = NewJob("bulk", "1", None, 1, 0, (), None, timedelta(days=1))

    async def work() -> None:
        async with connect(url) as backend:
            await backend.enqueue([new] * number)

    asyncio.run(work())


@pytest.mark.parametrize("is_by_id", [False, True])
def test_a_change_that_is_cut_off_says_how_many_jobs_are_changed_for_sure_and_perhaps(
    rexecutor: Run, url: str, monkeypatch: pytest.MonkeyPatch, *, is_by_id: bool
) -> None:
    number = 2 * MOST_CHANGED
    enqueue(url, number)
    cancel, batches = SQLiteBackend.cancel_many, list[int]()

    async def cut_off(backend: SQLiteBackend, ids: Any, reason: str, **given: Any) -> Any:
        batches.append(len(ids))
        done = await cancel(backend, ids, reason, **given)
        if len(batches) > 1:
            raise BackendError("the connection is lost")
        return done

    monkeypatch.setattr(SQLiteBackend, "cancel_many", cut_off)
    which = map(str, range(8, 8 + number)) if is_by_id else ("--executor", "bulk", "--yes")
    answer = rexecutor("jobs", "cancel", *which, "--url", url)

    said = f"stopped: cancelled {MOST_CHANGED:,} jobs by then, and perhaps {MOST_CHANGED:,} more"
    assert (answer.status, answer.err.splitlines()[0]) == (1, said)


def test_more_than_a_batch_is_changed(rexecutor: Run, url: str) -> None:
    number = 2 * MOST_CHANGED + 7
    enqueue(url, number)

    by_filter = rexecutor("jobs", "cancel", "--executor", "bulk", "--yes", "--json", "--url", url)
    by_id = rexecutor("jobs", "rerun", *map(str, range(8, 8 + number)), "--url", url)

    assert by_filter.json == {"changed": number, "executing": 0}
    assert by_id.out == f"scheduled again {number:,} jobs\n"


@pytest.mark.parametrize(
    "command", [("cancel",), ("rerun",), ("update", "--priority", "0")], ids=["cancel", "rerun", "update"]
)
@pytest.mark.parametrize("last", ["--yes", "--dry-run"])
def test_a_name_that_no_job_has_is_told(rexecutor: Run, url: str, command: tuple[str, ...], last: str) -> None:
    answer = rexecutor("jobs", *command, "--executor", "emial", "--executor", "email", last, "--url", url)

    assert answer.status == 0
    assert answer.err.startswith("no job in this store has the executor 'emial'; to list the executors: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rerun", "--status", "scheduled"], "complete, cancelled or discarded"),
        (["cancel", "--status", "complete"], "scheduled, executing or retryable"),
        (
            ["update", "--status", "complete", "--status", "discarded", "--priority", "3"],
            "scheduled, executing or retr",
        ),
    ],
)
def test_a_status_in_which_nothing_can_be_changed_is_a_misuse(
    rexecutor: Run, url: str, arguments: list[str], said: str
) -> None:
    answer = rexecutor("jobs", *arguments, "--dry-run", "--url", url)

    assert answer.status == 2
    assert f"--status {arguments[2]}" in answer.error
    assert said in answer.error


def test_a_status_beside_one_in_which_jobs_can_be_changed_is_told(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "rerun", "--status", "complete", "--status", "scheduled", "--dry-run", "--url", url)

    assert answer.out == "would rerun 1 job (email 1)\n"
    assert answer.err == "--status scheduled matches nothing: only complete, cancelled or discarded jobs can be rerun\n"


def test_a_limit_changes_the_first_jobs_and_leaves_the_others(rexecutor: Run, url: str) -> None:
    ended = ("--executor", "email", "--limit", "2", "--url", url)

    dry = rexecutor("jobs", "rerun", *ended, "--dry-run")
    as_json = rexecutor("jobs", "rerun", *ended, "--dry-run", "--json")
    done = rexecutor("jobs", "rerun", *ended, "--yes")

    assert dry.out == "would rerun 2 of 3 jobs (email 3)\n"
    assert as_json.json == {"jobs": 2, "executors": {"email": 3}}
    assert done.out == "scheduled again 2 jobs\n"
    assert statuses(rexecutor, url) == BEFORE | {4: "scheduled", 5: "scheduled"}


def test_a_limit_above_all_that_match_is_not_told(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "--executor", "email", "--limit", "99", "--dry-run", "--url", url)

    assert answer.out == "would cancel 3 jobs (email 3)\n"


def test_a_limit_beside_ids_is_a_misuse(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "1", "7", "--limit", "1", "--url", url)

    assert answer.status == 2
    assert "--limit goes with filters" in answer.error
