import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor.app.connect import connect
from rexecutor.cli.jobs import HEADINGS
from rexecutor.cli.output import shrunk, write_table
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import IdIn
from tests.cli.command_line import Run


def _stored(url: str, job_id: int) -> JobRecord:
    async def find() -> JobRecord:
        async with connect(url) as backend:
            return (await backend.query(IdIn(frozenset({job_id}))))[0]

    return asyncio.run(find())


def test_list_prints_a_heading_and_a_line_a_job_by_id(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "list", "--url", url)

    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert answer.status == 0
    assert rows[0][:4] == ["id", "status", "executor", "attempt"]
    assert [row[:4] for row in rows[1:]] == [
        ["1", "scheduled", "email", "0/5"],
        ["2", "executing", "email", "1/5"],
        ["3", "retryable", "email", "1/5"],
        ["4", "complete", "email", "1/5"],
        ["5", "cancelled", "email", "1/5"],
        ["6", "discarded", "email", "1/1"],
        ["7", "scheduled", "report", "0/1"],
    ]


def test_list_takes_the_store_from_the_environment(rexecutor: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REXECUTOR_URL", url)

    assert rexecutor("jobs", "list").status == 0


def test_list_shows_the_exception_of_the_last_error(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "list", "--url", url, "--status", "discarded")

    assert answer.out.splitlines()[1].endswith("\tSmtpError: no\\x1b[31m such host")


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--status", "complete"], [4]),
        (["--status", "complete", "--status", "cancelled"], [4, 5]),
        (["--executor", "report"], [7]),
        (["--executor", "report", "--executor", "email", "--status", "scheduled"], [1, 7]),
        (["--executor", "nobody"], []),
        (["--after", "5"], [6, 7]),
        (["--limit", "2"], [1, 2]),
        (["--limit", "2", "--after", "2", "--status", "discarded"], [6]),
    ],
)
def test_list_answers_the_jobs_that_were_asked_for(
    rexecutor: Run, url: str, arguments: list[str], ids: list[int]
) -> None:
    answer = rexecutor("jobs", "list", "--json", "--url", url, *arguments)

    assert [job["id"] for job in answer.json] == ids


def test_list_shows_the_result_and_when_a_job_expires(rexecutor: Run, url: str) -> None:
    heading, *lines = [line.split("\t") for line in rexecutor("jobs", "list", "--url", url).out.splitlines()]
    rows = [dict(zip(heading, line, strict=True)) for line in lines]

    assert [row["result"] for row in rows] == ["", "", "", '{"sent":["d ü"]}', "", "", ""]
    assert [row["expires_at"] for row in rows] == [*[""] * 6, "2126-05-01T12:30:00Z"]


def test_list_shows_the_beginning_of_a_long_result(rexecutor: Run, url: str) -> None:
    result = "[" + "1," * 1_000 + "1]"

    async def settle() -> None:
        async with connect(url) as backend:
            await backend.settle([Settlement(2, 1, Complete(result))])

    asyncio.run(settle())

    row = rexecutor("jobs", "list", "--after", "1", "--limit", "1", "--url", url).out.splitlines()[1].split("\t")
    assert row[HEADINGS.index("result")] == result[:60] + "…"
    assert f"result  {result}" in rexecutor("jobs", "show", "2", "--url", url).out.splitlines()


def test_list_says_how_to_see_more(rexecutor: Run, url: str) -> None:
    assert "--after 2" in rexecutor("jobs", "list", "--limit", "2", "--url", url).err
    assert "--newest --after 6" in rexecutor("jobs", "list", "--newest", "--limit", "2", "--url", url).err
    assert rexecutor("jobs", "list", "--limit", "7", "--url", url).err == ""


def test_list_as_json_is_one_array_with_the_data_as_the_json_it_is(rexecutor: Run, url: str) -> None:
    jobs = rexecutor("jobs", "list", "--json", "--url", url).json

    assert jobs[3]["data"] == {"to": "d ü"}
    assert jobs[3]["metadata"] is None
    assert jobs[3]["tags"] == ["a b", "c"]
    assert jobs[3]["result"] == {"sent": ["d ü"]}
    assert jobs[6]["data"] == "q3\x1b[2J"
    assert (jobs[6]["result"], jobs[6]["expires_at"]) == (None, "2126-05-01T12:30:00Z")
    assert jobs[6]["metadata"] == {"by": "ann"}
    assert [job["status"] for job in jobs[:6]] == list(JobStatus)


def test_list_of_a_store_without_jobs_is_an_empty_array(rexecutor: Run) -> None:
    answer = rexecutor("jobs", "list", "--json", "--url", "memory:")

    assert answer.json == []


