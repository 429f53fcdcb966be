"""What is in `rules.matching` and not already in the suite."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.errors import ConfigurationError
from rexecutor.model import rules
from rexecutor.model.rules.matching import EARLIEST, LATEST, shifted
from rexecutor.model.status import JobStatus
from rexecutor.model.where import (
    And,
    DataEquals,
    Everything,
    ExecutorIn,
    IdIn,
    KeyIs,
    Moment,
    Not,
    Or,
    Scheduled,
    StatusIn,
    Where,
)
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import HOUR, MICROSECOND
from tests.model.records import scheduled


class TestMatches:
    def test_no_parts_of_an_and_are_all_jobs(self) -> None:
        assert rules.matches(And(()), scheduled(), START)

    def test_no_parts_of_an_or_are_no_jobs(self) -> None:
        assert not rules.matches(Or(()), scheduled(), START)

    def test_one_of_several_ids_matches(self) -> None:
        assert rules.matches(IdIn(frozenset({7, 1})), scheduled(), START)

    def test_an_or_within_an_and_does_not_reach_beyond_it(self) -> None:
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

    def test_what_is_no_expression_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="must be a Where"):
            rules.matches("everything", scheduled(), START)  # pyright: ignore[reportArgumentType] - that is the test
        with pytest.raises(ConfigurationError, match="must be a Where"):
            rules.matches(Where(), scheduled(), START)

    def test_a_key_matches_itself_alone(self) -> None:
        assert rules.matches(KeyIs("k"), scheduled(unique_key="k"), START)
        assert not rules.matches(KeyIs("k"), scheduled(unique_key="j"), START)
        assert not rules.matches(KeyIs("k"), scheduled(), START)

    def test_metadata_left_out_is_null(self) -> None:
        null = Where.metadata_equals(None)

        assert rules.matches(null, scheduled(metadata=None), START)
        assert rules.matches(null, scheduled(metadata=" null "), START)
        assert not rules.matches(null, scheduled(metadata="[]"), START)

    def test_data_that_are_no_json_equal_nothing_else(self) -> None:
        assert not rules.matches(DataEquals("1"), scheduled(data="{"), START)

    @pytest.mark.parametrize("ends_count", [True, False])
    @pytest.mark.parametrize("is_age", [True, False])
    def test_each_bound_counts_or_does_not(self, *, ends_count: bool, is_age: bool) -> None:
        moment = START - HOUR
        bound: Moment = HOUR if is_age else moment

        def found(where: Where) -> list[int]:
            steps = (-1, 0, 1)
            return [
                by for by in steps if rules.matches(where, scheduled(scheduled_at=moment + by * MICROSECOND), START)
            ]

        assert found(Scheduled(after=bound, ends_count=ends_count)) == ([0, 1] if ends_count else [1])
        assert found(Scheduled(before=bound, ends_count=ends_count)) == ([-1, 0] if ends_count else [-1])
        both = Scheduled(after=bound, before=bound, ends_count=ends_count)
        assert found(both) == ([0] if ends_count else [])
        assert found(Scheduled(ends_count=ends_count)) == [-1, 0, 1]

    def test_an_end_that_counts_does_not_undo_the_other_bound(self) -> None:
        empty = Scheduled(after=START + HOUR, before=START, ends_count=True)

        assert not rules.matches(empty, scheduled(scheduled_at=START), START)
        assert not rules.matches(empty, scheduled(scheduled_at=START + HOUR), START)


class TestMoments:
    def test_an_age_is_a_moment_before_now(self) -> None:
        assert rules.moment_of(HOUR, START) == START - HOUR

    def test_a_moment_is_itself(self) -> None:
        moment = datetime(2030, 1, 1, tzinfo=UTC)

        assert rules.moment_of(moment, START) is moment

    def test_moments_end_with_the_calendar(self) -> None:
        ever = timedelta(days=999_999_999)

        assert shifted(START, ever) == LATEST
        assert shifted(START, -ever) == EARLIEST
        assert shifted(LATEST, MICROSECOND) == LATEST
        assert shifted(START, HOUR) == START + HOUR
