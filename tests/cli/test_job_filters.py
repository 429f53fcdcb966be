import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rexecutor.app.connect import connect
from rexecutor.model.job import NewJob
from tests.cli.command_line import Run


@pytest.fixture
def filed(url: str) -> str:
    """The usual store, which the filters leave out, and three jobs of long ago: 8, 9 and 10."""

    async def enqueue() -> None:
        async with connect(url) as backend:
            await backend.enqueue(
                [
                    _job('{"a":1,"b":[null,"ü"]}', ("x", "y"), 1),
                    _job("2", ("y",), 2),
                    _job('"2"', (), 3),
                ]
            )

    asyncio.run(enqueue())
    return url


def _job(data: str, tags: tuple[str, ...], day: int) -> NewJob:
    return NewJob("import", data, None, 1, 0, tags, datetime(2001, 1, day, 12, tzinfo=UTC), timedelta(0))


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--tag", "y"], [8, 9]),
        (["--tag", "x", "--tag", "y"], [8]),
        (["--tag", "x", "--tag", "a b"], []),
        (["--tag", "a b", "--status", "scheduled"], [1]),
        (["--scheduled-before", "2001-01-02T12:00:00Z"], [8]),
        (["--scheduled-before", "2001-01-02T12:00:00.000001+00:00"], [8, 9]),
        (["--scheduled-before", "2001-01-02T14:30+02:00"], [8, 9]),
        (["--scheduled-before", "2002-01-01T00:00:00Z", "--scheduled-after", "2001-01-02T12:00:00Z"], [10]),
        (["--scheduled-after", "2001-01-01T12:00Z", "--executor", "import"], [9, 10]),
        (["--data", "2"], [9]),
        (["--data", "2.0"], [9]),
        (["--data", '"2"'], [10]),
        (["--data", '{"b": [null, "\\u00fc"], "a": 1.0}'], [8]),
        (["--data", "null"], []),
        (["--data", "2", "--tag", "x"], []),
        (["--data", "a=1"], [8]),
        (["--data", "a=1.0", "--data", "b.1=ü"], [8]),
        (["--data", "b.0=null"], [8]),
        (["--data", 'b.1="ü"'], [8]),
        (["--data", "a=2"], []),
        (["--data", "to=later ü"], [1]),
        (["--metadata", '{"by":"ann"}'], [7]),
        (["--metadata", "null", "--tag", "y"], [8, 9]),
        (["--any-tag", "x", "--any-tag", "c", "--status", "scheduled"], [1, 8]),
        (["--error", "SmtpError"], [3, 5, 6]),
        (["--last-error", "SmtpError"], [3, 6]),
        (["--last-error", "Cancel"], [5]),
        (["--since", "1h", "--executor", "import"], [8, 9, 10]),
        (["--since", "0s"], []),
        (["--until", "1h"], []),
        (["--until", "2126-01-01T00:00Z", "--since", "2001-01-01T00:00Z", "--data", "2"], [9]),
        (["--newest", "--executor", "import"], [10, 9, 8]),
        (["--newest", "--after", "10", "--limit", "2"], [9, 8]),
    ],
)
def test_list_answers_the_jobs_that_the_filters_describe(
    rexecutor: Run, filed: str, arguments: list[str], ids: list[int]
) -> None:
    answer = rexecutor("jobs", "list", "--json", "--url", filed, *arguments)

    assert [job["id"] for job in answer.json] == ids


@pytest.mark.parametrize("option", ["--scheduled-before", "--scheduled-after"])
@pytest.mark.parametrize(
    "moment", ["", "soon", "2001-01-01", "2001-01-01T12:00:00", "12:00Z", "0001-01-01T00:00+01:00"]
)
def test_what_is_no_moment_with_an_offset_is_a_misuse(rexecutor: Run, url: str, option: str, moment: str) -> None:
    answer = rexecutor("jobs", "list", option, moment, "--url", url)

    assert answer.status == 2
    assert option in answer.error
    assert "2026-08-01T09:30:00Z" in answer.err


@pytest.mark.parametrize(
    "data",
    [
        *("", "bob", "{", "[1,]", "NaN", "Infinity", "1e400", "'a'", '"\\u0000"', '"\\ud800"', '"\udcff"', "1 2"),
        "0.12345678901234567890123",
        "[" * 5_000 + "]" * 5_000,
    ],
)
def test_what_no_store_takes_as_json_is_a_misuse(rexecutor: Run, url: str, data: str) -> None:
    answer = rexecutor("jobs", "list", "--data", data, "--url", url)

    assert answer.status == 2
    assert "--data" in answer.error


def test_a_tag_that_is_no_text_is_a_misuse(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "list", "--tag", "\udcff", "--url", url)

    assert answer.status == 2
    assert "--tag" in answer.error


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_an_executor_that_has_no_job_in_the_store_is_told_on_stderr(
    rexecutor: Run, url: str, as_json: tuple[str, ...]
) -> None:
    names = ("--executor", "thumbs", "--executor", "email", "--executor", "mail")

    answer = rexecutor("jobs", "list", *as_json, *names, "--url", url)

    assert answer.status == 0
    assert "email" in answer.out
    lines = answer.err.splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "no job in this store has the executor 'mail'",
        "no job in this store has the executor 'thumbs'",
    ]
    assert all("rexecutor jobs count --url" in line for line in lines)


def test_an_executor_whose_jobs_other_filters_leave_out_is_not_told(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "list", "--executor", "report", "--status", "cancelled", "--json", "--url", url)

    assert (answer.json, answer.err) == ([], "")


def test_metadata_by_a_path_are_a_misuse(rexecutor: Run, url: str) -> None:
    answer = rexecutor("jobs", "list", "--metadata", "by=ann", "--url", url)

    assert answer.status == 2
    assert "--metadata" in answer.error
