"""What is in `rules.life` and not already in the suite, which drives the rules through a backend."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from rexecutor.errors import JobStateError, StaleJobError
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, Limits, NewJob
from rexecutor.model.outcomes import (
    CancelAsked,
    Change,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Lost,
    Rerun,
    Snooze,
)
from rexecutor.model.status import ENDED, OPEN, WAITING, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, SECOND, cancelled, failed, job_error, new_job
from tests.model.records import CLAIMED, changed, executing, record_in, scheduled

OUTCOMES: tuple[Change, ...] = (
    *(Complete(), Complete("7"), cancelled(), Snooze(HOUR), failed(), Discarded(job_error()), Expired()),
    *(Interrupted(), Lost()),
)


class TestTransition:
    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
    @pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.EXECUTING}))
    def test_only_an_executing_job_has_an_outcome(self, status: JobStatus, outcome: Change) -> None:
        with pytest.raises(JobStateError, match=str(status)):
            changed(record_in(status), outcome)

    @pytest.mark.parametrize("status", sorted(ENDED | {JobStatus.EXECUTING}))
    def test_only_a_waiting_job_is_claimed(self, status: JobStatus) -> None:
        with pytest.raises(JobStateError, match="claim"):
            changed(record_in(status), CLAIMED)

    def test_a_job_that_is_not_due_is_not_claimed(self) -> None:
        with pytest.raises(JobStateError, match="claim"):
            changed(scheduled(scheduled_at=START + SECOND), CLAIMED)

    @pytest.mark.parametrize("status", sorted(WAITING | {JobStatus.EXECUTING}))
    def test_only_an_ended_job_is_rerun(self, status: JobStatus) -> None:
        with pytest.raises(JobStateError, match="rerun"):
            changed(record_in(status), Rerun())

    @pytest.mark.parametrize("status", sorted(ENDED))
    def test_a_cancel_leaves_an_ended_job_as_it_is(self, status: JobStatus) -> None:
        record = record_in(status)

        assert changed(record, CancelAsked("too late")) == record

    def test_the_first_reason_of_a_cancel_stays_even_when_it_is_empty(self) -> None:
        record = changed(executing(), CancelAsked(""))

        assert changed(record, CancelAsked("second")).cancel_reason == ""

    def test_a_transition_leaves_the_record_that_it_was_given(self) -> None:
        record = executing()
        before = replace(record)

        changed(record, failed())

        assert record == before

    def test_a_job_beyond_its_last_attempt_is_discarded_too(self) -> None:
        record = executing(attempt=5, max_attempts=3)

        assert changed(record, failed()).status is JobStatus.DISCARDED

    def test_a_snooze_gives_the_attempt_back_and_is_counted(self) -> None:
        record = changed(executing(), Snooze(HOUR))

        assert (record.attempt, record.claims, record.snoozes) == (0, 1, 1)

    def test_a_rerun_raises_the_allowed_attempts_only_where_none_is_left(self) -> None:
        used_up = changed(record_in(JobStatus.DISCARDED), Rerun())
        with_some_left = changed(record_in(JobStatus.COMPLETE), Rerun())

        assert (used_up.attempt, used_up.max_attempts) == (1, 2)
        assert (with_some_left.attempt, with_some_left.max_attempts) == (1, 5)

    def test_a_job_keeps_the_last_errors_that_the_limits_allow(self) -> None:
        limits = Limits(errors=2)
        record = executing(errors=(job_error("1"), job_error("2")))

        after = changed(record, failed("3"), limits)

        assert [error.details for error in after.errors] == ["2", "3"]

    def test_a_lost_job_whose_cancel_was_asked_keeps_both_errors(self) -> None:
        record = changed(changed(executing(), CancelAsked("enough")), Lost())

        assert record.status is JobStatus.CANCELLED
        assert [error.kind for error in record.errors] == [ErrorKind.LOST, ErrorKind.CANCELLED]

    @pytest.mark.parametrize("losses", [1, 2])
    def test_a_job_survives_fewer_losses_than_the_limit(self, losses: int) -> None:
        record = executing(losses=losses - 1)

        assert changed(record, Lost()).status is JobStatus.RETRYABLE

    def test_a_job_is_discarded_at_the_limit_of_losses(self) -> None:
        assert changed(executing(losses=2), Lost()).status is JobStatus.DISCARDED

    def test_one_lost_again_is_apart_from_those_that_were_lost_with_it(self) -> None:
        again = changed(executing(losses=1), Lost())

        assert again.scheduled_at - START == timedelta(seconds=again.id % 100 / 10) > timedelta(0)
        assert {rules.rescue_delay(job_id) for job_id in range(200)} == {
            timedelta(seconds=tenths / 10) for tenths in range(100)
        }

    def test_a_failure_at_the_last_attempt_of_a_job_to_be_cancelled_cancels_it(self) -> None:
        record = changed(executing(max_attempts=1), CancelAsked("enough"))

        after = changed(record, Failed(job_error(), HOUR))

        assert after.status is JobStatus.CANCELLED
        assert after.discarded_at is None


class TestClaimOrder:
    def test_priority_comes_before_due_time_and_due_time_before_id(self) -> None:
        jobs = [
            scheduled(id=1, priority=1, scheduled_at=START - HOUR),
            scheduled(id=2, priority=0, scheduled_at=START),
            scheduled(id=4, priority=0, scheduled_at=START - timedelta(microseconds=1)),
            scheduled(id=3, priority=0, scheduled_at=START),
        ]

        assert [job.id for job in sorted(jobs, key=rules.claim_order)] == [4, 2, 3, 1]

    def test_only_due_jobs_are_claimable_and_no_more_than_asked(self) -> None:
        due = [scheduled(id=number) for number in range(3)]
        later = scheduled(id=9, scheduled_at=START + SECOND)

        assert rules.claimable([later, *due], START, 2) == due[:2]


class TestInserted:
    def test_a_new_job_has_its_key_and_no_history(self) -> None:
        unique = UniquenessCriteria.by_key("k")

        record = rules.inserted(new_job(unique=unique), 7, START)

        assert (record.id, record.unique_key, record.revision, record.version) == (7, unique.key, 0, 0)
        assert (record.inserted_at, record.scheduled_at) == (START, START)

    def test_criteria_without_a_key_leave_none(self) -> None:
        assert rules.inserted(new_job(unique=UniquenessCriteria.by_executor()), 7, START).unique_key is None

    def test_a_given_moment_goes_before_a_delay(self) -> None:
        assert rules.due_at(new_job(scheduled_at=START - HOUR, delay=HOUR), START) == START - HOUR
        assert rules.due_at(new_job(delay=HOUR), START) == START + HOUR


def wanted(**fields: Any) -> NewJob:
    return new_job(data="1", metadata="2", max_attempts=3, priority=4, tags=("5",), delay=SECOND, **fields)


class TestUpdated:
    def test_it_takes_the_fields_of_the_new_job_and_counts_the_revision(self) -> None:
        record = scheduled(revision=5, claims=2)

        after = rules.updated(record, wanted(), 7, START + HOUR)

        fields = {"data": "1", "metadata": "2", "max_attempts": 3, "priority": 4, "tags": ("5",)}
        assert after == replace(record, **fields, scheduled_at=START + HOUR + SECOND, revision=6)

    @pytest.mark.parametrize("status", sorted(OPEN))
    def test_a_job_that_has_not_ended_keeps_its_status(self, status: JobStatus) -> None:
        record = record_in(status)

        assert rules.updated(record, wanted(), record.version, START).status is status

    @pytest.mark.parametrize("status", sorted(ENDED))
    def test_a_job_that_has_ended_is_refused_whatever_the_version(self, status: JobStatus) -> None:
        record = record_in(status)

        for version in (record.version, record.version - 1):
            with pytest.raises(JobStateError, match="an update while"):
                rules.updated(record, wanted(), version, START)

    @pytest.mark.parametrize("by", [-1, 1])
    def test_another_version_is_stale(self, by: int) -> None:
        with pytest.raises(StaleJobError, match="read it again"):
            rules.updated(scheduled(), wanted(), by, START)


class TestVersion:
    CHANGES: tuple[tuple[JobStatus, Change], ...] = (
        (JobStatus.SCHEDULED, CLAIMED),
        (JobStatus.RETRYABLE, CLAIMED),
        (JobStatus.EXECUTING, CancelAsked("enough")),
        (JobStatus.EXECUTING, Snooze(HOUR)),
        (JobStatus.EXECUTING, failed()),
        (JobStatus.EXECUTING, Interrupted()),
        (JobStatus.EXECUTING, Lost()),
        *((status, Rerun()) for status in sorted(ENDED)),
    )

    @pytest.mark.parametrize(("status", "change"), CHANGES, ids=str)
    def test_each_change_that_leaves_a_job_open_makes_copies_stale(self, status: JobStatus, change: Change) -> None:
        record = record_in(status)

        assert changed(record, change).version == record.version + 1

    def test_a_change_that_changes_nothing_makes_none_stale(self) -> None:
        asked = changed(executing(), CancelAsked("enough"))

        assert changed(asked, CancelAsked("again")).version == asked.version

    def test_the_end_is_the_first_of_its_moments(self) -> None:
        for status in JobStatus:
            record = record_in(status)
            assert record.ended_at == (START if status in ENDED else None)


@pytest.mark.parametrize(
    ("fields", "too_late"),
    [
        ({"expires_at": START}, True),
        ({"expires_at": START - SECOND}, True),
        ({"expires_at": START + SECOND}, False),
        ({"expires_at": None}, False),
        ({"expires_at": START, "attempt": 2}, False),
        ({"expires_at": START, "snoozes": 1}, False),
    ],
)
def test_a_claimed_job_is_too_late_if_it_had_expired_and_never_started(fields: dict[str, Any], too_late: bool) -> None:
    assert rules.is_claimed_too_late(executing(**fields)) == too_late
