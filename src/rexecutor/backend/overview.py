"""What backends share of the overview for operators: the order of the nodes, and the numbers of a load."""

from collections.abc import Iterable
from datetime import datetime

from rexecutor.backend.messages import MOST_COUNTED, Holder, Load, StoredNode


def in_order(nodes: Iterable[StoredNode]) -> list[StoredNode]:
    """Return the nodes in the order of `Backend.nodes`: the live ones first, then by name, and by id."""
    return sorted(nodes, key=lambda node: (not node.is_live, node.name, node.id))


def waiting_load(executor: str, due: int, later: int, oldest: datetime | None, holders: Iterable[Holder]) -> Load:
    """Return the load of an executor with so many jobs that are due and not due, with its numbers cut at the limit."""
    due, later = max(due, 0), max(later, 0)
    return Load(
        executor,
        min(due + later, MOST_COUNTED + 1),
        min(due, MOST_COUNTED + 1),
        oldest if due else None,
        sorted(holders, key=lambda holder: (-holder.executing, holder.node)),
    )
