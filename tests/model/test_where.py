"""`Where` as a value: how it is combined, measured and refused; what it finds is in the suite."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rexecutor import ConfigurationError, EncodeError, JobStatus, Where
from rexecutor.model.where import (
    MAX_LEVELS,
    MAX_PARTS,
    And,
    DataAt,
    DataEquals,
    ErrorIs,
    Everything,
    ExecutorIn,
    IdIn,
    Inserted,
    MetadataEquals,
    Not,
    Or,
    Scheduled,
    StatusIn,
    TaggedByAllOf,
    TaggedByOneOf,
    node_of,
)

A, B, C, D = (Where.id_equals(number) for number in range(4))
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class TestConstructors:
    @pytest.mark.parametrize(
        ("made", "expected"),
        [
            (Where.data_equals({"b": [1.0, None], "a": 1}), DataEquals('{"a":1e0,"b":[1e0,null]}')),
            (Where.metadata_equals(None), MetadataEquals("null")),
            (Where.id_equals(7), IdIn(frozenset({7}))),
            (Where.id_in(7, 8, 7), IdIn(frozenset({7, 8}))),
            (Where.id_in(), IdIn(frozenset())),
            (Where.status_equals(JobStatus.COMPLETE), StatusIn(frozenset({JobStatus.COMPLETE}))),
            (Where.status_in(*JobStatus), StatusIn(frozenset(JobStatus))),
            (Where.tagged_by_one_of("a", "b"), TaggedByOneOf(frozenset({"a", "b"}))),
            (Where.tagged_by_all_of("a", "b"), TaggedByAllOf(frozenset({"a", "b"}))),
            (Where.tagged_by_all_of(), TaggedByAllOf(frozenset())),
            (Where.data_at("a.0", [1]), DataAt(("a", "0"), "[1e0]")),
            (Where.data_at(["a.b", 0], None), DataAt(("a.b", "0"), "null")),
            (Where.data_at([""], None), DataAt(("",), "null")),
            (Where.executor_equals("a"), ExecutorIn(frozenset({"a"}))),
            (Where.executor_in("a", "b"), ExecutorIn(frozenset({"a", "b"}))),
            (Where.error_equals("E"), ErrorIs("E")),
            (Where.last_error_equals("E"), ErrorIs("E", is_last=True)),
            (Where.inserted_at_older_than(HOUR), Inserted(before=HOUR)),
            (Where.inserted_at_before(MOMENT), Inserted(before=MOMENT)),
            (Where.inserted_at_within_the_last(HOUR), Inserted(after=HOUR, before=timedelta(0), ends_count=True)),
            (Where.inserted_at_after(MOMENT), Inserted(after=MOMENT)),
            (Where.scheduled_at_older_than(HOUR), Scheduled(before=HOUR)),
            (Where.scheduled_at_before(MOMENT), Scheduled(before=MOMENT)),
            (
                Where.scheduled_at_within_the_last(HOUR),
                Scheduled(after=HOUR, before=timedelta(0), ends_count=True),
            ),
            (Where.scheduled_at_after(MOMENT), Scheduled(after=MOMENT)),
            (Where.scheduled_at_equals(MOMENT), Scheduled(after=MOMENT, before=MOMENT, ends_count=True)),
        ],
    )
    def test_each_makes_its_node(self, made: Where, expected: Where) -> None:
        assert made == expected
        assert node_of(made) is made
        assert (made.parts_in_all, made.levels) == (1, 1)

    def test_moments_are_kept_in_utc(self) -> None:
        elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))

        for made in (
            Where.scheduled_at_before(elsewhere),
            Where.scheduled_at_after(elsewhere),
            Where.scheduled_at_equals(elsewhere),
        ):
            assert isinstance(made, Scheduled)
            for bound in (made.after, made.before):
                assert bound is None or (isinstance(bound, datetime) and bound.tzinfo is UTC and bound == MOMENT)

    @pytest.mark.parametrize("wrong", [datetime(2026, 1, 1), "2026-01-01", HOUR, None, 7])  # noqa: DTZ001 - naive is the test
    def test_a_moment_is_an_aware_datetime(self, wrong: Any) -> None:
        for make, name in (
            (Where.scheduled_at_before, "before"),
            (Where.scheduled_at_after, "after"),
            (Where.scheduled_at_equals, "equals"),
        ):
            with pytest.raises(ConfigurationError, match=rf"Where\.scheduled_at_{name}: .*must be an aware datetime"):
                make(wrong)

    @pytest.mark.parametrize("wrong", [5, "5 minutes", MOMENT, None, -timedelta.resolution, timedelta(days=365_001)])
    def test_an_age_is_a_timedelta_from_nothing_to_a_thousand_years(self, wrong: Any) -> None:
        for make, name in (
            (Where.scheduled_at_older_than, "older_than"),
            (Where.scheduled_at_within_the_last, "within_the_last"),
        ):
            assert make(timedelta(0)) != make(timedelta(days=365_000))
            with pytest.raises(ConfigurationError, match=rf"Where\.scheduled_at_{name}: "):
                make(wrong)

    @pytest.mark.parametrize("wrong", ["7", 7.0, True, None, [7], (1, 2)])
    def test_an_id_is_a_whole_number(self, wrong: Any) -> None:
        for make in (Where.id_equals, Where.id_in):
            with pytest.raises(ConfigurationError, match=r"Where\.id_(in|equals): .*must be an int"):
                make(wrong)

    @pytest.mark.parametrize("wrong", ["complete", None, 7, [JobStatus.COMPLETE], frozenset({JobStatus.COMPLETE})])
    def test_a_status_is_a_status(self, wrong: Any) -> None:
        for make in (Where.status_equals, Where.status_in):
            with pytest.raises(ConfigurationError, match=r"Where\.status_(in|equals): .* must be a JobStatus"):
                make(wrong)

    @pytest.mark.parametrize("wrong", ["", ".", "a..b", "a.", [], (), None, 7, {"a"}, [None], [1.5], [True], [["a"]]])
    def test_a_path_has_steps_that_are_texts_or_numbers(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"Where\.data_at: path"):
            Where.data_at(wrong, 7)

    @pytest.mark.parametrize("wrong", [7, None, ["a"], b"a", ValueError])
    def test_a_name_is_text(self, wrong: Any) -> None:
        for make, name in (
            (Where.executor_equals, "executor_equals: each name"),
            (Where.executor_in, "executor_in: each name"),
            (Where.error_equals, "error_equals: type_name"),
            (Where.last_error_equals, "last_error_equals: type_name"),
        ):
            with pytest.raises(ConfigurationError, match=rf"Where\.{name} must be a str"):
                make(wrong)

    @pytest.mark.parametrize("wrong", [7, None, ["a"], ("a", "b"), b"a"])
    def test_a_tag_is_text(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"Where\.tagged_by_one_of: .*tag must be a str"):
            Where.tagged_by_one_of("a", wrong)
        with pytest.raises(ConfigurationError, match=r"Where\.tagged_by_all_of: .*tag must be a str"):
            Where.tagged_by_all_of(wrong)

    @pytest.mark.parametrize("wrong", [object(), float("inf"), "\ud800", "\0"], ids=range(4))
    def test_what_json_cannot_hold_is_refused(self, wrong: Any) -> None:
        with pytest.raises(EncodeError, match=r"Where\.data_equals"):
            Where.data_equals(wrong)
        with pytest.raises(EncodeError, match=r"Where\.metadata_equals"):
            Where.metadata_equals(wrong)


class TestOperators:
    def test_chains_of_one_kind_are_one_group(self) -> None:
        assert (A & B & C & D) == (A & (B & (C & D))) == ((A & B) & (C & D)) == And((A, B, C, D))
        assert (A | B | C | D) == (A | (B | (C | D))) == ((A | B) | (C | D)) == Or((A, B, C, D))

    def test_groups_of_two_kinds_stay_apart(self) -> None:
        assert And((A, Or((B, C)))) == A & (B | C)
        assert (A & B) | C == A & B | C == Or((And((A, B)), C))
        assert And((Or((A, B)), Or((C, D)))) == (A | B) & (C | D)

    def test_a_negation_of_a_negation_is_the_expression_itself(self) -> None:
        assert Not(A) == ~A
        assert ~~A is A
        assert Not(And((A, B))) == ~(A & B)
        assert And((Not(A), Not(B))) == ~A & ~B

    @pytest.mark.parametrize("other", [True, None, 7, "x", JobStatus.COMPLETE])
    def test_only_expressions_can_be_combined(self, other: Any) -> None:
        for combine in (
            lambda: A & other,
            lambda: A | other,
            lambda: other & A,
            lambda: other | A,
        ):
            with pytest.raises(TypeError, match="unsupported operand"):
                combine()

    def test_and_or_not_and_if_are_refused(self) -> None:
        for use in (lambda: A and B, lambda: A or B, lambda: not A, lambda: 1 if A else 2, lambda: bool(Everything())):
            with pytest.raises(TypeError, match=r"combine with &, \| and ~ instead of and, or and not"):
                use()


class TestNodes:
    @pytest.mark.parametrize("wrong", ["x", None, True, Where(), And])
    def test_what_is_no_expression_is_refused_wherever_it_stands(self, wrong: Any) -> None:
        for make in (
            lambda: node_of(wrong),
            lambda: Not(wrong),
            lambda: And((A, wrong)),
            lambda: Or((wrong,)),
        ):
            with pytest.raises(ConfigurationError, match="must be a Where"):
                make()

    def test_parts_and_levels_are_counted(self) -> None:
        for where, parts, levels in (
            (And(()), 1, 1),
            (And((A, B)), 3, 2),
            (Not(A), 2, 2),
            (And((A, Or((B, Not(C))))), 6, 4),
            (Or((Not(Not(A)), B, C)), 6, 4),
        ):
            assert (where.parts_in_all, where.levels) == (parts, levels), where

    def test_as_many_parts_as_are_allowed_and_no_more(self) -> None:
        assert And((A,) * MAX_PARTS).parts_in_all == MAX_PARTS + 1
        for make in (
            lambda: And((A,) * (MAX_PARTS + 1)),
            lambda: Or((Or((A,) * MAX_PARTS), B)),
            lambda: Or((A,) * MAX_PARTS) | B,
        ):
            with pytest.raises(ConfigurationError, match=r"1,00\d parts in \d levels, at most 1,000 in 25"):
                make()

    def test_as_many_levels_as_are_allowed_and_no_more(self) -> None:
        where: Where = A
        for number in range(MAX_LEVELS - 1):
            where = And((where,)) if number % 2 else Or((where,))

        assert where.levels == MAX_LEVELS
        for make in (lambda: Not(where), lambda: And((B, where)), lambda: Or((where,)), lambda: ~where):
            with pytest.raises(ConfigurationError, match="26 levels, at most 1,000 in 25"):
                make()

    def test_equal_expressions_are_equal_and_hash_alike(self) -> None:
        one, other = (And((Where.id_in(1, 2), ~Where.tagged_by_one_of("a"))) for _ in range(2))

        assert one == other
        assert hash(one) == hash(other)
        assert one != And((Where.id_in(1, 2),))
