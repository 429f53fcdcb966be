"""When a job must not be enqueued twice, and what an enqueue does instead. `rules.conflicting` says what that means."""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from rexecutor.clock import checked_delay
from rexecutor.errors import ConfigurationError
from rexecutor.model.codec import compared
from rexecutor.model.status import OPEN, JobStatus, checked_statuses

Field: TypeAlias = Literal["priority", "data", "metadata", "scheduled_at", "max_attempts"]
"""What of a job may be replaced."""

_LONGEST: Final = timedelta(days=365_000)


@dataclass(frozen=True, slots=True)
class Replace:
    """What an enqueue changes in the job that is there already, instead of adding another.

    ```python
    Replace.priority().and_data().for_statuses(JobStatus.SCHEDULED, JobStatus.RETRYABLE)
    ```

    Only while that job's status is one of `for_statuses`, which is `SCHEDULED` unless told otherwise; never its
    status. Data and metadata are replaced only in a job of the same executor.
    """

    fields: frozenset[Field]
    statuses: frozenset[JobStatus] = frozenset({JobStatus.SCHEDULED})

    @classmethod
    def priority(cls) -> "Replace":
        """Replace the priority."""
        return cls(frozenset({"priority"}))

    @classmethod
    def data(cls) -> "Replace":
        """Replace the data."""
        return cls(frozenset({"data"}))

    @classmethod
    def metadata(cls) -> "Replace":
        """Replace the metadata."""
        return cls(frozenset({"metadata"}))

    @classmethod
    def scheduled_at(cls) -> "Replace":
        """Replace the moment when it is due."""
        return cls(frozenset({"scheduled_at"}))

    @classmethod
    def max_attempts(cls) -> "Replace":
        """Replace how often it may start."""
        return cls(frozenset({"max_attempts"}))

    def and_priority(self) -> "Replace":
        """Replace the priority too."""
        return self._and("priority")

    def and_data(self) -> "Replace":
        """Replace the data too."""
        return self._and("data")

    def and_metadata(self) -> "Replace":
        """Replace the metadata too."""
        return self._and("metadata")

    def and_scheduled_at(self) -> "Replace":
        """Replace the moment when it is due too."""
        return self._and("scheduled_at")

    def and_max_attempts(self) -> "Replace":
        """Replace how often it may start too."""
        return self._and("max_attempts")

    def for_statuses(self, *statuses: JobStatus) -> "Replace":
        """Replace only in a job that is in one of these statuses, in place of those set before.

        Raises:
            ConfigurationError: There are none, or one is no status.
        """
        return replace(self, statuses=_statuses("Replace.for_statuses", statuses))

    def _and(self, field: Field) -> "Replace":
        return replace(self, fields=self.fields | {field})


@dataclass(frozen=True, slots=True)
class UniquenessCriteria:
    """Which jobs count as the same, and what an enqueue does when there is one already: nothing, or a `Replace`.

    ```python
    UniquenessCriteria.by_executor().and_within(timedelta(minutes=5)).on_conflict(Replace.priority())
    ```

    Every criterion that is given must hold; data and metadata are not compared. Statuses are always asked for: those
    in which a job has not ended, unless others are given, and `COMPLETE` too once there is a window. Set it on the
    executor, or on one job with `JobBuilder.unique`, which takes the place of the executor's.
    """

    is_by_executor: bool = False
    key: str | None = None
    """The digest of the key; None for none."""
    window: timedelta | None = None
    chosen_statuses: frozenset[JobStatus] | None = None
    replacement: Replace | None = None
    """None where an enqueue does nothing on a conflict."""

    @classmethod
    def by_executor(cls) -> "UniquenessCriteria":
        """Jobs of the same executor."""
        return cls(is_by_executor=True)

    @classmethod
    def by_key(cls, key: Any) -> "UniquenessCriteria":
        """Jobs that were enqueued with the same key, of whatever executor; see `and_key`."""
        return cls(key=_digest(key))

    @classmethod
    def within(cls, window: timedelta) -> "UniquenessCriteria":
        """Jobs, of whatever executor, that are due at most this long before or after; see `and_within`."""
        return cls(window=_window(window))

    @classmethod
    def by_statuses(cls, *statuses: JobStatus) -> "UniquenessCriteria":
        """Jobs, of whatever executor, in one of these statuses; see `and_statuses`."""
        return cls(chosen_statuses=_statuses("UniquenessCriteria.by_statuses", statuses))

    def and_executor(self) -> "UniquenessCriteria":
        """Only jobs of the same executor."""
        return replace(self, is_by_executor=True)

    def and_key(self, key: Any) -> "UniquenessCriteria":
        """Only jobs that were enqueued with the same key: any value that JSON can hold, compared as JSON.

        Stores keep the BLAKE2b-256 digest of its canonical JSON, never Python's `hash()`, which differs between
        processes.

        Raises:
            EncodeError: JSON cannot hold it.
        """
        return replace(self, key=_digest(key))

    def and_within(self, window: timedelta) -> "UniquenessCriteria":
        """Only jobs that are due at most this long before or after the new one; both ends count.

        Raises:
            ConfigurationError: It is no timedelta, or not from zero to 1,000 years.
        """
        return replace(self, window=_window(window))

    def and_statuses(self, *statuses: JobStatus) -> "UniquenessCriteria":
        """Only jobs in one of these statuses, in place of the default.

        Raises:
            ConfigurationError: There are none, or one is no status.
        """
        return replace(self, chosen_statuses=_statuses("UniquenessCriteria.and_statuses", statuses))

    def on_conflict(self, action: Replace) -> "UniquenessCriteria":
        """Replace fields of the job that is there already."""
        if not isinstance(action, Replace):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(f"on_conflict({action!r}): give Replace.priority() or the like")
        return replace(self, replacement=action)

    def on_conflict_do_nothing(self) -> "UniquenessCriteria":
        """Leave the job that is there already as it is; this is the default."""
        return replace(self, replacement=None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing says which jobs are the same: any job would stand in the way of any other."""
        return self == UniquenessCriteria(replacement=self.replacement)

    @property
    def statuses(self) -> frozenset[JobStatus]:
        """The statuses of the jobs that count."""
        if self.chosen_statuses is not None:
            return self.chosen_statuses
        return OPEN if self.window is None else OPEN | {JobStatus.COMPLETE}


def _digest(key: Any) -> str:
    encoded = compared(key, owner="UniquenessCriteria", what="key").encode()
    return hashlib.blake2b(encoded, digest_size=32).hexdigest()


def _window(window: timedelta) -> timedelta:
    return checked_delay("UniquenessCriteria: within", window, most=_LONGEST)


def _statuses(what: str, statuses: tuple[JobStatus, ...]) -> frozenset[JobStatus]:
    if not statuses:
        raise ConfigurationError(f"{what}: no status given; spread one or more, such as *JobStatus for all")
    return checked_statuses(what, statuses)
