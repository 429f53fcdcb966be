"""Heartbeats of a running node: the half of the port that the lease's thread calls."""

from abc import ABC, abstractmethod

from rexecutor.backend.messages import Heartbeat, Node
from rexecutor.model.job import NodeId


class HeartbeatConnection(ABC):
    """A separate connection for heartbeats. Synchronous, and called only from the lease's thread."""

    @abstractmethod
    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew or begin the node's lease, rescue jobs of dead nodes, cancel expired jobs; return requested cancels.

        Atomic. Jobs of a node whose lease has run out change by `Lost`, and the store forgets the node. The node's own
        lease is renewed even if it has run out, as long as no other heartbeat has noticed. A row that cannot be changed
        does not fail the heartbeat: its job is discarded, without the values that cannot be read.

        Waiting jobs that have expired (`rules.is_expired`) change by `Expired`: at most `EXPIRED_PER_HEARTBEAT`, those
        that expired first. This wakes those who wait for the end of such a job.

        If `rescues` is False, neither lost nor expired jobs change.

        Raises:
            BackendError: The store failed; whether the lease was renewed is not known.
        """

    @abstractmethod
    def deregister(self, node_id: NodeId) -> None:
        """End the node's lease now. The next heartbeat of any node rescues the jobs that it still runs.

        Raises:
            BackendError: The store failed; the lease runs out by itself.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Does nothing if it is closed."""
