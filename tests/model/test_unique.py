"""`UniquenessCriteria` and `Replace` as values; what they mean is in the suite and in `rules/test_unique.py`."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor import ConfigurationError, EncodeError, JobStatus, Replace, UniquenessCriteria
from rexecutor.model.unique import Field

OPEN = {JobStatus.SCHEDULED, JobStatus.EXECUTING, JobStatus.RETRYABLE}
FIRST: dict[Field, Callable[[], Replace]] = {
    "priority": Replace.priority,
    "data": Replace.data,
    "metadata": Replace.metadata,
    "scheduled_at": Replace.scheduled_at,
    "max_attempts": Replace.max_attempts,
}
MORE: dict[Field, Callable[[Replace], Replace]] = {
    "priority": Replace.and_priority,
    "data": Replace.and_data,
    "metadata": Replace.and_metadata,
    "scheduled_at": Replace.and_scheduled_at,
    "max_attempts": Replace.and_max_attempts,
}


class TestCriteria:
    def test_each_may_come_first(self) -> None:
        minute = timedelta(minutes=1)

        assert UniquenessCriteria.by_executor() == UniquenessCriteria().and_executor()
        assert UniquenessCriteria.by_key("k") == UniquenessCriteria().and_key("k")
        assert UniquenessCriteria.within(minute) == UniquenessCriteria().and_within(minute)
        assert UniquenessCriteria.by_statuses(JobStatus.COMPLETE) == UniquenessCriteria().and_statuses(
            JobStatus.COMPLETE
        )

    def test_each_is_added_to_the_others(self) -> None:
        minute = timedelta(minutes=1)
        action = Replace.priority()

        one = UniquenessCriteria.by_executor().and_key(1).and_within(minute).and_statuses(JobStatus.COMPLETE)
        other = UniquenessCriteria.by_statuses(JobStatus.COMPLETE).and_within(minute).and_key(1).and_executor()

        assert one == other
        assert (one.is_by_executor, one.window, one.replacement) == (True, minute, None)
        assert one.on_conflict(action).replacement is action
        assert one.on_conflict(action).on_conflict_do_nothing() == one

    def test_a_criterion_leaves_the_one_it_was_added_to(self) -> None:
        one = UniquenessCriteria.by_executor()

        one.and_key(1).and_within(timedelta(1)).and_statuses(JobStatus.COMPLETE).on_conflict(Replace.data())

        assert one == UniquenessCriteria(is_by_executor=True)

    def test_by_default_nothing_is_asked_for_but_the_open_statuses(self) -> None:
        one = UniquenessCriteria()

        assert (one.is_by_executor, one.key, one.window, one.replacement) == (False, None, None, None)
        assert one.statuses == OPEN

    def test_with_a_window_complete_counts_too(self) -> None:
        assert UniquenessCriteria.within(timedelta(0)).statuses == OPEN | {JobStatus.COMPLETE}

    @pytest.mark.parametrize("status", JobStatus)
    def test_chosen_statuses_take_the_place_of_the_default_with_and_without_a_window(self, status: JobStatus) -> None:
        one = UniquenessCriteria.by_statuses(status)

        assert one.statuses == one.and_within(timedelta(1)).statuses == {status}

    def test_order_and_repetition_of_statuses_make_no_difference(self) -> None:
        a, b = JobStatus.SCHEDULED, JobStatus.COMPLETE

        assert UniquenessCriteria.by_statuses(a, b) == UniquenessCriteria.by_statuses(b, a, b)

    def test_no_statuses_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"UniquenessCriteria\.(by|and)_statuses: no status given"):
            UniquenessCriteria.by_statuses()

    @pytest.mark.parametrize("wrong", ["complete", 7, None, [JobStatus.COMPLETE]])
    def test_what_is_no_status_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="must be a JobStatus"):
            UniquenessCriteria.by_statuses(JobStatus.COMPLETE, wrong)

    @pytest.mark.parametrize("wrong", [5, 5.0, "5 minutes", None])
    def test_a_window_is_a_timedelta(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"UniquenessCriteria.within: window must be a timedelta"):
            UniquenessCriteria.within(wrong)

    def test_a_window_is_from_nothing_to_a_thousand_years(self) -> None:
        for good in (timedelta(0), timedelta(days=365_000)):
            assert UniquenessCriteria.within(good).window == good
        for bad in (-timedelta.resolution, timedelta(days=365_000) + timedelta.resolution):
            with pytest.raises(ConfigurationError, match="from 0:00:00 to 365000 days"):
                UniquenessCriteria.within(bad)

    @pytest.mark.parametrize("wrong", ["priority", None, Replace, JobStatus.COMPLETE])
    def test_what_is_no_replacement_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"must be a Replace, such as Replace\.priority\(\)"):
            UniquenessCriteria.by_executor().on_conflict(wrong)


def key_of(value: Any) -> str | None:
    return UniquenessCriteria.by_key(value).key


json_keys = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


class TestKey:
    def test_it_is_the_256_bit_digest_of_canonical_json(self) -> None:
        assert key_of("order") == hashlib.blake2b(b'"order"', digest_size=32).hexdigest()
        assert len(key_of([1, {"a": None}]) or "") == 64

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            (1, 1.0),
            ([1, 2], (1, 2)),
            ({"b", "a", "c"}, {"c", "b", "a"}),
            ({"x": {"b": 1, "a": [1.0]}}, {"x": {"a": [1], "b": 1}}),
        ],
    )
    def test_equal_json_makes_equal_keys(self, one: Any, other: Any) -> None:
        assert key_of(one) == key_of(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [(1, "1"), (1, True), (0, False), (None, "null"), ([1, 2], [2, 1]), ("a", "A"), ({}, []), (2**64, 2**64 + 1)],
    )
    def test_different_json_makes_different_keys(self, one: Any, other: Any) -> None:
        assert key_of(one) != key_of(other)

    def test_none_is_a_key(self) -> None:
        assert key_of(None) is not None

    @given(json_keys, json_keys)
    def test_keys_are_equal_where_json_values_are(self, one: Any, other: Any) -> None:
        def shape(value: Any) -> Any:
            match value:
                case bool() | None | str():
                    return type(value).__name__, value
                case list():
                    return [shape(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - any JSON
                case dict():
                    return {name: shape(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType] - any JSON
                case _:
                    return value

        assert (key_of(one) == key_of(other)) is (shape(one) == shape(other))

    @pytest.mark.parametrize("wrong", [object(), float("nan"), "a\0b", "\ud800", {1: object()}], ids=range(5))
    def test_what_json_cannot_hold_is_refused(self, wrong: Any) -> None:
        with pytest.raises(EncodeError, match="UniquenessCriteria: key"):
            UniquenessCriteria.by_key(wrong)

    def test_it_is_the_same_in_another_process(self) -> None:
        program = "from rexecutor import UniquenessCriteria as U; print(U.by_key({'b': {'y', 'x', 'z'}, 'a': 1}).key)"

        keys = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in ("1", "2")
        }

        assert keys == {key_of({"a": 1, "b": {"z", "x", "y"}})}


class TestReplace:
    @pytest.mark.parametrize("field", FIRST)
    def test_each_field_may_come_first_or_later(self, field: Field) -> None:
        assert FIRST[field]().fields == {field}
        for other, first in FIRST.items():
            assert MORE[field](first()).fields == {field, other}

    def test_only_scheduled_jobs_are_meant_unless_told_otherwise(self) -> None:
        assert all(first().statuses == {JobStatus.SCHEDULED} for first in FIRST.values())

    def test_later_statuses_take_the_place_of_earlier_ones_and_fields_stay(self) -> None:
        action = Replace.data().for_statuses(*JobStatus).for_statuses(JobStatus.RETRYABLE).and_priority()

        assert action == Replace(frozenset({"data", "priority"}), frozenset({JobStatus.RETRYABLE}))

    def test_no_statuses_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"Replace\.for_statuses: no status given; give at least one"):
            Replace.data().for_statuses()

    @pytest.mark.parametrize("wrong", ["scheduled", JobStatus, {JobStatus.COMPLETE}])
    def test_what_is_no_status_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"Replace\.for_statuses: .* must be a JobStatus"):
            Replace.data().for_statuses(wrong)
