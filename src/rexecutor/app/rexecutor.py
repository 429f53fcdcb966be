"""`Rexecutor`, the façade: puts a backend and executors together, starts and stops them."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, timedelta, tzinfo
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, overload

from rexecutor.app.config import Config
from rexecutor.app.hooks import Hooks
from rexecutor.app.lifetime import Lifetime
from rexecutor.app.signals import CtrlC, Signals
from rexecutor.backend.base import Backend
from rexecutor.backend.current import set_global_backend, unset_global_backend
from rexecutor.engine.health import Health, HealthStatus
from rexecutor.engine.periodic import Pruning
from rexecutor.errors import RexecutorError
from rexecutor.jobs.enqueue import AroundEnqueue
from rexecutor.jobs.executor import AnyExecutor, Executor, ExecutorLike
from rexecutor.jobs.middleware import AroundExecute, checked_middleware
from rexecutor.jobs.pruning import PrunerConfig
from rexecutor.jobs.schedules import cron_schedule
from rexecutor.model.checks import checked_delay, checked_instance, checked_texts, with_advice
from rexecutor.model.cron import Cron
from rexecutor.model.job import Data, Metadata, Result
from rexecutor.model.schedules import CatchUp, Schedule
from rexecutor.telemetry.subscribers import Subscriber

GRACE: Final = timedelta(seconds=25)
"""How long a shutdown waits for running jobs by default."""


class Rexecutor:
    """Runs the jobs of its executors. `async with` starts it, and at the end waits for running jobs.

    ```python
    async with Rexecutor(SQLiteBackend("jobs.db")).with_executor(EmailJob).set_global_backend() as rexecutor:
        await EmailJob.builder().with_data("bob@example.com").enqueue()
        await rexecutor.run_until_signal()
    ```

    Each instance is a node of its own, also within one process. One with nothing to run (no executor, schedule or
    pruner) is no node: it opens the backend for an application that only enqueues, and costs no more than that.
    """

    @with_advice(
        "Rexecutor",
        {
            **dict.fromkeys(("concurrency", "workers", "max_workers"), "max_concurrency"),
            **dict.fromkeys(("tasks", "jobs", "functions"), "executors"),
            "middleware": "around_execute or around_enqueue",
        },
    )
    def __init__(
        self,
        backend: Backend,
        *,
        executors: Iterable[ExecutorLike] = (),
        max_concurrency: int = 100,
        max_threads: int | None = None,
        lease: timedelta = timedelta(seconds=30),
        on_event: Subscriber | Iterable[Subscriber] = (),
        around_execute: Iterable[AroundExecute] = (),
        around_enqueue: Iterable[AroundEnqueue] = (),
        keeps_stats: bool = True,
    ) -> None:
        """Check the settings and the executors; nothing runs before the start.

        Args:
            backend: Where the jobs are stored. Opened at the start and closed at the end, unless it is open already.
            executors: Executors whose jobs are run, each as `with_executor` takes it.
            max_concurrency: How many jobs may run at a time, of all executors together; 1 or more.
            max_threads: How many of these may run in threads, as jobs of executors with `blocking = True` do; 1 or
                more. None for 10, or for the largest `max_concurrency` of such an executor if that is more.
            lease: How long after this node's last heartbeat its jobs are given to other nodes; 0.6 s or more. The node
                renews the lease six times in that time, and stops its own work if five sixths of it pass without a
                renewal.
            on_event: One callback or several, each called with the events of this `Rexecutor` and of the enqueues into
                its backend, from the start (or `set_global_backend`) until it has ended; see `subscribe`.
            around_execute: Middleware, the first outermost. Each is called with the `Job` at every attempt, and returns
                a context manager, which is entered around the attempt: a plain one where the job's code runs, be it the
                event loop, a thread or a child process; an asynchronous one in the event loop.
            around_enqueue: Middleware, the first outermost. Each is called with an `Enqueueing` at every enqueue into
                the backend, and returns a context manager, which is entered around the enqueue. A plain one serves both
                `enqueue` and `enqueue_sync`, an asynchronous one only `enqueue`. In effect for as long as `on_event`.
            keeps_stats: Whether the attempts of this node are counted in the history that `rexecutor stats` shows: how
                many ended, how long their jobs waited, and how long they ran. New counts are stored every ten seconds.

        Raises:
            ConfigurationError: A setting is out of range, or a single executor is given without brackets.
            DefinitionError: An executor cannot run, two have the same name, or middleware cannot be pickled for an
                executor that runs in child processes.
        """
        checked_instance("Rexecutor: backend", backend, Backend, "a Backend, such as SQLiteBackend(…) or connect(url)")
        self._hooks = Hooks(backend, on_event, around_execute, around_enqueue)
        self._config = Config(
            backend,
            executors,
            max_concurrency,
            max_threads,
            lease,
            self._hooks.around_execute,
            keeps_stats=keeps_stats,
        )
        self.backend: Final = backend
        self.max_threads: Final = max_threads
        self.lease: Final = lease
        self.keeps_stats: Final = keeps_stats
        self._lifetime: Lifetime | None = None
        self._is_starting = False
        self._is_global = False
        self._is_to_be_global = False

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors whose jobs this `Rexecutor` runs, by name."""
        return self._config.executors

    @property
    def max_concurrency(self) -> int:
        """How many jobs may run at a time, of all executors together."""
        return self._config.max_concurrency

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that enqueue jobs, by id. For the command line."""
        return self._config.schedules

    @property
    def prunings(self) -> Sequence[Pruning]:
        """What is pruned, and when. For the command line."""
        return self._config.prunings

    @property
    def is_running(self) -> bool:
        """Whether this `Rexecutor` has been started and has not ended, be it a node or not."""
        return self._lifetime is not None and self._lifetime.is_alive

    def health(self) -> Health:
        """Return how this `Rexecutor` is doing, for a health check: its status, and its problems if there are any.

        Any thread may call it. It returns at once, without asking the store: it judges by the progress of the claim
        loop, the lease, the duties that fail, and the lag of the event loop. Anything that has been wrong for 5 s is a
        problem; a lost lease is one at once. The result is correct even while a job blocks the event loop, so answer
        health checks from a thread, as `rexecutor worker` does. Before the start and after the end, the status is
        `STOPPED`.
        """
        if self._lifetime is None or (self._is_starting and not self._lifetime.is_alive):
            return Health(HealthStatus.STARTING if self._is_starting else HealthStatus.STOPPED)
        return self._lifetime.health()

    def with_executor(self, executor: ExecutorLike) -> Self:
        """Run this executor's jobs. Returns this `Rexecutor`.

        Args:
            executor: A class, which is instantiated; or an instance, if it needs arguments.

        Raises:
            DefinitionError: The executor cannot run, or another one has its name.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_executor")
        self._config.add_executor(executor)
        return self

    @overload
    def with_cron_executor(
        self,
        executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
        schedule: Cron | str,
        data: Data,
        *,
        timezone: tzinfo = ...,
        metadata: Metadata | None = ...,
        priority: int = ...,
        tags: Collection[str] = ...,
        id: str | None = ...,
        catch_up: CatchUp | Literal["skip", "latest", "all"] = ...,
        catch_up_within: timedelta = ...,
    ) -> Self: ...
    @overload
    def with_cron_executor(
        self,
        executor: type[Executor[None, Metadata, Result]] | Executor[None, Metadata, Result],
        schedule: Cron | str,
        *,
        timezone: tzinfo = ...,
        metadata: Metadata | None = ...,
        priority: int = ...,
        tags: Collection[str] = ...,
        id: str | None = ...,
        catch_up: CatchUp | Literal["skip", "latest", "all"] = ...,
        catch_up_within: timedelta = ...,
    ) -> Self: ...
    def with_cron_executor(
        self,
        executor: ExecutorLike,
        schedule: Cron | str,
        data: Any = None,
        *,
        timezone: tzinfo = UTC,
        metadata: Any = None,
        priority: int = 0,
        tags: Collection[str] = (),
        id: str | None = None,  # noqa: A002 - the word that the documentation has
        catch_up: CatchUp | Literal["skip", "latest", "all"] = CatchUp.LATEST,
        catch_up_within: timedelta = timedelta(seconds=60),
    ) -> Self:
        """Run this executor's jobs, and enqueue one at each tick of the schedule. Returns this `Rexecutor`.

        Each tick enqueues exactly one job, however many nodes there are: the store records how far each schedule has
        come. The job's `scheduled_at` is the tick; the executor's uniqueness criteria do not apply. Several schedules
        may share an executor, and its `max_concurrency`.

        Args:
            executor: A class, which is instantiated; or an instance, if it needs arguments.
            schedule: Five cron fields, or six with seconds first; see `Cron`.
            data: Data of each job; may be left out if the executor's data type is None, or for a function job that
                needs no arguments.
            timezone: Time zone of the schedule's fields.
            metadata: Metadata of each job.
            priority: Priority of each job; 0 is the most urgent.
            tags: Tags of each job.
            id: Id of the schedule in the store. By default a digest of executor, expression, zone and data; if one of
                these changes, it is a new schedule.
            catch_up: Which of the ticks that fell while no node was up are made up for: none (`"skip"`), the newest
                (`"latest"`) or `"all"`.
            catch_up_within: Ticks older than this are not made up for; at most 31 days. Of the ticks that fell while
                a node was up but the store was not, the newest is made up for, however old it is.

        Raises:
            ConfigurationError: The expression or another argument cannot work.
            DefinitionError: The executor cannot run, another one has its name, or the schedule is there already.
            InvalidJobError: The store cannot hold such a job; an `EncodeError` if that is due to its data or metadata.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_cron_executor")
        checked_texts("with_cron_executor: tags", tags)
        executor_cls = self._config.add_executor(executor, is_implied=True, what="with_cron_executor: executor")
        builder = executor_cls.builder().with_priority(priority).with_tags(*tags)
        if data is not None:
            builder = builder.with_data(data)
        made = cron_schedule(
            builder if metadata is None else builder.with_metadata(metadata),
            schedule,
            limits=self.backend.limits,
            timezone=timezone,
            schedule_id=id,
            catch_up=catch_up,
            window=catch_up_within,
        )
        self._config.add_schedule(made, executor_cls.name)
        return self

    def with_job_pruner(self, config: PrunerConfig) -> Self:
        """Delete ended jobs as configured, on one node at a time. Returns this `Rexecutor`.

        Raises:
            ConfigurationError: The configuration is not a `PrunerConfig`.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_job_pruner")
        self._config.add_pruner(config)
        return self

    def with_child_processes(self, *, max_jobs: int = 1_000, max_memory: int | None = None) -> Self:
        """Set when the child processes of `blocking = "process"` are replaced. Returns this `Rexecutor`.

        Args:
            max_jobs: Replace a process after this many jobs; 1 or more.
            max_memory: Replace a process that still holds more than this many bytes after a job; None for no bound.

        Raises:
            ConfigurationError: An argument is out of range.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_child_processes")
        self._config.recycle(max_jobs, max_memory)
        return self

    def with_only_executors(self, *names: str) -> Self:
        """Run only the jobs of these executors on this node. Returns this `Rexecutor`.

        Jobs of its other executors wait for other nodes. Schedules and pruners go on for all executors: a tick enqueues
        a job, whichever node runs it.

        Args:
            names: Names of executors that have been given to this `Rexecutor`; at least one.

        Raises:
            ConfigurationError: No name is given, or there is no executor of a name.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_only_executors")
        self._config.run_only(names)
        return self

    def with_max_concurrency(self, number: int) -> Self:
        """Set how many jobs may run at a time, of all executors together. Returns this `Rexecutor`.

        Args:
            number: 1 or more.

        Raises:
            ConfigurationError: The number is out of range.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_max_concurrency")
        self._config.max_concurrency = number
        return self

    def with_around_execute(self, *middleware: AroundExecute) -> Self:
        """Put more middleware around each attempt, outside the existing middleware. Returns this `Rexecutor`.

        Args:
            middleware: Middleware as `around_execute` takes it, the first outermost. One that it has already is not
                added again.

        Raises:
            ConfigurationError: It cannot be called, or does not return a context manager.
            DefinitionError: It cannot be pickled for an executor that runs in child processes.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_around_execute")
        checked = checked_middleware("with_around_execute: middleware", middleware)
        new = dict.fromkeys(one for one in checked if one not in self._config.around_execute)
        self._config.add_around_execute(tuple(new))
        return self

    def _require_not_running(self, method: str, advice: str = "; call this before the start") -> None:
        if self._lifetime is not None:
            self._lifetime.check_process(method)
        if self.is_running or self._is_starting:
            raise RexecutorError(f"{method}: this Rexecutor is already running{advice}")

    def set_global_backend(self) -> Self:
        """Make the backend the default of every enqueue until this `Rexecutor` has ended. Returns this `Rexecutor`.

        If it is started once more after that, its backend is the default again until it ends.

        Raises:
            GlobalBackendError: There is a global backend already.
        """
        set_global_backend(self.backend)
        self._is_global = self._is_to_be_global = True
        self._hooks.begin()
        return self

    def around_enqueues(self, backend: Backend) -> AbstractContextManager[None]:
        """Put the middleware `around_enqueue` around enqueues into this backend, in the block. For the command line."""
        return self._hooks.around_enqueues(backend)

    async def start(self) -> None:
        """Open the backend if necessary, and begin to run jobs. With nothing to run, only open the backend.

        Raises:
            RexecutorError: It runs already.
            GlobalBackendError: It sets the global backend once more, but another `Rexecutor` has set it meanwhile.
            SchemaError: The store's tables are missing, or belong to another version of rexecutor.
            BackendError: The store cannot be opened.
        """
        self._require_not_running("start", advice="")
        self._is_starting = True
        try:
            if self._lifetime is not None:  # its last run may be left behind in a closed loop
                await self._lifetime.end(GRACE)
            if self._is_to_be_global and not self._is_global:  # started before, or the last start has failed
                self.set_global_backend()
            self._hooks.begin()
            emit = self._hooks.emit
            make_node = partial(self._config.node, emit=emit)
            self._lifetime = await Lifetime.begin(self.backend, make_node, emit=emit, ended=self._has_ended)
        except BaseException:
            self._has_ended()
            raise
        finally:
            self._is_starting = False

    async def graceful_shutdown(self, timeout: timedelta = GRACE) -> None:  # noqa: ASYNC109 - a promise of the API
        """Stop claiming jobs, wait for the running ones, and end.

        Does nothing if it does not run. A second call waits for the first. If the caller is cancelled, the shutdown
        goes on. In the main thread, a SIGINT during the shutdown cancels running jobs at once, and also reaches the
        installed handler. This is for a second Ctrl-C, of which servers do not inform their applications.

        Args:
            timeout: Time that running jobs have to end by themselves. After that they are cancelled; those that still
                run 5 s later are given back, with their attempt refunded.

        Raises:
            ConfigurationError: The timeout is not a timedelta, or is negative; nothing has been done.
            RexecutorError: It runs in another event loop, or in the process of which this one is a fork; nothing has
                been done.
        """
        checked_delay("graceful_shutdown: timeout", timeout)
        if self._lifetime is not None:
            with CtrlC(self._lifetime.hurry):
                await self._lifetime.end(timeout)
        self._has_ended()

    async def run_until_signal(self, *, grace: timedelta = GRACE) -> None:
        """Run until SIGTERM or SIGINT, then shut down gracefully. Starts the `Rexecutor` if necessary.

        The first signal begins a graceful shutdown, the second cancels running jobs, the third ends the process at once
        (other nodes rescue its jobs). After a signal the handlers stay in place, also when this has returned: a second
        signal does no harm while the program ends, and a third ends a program that hangs.

        Call it in the main thread. If the caller is cancelled, what was started here is shut down gracefully as well.

        Args:
            grace: Time that running jobs have to end by themselves after the first signal.

        Raises:
            ConfigurationError: Signals cannot be caught here, or the grace is not a timedelta, or is negative.
            RexecutorError: A duty of the node has ended unexpectedly; or it runs in another event loop or process.
        """
        checked_delay("run_until_signal: grace", grace)
        if self._lifetime is not None:
            self._lifetime.check_place("run_until_signal")
        # Before the start, so that no signal arrives when jobs are claimed and nothing catches it.
        with Signals() as signals:
            is_started_here = not self.is_running
            if is_started_here:
                await self.start()
            assert self._lifetime is not None  # noqa: S101 - start has set it
            lifetime = self._lifetime
            try:
                await signals.first_or(lifetime.ended())
            except asyncio.CancelledError:
                if is_started_here:  # otherwise nobody ends it
                    await self.graceful_shutdown(grace)
                raise
            signals.on_second(lifetime.hurry)
            await self.graceful_shutdown(grace)
        lifetime.raise_failure()

    @asynccontextmanager
    async def lifespan(self, app: object, /) -> AsyncGenerator[None]:  # noqa: ARG002 - frameworks give it
        """Run for as long as an ASGI application is up: `FastAPI(lifespan=rexecutor.lifespan)`.

        Starlette takes it likewise, Litestar as `lifespan=[rexecutor.lifespan]`. It starts this `Rexecutor` before the
        first request and shuts it down gracefully after the last. It may be used again once it has ended, in another
        event loop too, as test clients do. In a lifespan of your own, write `async with rexecutor:` instead.

        Args:
            app: The application; not used.

        Raises:
            RexecutorError: The start or the shutdown failed; see `start` and `graceful_shutdown`.
        """
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Start the `Rexecutor`."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut the `Rexecutor` down gracefully."""
        await self.graceful_shutdown()

    def _has_ended(self) -> None:
        """Take back what holds until its end."""
        self._hooks.end()
        self._unset_global_backend()

    def _unset_global_backend(self) -> None:
        if self._is_global:
            unset_global_backend(self.backend)
            self._is_global = False
