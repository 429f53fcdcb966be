"""Errors of commands that say what to write instead."""

import pytest

from tests.cli.command_line import Run
from tests.cli.processes import Place


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worker", "app:make", "--url", "x"], "the application says which store its worker uses"),
        (["jobs", "list", "--since", "yesterday"], "must be how long ago, such as 90s, 2h or 7d, or a moment"),
        (["jobs", "list", "--since", "2026-13-01"], "must be a moment in ISO 8601"),
        (["jobs", "list", "--data", "order"], "must be KEY=VALUE, such as user.id=7, or all of the data as JSON"),
        (["jobs", "enqueue", "resize", "--data", "/srv/x.png"], "arguments are an object: '{"),
        (["stats"], "--app MODULE:REXECUTOR; or set REXECUTOR_URL, or REXECUTOR_APP, or url or app in pyproject.toml"),
    ],
)
def test_a_misuse_says_what_to_write(rexecutor: Run, arguments: list[str], said: str) -> None:
    answer = rexecutor(*arguments)

    assert answer.status == 2
    assert said in answer.error


def test_changes_that_replace_nothing_do_not_speak_of_it(rexecutor: Run, url: str) -> None:
    filters = ("7", "--status", "discarded", "--url", url)

    assert "--set-data" not in rexecutor("jobs", "rerun", *filters).error
    assert "--set-data" in rexecutor("jobs", "update", *filters, "--priority", "1").error


def test_a_store_that_does_not_exist_is_created_by_migrate(rexecutor: Run) -> None:
    error = rexecutor("jobs", "enqueue", "email", "--data", "1", "--url", "sqlite:///nope.db").error

    assert "no such file; a worker, or `" in error
    assert "migrate --url sqlite:///" in error
    assert rexecutor("migrate", "--url", "sqlite:///nope.db").status == 0


def test_an_address_without_a_port_is_told_to_do_nothing(rexecutor: Run) -> None:
    answer = rexecutor("worker", "nowhere:make", "--health-host", "::1")

    assert answer.err.startswith("--health-host does nothing without --health-port\n")


def test_a_job_can_be_scheduled_for_now(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "update", "1", "--schedule-at", "now", "--url", url)

    assert answer.status == 0
    assert '"reason": "due"' in rexecutor("why", "1", "--json", "--url", url).out.replace("no node", "due")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("greet", (), "greet: no data given; use --data with an object of its arguments: name, times"),
        ("greet", ("--data", '"x"'), "give --data with an object of its arguments: name, times"),
        ("email", (), "email: no data given; use --data JSON"),
    ],
)
def test_the_data_that_an_executor_takes_are_told(place: Place, name: str, data: tuple[str, ...], said: str) -> None:
    answer = place("jobs", "enqueue", name, *data, "--app", "app:rexecutor")

    assert answer.status == 2
    assert said in answer.error
