"""What a `Rexecutor` will run, collected and checked before its start."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, timedelta
from inspect import isabstract
from typing import Any, Final, cast

from rexecutor.backend.base import Backend
from rexecutor.engine.loop import Emit
from rexecutor.engine.node import RunningNode
from rexecutor.engine.periodic import Pruning
from rexecutor.engine.processes import Recycling
from rexecutor.errors import ConfigurationError, DefinitionError
from rexecutor.jobs.definition import place_of
from rexecutor.jobs.executor import AnyExecutor, Executor, ExecutorLike
from rexecutor.jobs.middleware import AroundExecute, is_asynchronous, name_of
from rexecutor.jobs.pruning import PrunerConfig
from rexecutor.jobs.schedules import prune_schedule
from rexecutor.jobs.types import codecs_of
from rexecutor.model.checks import checked_delay, checked_instance, checked_int, checked_texts, mistake
from rexecutor.model.job import Limits
from rexecutor.model.schedules import Schedule

_SHORTEST_LEASE: Final = timedelta(milliseconds=600)


class Config:
    """The executors, schedules, pruners and settings of a `Rexecutor`. Each is checked when it is given."""

    def __init__(
        self,
        backend: Backend,
        executors: Iterable[ExecutorLike],
        max_concurrency: int,
        max_threads: int | None,
        lease: timedelta,
        around_execute: Sequence[AroundExecute] = (),
        *,
        keeps_stats: bool = True,
    ) -> None:
        """Check the settings; `Rexecutor` documents their bounds."""
        checked_int("Rexecutor: max_concurrency", max_concurrency, 1)
        checked_int("Rexecutor: max_threads", max_threads, 1, or_none=True)
        checked_instance("Rexecutor: keeps_stats", keeps_stats, bool, "True or False")
        checked_delay("Rexecutor: lease", lease, least=_SHORTEST_LEASE)
        self._backend = backend
        self._max_concurrency = max_concurrency
        self._max_threads = max_threads
        self._lease = lease
        self._around_execute = around_execute
        self._registry = Registry(backend.limits, around_execute)
        self._keeps_stats = keeps_stats
        self._only: frozenset[str] | None = None
        self.schedules: Final[dict[str, Schedule]] = {}
        """Schedules that enqueue jobs, by id."""
        self.prunings: Final[list[Pruning]] = []
        self._recycling = Recycling()
        for executor in _several(executors):
            self.add_executor(executor, what="Rexecutor: each of executors")

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors whose jobs are run, by name."""
        if self._only is None:
            return self._registry.executors
        return {name: one for name, one in self._registry.executors.items() if name in self._only}

    @property
    def max_concurrency(self) -> int:
        """How many jobs may run at a time."""
        return self._max_concurrency

    @max_concurrency.setter
    def max_concurrency(self, number: int) -> None:
        checked_int("with_max_concurrency: number", number, 1)
        self._max_concurrency = number

    def run_only(self, names: Collection[str]) -> None:
        """Run only the jobs of these executors; see `Rexecutor.with_only_executors`."""
        checked_texts("with_only_executors: names", names)
        known = sorted(self._registry.executors)
        for name in names:
            if name not in known:
                raise ConfigurationError(
                    f"with_only_executors: there is no executor {name!r}; there are {', '.join(known) or 'none'}"
                )
        if not names:
            raise ConfigurationError("with_only_executors: no name given; give the names of executors")
        self._only = frozenset(names)

    def add_executor(
        self, executor: ExecutorLike, *, is_implied: bool = False, what: str = "with_executor: executor"
    ) -> type[AnyExecutor]:
        """Add an executor and return its class. One that a schedule implies may be there already.

        `what` names the argument in the message if it is not an executor.
        """
        return self._registry.add(executor, is_implied=is_implied, what=what)

    def add_schedule(self, schedule: Schedule, executor: str) -> None:
        """Add a schedule that enqueues a job of the executor at each tick."""
        known = self.schedules.get(schedule.id)
        if known is not None:
            raise DefinitionError(_given_twice(known, schedule, executor))
        self.schedules[schedule.id] = schedule

    def add_pruner(self, config: PrunerConfig) -> None:
        """Add the pruners of a configuration."""
        checked_instance("with_job_pruner: config", config, PrunerConfig, "a PrunerConfig")
        specs = [pruner.spec for pruner in config.pruners]
        self.prunings.append(Pruning(prune_schedule(config.cron, UTC, specs), specs, config.max_concurrency))

    @property
    def around_execute(self) -> Sequence[AroundExecute]:
        """Middleware around each attempt, the first outermost."""
        return self._around_execute

    def add_around_execute(self, middleware: Sequence[AroundExecute]) -> None:
        """Add checked middleware outside the existing middleware; see `Rexecutor.with_around_execute`."""
        self._registry.add_around_execute(middleware)
        self._around_execute = (*middleware, *self._around_execute)

    def recycle(self, max_jobs: int, max_memory: int | None) -> None:
        """Set when child processes are replaced; see `Rexecutor.with_child_processes`."""
        checked_int("with_child_processes: max_jobs", max_jobs, 1)
        checked_int("with_child_processes: max_memory", max_memory, 1, or_none=True)
        self._recycling = Recycling(max_jobs, max_memory)

    def node(self, name: str, *, emit: Emit) -> RunningNode | None:
        """Return a new node of this name that runs all of it; None if there is nothing to run."""
        if not (self.executors or self.schedules or self.prunings):
            return None
        return RunningNode(
            self._backend,
            self.executors,
            self._max_concurrency,
            self._max_threads,
            self._lease,
            name,
            emit=emit,
            recycling=self._recycling,
            around_execute=self._around_execute,
            schedules=list(self.schedules.values()),
            prunings=self.prunings,
            keeps_stats=self._keeps_stats,
        )


