"""`--app`, on every command that opens a store."""

import pytest

from tests.cli.processes import Place

COMMANDS = [
    ("jobs", "list"),
    ("jobs", "show", "1"),
    ("jobs", "update", "1", "--priority", "3"),
    ("jobs", "cancel", "1"),
    ("jobs", "rerun", "3"),
    ("jobs", "enqueue", "email", "--data", '"bob"'),
    ("stats",),
    ("jobs", "count"),
    ("doctor",),
    ("cron", "list"),
    ("prune", "--status", "complete", "--keep", "0"),
    ("migrate", "--check"),
    ("migrate",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_works_on_the_store_of_the_application(place: Place, command: tuple[str, ...]) -> None:
    by_app = place(*command, "--app", "app:rexecutor")

    assert (by_app.status, by_app.err) == (0, "")


def test_the_application_may_come_from_the_environment(place: Place) -> None:
    assert "email" in place("jobs", "list", REXECUTOR_APP="app:make").out


def test_the_application_outranks_the_url_of_the_environment(place: Place) -> None:
    answer = place("jobs", "list", "--json", "--app", "app:rexecutor", REXECUTOR_URL="sqlite:///other.db")

    assert len(answer.json) == 4


def test_a_url_outranks_the_store_of_the_application(place: Place) -> None:
    answer = place("jobs", "list", "--app", "app:rexecutor", "--url", "sqlite:///other.db")

    assert answer.status == 1
    assert "'other.db': no such file" in answer.error


def test_a_schema_without_a_url_is_a_misuse(place: Place) -> None:
    answer = place("stats", "--app", "app:rexecutor", "--schema", "mine")

    assert answer.status == 2
    assert "give --schema with --url" in answer.error


@pytest.mark.parametrize(
    ("app", "said"),
    [("app:nothing", "has no 'nothing'"), ("nowhere:rexecutor", "no module 'nowhere'"), ("app", "must be")],
)
def test_an_application_that_is_not_there_is_a_misuse(place: Place, app: str, said: str) -> None:
    answer = place("stats", "--app", app)

    assert answer.status == 2
    assert said in answer.error


def test_a_file_that_the_application_would_create_is_not_created(place: Place) -> None:
    (place.folder / "fresh.py").write_text(
        "from rexecutor import Rexecutor, SQLiteBackend\nrexecutor = Rexecutor(SQLiteBackend('fresh.db'))\n"
    )

    answer = place("stats", "--app", "fresh:rexecutor")

    assert answer.status == 1
    assert "no such file" in answer.error
    assert not (place.folder / "fresh.db").exists()
