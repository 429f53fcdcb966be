"""What is in `rules.py` and not already in the suite, which drives the rules through a backend."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rexecutor import rules
from rexecutor.errors import JobStateError
from rexecutor.job import ErrorKind, JobRecord, Limits
from rexecutor.outcome import (
    CancelAsked,
    Change,
    Claimed,
    Complete,
    Failed,
    Interrupted,
    Lost,
    Rerun,
    Snooze,
)
from rexecutor.status import ENDED, WAITING, JobStatus
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, SECOND, cancelled, failed, job_error, new_job
from rexecutor.where import And, Everything, ExecutorIn, IdIn, Not, Or, StatusIn

LIMITS = Limits()
CLAIMED = Claimed("node-1")


def scheduled(**fields: object) -> JobRecord:
    return replace(rules.inserted(new_job(), 1, START), **fields)


def executing(**fields: object) -> JobRecord:
    return replace(changed(scheduled(), CLAIMED), **fields)


def changed(record: JobRecord, change: Change, limits: Limits = LIMITS) -> JobRecord:
    return rules.transition(record, change, START, limits)


def record_in(status: JobStatus) -> JobRecord:
    match status:
        case JobStatus.SCHEDULED:
            return scheduled()
        case JobStatus.EXECUTING:
            return executing()
        case JobStatus.RETRYABLE:
            return changed(executing(), failed())
        case JobStatus.COMPLETE:
            return changed(executing(), Complete())
        case JobStatus.CANCELLED:
            return changed(executing(), cancelled())
        case JobStatus.DISCARDED:
            return changed(executing(max_attempts=1), failed())


OUTCOMES: tuple[Change, ...] = (Complete(), cancelled(), Snooze(HOUR), failed(), Interrupted(), Lost())


class TestTransition:
    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
    @pytest.mark.parametrize("status", set(JobStatus) - {JobStatus.EXECUTING})
    def test_only_an_executing_job_has_an_outcome(self, status: JobStatus, outcome: Change) -> None:
        with pytest.raises(JobStateError, match=str(status)):
            changed(record_in(status), outcome)

    @pytest.mark.parametrize("status", ENDED | {JobStatus.EXECUTING})
    def test_only_a_waiting_job_is_claimed(self, status: JobStatus) -> None:
        with pytest.raises(JobStateError, match="claim"):
            changed(record_in(status), CLAIMED)

    def test_a_job_that_is_not_due_is_not_claimed(self) -> None:
        with pytest.raises(JobStateError, match="claim"):
            changed(scheduled(scheduled_at=START + SECOND), CLAIMED)

    @pytest.mark.parametrize("status", WAITING | {JobStatus.EXECUTING})
    def test_r4_only_an_ended_job_is_rerun(self, status: JobStatus) -> None:
        with pytest.raises(JobStateError, match="rerun"):
            changed(record_in(status), Rerun())

    @pytest.mark.parametrize("status", ENDED)
    def test_r3_a_cancel_leaves_an_ended_job_as_it_is(self, status: JobStatus) -> None:
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

    def test_r32_a_job_beyond_its_last_attempt_is_discarded_too(self) -> None:
        record = executing(attempt=5, max_attempts=3)

        assert changed(record, failed()).status is JobStatus.DISCARDED

    def test_r33_a_snooze_gives_the_attempt_back_and_is_counted(self) -> None:
        record = changed(executing(), Snooze(HOUR))

        assert (record.attempt, record.claims, record.snoozes) == (0, 1, 1)

    def test_a_rerun_raises_the_allowed_attempts_only_where_none_is_left(self) -> None:
        used_up = changed(record_in(JobStatus.DISCARDED), Rerun())
        with_some_left = changed(record_in(JobStatus.COMPLETE), Rerun())

        assert (used_up.attempt, used_up.max_attempts) == (1, 2)
        assert (with_some_left.attempt, with_some_left.max_attempts) == (1, 5)

    def test_r36_a_job_keeps_the_last_errors_that_the_limits_allow(self) -> None:
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

    def test_a_failure_at_the_last_attempt_of_a_job_to_be_cancelled_cancels_it(self) -> None:
        record = changed(executing(max_attempts=1), CancelAsked("enough"))

        after = changed(record, Failed(job_error(), HOUR))

        assert after.status is JobStatus.CANCELLED
        assert after.discarded_at is None


class TestMatches:
    def test_no_parts_of_an_and_are_all_jobs(self) -> None:
        assert rules.matches(And(()), scheduled(), START)

    def test_no_parts_of_an_or_are_no_jobs(self) -> None:
        assert not rules.matches(Or(()), scheduled(), START)

    def test_r27_one_of_several_ids_matches(self) -> None:
        assert rules.matches(IdIn(frozenset({7, 1})), scheduled(), START)

    def test_r26_an_or_within_an_and_does_not_reach_beyond_it(self) -> None:
        other = scheduled(executor="other")
        where = And(
            (
                ExecutorIn(frozenset({"alpha"})),
                Or((StatusIn(frozenset({JobStatus.SCHEDULED})), Everything())),
            )
        )

        assert not rules.matches(where, other, START)

    @given(st.sampled_from(JobStatus), st.frozensets(st.sampled_from(JobStatus)))
    def test_a_job_is_in_a_set_of_statuses_or_in_its_complement(
        self, status: JobStatus, statuses: frozenset[JobStatus]
    ) -> None:
        record = scheduled(status=status)
        where = StatusIn(statuses)

        assert rules.matches(where, record, START) is (status in statuses)
        assert rules.matches(Not(where), record, START) is (status not in statuses)


class TestClaimOrder:
    def test_r35_priority_comes_before_due_time_and_due_time_before_id(self) -> None:
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
