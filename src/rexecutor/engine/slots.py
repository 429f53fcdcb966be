"""How many more jobs a node may run: of each executor, in threads, and in total."""

from collections.abc import Collection, Mapping

from rexecutor.backend.messages import Demand


class Slots:
    """Free slots of a node. A slot is taken when a job is handed to the runner, and freed when its code has ended.

    A job that runs in a thread takes a thread as well. While no thread is free, such jobs are claimed only if they are
    short, ahead of the threads. Others stay in the store for other nodes, and do not hold up jobs that need no thread.
    """

    def __init__(
        self, limits: Mapping[str, int | None], total: int, *, threaded: Collection[str], threads: int
    ) -> None:
        """Make the slots, all of them free.

        Args:
            limits: How many jobs of each executor may run; None for no limit but `total`.
            total: How many jobs may run in total.
            threaded: The executors whose jobs run in threads.
            threads: How many jobs may run in threads.
        """
        self._most = {name: total if limit is None else min(limit, total) for name, limit in limits.items()}
        self._free = dict(self._most)
        self._left = total
        self._threaded = frozenset(threaded)
        self._threads = threads

    @property
    def left(self) -> int:
        """How many more jobs may run in total; below zero if jobs were started without a free slot."""
        return self._left

    @property
    def threads(self) -> int:
        """How many more jobs may run in threads."""
        return self._threads

    def needs_thread(self, executor: str) -> bool:
        """Return whether the executor's jobs run in threads."""
        return executor in self._threaded

    def take(self, jobs: Mapping[str, int]) -> None:
        """Take a slot for each of these jobs, given as executor name → number of jobs."""
        for executor, number in jobs.items():
            self._change(executor, -number)

    def free(self, executor: str) -> None:
        """Free one slot of the executor: the code of one of its jobs has ended."""
        self._change(executor, 1)

    def free_for(self, executor: str) -> int:
        """Return how many more jobs of the executor may run; zero or less for none."""
        free = min(self._free[executor], self._left)
        return min(free, self._threads) if executor in self._threaded else free

    def free_after(self, executors: Collection[str]) -> Mapping[str, int]:
        """Return how many more jobs of each executor may run once the running jobs of these executors have ended."""
        running = {name: self._most[name] - self._free[name] for name in executors}
        left = self._left + sum(running.values())
        threads = self._threads + sum(number for name, number in running.items() if name in self._threaded)
        in_thread = min(left, threads)
        return {name: min(free, in_thread if name in self._threaded else left) for name, free in self._free.items()}

    def demand(self, epoch: int, more: Mapping[str, int], *, threaded: bool = True) -> Demand | None:
        """Return a demand for the free slots, and for jobs beyond them; None if no job may be claimed.

        A store can limit jobs by executor and in total, but not by thread. So while threads are free, the total is the
        number of free threads, plus `more` of the jobs that need a thread; nothing else is demanded beyond the free
        slots. Otherwise such a demand could bring more jobs that need a thread than there are threads.

        Args:
            epoch: The node's current epoch.
            more: Executor name → how many jobs to demand beyond its free slots; below zero to
                demand fewer, because some wait already. Those that wait beyond the free slots lower no other demand.
            threaded: False to leave out the jobs that need a thread, and so to ask for more of the others.
        """
        has_threads = threaded and bool(self._threaded) and self._threads > 0
        if has_threads:
            more = {name: number for name, number in more.items() if name in self._threaded}
        elif not threaded:
            more = {name: number for name, number in more.items() if name not in self._threaded}
        more = {name: max(number, -max(self.free_for(name), 0)) for name, number in more.items()}
        limit = max(min(self._left, self._threads) if has_threads else self._left, 0) + sum(more.values())
        slots = {
            name: min(wanted, limit)
            for name in self._free
            if (wanted := max(self.free_for(name), 0) + more.get(name, 0)) > 0
            and (threaded or name not in self._threaded)
        }
        return Demand(slots, limit, epoch) if limit > 0 and slots else None

    def _change(self, executor: str, number: int) -> None:
        self._left += number
        self._free[executor] += number
        if executor in self._threaded:
            self._threads += number
