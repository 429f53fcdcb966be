"""`rexecutor cron run`."""

import pytest

from tests.cli.processes import Place

APP = ("--app", "app:rexecutor")


@pytest.mark.parametrize("wanted", ["nightly", "email"])
def test_the_job_of_a_schedule_is_enqueued_at_once_with_all_that_the_schedule_gives_it(
    place: Place, wanted: str
) -> None:
    answer = place("cron", "run", wanted, *APP)
    job = place("jobs", "show", "5", "--json", *APP).json

    assert (answer.status, answer.out, answer.err) == (0, "job 5 of email is enqueued\n", "")
    assert (job["data"], job["tags"], job["max_attempts"]) == ("nightly", ["cron"], 7)
    assert job["scheduled_at"] == job["inserted_at"]


def test_a_pruner_prunes(place: Place) -> None:
    answer = place("cron", "run", "(pruner)", "--json", *APP)

    assert answer.json["pruned"] == 1
    assert [job["id"] for job in place("jobs", "list", "--json", *APP).json] == [1, 2, 4]


def test_an_id_may_be_cut_as_long_as_it_is_the_only_one(place: Place) -> None:
    refused = place("cron", "run", "nobody", *APP)
    listed = [part for part in refused.err.rpartition("it has ")[2].strip().split(", ") if part != "nightly"]

    assert refused.status == 2
    assert "the application has no schedule 'nobody'" in refused.error
    assert [len(part) for part in listed] == [12, 12]
    assert {place("cron", "run", part, *APP).status for part in listed} == {0}


def test_without_an_application_it_says_that_it_needs_one(place: Place) -> None:
    answer = place("cron", "run", "nightly", *place.options)

    assert answer.status == 2
    assert "--app MODULE:REXECUTOR" in answer.error


def test_a_beginning_that_is_too_short_is_told(place: Place) -> None:
    answer = place("cron", "run", "nig", *APP)

    assert answer.status == 2
    assert "no schedule 'nig': give at least 4 characters of an id; it has " in answer.error
