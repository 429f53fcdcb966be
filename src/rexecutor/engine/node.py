"""One running node: its duties, and the order in which they end."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, Final

from rexecutor.backend.base import Backend
from rexecutor.backend.current import context_of_jobs
from rexecutor.backend.messages import Heartbeat, Node, NodeState
from rexecutor.background import in_fresh_context
from rexecutor.clock import unique_id
from rexecutor.engine.attempt import Stop
from rexecutor.engine.buffer import Buffer
from rexecutor.engine.deadlines import STOP_GRACE
from rexecutor.engine.dispatcher import Dispatcher
from rexecutor.engine.health import Failing, Health, HealthStatus, Signs, problems_of
from rexecutor.engine.history import History, HistoryLoop
from rexecutor.engine.lease import Lease, LeaseWatch
from rexecutor.engine.loop import Emit, first_of, keep_going
from rexecutor.engine.measuring import QueueMeasuring
from rexecutor.engine.pace import Pace
from rexecutor.engine.periodic import Pruning, PruningLoop, ScheduleLoop
from rexecutor.engine.processes import Recycling
from rexecutor.engine.runner import Runner
from rexecutor.engine.settler import Settler
from rexecutor.engine.slots import Slots
from rexecutor.engine.store_clock import StoreClock
from rexecutor.engine.watchdog import Watchdog
from rexecutor.errors import BackendError, RexecutorError
from rexecutor.jobs.executor import AnyExecutor
from rexecutor.jobs.middleware import AroundExecute
from rexecutor.jobs.providers import WorkerScope, enter_worker_scope
from rexecutor.model.job import storable
from rexecutor.model.schedules import Schedule
from rexecutor.telemetry.events import (
    DutyFailed,
    DutyRecovered,
    Event,
    JobsExpired,
    JobsRescued,
    LeaseLost,
    NodeMeasured,
    NodeStarted,
    NodeStopped,
    NodeStopping,
    ProviderNotClosed,
)
from rexecutor.telemetry.subscribers import is_anybody_subscribed

DEFAULT_THREADS: Final = 10
"""Default number of jobs that run in threads at a time. Each may hold a connection to the database."""

DELIVERY_TIMEOUT: Final = timedelta(seconds=10)
"""Time limit of each wait for the store during a shutdown: for the last claim, the last outcomes and the lease."""

CLOSE_TIMEOUT: Final = 1.0
"""Least time, in seconds, that a shutdown gives providers to close what they made for the worker."""


def concurrency(executor: AnyExecutor) -> int | None:
    """Return how many of the executor's jobs may run at a time; None if it sets no limit.

    For jobs in child processes the default limit is the number of processors.
    """
    if executor.max_concurrency is None and executor.blocking == "process":
        return os.cpu_count() or 1
    return executor.max_concurrency


def thread_limit(executors: Mapping[str, AnyExecutor], asked: int | None, limit: int) -> int:
    """Return how many jobs may run in threads at a time.

    Args:
        executors: The node's executors, by name.
        asked: The setting `max_threads`. None for 10, or for the largest `max_concurrency` of an executor whose jobs
            run in threads, if that is more.
        limit: How many jobs may run in all; the result is never more.
    """
    own = [one.max_concurrency or 0 for one in executors.values() if runs_in_thread(one)]
    return min(max([DEFAULT_THREADS, *own]) if asked is None else asked, limit)


def runs_in_thread(executor: AnyExecutor) -> bool:
    """Return whether the executor's jobs run in threads."""
    return executor.blocking in (True, "thread")


