"""Where an enqueue goes: a backend, or the application's own transaction (what `bound_to` returns)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TypeVar

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.backend.messages import PAGE
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import Enqueued, JobId, JobRecord, NewJob
from rexecutor.model.where import Where


class Bound:
    """The application's own connection, for one enqueue or several. It is never closed or committed here."""

    def __init__(self, backend: Backend) -> None:
        """Bind to a backend.

        Args:
            backend: Its limits apply, and job handles use it once the transaction is committed.
        """
        self.backend: Final = backend


class Transaction(Bound, ABC):
    """A connection that is awaited: `await builder.enqueue(backend=…)`, `await enqueue_many(…, backend=…)`."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs in the transaction: they exist once it is committed, and never if it is rolled back.

        Raises:
            ConfigurationError: The connection cannot be used as it is; nothing was sent.
            BackendError: The store failed; roll the transaction back.
        """

    @abstractmethod
    async def query(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        """Return jobs as `Backend.query` does, including those enqueued in the uncommitted transaction."""


class SyncTransaction(Bound, ABC):
    """A connection that blocks: `builder.enqueue_sync(backend=…)`, `enqueue_many_sync(…, backend=…)`."""

    @abstractmethod
    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `Transaction.enqueue` does."""

    @abstractmethod
    def query_sync(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        """Return jobs as `Transaction.query` does."""


BoundT = TypeVar("BoundT", bound=Bound)


def awaited(
    given: Backend | Bound | None, what: str = "enqueue", instead: str = "enqueue_sync or enqueue_many_sync"
) -> Backend | Transaction:
    """Return the target of an awaited enqueue: what is given, or the current backend if None.

    Args:
        given: A backend or a bound connection.
        what: The call's name, for the error message.
        instead: The synchronous calls to use instead, for the error message.

    Raises:
        ConfigurationError: The connection is synchronous.
        GlobalBackendError: None is given and there is no current backend.
    """
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, Transaction):
        raise ConfigurationError(f"{what}: the connection is synchronous; call {instead}")
    return _unless_replaced(given)


def blocking(
    given: Backend | Bound | None, what: str = "enqueue_sync", instead: str = "`await enqueue` or enqueue_many"
) -> Backend | SyncTransaction:
    """Return the target of a synchronous enqueue, as `awaited` does for an awaited one.

    Raises:
        ConfigurationError: The connection must be awaited.
        GlobalBackendError: None is given and there is no current backend.
    """
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, SyncTransaction):
        raise ConfigurationError(f"{what}: the connection must be awaited; call {instead}")
    return _unless_replaced(given)


def _unless_replaced(given: BoundT) -> BoundT | Backend:
    """Return the transaction, or the backend that replaces its own in a test."""
    store = current_backend(given.backend)
    return given if store is given.backend else store


def backend_of(target: Backend | Bound) -> Backend:
    """Return the backend itself, or the one that a connection is bound to."""
    return target.backend if isinstance(target, Bound) else target
