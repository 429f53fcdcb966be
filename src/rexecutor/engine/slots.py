"""How many more jobs a node may run, of each executor and in all."""

from collections.abc import Mapping

from rexecutor.backend.exchange import Demand


class Slots:
    """Free slots. One is taken when a job is handed over and freed when its code has ended."""

    def __init__(self, limits: Mapping[str, int | None], most: int) -> None:
        """Begin with all of them free: the limit of each executor (None for none), and that of the node."""
        self._limits = limits
        self._free = {name: most if limit is None else min(limit, most) for name, limit in limits.items()}
        self._left = most
        self._most = most

    def take(self, jobs: Mapping[str, int]) -> None:
        """Count so many jobs more of each executor."""
        for executor, number in jobs.items():
            self._left -= number
            if self._limits[executor] is not None:
                self._free[executor] -= number

    def free(self, executor: str) -> None:
        """Count one job less."""
        self._left += 1
        if self._limits[executor] is not None:
            self._free[executor] += 1

    def demand(self, epoch: int) -> Demand | None:
        """Answer what there are free slots for, to be asked for in the node's epoch; None when there are none."""
        if self._left <= 0:
            return None
        slots = {name: free for name, free in self._free.items() if free > 0}
        return Demand(slots, self._left, epoch) if slots else None
