"""When a job must not be enqueued twice, and what an enqueue does instead; `rules.conflicting` defines it exactly."""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from rexecutor.errors import ConfigurationError, RexecutorError
from rexecutor.model.checks import LONGEST_DELAY, checked_delay, checked_instance, checked_statuses, mistake, spread
from rexecutor.model.codec import compared
from rexecutor.model.status import OPEN, JobStatus

Field: TypeAlias = Literal["priority", "data", "metadata", "scheduled_at", "max_attempts"]
"""A field of a job that an enqueue may replace."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Which fields an enqueue changes in the existing job, instead of adding another one.

    ```python
    Replace.priority().and_data().for_statuses(JobStatus.SCHEDULED, JobStatus.RETRYABLE)
    ```

    The existing job is changed only if its status is one of `for_statuses`, by default `SCHEDULED`. Its status never
    changes. Data and metadata are replaced only in a job of the same executor.
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
        """Replace the time when the job is due."""
        return cls(frozenset({"scheduled_at"}))

    @classmethod
    def max_attempts(cls) -> "Replace":
        """Replace the maximum number of attempts."""
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
        """Replace the time when the job is due too."""
        return self._and("scheduled_at")

    def and_max_attempts(self) -> "Replace":
        """Replace the maximum number of attempts too."""
        return self._and("max_attempts")

    def for_statuses(self, *statuses: JobStatus) -> "Replace":
        """Replace only if the existing job is in one of these statuses. They take the place of any set before.

        Raises:
            ConfigurationError: No status is given, or one is not a `JobStatus`.
        """
        return replace(self, statuses=_statuses("Replace.for_statuses", statuses))

    def _and(self, field: Field) -> "Replace":
        return replace(self, fields=self.fields | {field})


@dataclass(frozen=True, slots=True)
class UniquenessCriteria:
    """Which jobs count as the same, and what an enqueue does if there is one already: nothing, or a `Replace`.

    ```python
    UniquenessCriteria.by_executor().and_within(timedelta(minutes=5)).on_conflict(Replace.priority())
    ```

    Every criterion that is given must hold. Data are compared only by `by_data`, metadata never. Only jobs in certain
    statuses count: by default those that have not ended, and with a window `COMPLETE` ones too. Set the criteria on the
    executor, or on one job when it is enqueued, which takes the place of the executor's.
    """

    is_by_executor: bool = False
    key: str | None = None
    """The digest of the key; None for none."""
    data_fields: frozenset[str] | None = None
    """The fields of the data that each enqueue adds to the key: an empty set for all data, None for none of them."""
    window: timedelta | None = None
    chosen_statuses: frozenset[JobStatus] | None = None
    replacement: Replace | None = None
    """What to replace on a conflict; None if an enqueue then does nothing."""

    @classmethod
    def by_executor(cls) -> "UniquenessCriteria":
        """Jobs of the same executor."""
        return cls(is_by_executor=True)

    @classmethod
    def by_key(cls, key: Any) -> "UniquenessCriteria":
        """Jobs of any executor that were enqueued with the same key; see `and_key`."""
        return cls(key=_digest(key))

    @classmethod
    def by_data(cls, *fields: str) -> "UniquenessCriteria":
        """Jobs of the same executor that were enqueued with the same data, or the same of these fields; see `and_data`.

        ```python
        UniquenessCriteria.by_data("user_id", "kind")
        ```
        """
        return cls().and_data(*fields)

    @classmethod
    def within(cls, window: timedelta) -> "UniquenessCriteria":
        """Jobs of any executor that are due at most this long before or after the new one; see `and_within`."""
        return cls(window=_window(window))

    @classmethod
    def by_statuses(cls, *statuses: JobStatus) -> "UniquenessCriteria":
        """Jobs of any executor in one of these statuses; see `and_statuses`."""
        return cls(chosen_statuses=_statuses("UniquenessCriteria.by_statuses", statuses))

    def and_executor(self) -> "UniquenessCriteria":
        """Only jobs of the same executor."""
        return replace(self, is_by_executor=True)

    def and_key(self, key: Any) -> "UniquenessCriteria":
        """Only jobs that were enqueued with the same key. It may be any value that JSON can hold, compared as JSON.

        Stores keep the BLAKE2b-256 digest of the key's canonical JSON. Python's `hash()` would differ between
        processes.

        Raises:
            EncodeError: JSON cannot hold the key.
        """
        return replace(self, key=_digest(key))

    def and_data(self, *fields: str) -> "UniquenessCriteria":
        """Only jobs of the same executor that were enqueued with the same data.

        The key is taken from the data of each enqueue, so the criteria can stand on the executor's class. Data are
        compared as JSON: the order of keys and of a set's members does not matter, and 1 equals 1.0. A later change of
        a job's data leaves the key as it is. With `and_key` both the key and the data must be the same.

        Args:
            fields: Names of fields of the data; only these are compared. None for all data. Fields given in several
                calls are added up. Data that lack one of them are an `InvalidJobError` at the enqueue, and a
                `DefinitionError` at the definition of the class if its type of data cannot have it.

        Raises:
            ConfigurationError: A field is not a non-empty str.
        """
        for field in fields:
            if not isinstance(field, str) or not field:
                raise mistake("UniquenessCriteria.by_data: each field", "a non-empty str", field, spread(field))
        all_data = not fields or self.data_fields == frozenset()
        chosen = frozenset[str]() if all_data else frozenset(fields) | (self.data_fields or frozenset())
        return replace(self, is_by_executor=True, data_fields=chosen)

    def and_within(self, window: timedelta) -> "UniquenessCriteria":
        """Only jobs that are due at most this long before or after the new one; both ends count.

        Raises:
            ConfigurationError: The window is not a timedelta from zero to 1,000 years.
        """
        return replace(self, window=_window(window))

    def and_statuses(self, *statuses: JobStatus) -> "UniquenessCriteria":
        """Only jobs in one of these statuses, instead of the default ones.

        Raises:
            ConfigurationError: No status is given, or one is not a `JobStatus`.
        """
        return replace(self, chosen_statuses=_statuses("UniquenessCriteria.and_statuses", statuses))

    def on_conflict(self, action: Replace) -> "UniquenessCriteria":
        """Replace fields of the existing job."""
        expected = "a Replace, such as Replace.priority()"
        return replace(self, replacement=checked_instance("on_conflict: action", action, Replace, expected))

    def on_conflict_do_nothing(self) -> "UniquenessCriteria":
        """Leave the existing job as it is; this is the default."""
        return replace(self, replacement=None)

    @property
    def is_empty(self) -> bool:
        """Whether no criterion is given, so that any job would conflict with any other."""
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
    return checked_delay("UniquenessCriteria.within: window", window, limit=LONGEST_DELAY)


def _statuses(what: str, statuses: tuple[JobStatus, ...]) -> frozenset[JobStatus]:
    if not statuses:
        raise ConfigurationError(f"{what}: no status given; give at least one, or *JobStatus for all")
    return checked_statuses(what, statuses)


def checked_criteria(
    what: str, criteria: UniquenessCriteria, *, error: type[RexecutorError] = ConfigurationError
) -> UniquenessCriteria:
    """Return the criteria, or raise an error unless they are a `UniquenessCriteria` that is not empty."""
    expected = "a UniquenessCriteria, such as UniquenessCriteria.by_executor()"
    if checked_instance(what, criteria, UniquenessCriteria, expected, error=error).is_empty:
        raise error(f"{what} are empty: start with by_executor(), by_data() or by_key(…)")
    return criteria
