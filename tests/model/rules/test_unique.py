"""What is in `rules.unique` and not already in the suite."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from rexecutor.model import rules
from rexecutor.model.job import JobRecord
from rexecutor.model.rules.matching import EARLIEST, LATEST
from rexecutor.model.status import OPEN, JobStatus
from rexecutor.model.unique import Field, Replace, UniquenessCriteria
from rexecutor.model.where import And, ExecutorIn, KeyIs, Scheduled, StatusIn
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, MICROSECOND, SECOND, new_job
from tests.model.records import record_in, scheduled

BY_EXECUTOR = UniquenessCriteria.by_executor()
EVERY_FIELD: tuple[Field, ...] = ("priority", "data", "metadata", "scheduled_at", "max_attempts")
ALL = Replace(frozenset(EVERY_FIELD), frozenset(JobStatus))
NEW = new_job(data="2", metadata="3", priority=4, max_attempts=6, tags=("new",), delay=HOUR)


class TestConflicting:
    def test_without_criteria_only_the_statuses_are_asked_for(self) -> None:
        assert rules.conflicting(NEW, UniquenessCriteria(), START) == And((StatusIn(OPEN),))

    def test_each_criterion_is_a_part(self) -> None:
        unique = BY_EXECUTOR.and_key("k").and_within(SECOND).and_statuses(JobStatus.COMPLETE)

        assert rules.conflicting(NEW, unique, START) == And(
            (
                StatusIn(frozenset({JobStatus.COMPLETE})),
                ExecutorIn(frozenset({"alpha"})),
                KeyIs(unique.key or ""),
                Scheduled(after=START + HOUR - SECOND, before=START + HOUR + SECOND, ends_count=True),
            )
        )

    def test_a_window_of_nothing_is_a_window(self) -> None:
        where = rules.conflicting(NEW, UniquenessCriteria.within(timedelta(0)), START)

        assert rules.matches(where, scheduled(scheduled_at=START + HOUR), START)
        assert not rules.matches(where, scheduled(scheduled_at=START + HOUR + MICROSECOND), START)

    def test_a_window_ends_with_the_calendar(self) -> None:
        unique = UniquenessCriteria.within(timedelta(days=365_000))
        window = timedelta(days=365_000)
        late, early = datetime(9999, 1, 1, tzinfo=UTC), datetime(2, 1, 1, tzinfo=UTC)
        statuses = StatusIn(unique.statuses)

        assert rules.conflicting(new_job(scheduled_at=late), unique, START) == And(
            (statuses, Scheduled(after=late - window, before=LATEST, ends_count=True))
        )
        assert rules.conflicting(new_job(scheduled_at=early), unique, START) == And(
            (statuses, Scheduled(after=EARLIEST, before=early + window, ends_count=True))
        )


class TestExisting:
    def test_among_none_there_is_none(self) -> None:
        assert rules.pick_existing(BY_EXECUTOR, []) is None

    def test_the_first_due_is_chosen_then_the_first_enqueued(self) -> None:
        jobs = [
            scheduled(id=1, scheduled_at=START + SECOND),
            scheduled(id=3, scheduled_at=START),
            scheduled(id=2, scheduled_at=START),
        ]

        assert rules.pick_existing(BY_EXECUTOR, jobs) is jobs[2]
        assert rules.pick_existing(BY_EXECUTOR, jobs[:2]) is jobs[1]

    def test_the_first_that_may_be_replaced_is_chosen_before_others(self) -> None:
        unique = BY_EXECUTOR.on_conflict(Replace.priority())
        running = record_in(JobStatus.EXECUTING, id=1)
        later = [scheduled(id=number, scheduled_at=START + HOUR) for number in (3, 2)]

        assert rules.pick_existing(unique, [running, *later]) is later[1]
        assert rules.pick_existing(BY_EXECUTOR, [running, *later]) is running
        assert rules.pick_existing(unique, [running]) is running


class TestReplaced:
    def test_the_expiry_is_replaced_with_the_due_time_and_otherwise_kept(self) -> None:
        record = scheduled(expires_at=START + SECOND)
        new = replace(NEW, expires_in=HOUR)

        with_due_time = rules.replaced(record, new, BY_EXECUTOR.on_conflict(Replace.scheduled_at()), START)
        without = rules.replaced(record, new, BY_EXECUTOR.on_conflict(Replace.priority()), START)
        never = rules.replaced(record, NEW, BY_EXECUTOR.on_conflict(Replace.scheduled_at()), START)

        assert (with_due_time.expires_at, without.expires_at, never.expires_at) == (START + HOUR, START + SECOND, None)

    @pytest.mark.parametrize("field", EVERY_FIELD)
    def test_one_field_alone(self, field: Field) -> None:
        record = scheduled(revision=3)
        unique = BY_EXECUTOR.on_conflict(Replace(frozenset({field})))

        given = START + SECOND + HOUR if field == "scheduled_at" else getattr(NEW, field)
        assert rules.replaced(record, NEW, unique, START + SECOND) == replace(record, revision=4, **{field: given})

    @pytest.mark.parametrize("status", JobStatus)
    def test_the_status_and_the_history_stay(self, status: JobStatus) -> None:
        record = record_in(status)

        after = rules.replaced(record, NEW, BY_EXECUTOR.on_conflict(ALL), START)

        fields = {name: getattr(record, name) for name in (*EVERY_FIELD, "revision")}
        assert after != record
        assert replace(after, **fields) == record

    @pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.SCHEDULED}))
    def test_a_status_that_is_not_meant_leaves_the_record_itself(self, status: JobStatus) -> None:
        record = record_in(status)

        assert rules.replaced(record, NEW, BY_EXECUTOR.on_conflict(Replace.priority()), START) is record

    def test_without_a_replacement_the_record_itself_is_answered(self) -> None:
        record = scheduled()

        assert rules.replaced(record, NEW, BY_EXECUTOR, START) is record

    def test_another_executors_data_and_metadata_stay(self) -> None:
        record = scheduled(executor="other")

        after = rules.replaced(record, NEW, UniquenessCriteria().on_conflict(ALL), START)

        expected: JobRecord = replace(
            record, priority=4, max_attempts=6, scheduled_at=START + HOUR, revision=record.revision + 1
        )
        assert after == expected

    @pytest.mark.parametrize("action", [Replace.data(), Replace.metadata(), Replace.data().and_metadata()])
    def test_where_nothing_is_left_to_replace_the_record_itself_is_answered(self, action: Replace) -> None:
        record = scheduled(executor="other")

        assert rules.replaced(record, NEW, UniquenessCriteria().on_conflict(action), START) is record
