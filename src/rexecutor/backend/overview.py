"""What backends share of the overview for operators: the order of the nodes, and the numbers of a load."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from rexecutor.backend.messages import MOST_COUNTED, Holder, Load, StoredNode

_ROUND: Final = 1_000
"""A larger share is a multiple of this, because people read it."""


class Waiting(NamedTuple):
    """How many jobs of an executor wait, how many of these are due, and when the first of them fell due."""

    jobs: int
    due: int
    oldest_due: datetime | None


def in_order(nodes: Iterable[StoredNode]) -> list[StoredNode]:
    """Return the nodes in the order of `Backend.nodes`: the live ones first, then by name, and by id."""
    return sorted(nodes, key=lambda node: (not node.is_live, node.name, node.id))


def share(executors: int) -> int:
    """Return to which number the jobs of each of so many executors are counted at first."""
    return max(MOST_COUNTED // max(executors, 1), 1)


def larger_share(counted: Collection[int], first: int) -> int:
    """Return to which number to count those that have more than the first share: what the others left, divided.

    It is the first share again if the others left next to nothing.

    Args:
        counted: How many jobs of each executor wait; any number above the first share stands for more.
        first: The first share.
    """
    small = [number for number in counted if number <= first]
    each = (MOST_COUNTED - sum(small)) // max(len(counted) - len(small), 1)
    return max(each - each % _ROUND if each > _ROUND else each, first)


def loads_of(
    waiting: Mapping[str, Waiting], holders: Mapping[str, Sequence[Holder]], first: int, larger: int
) -> list[Load]:
    """Return the loads of the executors that have jobs, by name.

    Args:
        waiting: The waiting jobs of each executor, counted to its share.
        holders: The nodes that execute jobs of each of these executors.
        first: The first share.
        larger: The share of those that have more than that.
    """
    shares = {name: larger if one.jobs > first else first for name, one in waiting.items()}
    loads = [_load(name, waiting[name], holders[name], shares[name]) for name in sorted(waiting)]
    return [load for load in loads if load.waiting or load.holders]


def _load(executor: str, waiting: Waiting, holders: Sequence[Holder], counted_to: int) -> Load:
    """Return the load of an executor, with its numbers cut just above `counted_to`."""
    return Load(
        executor,
        min(waiting.jobs, counted_to + 1),
        min(waiting.due, counted_to + 1),
        waiting.oldest_due,
        sorted(holders, key=lambda holder: (-holder.executing, holder.node)),
        counted_to,
    )
