"""What an ended job means for those who asked for its result."""

import pickle
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from rexecutor import DecodeError, Executor, Job, JobFailedError, JobNotFoundError, JobStatus
from rexecutor.jobs.results import job_of_record, result_of
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, JobError, JobRecord, Limits, NewJob
from rexecutor.testing import FakeClock

NOW = FakeClock().now()
LIMITS = Limits()


class Report(msgspec.Struct, frozen=True):
    rows: int


class Build(Executor[str, None, Report]):
    name = "build"

    async def execute(self, job: Job[str]) -> Any: ...


class Plain(Executor[str]):
    name = "build"

    async def execute(self, job: Job[str]) -> None: ...


class Other(Executor[str]):
    name = "other"

    async def execute(self, job: Job[str]) -> None: ...


def record(status: JobStatus = JobStatus.COMPLETE, *, data: str = '"secret"', **changes: Any) -> JobRecord:
    inserted = rules.inserted(NewJob("build", data, None, 3, 0, (), None, timedelta(0)), 7, NOW)
    return replace(inserted, status=status, **changes)


def error(kind: ErrorKind, type_name: str, details: str) -> tuple[JobError, ...]:
    return (
        JobError(1, ErrorKind.EXCEPTION, "KeyError", "KeyError: the first", NOW),
        JobError(2, kind, type_name, details, NOW),
    )


class TestResultOf:
    def test_a_complete_job_gives_its_result(self) -> None:
        assert result_of(Build, 7, record(result='{"rows":3}'), LIMITS) == Report(3)

    def test_a_complete_job_without_a_stored_result_gives_none(self) -> None:
        assert result_of(Build, 7, record(), LIMITS) is None

    def test_an_executor_that_declares_no_result_gives_none(self) -> None:
        assert result_of(Plain, 7, record(result="[1]"), LIMITS) is None

    def test_without_an_executor_the_result_is_plain_json(self) -> None:
        assert result_of(None, 7, record(result='{"rows":3}'), LIMITS) == {"rows": 3}

    def test_a_result_that_is_no_longer_of_the_type_is_an_error(self) -> None:
        with pytest.raises(DecodeError, match="build: result: Report expected"):
            result_of(Build, 7, record(result='{"rows":"many"}'), LIMITS)

    def test_data_that_no_longer_fit_do_not_matter(self) -> None:
        assert result_of(Build, 7, record(data="[1]", result='{"rows":3}'), LIMITS) == Report(3)

    def test_a_row_that_cannot_be_read_is_an_error(self) -> None:
        with pytest.raises(DecodeError, match="build: the row is broken"):
            result_of(Build, 7, record(defect="the row is broken"), LIMITS)

    def test_a_job_that_is_not_there_is_an_error(self) -> None:
        with pytest.raises(JobNotFoundError, match="there is no job 7 of build in this store"):
            result_of(Build, 7, None, LIMITS)
        with pytest.raises(JobNotFoundError, match="there is no job 7 in this store"):
            result_of(None, 7, None, LIMITS)

    def test_another_executors_job_is_an_error(self) -> None:
        with pytest.raises(JobNotFoundError, match="job 7 belongs to build, not to other"):
            result_of(Other, 7, record(), LIMITS)

    @pytest.mark.parametrize(
        ("status", "errors", "message"),
        [
            (
                JobStatus.CANCELLED,
                error(ErrorKind.CANCELLED, "Cancel", "no longer\nwanted"),
                "job 7 (build) is cancelled: no longer wanted",
            ),
            (
                JobStatus.DISCARDED,
                error(ErrorKind.EXCEPTION, "ValueError", 'Traceback …\n  File "x.py"\nValueError: boom\n'),
                "job 7 (build) is discarded: ValueError: boom",
            ),
            (
                JobStatus.DISCARDED,
                error(ErrorKind.TIMEOUT, "Timeout", "the attempt took longer than 0:00:01"),
                "job 7 (build) is discarded: the attempt took longer than 0:00:01",
            ),
            (JobStatus.DISCARDED, error(ErrorKind.EXCEPTION, "Boom", " "), "job 7 (build) is discarded: Boom"),
            (JobStatus.DISCARDED, (), "job 7 (build) is discarded"),
            (
                JobStatus.DISCARDED,
                error(ErrorKind.DECODE, "DecodeError", "build: data: str expected: got 'secret'"),
                (
                    "job 7 (build) is discarded: the stored data or metadata do not fit the executor's types;"
                    " the job's last error says how"
                ),
            ),
        ],
    )
    def test_a_failed_job_is_an_error_that_says_why(
        self, status: JobStatus, errors: tuple[JobError, ...], message: str
    ) -> None:
        with pytest.raises(JobFailedError) as raised:
            result_of(Build, 7, record(status, errors=errors), LIMITS)

        assert str(raised.value) == message
        assert (raised.value.job.status, raised.value.job.errors, raised.value.job.data) == (status, errors, "secret")
        assert "secret" not in repr(raised.value)

    def test_a_long_reason_is_cut(self) -> None:
        errors = error(ErrorKind.EXCEPTION, "ValueError", "ValueError: " + "x" * 10_000)

        with pytest.raises(JobFailedError) as raised:
            result_of(Build, 7, record(JobStatus.DISCARDED, errors=errors), LIMITS)

        assert len(str(raised.value)) < 1_000

    def test_a_failed_job_whose_data_do_not_fit_has_plain_values(self) -> None:
        for executor in (Build, None):
            with pytest.raises(JobFailedError) as raised:
                result_of(executor, 7, record(JobStatus.DISCARDED, data='{"a":[1]}'), LIMITS)

            assert raised.value.job.data == {"a": [1]}

    def test_the_error_can_be_pickled(self) -> None:
        with pytest.raises(JobFailedError) as raised:
            result_of(None, 7, record(JobStatus.DISCARDED), LIMITS)

        copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own

        assert (str(copy), copy.job) == (str(raised.value), raised.value.job)


class TestJobOfRecord:
    def test_a_job_has_typed_data_and_result(self) -> None:
        job = job_of_record(Build, 7, record(result='{"rows":3}'), LIMITS)

        assert (job.data, job.result) == ("secret", Report(3))

    def test_without_an_executor_everything_is_plain_json(self) -> None:
        job = job_of_record(None, 7, record(data="[1]", metadata='{"a":1}', result='{"rows":3}'), LIMITS)

        assert (job.data, job.metadata, job.result) == ([1], {"a": 1}, {"rows": 3})

    def test_another_executors_job_is_an_error(self) -> None:
        with pytest.raises(JobNotFoundError, match="job 7 belongs to build, not to other"):
            job_of_record(Other, 7, record(), LIMITS)
