"""What `stats` says of each executor."""

from datetime import UTC, datetime, timedelta

import pytest

from rexecutor.answers.overview import counted, overviews
from rexecutor.backend.messages import EVERY_EXECUTOR, Holder, Load, NodeState, Pause, StoredNode
from rexecutor.model.stats import BOUNDS, BUCKETS, OutcomeKind, StatRow

NOW = datetime(2026, 11, 27, 10, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def row(minutes: int, outcome: OutcomeKind, attempts: int, *, executor: str = "email", bucket: int = 3) -> StatRow:
    counts = tuple(attempts if number == bucket else 0 for number in range(BUCKETS))
    return StatRow(NOW.replace(second=0) - minutes * MINUTE, executor, outcome, attempts, counts, counts)


def node(*executors: str, is_live: bool = True) -> StoredNode:
    state = NodeState("a", 1, "1", executors, 10, 0, 0.0)
    return StoredNode("a", "a:1", NOW, NOW, NOW + MINUTE if is_live else NOW - MINUTE, state, NOW)


def test_an_executor_has_its_load_and_the_history_of_the_last_hour() -> None:
    load = Load("email", 12, 7, NOW - MINUTE, [Holder("a", 2, NOW - 4 * MINUTE, 3), Holder("b", 1, NOW, 4)], 9_000)
    history = [
        row(3, OutcomeKind.COMPLETE, 20),
        row(4, OutcomeKind.FAILED, 3),
        row(40, OutcomeKind.DISCARDED, 2),
        row(70, OutcomeKind.DISCARDED, 100),
        row(-60 * 24, OutcomeKind.DISCARDED, 100),  # of a time when the store's clock was wrong
    ]

    [email] = overviews([load], history, [node("email"), node("email", is_live=False)], [], NOW)

    assert (email.waiting, email.due, email.counted_to, email.executing, email.nodes) == (12, 7, 9_000, 3, 1)
    assert (email.oldest_due, email.longest) == (NOW - MINUTE, NOW - 4 * MINUTE)
    assert (email.failed, email.ended_a_minute) == (5, 4.0)
    assert email.run_p99 is not None
    assert BOUNDS[2] < email.run_p99 <= BOUNDS[3]


def test_executors_come_from_jobs_history_nodes_and_pauses() -> None:
    loads, history = [Load("a", 1, 0, None, [])], [row(1, OutcomeKind.COMPLETE, 1, executor="b")]
    pauses = [Pause("d", NOW, None, ""), Pause("b", NOW, None, "")]

    found = overviews(loads, history, [node("c")], pauses, NOW)

    assert [(each.executor, each.is_paused) for each in found] == [("a", False), ("b", True), ("c", False), ("d", True)]
    assert found[0].run_p50 is None


def test_a_pause_of_all_is_one_of_each() -> None:
    found = overviews([Load("a", 1, 0, None, [])], [], [], [Pause(EVERY_EXECUTOR, NOW, None, "")], NOW)

    assert [(each.executor, each.is_paused) for each in found] == [("a", True)]


@pytest.mark.parametrize(("number", "shown"), [(0, "0"), (9_000, "9,000"), (9_001, "9,000+")])
def test_a_number_above_what_is_counted_says_so(number: int, shown: str) -> None:
    assert counted(number, 9_000) == shown
