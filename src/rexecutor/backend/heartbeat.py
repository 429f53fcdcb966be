"""What beats for a running node: the half of the port that a thread of its own calls."""

from abc import ABC, abstractmethod

from rexecutor.backend.messages import Heartbeat, Node
from rexecutor.model.job import NodeId


class Heart(ABC):
    """A connection of its own for heartbeats. Synchronous: it is called from the lease's thread, and only there."""

    @abstractmethod
    def beat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew the node's lease (or begin it), rescue the jobs of nodes without one, tell of asked cancels.

        Atomic. Jobs of a node whose lease ran out change by `Lost`, and the node is forgotten with them, but not where
        `rescues` is False. A lease that has run out and that nobody has noticed is renewed like any other. A row that
        cannot be changed does not fail the beat: it is discarded, without what cannot be read of it.

        Raises:
            BackendError: The store failed; whether the lease was renewed is not known.
        """

    @abstractmethod
    def retire(self, node_id: NodeId) -> None:
        """End the node's lease now. What it still runs is for the next beat of any node to rescue.

        Raises:
            BackendError: The store failed; the lease runs out by itself.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Harmless when closed."""
