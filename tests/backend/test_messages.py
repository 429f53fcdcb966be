"""The values of the port that compute something."""

from rexecutor.backend import NodeState


def test_a_node_has_as_many_slots_for_an_executor_as_its_own_limit_says() -> None:
    state = NodeState("host", 1, "1.0", ("alpha", "beta"), 100, 0, 0.0, {"alpha": 10})

    assert [state.slots_of(name) for name in ("alpha", "beta", "gamma")] == [10, 100, 0]
