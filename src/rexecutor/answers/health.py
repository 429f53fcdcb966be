"""Whether the workers of a store do their work."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from rexecutor.answers.overview import counted
from rexecutor.answers.spans import span
from rexecutor.backend.messages import Load, StoredNode

BLOCKED_LOOP: Final = 5.0
"""Seconds without a response after which a node counts as blocked."""


def complaints(nodes: Sequence[StoredNode], loads: Sequence[Load], *, node: str | None = None) -> list[str]:
    """Return the problems, one sentence each.

    Args:
        nodes: The nodes that the store knows.
        loads: What waits and executes.
        node: Beginning of the names of the nodes to check, such as a host; None for all.
    """
    wanted = [each for each in nodes if node is None or each.name.startswith(node)]
    live = [each for each in wanted if each.is_live]
    if not live:
        of = "" if node is None else f" whose name begins with {node!r}"
        return [f"no live node{of}"]
    found = ailing(live)
    found += [f"the lease of {each.name} ran out, and it has not renewed it" for each in wanted if not each.is_live]
    if node is None and all(each.state is not None for each in live):
        run = {name for each in live if each.state is not None for name in each.state.executors}
        found += [f"{_due(load)}, and no live node runs it" for load in loads if load.due and load.executor not in run]
    return found


def ailing(nodes: Sequence[StoredNode]) -> list[str]:
    """Return what is wrong with these live nodes: first blocked event loops, then late heartbeats."""
    blocked = [
        f"the event loop of {node.name} has not responded for {span(timedelta(seconds=node.state.loop_lag))}"
        for node in nodes
        if node.state is not None and node.state.loop_lag >= BLOCKED_LOOP
    ]
    late = [
        f"the heartbeat of {node.name} is late: the last one came {span(node.age, coarse=True)} ago"
        for node in nodes
        if node.is_late
    ]
    return blocked + late


def _due(load: Load) -> str:
    if load.due == 1:
        return f"1 job of {load.executor} is due"
    return f"{counted(load.due, load.counted_to)} jobs of {load.executor} are due"
