"""The part of the port that a running node needs: claims, outcomes, leases and timed work."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime

from rexecutor.backend.completion import Completion, NoCompletion
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import Claim, Demand, Ticked
from rexecutor.backend.opening_port import OpeningPort
from rexecutor.model.job import ClaimId, JobId, NodeId
from rexecutor.model.outcomes import Settlement
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule
from rexecutor.model.stats import StatRow


class NodePort(OpeningPort):
    """What a running node does with a store."""

    @abstractmethod
    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs for the node to run: never early, never more than demanded, none without a live lease.

        Jobs are taken in the order of `rules.claim_order`, and each changes by `Claimed`. Two nodes never get the
        same claim.

        Raises:
            BackendError: The store failed. What was claimed is not known: call `release_claims` with the claims held.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record how attempts ended. Return the jobs whose claim was lost; these stay as they are. Atomic.

        An outcome is recorded only while the job executes under the settlement's claim. An outcome that is already
        recorded counts as a lost claim, so that repeating the call after a failure does no harm.

        Raises:
            BackendError: The store failed; what was recorded is not known. Call again.
        """

    @abstractmethod
    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Give back the node's executing jobs whose claim is not in `held`, because the result of the claim was lost.

        The jobs change by `Interrupted`. Return how many there were.

        An abandoned claim, or an earlier try of this call, may still reach the store later. The call therefore moves
        the node to `epoch`: from then on, claims with a lower `Demand.epoch` take nothing, and another call with this
        epoch, or a lower one, gives nothing back. Epoch 0 moves nothing: such a call always gives the jobs back.
        Heartbeats repeat the epoch, because the store may have forgotten the node and its epoch meanwhile.

        Raises:
            BackendError: The store failed; call again.
        """

    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait until one of the executors may have a due job, but not past `until`.

        A hint: it may return early, and does so at any change that may have made work. If there was one since the
        `change_count` given as `since`, it returns at once.
        """
        await self._wakeups.wait(until, since=since)

    @property
    def cancels(self) -> int:
        """How many requests to cancel a running job this backend has heard of."""
        return self._cancel_wakeups.count

    async def wait_cancel(self, until: datetime, *, since: int) -> None:
        """Wait until `cancels` differs from `since`, but not past `until`. A hint: heartbeats return every request."""
        await self._cancel_wakeups.wait(until, since=since)

    @abstractmethod
    def heartbeat_connection(self) -> HeartbeatConnection:
        """Return a new heartbeat connection for one thread. It must outlive neither the backend nor that thread."""

    def completion(self) -> Completion:
        """Return an object that completes running jobs in the application's transactions. Works on a closed backend."""
        return NoCompletion(type(self).__name__)

    @abstractmethod
    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take the ticks that are due, as `rules.advance` says, and enqueue their jobs.

        Each tick is taken at most once in the life of the store, in the transaction that enqueues its job. Uniqueness
        criteria of the job are ignored. A schedule that the store does not know begins with its next tick.

        Args:
            schedules: The schedules to look at.
            up_since: Since when the caller has looked at them: the `Ticked.now` of its first call; None in that call.

        Raises:
            BackendError: The store failed. What was taken is not known; call again.
        """

    @abstractmethod
    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete the first `limit` of the jobs in `rules.prunable`. Return how many were deleted. Atomic.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        """Add the attempts of these rows to the history. Atomic.

        Each row is added to the stored row of the same moment, span, executor and outcome, if there is one.

        Raises:
            BackendError: The store failed; whether the rows were added is not known.
        """

    @abstractmethod
    async def fold_stats(self, limit: int) -> int:
        """Fold the oldest rows of minutes to hours, and delete the oldest rows of hours, as `rules.foldable` says.

        Atomic. Several nodes may do it at once, but need not.

        Args:
            limit: Maximum number of rows to fold, and to delete.

        Returns:
            How many rows were folded or deleted; 0 if there is nothing left to do.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Make the node the holder of the lock. Return False if another node with a live lease holds it.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def release_lock(self, name: str, node_id: NodeId) -> None:
        """Let other nodes take the lock. Does nothing if this node does not hold it.

        Raises:
            BackendError: The store failed; the lock is free when the node's lease has run out.
        """
