"""Jobs that a node has claimed ahead of its free slots, so that short jobs need not wait for the store."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rexecutor.backend.messages import CancelRequest, Demand
from rexecutor.background import in_fresh_context
from rexecutor.clock import Clock
from rexecutor.engine.deadlines import Deadlines
from rexecutor.engine.pace import Pace
from rexecutor.engine.slots import Slots
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, JobRecord
from rexecutor.model.outcomes import Interrupted, Settlement

STAY: Final = 0.3
"""Shortest stay, in seconds, after which a job that has found no slot is given back, for another node to run.

The longest stay is twice as long, because the buffer checks for such jobs only at this interval.
"""


class Buffer:
    """Stands between claims and runner: starts jobs while there are free slots, and keeps the rest for a moment.

    `Pace` decides how many jobs it asks for beyond the free slots: none of an executor whose jobs seldom end.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        slots: Slots,
        pace: Pace,
        start: Callable[[Sequence[JobRecord]], None],
        settle: Callable[[Settlement], None],
        may_start: Callable[[], bool],
    ) -> None:
        """Make an empty buffer.

        Args:
            clock: Measures how long a job stays here.
            slots: The node's free slots.
            pace: Decides how many jobs to claim ahead.
            start: Called with the jobs to run; a slot is taken for each.
            settle: Called with the outcome of each job that is given back: `Interrupted`.
            may_start: Returns whether jobs may be started: the lease is certain, and the node is not stopping.
        """
        self._clock = clock
        self._slots = slots
        self._pace = pace
        self._start_jobs = start
        self._settle = settle
        self._may_start = may_start
        self._waiting: defaultdict[str, deque[JobRecord]] = defaultdict(deque)
        self._low: Mapping[str, int] = {}
        self._count = 0
        self._seen: Collection[ClaimId] = ()
        self._checks = Deadlines(clock, self._give_back_old)
        self._will_start = False
        self._drained: Collection[str] = frozenset()
        self.hungry: Final = asyncio.Event()
        """Set when an executor is hungry: few or none of its jobs are left here, and the store may have more due."""

    @property
    def held(self) -> Collection[ClaimId]:
        """Claims whose jobs wait here."""
        return [record.claim_id for some in self._waiting.values() for record in some]

    def demand(self, epoch: int, *, threaded: bool = True) -> Demand | None:
        """Return a demand for the free slots and for what to claim ahead; None if there is no reason to claim.

        There is none if no job may be claimed, or if enough jobs of each demanded executor wait here already. Forgets
        which executors are drained, because a claim usually follows.

        Args:
            epoch: The node's current epoch.
            threaded: False to leave out the jobs that need a thread, and so to ask for more of the others.
        """
        if self._will_start:  # what waits here takes the slots that are free before others are asked for
            self._start_waiting()
        self.hungry.clear()
        self._drained = frozenset()
        ahead = self._pace.ahead()
        self._low = {executor: number // 2 for executor, number in ahead.items()}
        waiting = {executor: len(some) for executor, some in self._waiting.items() if some}
        more = {executor: ahead.get(executor, 0) - waiting.get(executor, 0) for executor in {**ahead, **waiting}}
        demand = self._slots.demand(epoch, more, threaded=threaded)
        if demand is None or all(waiting.get(one, 0) > self._low.get(one, 0) for one in demand.slots):
            return None
        return self._with_others(demand, ahead, waiting, threaded=threaded) if ahead else demand

    def _with_others(
        self, demand: Demand, ahead: Collection[str], waiting: Mapping[str, int], *, threaded: bool
    ) -> Demand:
        """Return the demand, also for the executors whose jobs may take slots of short jobs, which are free soon.

        Their jobs come in place of those ahead, if they are first in claim order. Otherwise an executor with many short
        jobs would keep all others from the node: for each slot that becomes free, a job of it waits here already.
        """
        slots = dict(demand.slots)
        for executor, free in self._slots.free_after(ahead).items():
            number = min(free - waiting.get(executor, 0), demand.limit)
            if number > slots.get(executor, 0) and (threaded or not self._slots.needs_thread(executor)):
                slots[executor] = number
        return replace(demand, slots=slots)

    def note_drained(self, executors: Collection[str]) -> None:
        """Note which executors have no more due jobs in the store.

        Until the next `demand`, a free slot of these executors is no reason to claim.
        """
        self._drained = executors

    def take(self, jobs: Sequence[JobRecord]) -> None:
        """Start the claimed jobs for which there are slots, in claim order, and keep the others.

        Jobs that already wait here may go first. Jobs that `Pace.kept` refuses are given back, and so are all of them
        if jobs may not be started.
        """
        if not self._may_start():
            self.give_back(jobs)
            return
        self._pace.note_size(jobs)
        if not self._count:
            jobs = self._start(jobs)
        if jobs:
            self._keep(jobs)

    def give_back(self, jobs: Iterable[JobRecord]) -> None:
        """Give back jobs that have not started, as if they had not been claimed."""
        for record in jobs:
            self._settle(Settlement(record.id, record.claims, Interrupted()))

    def ended(self, executor: str) -> None:
        """Free the slot of a job whose code has ended. In the next turn of the loop, waiting jobs take the slots."""
        self._slots.free(executor)
        self._pace.ended(executor)
        self._note_hunger(executor)
        if self._count and not self._will_start:
            self._will_start = True
            in_fresh_context(asyncio.get_running_loop().call_soon, self._start_waiting)  # not in the job's

    def start_cancelled(self, requests: Iterable[CancelRequest]) -> None:
        """Start those waiting jobs that these requests name, even without a free slot.

        Call it before `Runner.cancel`, which ends these jobs before their code begins.
        """
        self._run(self._removed({(request.job_id, request.claims) for request in requests}))

    def give_back_all(self) -> None:
        """Give back all jobs that wait here, because the node stops or its lease is lost."""
        self.give_back(self._removed(frozenset(self.held)))
        self._checks.stop()

    def _note_hunger(self, executor: str) -> None:
        waiting = self._waiting.get(executor)
        if executor not in self._drained and (not waiting or len(waiting) <= self._low.get(executor, 0)):
            self.hungry.set()

    def _keep(self, jobs: Sequence[JobRecord]) -> None:
        """Keep the jobs, start those for which there are slots, and give back the others that `Pace.kept` refuses."""
        kept, refused = self._pace.kept(jobs)
        by_executor: defaultdict[str, list[JobRecord]] = defaultdict(list)
        for record in jobs:
            by_executor[record.executor].append(record)
        for executor, some in by_executor.items():
            waiting = self._waiting[executor]
            is_urgent = bool(waiting) and rules.claim_order(some[0]) < rules.claim_order(waiting[-1])
            waiting.extend(some)
            self._count += len(some)
            if is_urgent:
                self._waiting[executor] = deque(sorted(waiting, key=rules.claim_order))
        self._start_waiting()
        if refused:
            self.give_back(self._removed({record.claim_id for record in refused}))
        if kept:
            self._checks.add(self._clock.monotonic() + STAY)

    def _start_waiting(self) -> None:
        """Start waiting jobs while there are slots, beginning with the executor whose first job is the most urgent."""
        self._will_start = False
        if not self._may_start():
            self.give_back_all()
            return
        waiting = [some for some in self._waiting.values() if some]
        if len(waiting) > 1:
            waiting.sort(key=lambda some: rules.claim_order(some[0]))
        for some in waiting:
            free = min(self._slots.free_for(some[0].executor), len(some))
            if free > 0:
                self._count -= free
                jobs = [some.popleft() for _ in range(free)]
                self._run(jobs)
                self._note_hunger(jobs[0].executor)

    def _start(self, jobs: Sequence[JobRecord]) -> Sequence[JobRecord]:
        """Start jobs for which there are slots; return the others."""
        free: dict[str, int] = {}
        left, threads = self._slots.left, self._slots.threads
        started: list[JobRecord] = []
        others: list[JobRecord] = []
        for record in jobs:
            executor = record.executor
            if executor not in free:
                free[executor] = self._slots.free_for(executor)
            needs_thread = self._slots.needs_thread(executor)
            if left > 0 and free[executor] > 0 and (threads > 0 or not needs_thread):
                left -= 1
                threads -= needs_thread
                free[executor] -= 1
                started.append(record)
            else:
                others.append(record)
        self._run(started)
        return others

    def _run(self, jobs: Sequence[JobRecord]) -> None:
        if jobs:
            numbers = Counter(record.executor for record in jobs)
            self._slots.take(numbers)
            for executor, number in numbers.items():
                self._pace.started(executor, number)
            self._start_jobs(jobs)

    def _removed(self, claims: Collection[ClaimId]) -> Sequence[JobRecord]:
        """Remove the waiting jobs of these claims, and return them."""
        removed: list[JobRecord] = []
        for executor, waiting in self._waiting.items() if claims else ():
            some = [record for record in waiting if record.claim_id in claims]
            if some:
                removed += some
                self._count -= len(some)
                self._waiting[executor] = deque(record for record in waiting if record.claim_id not in claims)
        return removed

    def _give_back_old(self, now: float) -> Iterable[float]:
        """Give back the jobs that were already here at the last check; return when to check again, if jobs are left.

        The executors of these jobs have become slower than their measured pace.
        """
        old = self._removed(self._seen)
        for executor in {record.executor for record in old}:
            self._pace.slow_down(executor)
        self.give_back(old)
        if old:
            self._drained = frozenset()  # they are due again
        self._seen = frozenset(self.held)
        return [now + STAY] if self._seen else []
