"""Where a call goes: to a backend, or to the application's own transaction (what `bound_to` returns)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from rexecutor.backend.application_port import cancel_asked
from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend, is_overriding
from rexecutor.backend.messages import PAGE, Count, NewPause, Pause
from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import checked_int
from rexecutor.model.job import Enqueued, JobId, JobRecord, NewJob
from rexecutor.model.outcomes import CancelAsked, Rerun
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where


class Bound:
    """The application's own connection, for one call or several. It is never closed or committed here."""

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
    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `Backend.query` does, including those enqueued in the uncommitted transaction."""

    @abstractmethod
    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs as `Backend.count` does, including those enqueued in the uncommitted transaction."""

    @abstractmethod
    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `Backend.apply` does; the change takes effect once the transaction is committed.

        Until then the job is locked (on SQLite, the whole file), also for the node that runs it.

        Raises:
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: Its status does not allow the change.
            ConfigurationError: The connection cannot be used as it is; nothing was sent.
            BackendError: The store failed; roll the transaction back.
        """

    @abstractmethod
    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job as `Backend.update` does; the change takes effect as that of `apply` does."""

    async def cancel(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job as `Backend.cancel` does; the change takes effect as that of `apply` does."""
        return await self.apply(job_id, cancel_asked(job_id, reason, self.backend.limits), executor=executor)

    async def rerun(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again as `Backend.rerun` does; the change takes effect as that of `apply` does."""
        checked_int("rerun: job_id", job_id)
        await self.apply(job_id, Rerun(), executor=executor)


class SyncTransaction(Bound, ABC):
    """A connection that blocks: `builder.enqueue_sync(backend=…)`, `enqueue_many_sync(…, backend=…)`."""

    @property
    def hint(self) -> str:
        """What to add to the advice to make a synchronous call on this connection; usually nothing."""
        return ""

    @abstractmethod
    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `Transaction.enqueue` does."""

    @abstractmethod
    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `Transaction.query` does."""

    @abstractmethod
    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs as `Transaction.count` does."""

    @abstractmethod
    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `Transaction.apply` does."""

    @abstractmethod
    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job as `Transaction.update` does."""

    @abstractmethod
    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store the pause as `Backend.put_pause` does; it takes effect once the transaction is committed."""

    @abstractmethod
    def end_pause_sync(self, executor: str) -> bool:
        """Delete the pause as `Backend.end_pause` does; that takes effect once the transaction is committed."""

    def cancel_sync(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job as `Transaction.cancel` does."""
        return self.apply_sync(job_id, cancel_asked(job_id, reason, self.backend.limits), executor=executor)

    def rerun_sync(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again as `Transaction.rerun` does."""
        checked_int("rerun: job_id", job_id)
        self.apply_sync(job_id, Rerun(), executor=executor)


BoundT = TypeVar("BoundT", bound=Bound)


def bound(what: str, backend: Backend | Bound | None, connection: object) -> Backend | Bound:
    """Return the backend bound to the application's connection: what `connection=` means.

    In a test that overrides the global backend by one without `bound_to`, as the fixture `rexecutor_backend` does,
    return that backend, which records the enqueue.

    Args:
        what: The call's name, for the error message.
        backend: The backend; None for the current one.
        connection: A connection of any kind that `bound_to` of the backend takes.

    Raises:
        ConfigurationError: The backend is bound to a connection already, has no `bound_to`, or cannot use this one.
        GlobalBackendError: None is given and there is no current backend.
    """
    if isinstance(backend, Bound):
        raise ConfigurationError(f"{what}: connection= is given, and backend= is bound to one; give one of them")
    store = current_backend(backend)
    bind: Any = getattr(store, "bound_to", None)
    if bind is None and store is not backend and is_overriding(store):
        return store
    if bind is None:
        name = type(store).__name__
        raise ConfigurationError(
            f"{what}: connection= is given, but {name} cannot store a job in your transaction; leave it out,"
            " or use PostgreSQL or SQLite"
        )
    return bind(connection)


def awaited(
    given: Backend | Bound | None, what: str = "enqueue", instead: str = "enqueue_sync or enqueue_many_sync"
) -> Backend | Transaction:
    """Return the target of an awaited call: what is given, or the current backend if None.

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
        hint = given.hint if isinstance(given, SyncTransaction) else ""
        raise ConfigurationError(f"{what}: the connection is synchronous; call {instead}{hint}")
    return _unless_replaced(given)


def blocking(
    given: Backend | Bound | None, what: str = "enqueue_sync", instead: str = "`await enqueue` or enqueue_many"
) -> Backend | SyncTransaction:
    """Return the target of a synchronous call, as `awaited` does for an awaited one.

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
