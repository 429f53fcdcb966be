"""What a `Rexecutor` is to run, put together before its start."""

from collections.abc import Mapping
from datetime import UTC, timedelta, tzinfo
from typing import Any, Final

from rexecutor.backend.base import Backend
from rexecutor.clock import checked_delay
from rexecutor.cron import Cron
from rexecutor.engine.node import RunningNode
from rexecutor.engine.periodic import Pruning
from rexecutor.engine.processes import Recycling
from rexecutor.errors import ConfigurationError, DefinitionError
from rexecutor.executor import Executor
from rexecutor.pruner import PrunerConfig
from rexecutor.registry import AnyExecutor, Registry
from rexecutor.schedule import CatchUp, Schedule
from rexecutor.scheduling import cron_schedule, prune_schedule

_SHORTEST_LEASE: Final = timedelta(milliseconds=600)


class Plan:
    """The executors, schedules, prunings and settings; checked when they are given, as `Rexecutor` documents."""

    def __init__(self, backend: Backend, max_concurrency: int, lease: timedelta) -> None:
        """Check the settings; begin with nothing to run."""
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigurationError(f"Rexecutor: max_concurrency is {max_concurrency!r}, 1 or more expected")
        checked_delay("Rexecutor: lease", lease, least=_SHORTEST_LEASE)
        if not isinstance(backend, Backend):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(
                f"Rexecutor: {backend!r} is no backend; give SQLiteBackend(…), connect(url) or the like"
            )
        self._backend = backend
        self._max_concurrency = max_concurrency
        self._lease = lease
        self._registry = Registry(backend.limits)
        self._schedules: dict[str, Schedule] = {}
        self._prunings: list[Pruning] = []
        self._recycling = Recycling()

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors, by name."""
        return self._registry.executors

    def add(self, executor: type[Executor[Any, Any]] | Executor[Any, Any]) -> None:
        """Run its jobs."""
        self._registry.add(executor, is_implied=False)

    def add_cron(
        self,
        executor: type[Executor[Any, Any]] | Executor[Any, Any],
        schedule: Cron | str,
        data: Any,
        metadata: Any,
        *,
        timezone: tzinfo,
        priority: int,
        tags: object,
        schedule_id: str | None,
        catch_up: CatchUp | str,
        window: timedelta,
    ) -> None:
        """Run its jobs, and enqueue one at each tick."""