class Registry:
    """Executors by name. An executor that is given with a schedule may also be given on its own."""

    def __init__(self, limits: Limits, around_execute: Sequence[AroundExecute] = ()) -> None:
        self.executors: dict[str, AnyExecutor] = {}
        self._around_execute = around_execute
        self._limits = limits
        self._implied: dict[str, bool] = {}  # given with a schedule: whether the instance was made here

    def add(
        self, executor: ExecutorLike, *, is_implied: bool, what: str = "with_executor: executor"
    ) -> type[AnyExecutor]:
        """Add the executor and return its class. A class is instantiated.

        Raises:
            DefinitionError: The executor cannot run, is given twice, or another one has its name.
        """
        name: object = getattr(executor, "name", None)
        known = self.executors.get(name) if isinstance(name, str) else None
        if known is not None:
            if not is_implied and known.name not in self._implied:
                raise _taken(known, executor)
            if executor is known or executor is type(known):
                return type(known)
            if type(executor) is not type(known) or not self._implied.get(known.name):
                raise _taken(known, executor)
        instance = _instance(what, executor)
        codecs_of(type(instance), self._limits)
        if instance.blocking == "process":
            _check_importable(instance)
            _check_sendable(instance, self._around_execute)
        self.executors[instance.name] = instance
        if is_implied:
            self._implied[instance.name] = isinstance(executor, type)
        return type(instance)

    def add_around_execute(self, middleware: Sequence[AroundExecute]) -> None:
        """Check all executors against this middleware too, those added later as well.

        Raises:
            DefinitionError: It cannot be pickled for an executor that runs in child processes.
        """
        for executor in self.executors.values():
            if executor.blocking == "process":
                _check_sendable(executor, middleware)
        self._around_execute = (*middleware, *self._around_execute)


def _given_twice(known: Schedule, schedule: Schedule, executor: str) -> str:
    """Return the error message for a schedule whose id another one has."""
    other = executor if known.job is None else known.job.executor
    if (other, known.cron) == (executor, schedule.cron):
        return f"{executor}: the schedule {schedule.cron.text!r} is given twice; give one of them an `id=` of its own"
    return (
        f"{executor}: its schedule {schedule.cron.text!r} and {known.cron.text!r} of {other} have the same id,"
        f" {schedule.id!r}; give one of them another `id=`"
    )


def _taken(known: AnyExecutor, executor: ExecutorLike) -> DefinitionError:
    """Return the error for an executor whose name another one has, or which is given twice."""
    executor_cls = type(executor) if isinstance(executor, Executor) else executor
    if executor_cls is type(known):
        return DefinitionError(
            f"{known.name}: {place_of(executor_cls)} is given twice; give it once, or the same instance"
        )
    places = f"{place_of(type(known))} and {place_of(executor_cls)}"
    return DefinitionError(f"{known.name}: two executors have this name, {places}; give one of them another name")


def _check_importable(executor: AnyExecutor) -> None:
    """Raise a `DefinitionError` unless a child process, which imports the program, can find the executor's class."""
    main = sys.modules["__main__"]
    file: str | None = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or (file is not None and not file.startswith("<")):
        return
    if file is not None:  # multiprocessing would take the text for a file name
        raise DefinitionError(
            f"{executor.name}: runs in child processes, which import the program, but it was read from {file};"
            " save it as a file and run that"
        )
    if type(executor).__module__ == "__main__":
        raise DefinitionError(
            f"{executor.name}: runs in child processes, which cannot import a class from `python -c`, a notebook or a"
            " prompt; define it in a module and import that"
        )


def _check_sendable(executor: AnyExecutor, around_execute: Iterable[AroundExecute]) -> None:
    """Raise a `DefinitionError` if the executor or middleware cannot be pickled, and so not be sent to a child."""
    from multiprocessing.reduction import ForkingPickler  # only executors that need it load it

    try:
        ForkingPickler.dumps(executor)
    except Exception as error:
        raise DefinitionError(
            f"{executor.name}: runs in child processes, but cannot be pickled ({error}); define the class at the top of"
            " a module, and make clients and connections within execute"
        ) from error
    for middleware in around_execute:
        try:
            if not is_asynchronous(middleware):
                ForkingPickler.dumps(middleware)
        except Exception as error:
            raise DefinitionError(
                f"{executor.name}: runs in child processes, but {name_of(middleware)} of around_execute cannot be"
                f" pickled ({error}); define it at the top of a module, or write it with `@asynccontextmanager`, which"
                " stays in the parent"
            ) from error


def _instance(what: str, executor: object) -> AnyExecutor:
    if isinstance(executor, Executor):
        return cast("AnyExecutor", executor)
    if isinstance(executor, type) and issubclass(executor, Executor):
        where = place_of(cast("type[object]", executor))
        if isabstract(cast("type[object]", executor)):
            missing = ", ".join(sorted(executor.__abstractmethods__))
            raise DefinitionError(f"{where}: {missing} is missing; define it")
        try:
            return cast("AnyExecutor", executor())
        except TypeError as error:
            raise DefinitionError(f"{where}: needs arguments ({error}); give an instance of it") from error
    expected = "an Executor class or an instance of one"
    raise mistake(what, expected, cast("object", executor), error=DefinitionError)


def _several(executors: Iterable[ExecutorLike]) -> Iterable[ExecutorLike]:
    """Return the executors, or raise a `ConfigurationError` for a single one, or for what holds none."""
    given: Any = executors
    is_single = isinstance(given, type | Executor)
    if isinstance(given, Iterable) and not is_single and not isinstance(given, str):
        return executors
    advice = "put it in a list" if is_single else ""
    raise mistake("Rexecutor: executors", "an iterable of Executor classes and instances", given, advice)
