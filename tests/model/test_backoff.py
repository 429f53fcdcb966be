"""Waits between attempts."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.errors import ConfigurationError
from rexecutor.model.backoff import DEFAULT_BACKOFF, LONGEST, BackoffStrategy, Jitter, clamp

delays = st.timedeltas(timedelta(0), timedelta(days=400_000))
strategies = (
    st.builds(BackoffStrategy.constant, delays)
    | st.builds(BackoffStrategy.linear, delays)
    | st.builds(BackoffStrategy.polynomial, delays, st.floats(0, 1e308))
    | st.builds(BackoffStrategy.exponential, delays)
)
jitters = st.builds(Jitter.relative, st.floats(0, 1)) | st.builds(
    Jitter.absolute, st.timedeltas(timedelta(0), timedelta.max)
)
attempts = st.integers(1, 32_767) | st.sampled_from([1, 1_024, 1_025, 10**9, 10**400])


def seconds(strategy: BackoffStrategy, most: int = 4) -> list[float]:
    return [strategy(attempt).total_seconds() for attempt in range(1, most + 1)]


class TestValues:
    def test_a_constant_wait_stays_the_same(self) -> None:
        assert seconds(BackoffStrategy.constant(timedelta(seconds=3))) == [3, 3, 3, 3]

    def test_a_linear_wait_grows_by_itself(self) -> None:
        assert seconds(BackoffStrategy.linear(timedelta(seconds=3))) == [3, 6, 9, 12]

    def test_a_polynomial_wait_grows_with_the_power_of_the_attempt(self) -> None:
        assert seconds(BackoffStrategy.polynomial(timedelta(seconds=10), 2)) == [10, 40, 90, 160]

    def test_an_exponential_wait_doubles(self) -> None:
        assert seconds(BackoffStrategy.exponential(timedelta(seconds=2))) == [2, 4, 8, 16]

    def test_an_exponential_wait_from_one_second_grows(self) -> None:
        assert seconds(BackoffStrategy.exponential(timedelta(seconds=1))) == [1, 2, 4, 8]

    def test_an_exponential_wait_from_half_a_second_is_not_truncated(self) -> None:
        assert seconds(BackoffStrategy.exponential(timedelta(milliseconds=500))) == [0.5, 1, 2, 4]

    @pytest.mark.parametrize("attempt", [1_000, 1_024, 1_025, 32_767, 10**400])
    def test_a_wait_beyond_all_bounds_is_the_longest(self, attempt: int) -> None:
        assert BackoffStrategy.exponential(timedelta(seconds=1))(attempt) == LONGEST
        assert BackoffStrategy.polynomial(timedelta(seconds=1), 300)(attempt) == LONGEST

    def test_no_wait_stays_no_wait_however_often_it_is_doubled(self) -> None:
        assert BackoffStrategy.exponential(timedelta(0))(32_767) == timedelta(0)

    @given(attempts)
    def test_the_default_waits_from_four_seconds_to_seven_days_give_or_take_a_tenth(self, attempt: int) -> None:
        expected = min(timedelta(seconds=4) * 2 ** min(attempt - 1, 30), timedelta(days=7))

        wait = DEFAULT_BACKOFF(attempt)

        assert expected * 0.9 - timedelta(microseconds=1) <= wait <= expected * 1.1 + timedelta(microseconds=1)
        assert wait <= timedelta(days=7)


class TestBounds:
    def test_the_maximum_is_not_passed(self) -> None:
        strategy = BackoffStrategy.exponential(timedelta(seconds=2)).with_max(timedelta(seconds=5))

        assert seconds(strategy) == [2, 4, 5, 5]

    def test_the_minimum_is_kept(self) -> None:
        strategy = BackoffStrategy.linear(timedelta(seconds=2)).with_min(timedelta(seconds=5))

        assert seconds(strategy) == [5, 5, 6, 8]

    def test_the_maximum_wins_over_the_minimum(self) -> None:
        strategy = BackoffStrategy.constant(timedelta(0)).with_min(timedelta(seconds=9)).with_max(timedelta(seconds=3))

        assert strategy(1) == timedelta(seconds=3)

    def test_changing_a_strategy_answers_a_copy(self) -> None:
        strategy = BackoffStrategy.constant(timedelta(seconds=9))

        strategy.with_max(timedelta(seconds=1))

        assert strategy(1) == timedelta(seconds=9)

    @given(strategies, jitters, delays, delays, attempts)
    def test_no_strategy_raises_or_leaves_its_bounds_jitter_included(
        self, strategy: BackoffStrategy, jitter: Jitter, low: timedelta, high: timedelta, attempt: int
    ) -> None:
        wait = strategy.with_min(low).with_max(high).with_jitter(jitter)(attempt)

        assert min(low, high, LONGEST) <= wait <= min(high, LONGEST)

    @given(strategies, st.integers(1, 2_000))
    def test_without_jitter_waits_never_shrink(self, strategy: BackoffStrategy, attempt: int) -> None:
        assert strategy(attempt) <= strategy(attempt + 1)

    @given(st.timedeltas())
    def test_clamping_answers_a_wait_from_zero_to_the_longest(self, delay: timedelta) -> None:
        assert timedelta(0) <= clamp(delay) <= LONGEST


class TestJitter:
    @given(st.floats(0, 1), st.timedeltas(timedelta(0), LONGEST))
    def test_a_relative_jitter_moves_by_no_more_than_its_share(self, share: float, delay: timedelta) -> None:
        moved = Jitter.relative(share).apply(delay)

        assert abs(moved - delay) <= delay * share + timedelta(microseconds=1)

    @given(st.timedeltas(), st.timedeltas(timedelta(0)))
    def test_an_absolute_jitter_never_raises_or_makes_a_wait_negative(
        self, delay: timedelta, amount: timedelta
    ) -> None:
        assert timedelta(0) <= Jitter.absolute(amount).apply(delay) <= LONGEST

    def test_waits_are_spread(self) -> None:
        jitter = Jitter.relative(0.5)

        assert len({jitter.apply(timedelta(hours=1)) for _ in range(20)}) > 1

    def test_no_jitter_moves_nothing(self) -> None:
        assert Jitter().apply(timedelta(seconds=3)) == timedelta(seconds=3)


def _square(delay: timedelta) -> BackoffStrategy:
    return BackoffStrategy.polynomial(delay, 2)


class TestMisuse:
    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
    def test_a_share_beyond_zero_to_one_is_an_error(self, share: float) -> None:
        with pytest.raises(ConfigurationError, match="from 0 to 1"):
            Jitter.relative(share)

    @pytest.mark.parametrize("degree", [-1, float("nan"), float("inf")])
    def test_a_degree_that_is_not_a_number_from_zero_is_an_error(self, degree: float) -> None:
        with pytest.raises(ConfigurationError, match="degree"):
            BackoffStrategy.polynomial(timedelta(seconds=1), degree)

    @pytest.mark.parametrize(
        ("make", "name"),
        [
            (BackoffStrategy.constant, "BackoffStrategy.constant"),
            (BackoffStrategy.linear, "BackoffStrategy.linear"),
            (BackoffStrategy.exponential, "BackoffStrategy.exponential"),
            (Jitter.absolute, "Jitter.absolute"),
            (BackoffStrategy.constant(timedelta(0)).with_max, "with_max"),
            (BackoffStrategy.constant(timedelta(0)).with_min, "with_min"),
            (_square, "BackoffStrategy.polynomial"),
        ],
    )
    def test_a_negative_wait_is_an_error_that_says_where(self, make: Callable[[timedelta], object], name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"^{name}: .*must be a timedelta of 0:00:00 or more"):
            make(timedelta(microseconds=-1))

    def test_what_is_no_jitter_is_an_error(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^with_jitter: jitter must be a Jitter, such as Jitter\.relative"
        ):
            BackoffStrategy.constant(timedelta(0)).with_jitter(0.1)  # pyright: ignore[reportArgumentType]

    def test_a_whole_share_is_allowed(self) -> None:
        assert Jitter.relative(1).share == 1

    @pytest.mark.parametrize("attempt", [0, -1])
    def test_attempts_begin_at_one(self, attempt: int) -> None:
        with pytest.raises(ConfigurationError, match="1 or more"):
            BackoffStrategy.constant(timedelta(0))(attempt)
