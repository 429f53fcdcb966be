"""What a `Rexecutor` will run, collected and checked before its start."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any, Final

from rexecutor.app.registry import AnyExecutor, Registry
from rexecutor.backend.base import Backend
from rexecutor.clock import checked_delay
from rexecutor.engine.node import RunningNode
from rexecutor.engine.periodic import Pruning
from rexecutor.engine.processes import Recycling
from rexecutor.errors import ConfigurationError, DefinitionError
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.pruning import PrunerConfig
from rexecutor.jobs.schedules import prune_schedule
from rexecutor.model.schedules import Schedule

_SHORTEST_LEASE: Final = timedelta(milliseconds=600)


def _given_twice(known: Schedule, schedule: Schedule, executor: str) -> str:
    """Return the error message for a schedule whose id another one has."""
    other = executor if known.job is None else known.job.executor
    if (other, known.cron) == (executor, schedule.cron):
        return f"{executor}: the schedule {schedule.cron.text!r} is given twice; give one an `id=` of its own"
    return (
        f"{executor}: its schedule {schedule.cron.text!r} and {known.cron.text!r} of {other} have the same id,"
        f" {schedule.id!r}; give one another `id=`"
    )


class Plan:
    """Executors, schedules, pruners and settings. Each is checked when it is given, as `Rexecutor` documents."""

    def __init__(self, backend: Backend, max_concurrency: int, max_threads: int | None, lease: timedelta) -> None:
        """Check the settings; `Rexecutor` documents their bounds."""
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigurationError(f"Rexecutor: max_concurrency is {max_concurrency!r}, 1 or more expected")
        if max_threads is not None and (type(max_threads) is not int or max_threads < 1):
            raise ConfigurationError(f"Rexecutor: max_threads is {max_threads!r}, 1 or more expected, or None")
        checked_delay("Rexecutor: lease", lease, least=_SHORTEST_LEASE)
        if not isinstance(backend, Backend):
            raise ConfigurationError(
                f"Rexecutor: {backend!r} is no backend; give SQLiteBackend(…), connect(url) or the like"
            )
        self._backend = backend
        self._max_concurrency = max_concurrency
        self._max_threads = max_threads
        self._lease = lease
        self._registry = Registry(backend.limits)
        self.schedules: Final[dict[str, Schedule]] = {}
        """Schedules that enqueue jobs, by id."""
        self._prunings: list[Pruning] = []
        self._recycling = Recycling()

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors, by name."""
        return self._registry.executors

    def add_executor(
        self, executor: type[Executor[Any, Any]] | Executor[Any, Any], *, is_implied: bool = False
    ) -> type[Executor[Any, Any]]:
        """Add an executor and return its class. One that a schedule implies may be there already."""
        return self._registry.add(executor, is_implied=is_implied)

    def add_schedule(self, schedule: Schedule, executor: str) -> None:
        """Add a schedule that enqueues a job of the executor at each tick."""
        known = self.schedules.get(schedule.id)
        if known is not None:
            raise DefinitionError(_given_twice(known, schedule, executor))
        self.schedules[schedule.id] = schedule

    def add_pruner(self, config: PrunerConfig) -> None:
        """Add the pruners of a configuration."""
        if not isinstance(config, PrunerConfig):
            raise ConfigurationError(f"with_job_pruner({config!r}): give a PrunerConfig")
        specs = [pruner.spec for pruner in config.pruners]
        self._prunings.append(Pruning(prune_schedule(config.cron, UTC, specs), specs, config.max_concurrency))

    def recycle(self, max_jobs: int, max_memory: int | None) -> None:
        """Set when child processes are replaced; see `Rexecutor.with_child_processes`."""
        for name, value in (("max_jobs", max_jobs), ("max_memory", 1 if max_memory is None else max_memory)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"with_child_processes: {name} is {value!r}, 1 or more expected")
        self._recycling = Recycling(max_jobs, max_memory)

    def node(self, name: str) -> RunningNode:
        """Return a new node of this name that runs all of it."""
        return RunningNode(
            self._backend,
            self.executors,
            self._max_concurrency,
            self._max_threads,
            self._lease,
            name,
            recycling=self._recycling,
            schedules=list(self.schedules.values()),
            prunings=self._prunings,
        )
