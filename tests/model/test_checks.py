"""Every check of an argument: what it accepts, and the message otherwise."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rexecutor.errors import ConfigurationError, InvalidJobError
from rexecutor.model.checks import (
    LONGEST_DELAY,
    checked_delay,
    checked_ids,
    checked_instance,
    checked_int,
    checked_moment,
    checked_name,
    checked_statuses,
    checked_tags,
    checked_texts,
)
from rexecutor.model.status import JobStatus

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
UNTYPED: Any = "high"
NOTHING: Any = None
NUMBER: Any = 7


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checked_int("a: b", UNTYPED), "a: b must be an int, not 'high'"),
        (lambda: checked_int("a: b", True, 0), "a: b must be an int of 0 or more, not True"),
        (lambda: checked_int("a: b", 0, 1, or_none=True), "a: b must be None or an int of 1 or more, not 0"),
        (lambda: checked_int("a: b", 4, 1, 3), "a: b must be an int from 1 to 3, not 4"),
        (lambda: checked_instance("a: b", UNTYPED, dict, "a dict"), "a: b must be a dict, not 'high'"),
        (
            lambda: checked_moment("a: b", UNTYPED),
            "a: b must be an aware datetime, such as one with tzinfo=UTC, not 'high'",
        ),
        (
            lambda: checked_moment("a: b", NAIVE),
            "a: b must be an aware datetime, such as one with tzinfo=UTC, not datet",
        ),
        (
            lambda: checked_moment("a: b", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
            "a: b must be in the years 1 to 9999 in UTC, not datet",
        ),
        (lambda: checked_delay("a: b", UNTYPED), "a: b must be a timedelta, not 'high'; write timedelta(seconds=…)"),
        (lambda: checked_delay("a: b", -LONGEST_DELAY), "a: b must be a timedelta of 0:00:00 or more, not datet"),
        (
            lambda: checked_delay("a: b", timedelta.max, limit=LONGEST_DELAY),
            "a: b must be a timedelta from 0:00:00 to 365000 days, not datet",
        ),
        (lambda: checked_name("a: b", "a b"), "a: b must be 1 to 128 characters of A-Z a-z 0-9 _ . : -, not 'a b'"),
        (lambda: checked_texts("a: b", "abc"), "a: b must be a collection of str, not 'abc'; write ['abc']"),
        (lambda: checked_texts("a: b", NOTHING), "a: b must be a collection of str, not None; write [] for none"),
        (lambda: checked_tags("a", UNTYPED), "a must be a collection of str, not 'high'; write ['high']"),
        (lambda: checked_tags("a", [["b"]]), "a: each tag must be a str, not ['b']; write *['b']"),  # pyright: ignore[reportArgumentType] - the mistake
        (
            lambda: checked_statuses("a", [UNTYPED]),
            "a: each status must be a JobStatus, such as JobStatus.COMPLETE, not",
        ),
        (lambda: checked_ids("a", [UNTYPED]), "a: each id must be an int, not 'high'"),
    ],
)
def test_a_mistake_is_named_in_one_wording(check: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        check()


def test_what_is_no_text_is_not_advised_to_be_put_into_a_list() -> None:
    with pytest.raises(ConfigurationError, match=r"a: b must be a collection of str, not 7$"):
        checked_texts("a: b", NUMBER)


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(InvalidJobError):
        checked_int("a: b", -1, 0, error=InvalidJobError)


def test_what_is_right_is_returned() -> None:
    assert checked_int("a: b", 3, 1, 3) == 3
    assert checked_int("a: b", None, 1, or_none=True) is None
    assert checked_moment("a: b", datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))).tzinfo is UTC
    assert checked_delay("a: b", LONGEST_DELAY, limit=LONGEST_DELAY) == LONGEST_DELAY
    assert checked_statuses("a", [JobStatus.COMPLETE]) == {JobStatus.COMPLETE}
    assert checked_ids("a", [1, 1]) == {1}
