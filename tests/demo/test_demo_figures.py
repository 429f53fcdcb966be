import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from demo.figures import Account, computed
from demo.findings import Findings
from demo.history import Ended, Entry, Started
from demo.work import SourceFile
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, JobError, JobRecord, NewJob
from rexecutor.model.status import JobStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FINDINGS = Findings("a.py", "abc", nodes=3)


def _record(status: JobStatus, *kinds: ErrorKind) -> JobRecord:
    new = NewJob("demo.examine_file", "{}", None, 5, 0, (), None, timedelta(0))
    errors = tuple(JobError(number, kind, "Error", "", NOW) for number, kind in enumerate(kinds, 1))
    return replace(rules.inserted(new, 1, NOW), status=status, errors=errors, attempt=len(kinds) + 1)


def _account(
    record: JobRecord | None, *, job: SourceFile | None = None, history: Sequence[Entry] | None = None
) -> Account:
    """One job's account; by default all is well with it but what the record says."""
    return Account(
        jobs={1: job or SourceFile("a.py")},
        records={} if record is None else {1: record},
        history=[Started(1, 1, 7), Ended(1, FINDINGS)] if history is None else history,
        truth={"a.py": FINDINGS},
        seconds=2.0,
    )


def test_a_complete_job_with_the_right_result_is_without_fault() -> None:
    account = _account(_record(JobStatus.COMPLETE))

    assert account.faults() == []
    assert account.figures() == {
        "enqueued": 1,
        "complete": 1,
        "retried": 0,
        "rescued": 0,
        "discarded": 0,
        "run more than once": 0,
        "lost": 0,
        "jobs/s": 0.5,
        "seconds": 2.0,
    }


@pytest.mark.parametrize("status", [JobStatus.SCHEDULED, JobStatus.EXECUTING, JobStatus.RETRYABLE])
def test_a_job_that_has_not_ended_is_lost(status: JobStatus) -> None:
    account = _account(_record(status))

    assert account.figures()["lost"] == 1
    assert account.faults() == [f"1 job is lost or has not ended: 1 {status}"]


def test_a_job_that_the_store_no_longer_has_is_lost() -> None:
    account = _account(None)

    assert account.figures()["lost"] == 1
    assert account.faults() == ["1 job is lost or has not ended: 1 gone"]


def test_several_faults_of_a_kind_are_counted_in_one_line() -> None:
    account = dataclasses.replace(_account(None), jobs={1: SourceFile("a.py"), 2: SourceFile("b.py")})

    assert account.faults() == ["2 jobs are lost or have not ended: 1 gone, 2 gone"]


def test_a_complete_job_that_left_no_result_is_lost() -> None:
    assert _account(_record(JobStatus.COMPLETE), history=[Started(1, 1, 7)]).figures()["lost"] == 1


@pytest.mark.parametrize("wrong", [Findings("a.py", "abd", nodes=3), Findings("a.py", "abc", nodes=4)])
def test_a_result_that_differs_from_the_direct_computation_is_a_fault(wrong: Findings) -> None:
    account = _account(_record(JobStatus.COMPLETE), history=[Ended(1, FINDINGS), Ended(1, wrong)])

    assert account.faults() == ["1 recorded result is wrong: a.py"]


@pytest.mark.parametrize("status", [JobStatus.DISCARDED, JobStatus.CANCELLED])
def test_a_job_that_ends_without_being_complete_is_a_fault(status: JobStatus) -> None:
    assert _account(_record(status)).faults() == [f"1 job ended in the wrong status: 1 {status}"]


def test_the_job_that_always_fails_must_be_discarded() -> None:
    job = SourceFile("a.py", "always fails")

    assert _account(_record(JobStatus.DISCARDED), job=job).faults() == []
    assert _account(_record(JobStatus.COMPLETE), job=job).faults() != []


def test_a_job_with_a_lost_attempt_is_rescued_and_one_with_a_failed_attempt_is_retried() -> None:
    rescued = _account(_record(JobStatus.COMPLETE, ErrorKind.LOST)).figures()
    retried = _account(_record(JobStatus.COMPLETE, ErrorKind.EXCEPTION)).figures()

    assert (rescued["rescued"], rescued["retried"]) == (1, 0)
    assert (retried["rescued"], retried["retried"]) == (0, 1)


def test_a_job_with_two_starts_has_run_more_than_once() -> None:
    history = [Started(1, 1, 7), Started(1, 2, 8), Ended(1, FINDINGS)]

    assert _account(_record(JobStatus.COMPLETE), history=history).figures()["run more than once"] == 1


def test_the_direct_computation_finds_what_a_worker_finds() -> None:
    assert computed([__file__])[__file__].functions > 5
