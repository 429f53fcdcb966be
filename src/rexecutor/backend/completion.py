"""Completing a running job in the application's own transaction: the port's half of `Job.complete_in`."""

from abc import ABC, abstractmethod

from rexecutor.errors import ConfigurationError
from rexecutor.model.job import JobRecord


class Completion(ABC):
    """Completes jobs of one store on any connection to it. Can be pickled, for jobs that run in child processes."""

    @abstractmethod
    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Record a success in the connection's transaction. Return False if the record's claim was lost.

        Args:
            record: The job as it was claimed.
            connection: A connection to the store.
            result: What the job leaves as its result, as JSON text; None if it leaves none.

        Raises:
            ConfigurationError: The connection cannot be used as it is, or is synchronous; nothing was sent.
            BackendError: The store failed; roll the transaction back.
        """

    @abstractmethod
    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Record a success as `complete` does, on a synchronous connection."""


class NoCompletion(Completion):
    """For stores that cannot share a transaction with the application."""

    def __init__(self, store: str) -> None:
        """Make one.

        Args:
            store: Class name of the backend, for the error message.
        """
        self._store = store

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Raise a `ConfigurationError`."""
        return self.complete_sync(record, connection, result=result)

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Raise a `ConfigurationError`."""
        raise ConfigurationError(
            f"complete_in: {self._store} shares no transaction with your connection; leave the call out, since the job"
            " is complete when execute returns, or keep the jobs in the database of your data (SQLiteBackend,"
            " PostgresBackend)"
        )
