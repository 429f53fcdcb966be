"""What completes a running job in a transaction of the application's own: the port's half of `Job.complete_in`."""

from abc import ABC, abstractmethod

from rexecutor.errors import ConfigurationError
from rexecutor.model.job import JobRecord


class Completion(ABC):
    """Completes jobs of one store on any connection to it. It can be pickled, for jobs that run in child processes."""

    @abstractmethod
    async def complete(self, record: JobRecord, connection: object) -> bool:
        """Record a success in the connection's transaction; answer False where the job is no longer ours.

        Raises:
            ConfigurationError: It cannot be used as it is, or is one that blocks; nothing was sent.
            BackendError: The store failed; roll the transaction back.
        """

    @abstractmethod
    def complete_sync(self, record: JobRecord, connection: object) -> bool:
        """Do the same on a connection that blocks."""


class NoCompletion(Completion):
    """Of a store that shares no transaction with anybody."""

    def __init__(self, store: str) -> None:
        """Keep the name of the store's class."""
        self._store = store

    async def complete(self, record: JobRecord, connection: object) -> bool:
        """Raise a `ConfigurationError`."""
        return self.complete_sync(record, connection)

    def complete_sync(self, record: JobRecord, connection: object) -> bool:
        """Raise a `ConfigurationError`."""
        raise ConfigurationError(
            f"complete_in: {self._store} shares no transaction with your connection; answer None from execute, or keep"
            " the jobs in the database of your data (SQLiteBackend, PostgresBackend)"
        )
