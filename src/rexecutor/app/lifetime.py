"""One run of a `Rexecutor`, from its start to its end: an open backend and, if there is something to run, a node."""

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import current_process
from typing import Final, Self
from weakref import WeakKeyDictionary

from rexecutor.affinity import GUARD, Affinity
from rexecutor.backend.base import Backend
from rexecutor.background import start_task
from rexecutor.engine.child import CHILD_NAME
from rexecutor.engine.health import Health, HealthStatus
from rexecutor.engine.loop import Emit
from rexecutor.engine.node import RunningNode
from rexecutor.errors import ConfigurationError, RexecutorError
from rexecutor.telemetry.events import NothingToRun


class _OpenBackends:
    """The backends that a `Rexecutor` has opened, with a count of those that use each.

    Several may share a backend: the first opens it, and the last to end closes it.
    """

    def __init__(self) -> None:
        self._references: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()

    async def acquire(self, backend: Backend) -> None:
        """Open the backend and count one more reference. Does nothing if the application has opened it itself."""
        with GUARD:  # event loops in several threads may call it at the same moment
            if backend not in self._references and backend.is_open:
                return
            self._references[backend] = self._references.get(backend, 0) + 1
        try:
            await backend.open()
        except BaseException:
            await self.release(backend)
            raise

    async def release(self, backend: Backend) -> None:
        """Count one reference less; the last closes the backend. Does nothing if the application has opened it."""
        with GUARD:
            if backend not in self._references:
                return
            self._references[backend] -= 1
            if self._references[backend]:
                return
            del self._references[backend]
        await backend.close()


_OPEN_BACKENDS: Final = _OpenBackends()


class Lifetime:
    """An open backend, and the node that was started on it. Belongs to the process and the event loop of its start."""

    def __init__(self, backend: Backend, node: RunningNode | None, ended: Callable[[], object]) -> None:
        self.node: Final = node
        """The node; None if there is nothing to run."""
        self._backend = backend
        self._ended = ended
        self._affinity = Affinity()
        self._ending: asyncio.Task[None] | None = None
        self._ends = asyncio.Event()
        self._is_over = False

    @classmethod
    async def begin(
        cls,
        backend: Backend,
        make_node: Callable[[str], RunningNode | None],
        *,
        emit: Emit,
        ended: Callable[[], object],
    ) -> Self:
        """Open the backend if necessary, and start the node if there is one.

        Args:
            backend: Where the jobs are.
            make_node: Makes a node of the given name; returns None if there is nothing to run.
            emit: Called with each event.
            ended: Called when the node has ended, before the backend is closed.

        Raises:
            ConfigurationError: This is a child process that runs jobs for another `Rexecutor`.
            SchemaError: The store's tables are missing, or belong to another version of rexecutor.
            BackendError: The store cannot be opened.
        """
        if current_process().name == CHILD_NAME:
            raise ConfigurationError(
                "this Rexecutor is started in a child process of another one, which imports the program; put the"
                ' program\'s main part below `if __name__ == "__main__":`'
            )
        await _OPEN_BACKENDS.acquire(backend)
        try:
            await backend.check_schema()
            node = make_node(f"{socket.gethostname()}:{os.getpid()}")
            if node is None:
                emit(NothingToRun())
            else:
                node.start()
        except BaseException:
            await _OPEN_BACKENDS.release(backend)
            raise
        return cls(backend, node, ended)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, and is of this process."""
        return not (self._is_over or self._affinity.is_other_process or self._affinity.has_ended)

    def health(self) -> Health:
        """Return how the node is doing; without a node, whether it is open. Any thread may ask."""
        if not self.is_alive:
            return Health(HealthStatus.STOPPED)
        if self.node is not None:
            return self.node.health()
        return Health(HealthStatus.RUNNING if self._ending is None else HealthStatus.STOPPING)

    def check_process(self, what: str) -> None:
        """Raise a `RexecutorError` if this process is a fork of the one where it was started."""
        if self._affinity.is_other_process and not self._is_over:
            raise RexecutorError(f"{what}: this Rexecutor was started in another process; make one in the child")

    def check_place(self, what: str) -> None:
        """Raise a `RexecutorError` if it was started in another process or event loop."""
        self.check_process(what)
        if self.is_alive and self._affinity.is_other_loop:
            raise RexecutorError(f"{what}: this Rexecutor was started in another event loop; call it there")

    async def ended(self) -> None:
        """Wait until the node has ended, in `end` or by an unexpected error; without a node, until `end` begins."""
        await (self._ends.wait() if self.node is None else self.node.ended())

    def hurry(self) -> None:
        """Have `end` cancel the running jobs at once, without waiting for the rest of the grace."""
        if self.node is not None:
            self.node.hurry.set()

    def raise_failure(self) -> None:
        """Raise a `RexecutorError` if an unexpected error has ended the node."""
        if self.node is not None:
            self.node.raise_failure()

    async def end(self, grace: timedelta) -> None:
        """Stop the node, then close the backend. A second call waits for the first; once it has ended, does nothing."""
        self.check_place("graceful_shutdown")
        if self.is_alive:
            if self._ending is None:
                self._ending = start_task(self._end(grace))
            await asyncio.shield(self._ending)
        elif not self._is_over:  # its duties and its lease have ended with the loop
            await self._release_backend()

    async def _end(self, grace: timedelta) -> None:
        self._ends.set()
        try:
            if self.node is not None:
                await self.node.stop(grace)
        finally:
            self._ended()
            await self._release_backend()

    async def _release_backend(self) -> None:
        try:
            await _OPEN_BACKENDS.release(self._backend)
        finally:
            self._is_over = True
