"""What `health` complains about."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rexecutor.answers.health import complaints
from rexecutor.backend.messages import Load, NodeState, StoredNode

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DUE = [Load("email", 5, 3, NOW, []), Load("later", 5, 0, None, [])]


def node(
    name: str = "a:1",
    *,
    executors: Sequence[str] | None = ("email",),
    live: bool = True,
    lag: float = 0.0,
    age: timedelta = timedelta(0),
) -> StoredNode:
    state = None if executors is None else NodeState("a", 1, "1", executors, 10, 0, lag)
    renewed = NOW - age
    return StoredNode(name, name, renewed, renewed, renewed + MINUTE if live else NOW - MINUTE, state, NOW)


def test_all_is_well_if_live_nodes_run_what_is_due() -> None:
    assert complaints([node()], DUE) == []


def test_without_a_live_node_nothing_is_well() -> None:
    assert complaints([], DUE) == ["no live node"]
    assert complaints([node(live=False)], []) == ["no live node"]


def test_a_lost_node_a_blocked_loop_and_jobs_that_nobody_runs_are_told() -> None:
    nodes = [node(executors=["other"], lag=12.0), node("b:2", live=False)]

    assert complaints(nodes, DUE) == [
        "the event loop of a:1 has not responded for 12 s",
        "the lease of b:2 ran out, and it has not renewed it",
        "3 jobs of email are due, and no live node runs it",
    ]


def test_a_node_is_late_once_two_heartbeats_are_missed() -> None:
    one_missed, two_missed = (node(age=timedelta(seconds=seconds)) for seconds in (19, 21))

    assert complaints([one_missed], DUE) == []
    assert complaints([two_missed], DUE) == ["the heartbeat of a:1 is late: the last one came 21 s ago"]
    assert not node(live=False, age=MINUTE).is_late


def test_a_node_that_does_not_say_what_it_runs_may_run_it() -> None:
    assert complaints([node(executors=None)], DUE) == []


def test_of_one_host_only_its_nodes_count() -> None:
    nodes = [node("a:1", executors=["other"]), node("b:2", live=False)]

    assert complaints(nodes, DUE, node="a") == []
    assert complaints(nodes, DUE, node="b") == ["no live node whose name begins with 'b'"]


def test_one_job_is_told_in_the_singular() -> None:
    assert complaints([node(executors=[])], [Load("email", 1, 1, NOW, [])]) == [
        "1 job of email is due, and no live node runs it"
    ]
