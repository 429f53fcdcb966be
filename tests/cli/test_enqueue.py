"""`rexecutor jobs enqueue`."""

import json
from datetime import datetime, timedelta

import pytest

from tests.cli.command_line import Run
from tests.cli.processes import Place


def test_the_executors_settings_hold_and_its_types_are_checked(place: Place) -> None:
    app = ("--app", "app:rexecutor")

    made = place("jobs", "enqueue", "email", "--data", '"bob"', "--tag", "x", *app)
    refused = place("jobs", "enqueue", "email", "--data", "7", *app)
    unknown = place("jobs", "enqueue", "mail", "--data", "7", *app)
    shown = place("jobs", "show", "5", "--json", *app).json

    assert (made.status, made.out, made.err) == (0, "job 5 of email is enqueued\n", "")
    assert (shown["data"], shown["max_attempts"], shown["tags"]) == ("bob", 7, ["x"])
    assert refused.status == 2
    assert "email: data" in refused.error
    assert unknown.status == 2
    assert "no executor 'mail'; it has email, once, greet" in unknown.error


def test_a_function_job_takes_its_arguments_by_name(place: Place) -> None:
    app = ("--app", "app:rexecutor")

    made = place("jobs", "enqueue", "greet", "--data", '{"name": "ann", "times": 2}', *app)
    refused = place("jobs", "enqueue", "greet", "--data", '{"nam": "ann"}', *app)

    assert (made.status, made.err) == (0, "")
    assert place("jobs", "show", "5", "--json", *app).json["data"] == {"name": "ann", "times": 2}
    assert refused.status == 2


def test_a_unique_job_that_exists_already_is_told(place: Place) -> None:
    app = ("--app", "app:rexecutor")

    first = place("jobs", "enqueue", "once", "--data", "1", "--json", *app)
    second = place("jobs", "enqueue", "once", "--data", "2", *app)

    assert first.json == {"id": 5, "executor": "once", "disposition": "inserted"}
    assert second.out == "no new job: once is unique, and job 5 exists, which is left as it is\n"


def test_without_the_application_any_json_is_stored(rexecutor: Run, url: str) -> None:
    answer = rexecutor(
        *("jobs", "enqueue", "email", "--data", "[1]", "--metadata", "{}", "--priority", "9", "--max-attempts", "2"),
        *("--schedule-in", "2h", "--expires-in", "1d", "--url", url),
    )
    job = rexecutor("jobs", "show", "8", "--json", "--url", url).json

    moments = [datetime.fromisoformat(job[name]) for name in ("inserted_at", "scheduled_at", "expires_at")]
    assert (answer.status, answer.err) == (0, "")
    assert (job["data"], job["metadata"], job["priority"], job["max_attempts"]) == ([1], {}, 9, 2)
    assert [moment - moments[0] for moment in moments[1:]] == [timedelta(hours=2), timedelta(days=1)]


def test_a_name_that_no_job_has_yet_is_told(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "enqueue", "mail", "--data", "1", "--url", url)

    assert answer.status == 0
    assert "no job in this store has the executor 'mail'" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["email"], "no data given"),
        (["e" * 200, "--data", "1"], "NAME"),
        (["email", "--data", "x"], "--data"),
        (["email", "--data", "1", "--schedule-in", "1h", "--schedule-at", "2126-01-01T00:00Z"], "cannot be used"),
        (["email", "--data", "1", "--expires-in", "0s"], "expires_in"),
        (["email", "--data", "1", *(word for n in range(40) for word in ("--tag", str(n)))], "40 tags"),
        (["email", "--data", "1", "--tag", "\udcff"], "--tag"),
    ],
)
def test_what_cannot_be_enqueued_is_a_misuse(rexecutor: Run, url: str, arguments: list[str], said: str) -> None:
    answer = rexecutor("jobs", "enqueue", *arguments, "--url", url)

    assert answer.status == 2
    assert said in answer.error
    assert len(rexecutor("jobs", "list", "--json", "--url", url).json) == 7


TRACED = """
from contextlib import asynccontextmanager, contextmanager

import app
from rexecutor import Executor, Job, Rexecutor

class Email(Executor[str]):
    name = "email"

    async def execute(self, job: Job[str]) -> None:
        pass

@contextmanager
def plain(enqueueing):
    enqueueing.headers["trace"] = "1"
    yield

@asynccontextmanager
async def asynchronous(enqueueing):
    enqueueing.headers["tenant"] = enqueueing.jobs[0].data
    yield

rexecutor = Rexecutor(app.rexecutor.backend, executors=[Email], around_enqueue=[plain, asynchronous])
"""


def test_the_applications_middleware_is_around_the_enqueue(place: Place) -> None:
    (place.folder / "traced.py").write_text(TRACED)
    words = ("jobs", "enqueue", "email", "--data", '"bob"', "--app", "traced:rexecutor")

    assert (place(*words).status, place(*words, *place.options).status) == (0, 0)

    jobs = [place("jobs", "show", job_id, "--json", *place.options).json for job_id in ("5", "6")]
    assert [json.loads(job["headers"]) for job in jobs] == [{"trace": "1", "tenant": "bob"}] * 2
