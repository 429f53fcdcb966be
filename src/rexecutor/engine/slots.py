"""How many more jobs a node may run: of each executor, in threads, and in all."""

from collections.abc import Collection, Mapping

from rexecutor.backend.messages import Demand


class Slots:
    """Free slots. One is taken when a job is handed over and freed when its code has ended.

    A job of an executor that blocks takes a thread as well. What there is no thread for is not asked for: others may
    have it, and it holds up no job that needs none.
    """

    def __init__(self, limits: Mapping[str, int | None], most: int, *, threaded: Collection[str], threads: int) -> None:
        """Begin with all of them free.

        Args:
            limits: How many jobs of each executor may run; None for as many as in all.
            most: How many may run in all.
            threaded: The executors whose jobs run in threads.
            threads: How many jobs may run in threads.
        """
        self._limits = limits
        self._free = {name: most if limit is None else min(limit, most) for name, limit in limits.items()}
        self._left = most
        self._threaded = frozenset(threaded)
        self._threads = threads

    def take(self, jobs: Mapping[str, int]) -> None:
        """Count so many jobs more of each executor."""
        for executor, number in jobs.items():
            self._change(executor, -number)

    def free(self, executor: str) -> None:
        """Count one job less."""
        self._change(executor, 1)

    def demand(self, epoch: int, *, threaded: bool = True) -> Demand | None:
        """Return what there are free slots for, to be asked for in the node's epoch; None when there are none.

        A store counts each executor and all of them, but not those with threads alone. So while threads are free it
        is asked for no more jobs in all than these: whichever come, there is a thread for each.

        Args:
            epoch: The node's.
            threaded: False to leave out the jobs that need a thread, and so to ask for more of the others.
        """
        has_threads = threaded and self._threads > 0
        most = min(self._left, self._threads) if self._threaded and has_threads else self._left
        slots = {
            name: min(free, most)
            for name, free in self._free.items()
            if free > 0 and (has_threads or name not in self._threaded)
        }
        return Demand(slots, most, epoch) if most > 0 and slots else None

    def _change(self, executor: str, number: int) -> None:
        self._left += number
        if self._limits[executor] is not None:
            self._free[executor] += number
        if executor in self._threaded:
            self._threads += number