def test_show_prints_data_and_errors_with_the_traceback(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "show", "6", "--url", url)

    lines = answer.out.splitlines()
    assert "status  discarded" in lines
    assert 'data  {"to":"f ü"}' in lines
    assert '      File "mail.py", line 7' in lines


def test_show_prints_the_result_and_when_a_job_expires(rexecutor: Run, url: str) -> None:
    complete = rexecutor("jobs", "show", "4", "--url", url).out
    waiting = rexecutor("jobs", "show", "7", "--url", url).out

    assert 'result  {"sent":["d ü"]}' in complete.splitlines()
    assert "expires_at" not in complete
    assert "expires_at  2126-05-01T12:30:00Z (in " in waiting
    assert "result" not in waiting


def test_show_as_json_is_the_whole_job(rexecutor: Run, url: str) -> None:
    job = rexecutor("jobs", "show", "6", "--json", "--url", url).json

    assert job["id"] == 6
    assert job["errors"][0]["kind"] == "exception"
    assert job["errors"][0]["details"].startswith("Traceback")


def test_show_prints_the_key_of_a_unique_job(rexecutor: Run, url: str) -> None:
    criteria = UniquenessCriteria.by_key("k")

    async def enqueue() -> None:
        async with connect(url) as backend:
            await backend.enqueue([NewJob("email", "1", None, 1, 0, (), None, timedelta(0), criteria)])

    asyncio.run(enqueue())

    assert f"unique_key  {criteria.key}" in rexecutor("jobs", "show", "8", "--url", url).out.splitlines()
    assert "unique_key" not in rexecutor("jobs", "show", "7", "--url", url).out


@pytest.mark.parametrize("command", [["list"], ["show", "6"], ["show", "7"]])
def test_what_is_printed_cannot_steer_a_terminal(rexecutor: Run, url: str, command: list[str]) -> None:
    answer = rexecutor("jobs", *command, "--url", url)

    assert "\x1b" not in answer.out


def test_cancel_cancels_a_waiting_job_with_the_reason(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "1", "--reason", "changed my mind", "--url", url)

    record = _stored(url, 1)
    assert answer.out == "job 1 is cancelled\n"
    assert record.status is JobStatus.CANCELLED
    assert record.errors[-1].details == "changed my mind"


def test_cancel_of_a_running_job_says_that_its_node_was_asked(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "cancel", "2", "--url", url)

    record = _stored(url, 2)
    assert "its node was asked" in answer.out
    assert record.status is JobStatus.EXECUTING
    assert record.cancel_reason


def test_cancel_as_json_answers_the_status(rexecutor: Run, url: str) -> None:
    assert rexecutor("jobs", "cancel", "1", "--json", "--url", url).json == {"id": 1, "status": "cancelled"}
    assert rexecutor("jobs", "cancel", "2", "--json", "--url", url).json == {"id": 2, "status": "executing"}


@pytest.mark.parametrize(("job_id", "status"), [("4", "complete"), ("5", "cancelled"), ("6", "discarded")])
def test_cancel_of_a_job_that_has_ended_says_so_and_fails(rexecutor: Run, url: str, job_id: str, status: str) -> None:
    answer = rexecutor("jobs", "cancel", job_id, "--url", url)

    assert answer.status == 1
    assert f"has already ended: it is {status}" in answer.error


@pytest.mark.parametrize("job_id", ["4", "5", "6"])
def test_rerun_schedules_a_job_that_has_ended(rexecutor: Run, url: str, job_id: str) -> None:
    answer = rexecutor("jobs", "rerun", job_id, "--url", url)

    assert answer.out == f"job {job_id} is scheduled again\n"
    assert _stored(url, int(job_id)).status is JobStatus.SCHEDULED


def test_rerun_as_json_answers_the_status(rexecutor: Run, url: str) -> None:
    assert rexecutor("jobs", "rerun", "4", "--json", "--url", url).json == {"id": 4, "status": "scheduled"}


@pytest.mark.parametrize("job_id", ["1", "2", "3"])
def test_rerun_of_a_job_that_has_not_ended_fails(rexecutor: Run, url: str, job_id: str) -> None:
    answer = rexecutor("jobs", "rerun", job_id, "--url", url)

    assert answer.status == 1
    assert f"job {job_id} (email)" in answer.error


@pytest.mark.parametrize("command", ["show", "cancel", "rerun", "update"])
@pytest.mark.parametrize("job_id", ["0", "8", "9223372036854775807"])
def test_an_id_that_no_job_has_is_an_error_that_names_it(rexecutor: Run, url: str, command: str, job_id: str) -> None:
    change = ["--priority", "1"] if command == "update" else []

    answer = rexecutor("jobs", command, job_id, *change, "--url", url)

    assert answer.status == 1
    assert f"there is no job {job_id} in this store" in answer.error


