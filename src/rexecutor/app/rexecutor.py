"""`Rexecutor`: puts a backend and executors together, and owns their start and their end."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, timedelta, tzinfo
from types import TracebackType
from typing import Any, Final, Literal, Self, overload

from rexecutor.app.config import Plan
from rexecutor.app.lifetime import Run
from rexecutor.app.registry import AnyExecutor
from rexecutor.app.signals import Signals
from rexecutor.backend.base import Backend
from rexecutor.backend.current import set_global_backend, unset_global_backend
from rexecutor.clock import checked_delay
from rexecutor.errors import ConfigurationError, RexecutorError
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.pruning import PrunerConfig
from rexecutor.jobs.schedules import cron_schedule
from rexecutor.model.cron import Cron
from rexecutor.model.job import Data, Metadata
from rexecutor.model.schedules import CatchUp

GRACE: Final = timedelta(seconds=25)
"""How long a shutdown waits for running jobs, unless told otherwise."""


class Rexecutor:
    """Runs the jobs of its executors. `async with` starts it, and at the end waits for what runs.

    ```python
    async with Rexecutor(SQLiteBackend("jobs.db")).with_executor(EmailJob).set_global_backend() as rexecutor:
        await EmailJob.builder().with_data("bob@example.com").enqueue()
        await rexecutor.run_until_signal()
    ```

    Two in one process are two nodes.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_concurrency: int = 100,
        max_threads: int | None = None,
        lease: timedelta = timedelta(seconds=30),
    ) -> None:
        """Prepare; nothing runs until the start.

        Args:
            backend: Where the jobs are. Opened at the start and closed at the end, unless it is open already.
            max_concurrency: How many jobs run at a time, of all executors together; 1 or more.
            max_threads: How many of these may be jobs of executors with `blocking = True`, each of which has a thread;
                1 or more. None for 10, or for an executor's own `max_concurrency` where that is more.
            lease: How long after its last sign of life this node's jobs are given to others; 0.6 s or more. It
                renews the lease six times in that time, and stops its own work when five sixths of it have passed.

        Raises:
            ConfigurationError: A setting is out of range.
        """
        self._plan = Plan(backend, max_concurrency, max_threads, lease)
        self.backend: Final = backend
        self.max_concurrency: Final = max_concurrency
        self.max_threads: Final = max_threads
        self.lease: Final = lease
        self._run: Run | None = None
        self._is_starting = False
        self._is_global = False

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors whose jobs it runs, by name."""
        return self._plan.executors

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._run is not None and self._run.is_alive

    def with_executor(self, executor: type[Executor[Any, Any]] | Executor[Any, Any]) -> Self:
        """Run this executor's jobs. A class is instantiated; give an instance when it needs something. Answers itself.

        Raises:
            DefinitionError: It cannot run, or another one has its name.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_executor")
        self._plan.add_executor(executor)
        return self

    @overload
    def with_cron_executor(
        self,
        executor: type[Executor[Data, Metadata]] | Executor[Data, Metadata],
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
        executor: type[Executor[None, Metadata]] | Executor[None, Metadata],
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
        executor: type[Executor[Any, Any]] | Executor[Any, Any],
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
        """Run this executor's jobs, and enqueue one at each tick of the schedule. Answers itself.

        Exactly one job a tick, on however many nodes: the store keeps how far each schedule has come. Its
        `scheduled_at` is the tick; the executor's uniqueness criteria are not asked. Several schedules may share an
        executor, and its `max_concurrency`.

        Args:
            executor: A class, or an instance when it needs something.
            schedule: Five cron fields, or six with seconds first; see `Cron`.
            data: What each job is given; may be left out where the executor's data are None.
            timezone: Whose wall clock the schedule means.
            metadata: Of each job.
            priority: Of each job; 0 is the most urgent.
            tags: Of each job.
            id: What the store knows the schedule by. By default a digest of executor, expression, zone and data: a
                schedule of which one of these changes is a new one.
            catch_up: What becomes of ticks that fell while no node was up: `"skip"`, `"latest"` or `"all"` of them.
            catch_up_within: Ticks older than this are not made up for; at most 31 days. Of the ticks that fell while
                a node was up, but not the store, the newest is made up for however old it is.

        Raises:
            ConfigurationError: The expression or another argument cannot work.
            DefinitionError: The executor cannot run, another one has its name, or the schedule is there already.
            InvalidJobError: No store may hold such a job; an `EncodeError` where it is the data or the metadata.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_cron_executor")
        if isinstance(tags, str):
            raise ConfigurationError(f"with_cron_executor: tags={tags!r}; give several texts, such as a tuple of them")
        kind = self._plan.add_executor(executor, is_implied=True)
        builder = kind.builder().with_data(data).with_priority(priority).with_tags(*tags)
        made = cron_schedule(
            builder if metadata is None else builder.with_metadata(metadata),
            schedule,
            limits=self.backend.limits,
            timezone=timezone,
            schedule_id=id,
            catch_up=catch_up,
            window=catch_up_within,
        )
        self._plan.add_schedule(made, kind.name)
        return self

    def with_job_pruner(self, config: PrunerConfig) -> Self:
        """Delete ended jobs as the configuration says, on one node at a time. Answers itself.

        Raises:
            ConfigurationError: It is no `PrunerConfig`.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_job_pruner")
        self._plan.add_pruner(config)
        return self

    def with_child_processes(self, *, max_jobs: int = 1_000, max_memory: int | None = None) -> Self:
        """Say when child processes are replaced, where executors have `blocking = "process"`. Answers itself.

        Args:
            max_jobs: After how many jobs; 1 or more.
            max_memory: At how many bytes that a process still holds after a job; None for no bound.

        Raises:
            ConfigurationError: An argument is out of range.
            RexecutorError: It has been started already.
        """
        self._require_not_running("with_child_processes")
        self._plan.recycle(max_jobs, max_memory)
        return self

    def _require_not_running(self, what: str, advice: str = "; say this before the start") -> None:
        if self._run is not None:
            self._run.check_process(what)
        if self.is_running or self._is_starting:
            raise RexecutorError(f"{what}: this Rexecutor runs already{advice}")

    def set_global_backend(self) -> Self:
        """Make its backend the one that an enqueue uses by default, from now until it has ended. Answers itself.

        Raises:
            GlobalBackendError: There is one already.
        """
        set_global_backend(self.backend)
        self._is_global = True
        return self

    async def start(self) -> None:
        """Open the backend where that is needed, and begin to run jobs.

        Raises:
            RexecutorError: It runs already.
            SchemaError: The store's tables are missing, or belong to another version of rexecutor.
            BackendError: The store cannot be opened.
        """
        self._require_not_running("start", advice="")
        self._is_starting = True
        try:
            if self._run is not None:  # it may have been left behind in a loop that is closed
                await self._run.end(GRACE)
            self._run = await Run.begin(self.backend, self._plan.node, ended=self._unset_global_backend)
        except BaseException:
            self._unset_global_backend()
            raise
        finally:
            self._is_starting = False

    async def graceful_shutdown(self, timeout: timedelta = GRACE) -> None:  # noqa: ASYNC109 - a promise of the API
        """Claim no more jobs, wait for those that run, and end.

        What still runs after the timeout is cancelled, and after 5 s more given back with its attempt refunded.
        Harmless when it does not run; a second call waits for the first. When the caller is cancelled it goes on.

        Raises:
            ConfigurationError: The timeout is no timedelta, or negative; nothing has been done.
            RexecutorError: It runs in another event loop, or in the process of which this one is a fork; nothing has
                been done.
        """
        checked_delay("graceful_shutdown", timeout)
        if self._run is not None:
            await self._run.end(timeout)
        self._unset_global_backend()

    async def run_until_signal(self, *, grace: timedelta = GRACE) -> None:
        """Run until SIGTERM or SIGINT, then shut down; starts it when it does not run yet.

        When the caller is cancelled, what was started here is shut down gracefully as well.

        The first signal begins a graceful shutdown, the second cancels what runs, the third ends the process at once
        (its jobs are rescued by others). Only in the main thread. After a signal it goes on to listen to them when this
        has returned: a second one does no harm while the program ends, and a third ends one that hangs.

        Args:
            grace: How long running jobs may go on after the first signal.

        Raises:
            ConfigurationError: Signals cannot be caught here, or the grace is no timedelta, or negative.
            RexecutorError: A duty of the node has ended unexpectedly; or it runs in another event loop or process.
        """
        checked_delay("run_until_signal: grace", grace)
        if self._run is not None:
            self._run.check_place("run_until_signal")
        with Signals() as signals:  # before the start, so that no signal finds claimed jobs and nobody to catch it
            is_ours = not self.is_running
            if is_ours:
                await self.start()
            assert self._run is not None  # noqa: S101 - start has set it
            node = self._run.node
            try:
                await signals.first_or(node.ended())
            except asyncio.CancelledError:
                if is_ours:  # nobody else will end it
                    await self.graceful_shutdown(grace)
                raise
            signals.on_second(node.hurry.set)
            await self.graceful_shutdown(grace)
        node.raise_failure()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut it down gracefully."""
        await self.graceful_shutdown()

    def _unset_global_backend(self) -> None:
        if self._is_global:
            unset_global_backend(self.backend)
            self._is_global = False
