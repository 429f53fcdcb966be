"""A transaction of the application's own, to enqueue in: what a backend's `bound_to` answers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.errors import ConfigurationError
from rexecutor.job import Enqueued, NewJob


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


class SyncTransaction(Bound, ABC):
    """A connection that blocks: `builder.enqueue_sync(backend=…)`, `enqueue_many_sync(…, backend=…)`."""

    @abstractmethod
    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `Transaction.enqueue` does."""


def awaited(given: Backend | Bound | None) -> Backend | Transaction:
    """Answer what to `await` an enqueue of; the current backend where none is given."""
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, Transaction):
        raise ConfigurationError("enqueue: the connection is synchronous; call enqueue_sync or enqueue_many_sync")
    return given


def blocking(given: Backend | Bound | None) -> Backend | SyncTransaction:
    """Answer what enqueues without a loop; the current backend where none is given."""
    if not isinstance(given, Bound):
        return current_backend(given)
    if not isinstance(given, SyncTransaction):
        raise ConfigurationError("enqueue_sync: the connection must be awaited; call `await enqueue` or enqueue_many")
    return given


def backend_of(target: Backend | Bound) -> Backend:
    """Answer the backend that holds what is enqueued there."""
    return target.backend if isinstance(target, Bound) else target