@cache
def _installed_version() -> str:
    """Return the version of rexecutor."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and not needed to enqueue

    try:
        return version("rexecutor")
    except PackageNotFoundError:
        return "unknown"


class RunningNode:
    """Claims, runs and settles jobs, and keeps its lease until the last outcome is settled."""

    def __init__(  # noqa: PLR0913 - all that a node consists of
        self,
        backend: Backend,
        executors: Mapping[str, AnyExecutor],
        max_concurrency: int,
        max_threads: int | None,
        lease: timedelta,
        name: str,
        *,
        emit: Emit,
        recycling: Recycling,
        around_execute: Sequence[AroundExecute] = (),
        schedules: Sequence[Schedule] = (),
        prunings: Sequence[Pruning] = (),
        keeps_stats: bool = True,
    ) -> None:
        clock = backend.clock
        self._backend = backend
        self._tell = emit
        self._failing = Failing()
        self._started_at: float | None = None
        self._node = Node(unique_id(), name, lease)
        threaded = [key for key, one in executors.items() if runs_in_thread(one)]
        threads = thread_limit(executors, max_threads, max_concurrency)
        in_threads = threads if threaded else 0
        self._started = NodeStarted(self._node.id, name, tuple(executors), max_concurrency, in_threads)
        self._stop_claims = asyncio.Event()
        self._stop_duties = asyncio.Event()
        self._claims_ended = asyncio.Event()
        self._settler = Settler(backend, self._emit, self._stop_duties)
        limits = {key: concurrency(one) for key, one in executors.items()}
        own = {key: limit for key, limit in limits.items() if limit is not None and limit < max_concurrency}
        self._said = NodeState(
            storable(socket.gethostname(), 255),
            os.getpid(),
            _installed_version(),
            tuple(sorted(executors)),
            max_concurrency,
            0,
            0.0,
            own,
        )
        self._slots = Slots(limits, max_concurrency, threaded=threaded, threads=threads)
        store_clock = StoreClock(clock)
        history = History(store_clock) if keeps_stats and executors else None
        self._providers = WorkerScope()
        context = context_of_jobs()
        context.run(enter_worker_scope, self._providers)
        self._runner = Runner(
            executors,
            clock=clock,
            limits=backend.limits,
            completion=backend.completion(),
            emit=emit,  # not `_emit`, which notes the events of duties: jobs have none of these
            settle=self._settler.put,
            ended=self._free_slot,
            context=context,
            is_cancelled=lambda: self._duties is not None and self._duties.cancelling() > 0,
            around=around_execute,
            recycling=recycling,
            store_clock=store_clock,
            history=history,
        )
        self._watchdog = Watchdog(clock, self._emit, self._runner.attempt_of, measure=self.measure)
        self._lease = Lease(self._node, backend.heartbeat_connection(), clock, self._state)
        self._watch = LeaseWatch(
            self._lease,
            self._node,
            backend=backend,
            emit=self._emit,
            on_heartbeat=self._take_heartbeat,
            on_lost=self._lose_jobs,
        )
        ahead = [key for key, one in executors.items() if one.blocking != "process"]
        self._buffer = Buffer(
            clock=clock,
            slots=self._slots,
            pace=Pace(ahead, clock),
            start=self._runner.start,
            settle=self._settler.put,
            may_start=lambda: self._lease.is_trusted and not self._stop_claims.is_set(),
        )
        self._dispatcher = Dispatcher(
            backend,
            self._node.id,
            executors=executors.keys(),
            buffer=self._buffer,
            runner=self._runner,
            settler=self._settler,
            watch=self._watch,
            stop=self._stop_claims,
            store_clock=store_clock,
        )
        self._history = None if history is None else HistoryLoop(backend, self._node.id, history, self._stop_duties)
        self._periodic: dict[str, Callable[[], Awaitable[None]]] = {}
        if schedules:
            self._periodic["cron"] = ScheduleLoop(backend, schedules, emit=emit, stop=self._stop_claims).step
        self._periodic["count"] = QueueMeasuring(backend, emit=emit, stop=self._stop_claims).step
        prune_turn = asyncio.Lock()
        for number, pruning in enumerate(prunings, 1):
            pruner = PruningLoop(
                backend, self._node.id, pruning, turn=prune_turn, emit=self._emit, stop=self._stop_claims
            )
            self._periodic[f"prune {number}"] = pruner.step
        self._duties: asyncio.Task[None] | None = None
        self._has_cancelled_duties = False
        self.hurry: Final = asyncio.Event()
        """Set it to have `stop` cancel the running jobs at once, without waiting for the rest of the grace."""

    def start(self) -> None:
        """Start the duties, in an empty context: neither they nor the jobs inherit the caller's context variables."""
        in_fresh_context(self._begin)

    def _emit(self, event: Event) -> None:
        if isinstance(event, DutyFailed | DutyRecovered):
            self._failing.note(event, self._backend.clock.monotonic())
        self._tell(event)

    def health(self) -> Health:
        """Return how the node is doing. Any thread may ask, also while the event loop is blocked."""
        now = self._backend.clock.monotonic()
        renewed, pending, claimed = self._lease.renewed_at, self._lease.pending_since, self._dispatcher.claimed
        doing, since = self._dispatcher.doing
        claims, is_stopping = bool(self._started.executors), self._stop_claims.is_set()
        signs = Signs(
            is_stopping=is_stopping,
            has_failed=self._duties is not None and self._duties.done() and not self._stop_duties.is_set(),
            up=0.0 if self._started_at is None else now - self._started_at,
            loop_lag=self._watchdog.lag(),
            renewed=None if renewed is None else now - renewed,
            is_trusted=self._lease.is_trusted,
            heartbeat=None if pending is None else now - pending,
            doing=doing if claims and not is_stopping else None,
            doing_for=now - since,
            failing=self._failing.at(now),
        )
        has_begun = claimed is not None if claims else renewed is not None
        running = HealthStatus.RUNNING if has_begun else HealthStatus.STARTING
        return Health(
            HealthStatus.STOPPING if is_stopping else running,
            problems_of(signs),
            running=self._runner.running,
            slots=self._started.max_concurrency,
            claimed_ago=None if claimed is None else timedelta(seconds=now - claimed),
            renewed_ago=None if signs.renewed is None else timedelta(seconds=signs.renewed),
            loop_lag=timedelta(seconds=signs.loop_lag),
        )

    def _begin(self) -> None:
        self._started_at = self._backend.clock.monotonic()
        self._emit(self._started)
        self._watch.thread.start()
        self._watchdog.start()
        self._duties = asyncio.ensure_future(self._serve())
        self._duties.add_done_callback(self._duties_ended)

    def measure(self) -> None:
        """Emit how the node is doing, if anybody has subscribed. Any thread may call it."""
        if is_anybody_subscribed():
            renewed = self._lease.renewed_at
            age = None if renewed is None else self._backend.clock.monotonic() - renewed
            slots, running = self._started.max_concurrency, self._runner.running
            self._emit(NodeMeasured(self._node.id, slots, running, age, self._watchdog.lag()))

    async def ended(self) -> None:
        """Wait until the duties have ended, which they do only in `stop` or by an unexpected error."""
        if self._duties is not None:
            await asyncio.wait((self._duties,))

    def raise_failure(self) -> None:
        """Raise a `RexecutorError` if an unexpected error has ended the duties."""
        if self._duties is not None and self._duties.done() and not self._duties.cancelled():
            error = self._duties.exception()
            if error is not None:
                raise RexecutorError("a duty of the node ended unexpectedly") from error

    async def stop(self, grace: timedelta) -> None:
        """Stop claiming, wait for jobs, cancel those that are left, deliver outcomes, and give up the lease.

        The objects that providers made for the worker are closed last, in the rest of the grace, at least a second.
        If one of these steps fails, the duties, the threads and the lease still end before the error is raised. A
        thread that hangs is left behind.

        Args:
            grace: Time that running jobs have to end by themselves before they are told to stop; `hurry` cuts it short.
        """
        until = asyncio.get_running_loop().time() + grace.total_seconds()
        self._emit(NodeStopping(self._node.id, len(self._runner.held), len(self._runner.stuck)))
        try:
            await self._end_work(grace)
            if self._duties is not None and not self._duties.done():
                await self._settler.emptied(DELIVERY_TIMEOUT)
        finally:
            # The settle and lease duties go on until here: without a lease, other nodes rescue this node's jobs and the
            # store refuses their outcomes. For the same reason the lease ends last, after the jobs and the duties.
            self._stop_duties.set()
            self._settler.close()
            try:
                await self._runner.close()
            finally:
                await self._end_duties()
                await self._watch.thread.stop(self._backend.clock, DELIVERY_TIMEOUT)
                await self._close_providers(until)
                self._watchdog.stop()
                self._emit(NodeStopped(self._node.id, self._settler.backlog, self._runner.stuck))

    async def _end_duties(self) -> None:
        """Wait for the duties, which were told to stop; cancel them if they do not. Their errors are not raised."""
        if self._duties is not None:
            await asyncio.wait((self._duties,), timeout=DELIVERY_TIMEOUT.total_seconds())
            self._has_cancelled_duties = True
            self._duties.cancel()
            await asyncio.wait((self._duties,))

    async def _close_providers(self, until: float) -> None:
        """Close the providers' objects for the worker, until this moment of the loop's clock, but at least a second."""
        left = 0.0 if self.hurry.is_set() else until - asyncio.get_running_loop().time()
        for provider, error in await self._providers.close(max(left, CLOSE_TIMEOUT)):
            self._emit(ProviderNotClosed(provider, error))

    async def _end_work(self, grace: timedelta) -> None:
        """Stop claiming, and wait for the claim under way and for the jobs.

        They end side by side: a store that does not answer must not keep the jobs running. The claim under way is
        waited for and not cancelled, because the jobs that it takes have to be given back.
        """
        self._stop_claims.set()
        self._buffer.give_back_all()
        self._buffer.hungry.set()  # the dispatcher may wait for it
        async with asyncio.TaskGroup() as ends:
            ends.create_task(first_of(self._end_claims(), self._backend.clock.sleep(DELIVERY_TIMEOUT)))
            ends.create_task(self._end_jobs(grace))

    async def _end_jobs(self, grace: timedelta) -> None:
        """Wait for the jobs, tell the rest to stop, and after `STOP_GRACE` record their outcomes without them."""
        await first_of(self._runner.idled(grace), self.hurry.wait())
        self._runner.stop_all(Stop.SHUTDOWN)
        await self._runner.idled(timedelta(seconds=STOP_GRACE))
        self._runner.abandon_all()

    async def _end_claims(self) -> None:
        """Wait for the claim under way, whose jobs are given back; then give back claims whose answer was lost."""
        await self._claims_ended.wait()
        try:
            await self._dispatcher.release_unconfirmed_claims()
        except BackendError as error:
            self._emit(DutyFailed("releasing claims", error))

    async def _serve(self) -> None:
        """Run the duties. If they are cancelled, but not by `stop`, give all jobs back first.

        At the end of an event loop, `asyncio.run` cancels all tasks at once, those of jobs and of `stop` too, and waits
        for them. A server does the same at a second Ctrl-C. So only this task can give the jobs back.
        """
        try:
            await self._run_duties()
        except asyncio.CancelledError:
            if not self._has_cancelled_duties:
                self._runner.give_back_unbegun()
                await self._end_work(timedelta(0))
                await self._settler.deliver_rest(DELIVERY_TIMEOUT)
            raise

    async def _run_duties(self) -> None:
        async with asyncio.TaskGroup() as duties:
            claim = duties.create_task(self._keep_going("claim", self._dispatcher.step, self._stop_claims))
            claim.add_done_callback(lambda _: self._claims_ended.set())
            for duty, step in self._periodic.items():
                duties.create_task(self._keep_going(duty, step, self._stop_claims))
            duties.create_task(self._keep_going("settle", self._settler.step, self._stop_duties))
            if self._history is not None:
                duties.create_task(self._keep_going("history", self._history.step, self._stop_duties))
            duties.create_task(
                self._keep_going("lease", lambda: self._watch.step(self._stop_duties), self._stop_duties)
            )

    def _keep_going(
        self, duty: str, step: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> Coroutine[Any, Any, None]:
        return keep_going(duty, step, stop, clock=self._backend.clock, emit=self._emit)

    def _duties_ended(self, _: asyncio.Task[None]) -> None:
        """Give up the lease and stop all jobs if the duties have ended before `stop`, as by a cancel from outside.

        Without the duties no outcome is delivered, so the jobs must not appear to be running here.
        """
        self._claims_ended.set()
        if not self._stop_duties.is_set():
            self._watch.thread.end()
            self._emit(LeaseLost(self._node.id, self._lose_jobs()))

    def _take_heartbeat(self, heartbeat: Heartbeat) -> None:
        if heartbeat.rescued:
            self._emit(JobsRescued(heartbeat.rescued))
        if heartbeat.expired:
            self._emit(JobsExpired(heartbeat.expired))
        self._buffer.start_cancelled(heartbeat.cancels)
        self._runner.cancel(heartbeat.cancels)

    def _state(self) -> NodeState:
        """Return what the node says of itself. Called in the lease's thread."""
        return replace(
            self._said,
            running=self._runner.running,
            loop_lag=round(self._watchdog.take_lag(), 6),
            stuck=len(self._runner.stuck),
        )

    def _free_slot(self, executor: str) -> None:
        """Free the slot of a job that has ended."""
        self._buffer.ended(executor)

    def _lose_jobs(self) -> int:
        """Stop all jobs, because the lease is lost. Return how many were running."""
        self._buffer.give_back_all()
        return self._runner.stop_all(Stop.LEASE_LOST)
