"""The port: what a job store does. Subclass `Backend` to write one; `rexecutor.testing.BackendSuite` proves it.

Everything is batched, fenced, and on the store's clock. What each change means is written in `rexecutor.model.rules`;
a backend decides nothing. A driver's exceptions never leave a backend: each becomes the cause of a `BackendError`.

The port has four parts, by who needs them: `opening_port`, `node_port`, `application_port` and `operator_port`.
"""

from typing import Final

from rexecutor.backend.node_port import NodePort
from rexecutor.backend.operator_port import OperatorPort
from rexecutor.backend.sync_waits import SyncWaits
from rexecutor.backend.waits import SharedWaits
from rexecutor.clock import Clock
from rexecutor.model.job import Limits


class Backend(NodePort, OperatorPort):
    """Access to one job store. An async context manager: `async with` opens and closes it."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        """Store the settings that every backend has.

        Args:
            clock: Source of the time; the machine's clock by default.
            limits: How large jobs may be.
        """
        super().__init__(clock=clock, limits=limits)
        self.waits: Final = SharedWaits(self)
        """Waits until jobs have ended. However many there are, they share the calls of `check_ended`."""
        self.sync_waits: Final = SyncWaits(self)
        """Waits of threads without an event loop."""