@pytest.mark.parametrize("command", ["show", "cancel", "rerun", "update"])
@pytest.mark.parametrize("job_id", ["x", "", "1.5", "9223372036854775808", "two\nlines"])
def test_what_is_no_id_is_a_misuse(rexecutor: Run, url: str, command: str, job_id: str) -> None:
    answer = rexecutor("jobs", command, job_id, "--url", url)

    assert answer.status == 2
    assert "ID" in answer.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "list", "--limit", "0"],
        ["jobs", "list", "--limit", "-1"],
        ["jobs", "list", "--limit", "many"],
        ["jobs", "list", "--status", "done"],
        ["jobs", "list", "--after", "x"],
        ["jobs", "list", "extra"],
        ["jobs", "cancel", "1", "--reason", "\udcff"],
        ["jobs", "list", "--executor", "\udcff"],
        ["jobs", "burn"],
        ["jobs"],
        ["jobs", "show"],
        ["burn"],
        ["--burn"],
    ],
)
def test_a_misused_command_says_so_in_three_lines_at_most(rexecutor: Run, url: str, arguments: list[str]) -> None:
    answer = rexecutor(*arguments, *(["--url", url] if len(arguments) > 1 else []))

    assert answer.status == 2
    assert answer.error.startswith("error: ")


LOOKING = [
    ["jobs", "list"],
    ["jobs", "show", "1"],
    ["jobs", "cancel", "1"],
    ["jobs", "rerun", "1"],
    ["jobs", "update", "1", "--priority", "1"],
    ["stats"],
    ["cron", "list"],
    ["prune", "--status", "complete", "--keep", "0"],
]


@pytest.mark.parametrize("command", LOOKING)
def test_without_a_url_a_command_says_where_to_give_one(rexecutor: Run, command: list[str]) -> None:
    answer = rexecutor(*command)

    assert answer.status == 2
    assert "--url" in answer.error
    assert "REXECUTOR_URL" in answer.err


@pytest.mark.parametrize("command", LOOKING)
@pytest.mark.parametrize("url", ["jobs.db", "mysql://bob:secret@host/jobs", "sqlite://x", "http://host", "a\nb"])
def test_a_url_of_no_store_is_a_misuse(rexecutor: Run, command: list[str], url: str) -> None:
    answer = rexecutor(*command, "--url", url)

    assert answer.status == 2
    assert "secret" not in answer.error


@pytest.mark.parametrize("command", LOOKING)
def test_a_file_that_is_not_there_is_an_error_and_is_not_made(
    rexecutor: Run, tmp_path: Path, command: list[str]
) -> None:
    answer = rexecutor(*command, "--url", "sqlite:///no such\nfile.db")

    assert answer.status == 1
    assert "no such" in answer.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", LOOKING)
def test_a_folder_in_place_of_the_file_is_an_error_that_names_it(
    rexecutor: Run, tmp_path: Path, command: list[str]
) -> None:
    answer = rexecutor(*command, "--url", f"sqlite:///{tmp_path}")

    assert answer.status == 1
    assert str(tmp_path) in answer.error


@pytest.mark.parametrize("command", LOOKING)
def test_a_file_that_is_no_database_is_an_error_and_stays_as_it_is(
    rexecutor: Run, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "notes.txt").write_text("not a database, by far" * 1_000)

    answer = rexecutor(*command, "--url", "sqlite:///notes.txt")

    assert answer.status == 1
    assert "notes.txt" in answer.error
    assert (tmp_path / "notes.txt").read_text() == "not a database, by far" * 1_000


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_moments_are_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    moment, error = "2026-08-01T09:30:00Z", "ValueError: the bank does not answer, and neither does anybody else"

    write_table(
        HEADINGS, [("123456", "discarded", "mail.reminders", "5/5", "0", moment, "", "weekly,reminder", "", error)]
    )

    assert moment in capsys.readouterr().out


def test_on_a_terminal_columns_without_a_value_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # which gets no bold headings
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    write_table(("id", "result", "tags"), [("1", "", ""), ("2", "", "a")])
    write_table(("id", "result"), [])

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "tags"],
        ["1"],
        ["2", "a"],
        ["id", "result"],
    ]


def test_columns_that_share_the_room_are_cut_to_the_same_width_before_one_is_cut_more() -> None:
    natural = {"id": 3, "executor": 32, "tags": 9, "error": 100}

    widths = shrunk(natural, (("executor", "tags", "error"),), 60)

    assert widths == {"id": 3, "executor": 24, "tags": 9, "error": 24}
    assert shrunk(natural, ("error", "executor"), 60) == {"id": 3, "executor": 32, "tags": 9, "error": 16}


def test_on_a_terminal_a_table_without_rows_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(("id", "status"), [], nothing="no job")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    write_table(("id", "status"), [], nothing="no job")

    assert capsys.readouterr().out == "id\tstatus\nno job\n"
