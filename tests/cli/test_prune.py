import asyncio
from datetime import timedelta

import pytest

from rexecutor.app.connect import connect
from rexecutor.cli import prune
from rexecutor.model.job import NewJob
from rexecutor.model.where import Everything
from tests.cli.command_line import Run

ALL = [1, 2, 3, 4, 5, 6, 7]


def _ids(url: str) -> list[int]:
    async def find() -> list[int]:
        async with connect(url) as backend:
            return [record.id for record in await backend.query(Everything())]

    return asyncio.run(find())


@pytest.fixture
def many(url: str) -> str:
    """A store with one complete job, and cancelled ones: of `email` 5, 1, 3, 8; of `report` 9, 10, 7; in that order."""

    async def cancel() -> None:
        async with connect(url) as backend:
            await backend.enqueue([_job("email"), _job("report"), _job("report")])
            for job_id in (1, 3, 8, 9, 10, 7):
                await backend.cancel(job_id, "")

    asyncio.run(cancel())
    return url


def _job(executor: str) -> NewJob:
    return NewJob(executor, "1", None, 1, 0, (), None, timedelta(0))


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (["--status", "complete", "--older-than", "0s"], [4]),
        (["--status", "discarded", "--keep", "0"], [6]),
        (["--status", "cancelled", "--keep", "1"], [1, 3, 5, 9, 10]),
        (["--status", "cancelled", "--keep", "1", "--only", "report"], [9, 10]),
        (["--status", "cancelled", "--keep", "1", "--only", "report", "--only", "email"], [1, 3, 5, 9, 10]),
        (["--status", "cancelled", "--keep", "1", "--except", "report"], [1, 3, 5]),
        (["--status", "cancelled", "--older-than", "0d", "--except", "report", "--except", "email"], []),
        (["--status", "cancelled", "--older-than", "0d", "--only", "email"], [1, 3, 5, 8]),
        (["--status", "complete", "--older-than", "1m"], []),
        (["--status", "complete", "--older-than", "52000w"], []),
        (["--status", "complete", "--keep", "9223372036854775807"], []),
    ],
)
class TestPrune:
    def test_it_deletes_what_was_asked_for_and_says_how_many(
        self, rexecutor: Run, many: str, arguments: list[str], gone: list[int]
    ) -> None:
        before = _ids(many)

        answer = rexecutor("prune", *arguments, "--json", "--url", many)

        assert answer.json == {"pruned": len(gone)}
        assert [job_id for job_id in before if job_id not in _ids(many)] == gone

    def test_a_dry_run_says_the_same_number_and_deletes_none(
        self, rexecutor: Run, many: str, arguments: list[str], gone: list[int]
    ) -> None:
        before = _ids(many)

        answer = rexecutor("prune", *arguments, "--dry-run", "--json", "--url", many)

        assert answer.json == {"prunable": len(gone)}
        assert _ids(many) == before


def test_what_was_pruned_is_said_in_a_line(rexecutor: Run, url: str) -> None:
    arguments = ("prune", "--status", "complete", "--keep", "0", "--url", url)

    assert rexecutor(*arguments, "--dry-run").out == "would prune 1 complete job\n"
    assert rexecutor(*arguments).out == "pruned 1 complete job\n"
    assert rexecutor(*arguments).out == "pruned 0 complete jobs\n"


@pytest.mark.parametrize("what", [["--older-than", "0s"], ["--keep", "0"]])
def test_more_than_one_batch_is_pruned_and_counted(
    rexecutor: Run, many: str, what: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BATCH", 2)

    dry = rexecutor("prune", "--status", "cancelled", *what, "--dry-run", "--json", "--url", many)
    answer = rexecutor("prune", "--status", "cancelled", *what, "--json", "--url", many)

    assert dry.json == {"prunable": 7}
    assert answer.json == {"pruned": 7}


@pytest.mark.parametrize("status", ["scheduled", "executing", "retryable"])
def test_jobs_that_have_not_ended_are_not_pruned(rexecutor: Run, url: str, status: str) -> None:
    answer = rexecutor("prune", "--status", status, "--keep", "0", "--url", url)

    assert answer.status == 2
    assert "only ended jobs" in answer.error
    assert _ids(url) == ALL


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--keep", "1"], "--status"),
        (["--status", "complete"], "either --older-than 31d or --keep 200"),
        (["--status", "complete", "--keep", "1", "--older-than", "1d"], "either --older-than 31d or --keep 200"),
        (["--status", "complete", "--keep", "-1"], "--keep"),
        (["--status", "complete", "--keep", "1", "--only", "a", "--except", "b"], "--except"),
        (["--status", "complete", "--keep", "1", "--only", "\udcff"], "--only"),
        (["--status", "complete", "--keep", "1", "--except", "\udcff"], "--except"),
        (["--status", "done", "--keep", "1"], "--status"),
        *[
            (["--status", "complete", "--older-than", age], "--older-than")
            for age in ("", "31", "d", "31 d", "31D", "1.5h", "-1d", "1d2h", "٣d", "99999999w", "9999999999s", "x\ny")
        ],
    ],
)
def test_a_misused_prune_deletes_nothing(rexecutor: Run, url: str, arguments: list[str], told: str) -> None:
    answer = rexecutor("prune", *arguments, "--url", url)

    assert answer.status == 2
    assert told in answer.error
    assert _ids(url) == ALL


@pytest.mark.parametrize("option", ["--only", "--except"])
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_an_executor_that_has_no_job_in_the_store_is_told(
    rexecutor: Run, many: str, option: str, flags: tuple[str, ...]
) -> None:
    answer = rexecutor("prune", "--status", "complete", "--keep", "0", option, "emial", "--url", many, *flags)

    assert answer.status == 0
    assert answer.err.startswith("no job in this store has the executor 'emial'")
