"""How far the waiting jobs of each executor are counted."""

import pytest

from rexecutor.backend.messages import MOST_COUNTED
from rexecutor.backend.overview import larger_share, share


@pytest.mark.parametrize(
    ("executors", "each"), [(0, MOST_COUNTED), (1, MOST_COUNTED), (10, MOST_COUNTED // 10), (MOST_COUNTED * 2, 1)]
)
def test_each_executor_gets_an_equal_share_of_at_least_one_job(executors: int, each: int) -> None:
    assert share(executors) == each


@pytest.mark.parametrize(
    ("counted", "larger"),
    [
        ([10_001] * 10, 10_000),  # nothing is left over
        ([10_001, *[10_000] * 9], 10_000),
        ([10_001, *[5] * 9], 99_000),  # 99,955 are left
        ([10_001, 10_001, *[5] * 8], 49_000),
        ([10_001, *[9_950] * 9], 10_000),  # 10,450 are left
        ([5] * 10, MOST_COUNTED - 1_000),  # nobody needs it
        ([], MOST_COUNTED),
    ],
)
def test_those_with_more_than_their_share_divide_what_the_others_left(counted: list[int], larger: int) -> None:
    assert larger_share(counted, 10_000) == larger


def test_a_small_share_is_not_rounded() -> None:
    assert larger_share([334, *[1] * 150, *[334] * 149], 333) == (MOST_COUNTED - 150) // 150


def test_more_executors_than_jobs_that_are_counted_leave_nothing_to_divide() -> None:
    assert larger_share([2, *[1] * (2 * MOST_COUNTED)], 1) == 1


@pytest.mark.parametrize("executors", [1, 2, 3, 7, 10, 300, 1_000])
@pytest.mark.parametrize("large", [1, 3, 300])
def test_all_counts_together_stay_below_twice_the_limit(executors: int, large: int) -> None:
    large = min(large, executors)
    first = share(executors)

    larger = larger_share([*[first + 1] * large, *[0] * (executors - large)], first)

    again = 0 if larger == first else (larger + 1) * large
    assert first * executors + again <= 2 * MOST_COUNTED + large
