import sqlite3
from pathlib import Path

from tests.cli.command_line import Run


def test_count_counts_by_executor_and_status_with_totals(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "count", "--url", url)

    assert [line.split("\t") for line in answer.out.splitlines()] == [
        ["executor", "scheduled", "executing", "retryable", "complete", "cancelled", "discarded", "jobs"],
        ["email", "1", "1", "1", "1", "1", "1", "6"],
        ["report", "1", "0", "0", "0", "0", "0", "1"],
        ["total", "2", "1", "1", "1", "1", "1", "7"],
    ]


def test_count_as_json_names_every_status(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "count", "--json", "--url", url).json

    nothing = {"executing": 0, "retryable": 0, "complete": 0, "cancelled": 0, "discarded": 0}
    assert answer["jobs"] == 7
    assert answer["statuses"]["scheduled"] == 2
    assert answer["executors"]["report"] == {"scheduled": 1, **nothing}


def test_count_of_a_store_without_jobs_is_a_total_of_none(rexecutor: Run) -> None:
    answer = rexecutor("jobs", "count", "--json", "--url", "memory:").json

    assert answer["jobs"] == 0
    assert answer["executors"] == {}


def test_a_database_of_something_else_is_refused_and_left_as_it_is(rexecutor: Run, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    connection.close()
    before = path.read_bytes()

    answer = rexecutor("stats", "--url", f"sqlite:///{path}")

    assert answer.status == 1
    assert "has no tables of rexecutor" in answer.error
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["app.db"]


def test_count_takes_the_filters_of_list(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "count", "--json", "--last-error", "SmtpError", "--url", url).json

    assert {status: jobs for status, jobs in answer["statuses"].items() if jobs} == {"retryable": 1, "discarded": 1}
