"""A transaction of the application's own, to enqueue in: what a backend's `bound_to` answers."""

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
    """A connection of the application's own. It is given to one enqueue or to several, never closed or committed."""

    def __init__(self, backend: Backend) -> None:
        """Keep the backend, whose limits hold, and which a handle asks once the transaction is committed."""
        self.backend: Final = backend


class Transaction(Bound, ABC):
    """A connection that is awaited: `await builder.enqueue(backend=…)`, `await enqueue_many(…, backend=…)`."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs in the transaction: they are there when it is committed, and never were when it is not.

        Raises:
            ConfigurationError: The connection cannot be used as it is; nothing was sent.
            BackendError: The store failed; roll the transaction back.
        """

    @abstractmethod
    async def query(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        """Return jobs as `Backend.query` does, and with them what the transaction has enqueued and not committed."""


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
    given: Backend | Bound | None, what: str = "enqueue", twin: str = "enqueue_sync or enqueue_many_sync"
) -> Backend | Transaction:
    """Return what to `await` an enqueue of; the current backend when none is given."""
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, Transaction):
        raise ConfigurationError(f"{what}: the connection is synchronous; call {twin}")
    return _unless_replaced(given)


def blocking(
    given: Backend | Bound | None, what: str = "enqueue_sync", twin: str = "`await enqueue` or enqueue_many"
) -> Backend | SyncTransaction:
    """Return what enqueues without a loop; the current backend when none is given."""
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, SyncTransaction):
        raise ConfigurationError(f"{what}: the connection must be awaited; call {twin}")
    return _unless_replaced(given)


def _unless_replaced(given: BoundT) -> BoundT | Backend:
    """Return the transaction, unless another backend stands in for its own in a test."""
    store = current_backend(given.backend)
    return given if store is given.backend else store


def backend_of(target: Backend | Bound) -> Backend:
    """Return the backend that holds what is enqueued there."""
    return target.backend if isinstance(target, Bound) else target
