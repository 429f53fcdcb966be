"""`Pruner` and `PrunerConfig`: which ended jobs a user wants deleted, and when."""

from dataclasses import dataclass, replace
from datetime import timedelta

from rexecutor.errors import ConfigurationError
from rexecutor.jobs.executor import ExecutorLike, executor_class
from rexecutor.model.checks import LONGEST_DELAY, checked_delay, checked_instance, checked_int, mistake
from rexecutor.model.cron import Cron
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.status import JobStatus


@dataclass(frozen=True, slots=True)
class Pruner:
    """Which ended jobs are deleted: those of all executors, or of the ones chosen by `only` or `except_`.

    ```python
    Pruner.max_age(timedelta(days=31), JobStatus.COMPLETE).only(EmailJob)
    Pruner.max_length(200, JobStatus.DISCARDED).except_(EmailJob)
    ```
    """

    spec: PruneSpec
    _chosen: str | None = None

    @classmethod
    def max_age(cls, age: timedelta, status: JobStatus) -> "Pruner":
        """Delete jobs that ended in this status longer ago than `age`, by the store's clock.

        Raises:
            ConfigurationError: The age is no timedelta or not from zero to 1,000 years, or jobs in that status have
                not ended: only ended jobs are deleted.
        """
        checked_delay("Pruner.max_age: age", age, limit=LONGEST_DELAY)
        return cls(PruneSpec(_ended("Pruner.max_age", status), OlderThan(age)))

    @classmethod
    def max_length(cls, length: int, status: JobStatus) -> "Pruner":
        """Of each executor's jobs in this status, keep the `length` that ended last and delete the rest.

        Raises:
            ConfigurationError: The length is no whole number of 0 or more, or jobs in that status have not ended:
                only ended jobs are deleted.
        """
        checked_int("Pruner.max_length: length", length, 0)
        return cls(PruneSpec(_ended("Pruner.max_length", status), BeyondNewest(length)))

    def only(self, *executors: ExecutorLike) -> "Pruner":
        """Delete only jobs of these executors, which need not be registered. `and_` adds more.

        Raises:
            ConfigurationError: No executor is given, one is no executor, or `only` or `except_` was called
                before.
        """
        return self._choose("only", executors)

    def except_(self, *executors: ExecutorLike) -> "Pruner":
        """Delete jobs of all executors except these, which need not be registered. `and_` adds more.

        Raises:
            ConfigurationError: No executor is given, one is no executor, or `only` or `except_` was called
                before.
        """
        return self._choose("except_", executors)

    def and_(self, *executors: ExecutorLike) -> "Pruner":
        """Add executors to those given to `only` or `except_`.

        Raises:
            ConfigurationError: Neither was called before, no executor is given, or one is no executor.
        """
        if self._chosen is None:
            raise ConfigurationError("Pruner.and_: call `only(…)` or `except_(…)` first")
        names = self.spec.executors | _names("and_", executors)
        return replace(self, spec=replace(self.spec, executors=names))

    def _choose(self, word: str, executors: tuple[ExecutorLike, ...]) -> "Pruner":
        if self._chosen is not None:
            raise ConfigurationError(f"Pruner.{word}: `{self._chosen}(…)` was already called; `and_(…)` adds executors")
        spec = replace(self.spec, executors=_names(word, executors), is_except=word == "except_")
        return Pruner(spec, word)


@dataclass(frozen=True, slots=True)
class PrunerConfig:
    """When ended jobs are deleted, and which ones.

    ```python
    PrunerConfig("0 * * * *").with_pruner(Pruner.max_age(timedelta(days=31), JobStatus.COMPLETE))
    ```

    At each tick (in UTC) only one node prunes, however many nodes there are. Each transaction deletes at most 1,000
    jobs of one pruner.
    """

    schedule: Cron | str
    max_concurrency: int | None = None
    pruners: tuple[Pruner, ...] = ()

    def __post_init__(self) -> None:
        cron = self.schedule if isinstance(self.schedule, Cron) else Cron(self.schedule)
        object.__setattr__(self, "schedule", cron)
        checked_int("PrunerConfig: max_concurrency", self.max_concurrency, 1, or_none=True)

    @property
    def cron(self) -> Cron:
        """The schedule as a `Cron`."""
        assert isinstance(self.schedule, Cron)  # noqa: S101 - set in __post_init__
        return self.schedule

    def with_max_concurrency(self, limit: int | None) -> "PrunerConfig":
        """Limit how many pruners run at a time, 1 or more; None, the default, for no limit.

        Raises:
            ConfigurationError: The limit is no whole number of 1 or more.
        """
        return replace(self, max_concurrency=limit)

    def with_pruner(self, pruner: Pruner) -> "PrunerConfig":
        """Add a pruner."""
        return self.with_pruners([pruner])

    def with_pruners(self, pruners: "list[Pruner] | tuple[Pruner, ...]") -> "PrunerConfig":
        """Add pruners.

        Raises:
            ConfigurationError: One of them is no pruner.
        """
        for pruner in pruners:
            expected = "a Pruner, such as Pruner.max_age(…)"
            checked_instance("PrunerConfig: each pruner", pruner, Pruner, expected)
        return replace(self, pruners=(*self.pruners, *pruners))


def _ended(what: str, status: JobStatus) -> JobStatus:
    if not isinstance(status, JobStatus) or not status.has_ended:
        expected = "JobStatus.COMPLETE, CANCELLED or DISCARDED"
        raise mistake(f"{what}: status", expected, status, "only ended jobs are deleted")
    return status


def _names(word: str, executors: tuple[ExecutorLike, ...]) -> frozenset[str]:
    if not executors:
        raise ConfigurationError(f"Pruner.{word}: no executor given; give at least one")
    return frozenset(executor_class(f"Pruner.{word}: each executor", executor).name for executor in executors)
