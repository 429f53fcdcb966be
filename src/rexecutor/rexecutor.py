"""`Rexecutor`: puts a backend and executors together, and owns their start and their end."""

import asyncio
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from inspect import isabstract
from types import TracebackType
from typing import Any, Final, Self, cast
from weakref import WeakKeyDictionary

from rexecutor.backend.base import Backend
from rexecutor.backend.current import set_global_backend, unset_global_backend
from rexecutor.clock import checked_delay
from rexecutor.engine.node import RunningNode
from rexecutor.errors import ConfigurationError, DefinitionError, RexecutorError
from rexecutor.executor import Executor, codecs_of
from rexecutor.signals import Signals

GRACE: Final = timedelta(seconds=25)
"""How long a shutdown waits for running jobs, unless told otherwise."""

_SHORTEST_LEASE: Final = timedelta(milliseconds=600)

AnyExecutor = Executor[Any, Any]


class _Users:
    """Which backends were opened by a `Rexecutor`, and how many use them: the last to end closes."""

    def __init__(self) -> None:
        self._users: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()

    async def begin(self, backend: Backend) -> None:
        """Open the backend where nobody has; where one of us has, use it too."""
        if backend in self._users or not backend.is_open:
            self._users[backend] = self._users.get(backend, 0) + 1
            try:
                await backend.open()
            except BaseException:
                await self.end(backend)
                raise

    async def end(self, backend: Backend) -> None:
        """Close the backend when this was the last user of what one of us has opened."""
        if backend in self._users:
            self._users[backend] -= 1
            if not self._users[backend]:
                del self._users[backend]
                await backend.close()


_USERS: Final = _Users()


class Rexecutor:
    """Runs the jobs of its executors. `async with` starts it, and at the end waits for what runs.

    ```python
    async with Rexecutor(SQLiteBackend("jobs.db")).with_executor(EmailJob).set_global_backend() as rexecutor:
        await EmailJob.builder().with_data("bob@example.com").enqueue()
        await rexecutor.run_until_signal()
    ```

    Two in one process are two nodes.
    """

    def __init__(
        self, backend: Backend, *, max_concurrency: int = 100, lease: timedelta = timedelta(seconds=30)
    ) -> None:
        """Prepare; nothing runs until the start.

        Args:
            backend: Where the jobs are. Opened at the start and closed at the end, unless it is open already.
            max_concurrency: How many jobs run at a time, of all executors together; 1 or more.
            lease: How long after its last sign of life this node's jobs are given to others; 0.6 s or more. It
                renews the lease six times in that time, and stops its own work when five sixths of it have passed.

        Raises:
            ConfigurationError: A setting is out of range.
        """
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigurationError(f"Rexecutor: max_concurrency is {max_concurrency!r}, 1 or more expected")
        checked_delay("Rexecutor: lease", lease, least=_SHORTEST_LEASE)
        if not isinstance(backend, Backend):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(
                f"Rexecutor: {backend!r} is no backend; give SQLiteBackend(…), connect(url) or the like"
            )
        self.backend: Final = backend
        self.max_concurrency: Final = max_concurrency
        self.lease: Final = lease
        self._executors: dict[str, AnyExecutor] = {}
        self._node: RunningNode | None = None
        self._is_starting = False
        self._is_global = False
        self._shutdown: asyncio.Task[None] | None = None

    @property
    def executors(self) -> Mapping[str, AnyExecutor]:
        """The executors whose jobs it runs, by name."""
        return self._executors

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._node is not None

    def with_executor(self, executor: type[Executor[Any, Any]] | Executor[Any, Any]) -> Self:
        """Run this executor's jobs. A class is instantiated; give an instance when it needs something. Answers itself.

        Raises:
            DefinitionError: It cannot run, or another one has its name.
            RexecutorError: It has been started already.
        """
        if self._node is not None:
            raise RexecutorError("with_executor: this Rexecutor runs already; name its executors before the start")
        instance = _instance(executor)
        if instance.name in self._executors:
            raise DefinitionError(f"{instance.name}: two executors have this name; give one another name")
        codecs_of(type(instance), self.backend.limits)
        self._executors[instance.name] = instance
        return self

    def set_global_backend(self) -> Self:
        """Make its backend the one that an enqueue uses by default, from now until it has ended. Answers itself.

        Raises:
            GlobalBackendError: There is one already.
        """
        set_global_backend(self.backend)
        self._is_global = True
        return self

    async def start(self) -> None:
        """Open the backend where that is needed, and begin to run jobs.

        Raises:
            RexecutorError: It runs already.
            BackendError: The store cannot be opened.
        """
        if self._node is not None or self._is_starting:
            raise RexecutorError("start: this Rexecutor runs already")
        self._is_starting = True
        try:
            await _USERS.begin(self.backend)
            try:
                name = f"{socket.gethostname()}:{os.getpid()}"
                node = RunningNode(self.backend, self._executors, self.max_concurrency, self.lease, name)
                node.start()
            except BaseException:
                await _USERS.end(self.backend)
                raise
        except BaseException:
            self._unset_global_backend()
            raise
        finally:
            self._is_starting = False
        self._node = node

    async def graceful_shutdown(self, timeout: timedelta = GRACE) -> None:  # noqa: ASYNC109 - a promise of the API
        """Claim no more jobs, wait for those that run, and end.

        What still runs after the timeout is cancelled, and after 5 s more given back with its attempt refunded.
        Harmless when it does not run; a second call waits for the first. When the caller is cancelled it goes on.

        Raises:
            ConfigurationError: The timeout is no timedelta, or negative; nothing has been done.
        """
        checked_delay("graceful_shutdown", timeout)
        if self._node is not None and self._shutdown is None:
            self._shutdown = asyncio.ensure_future(self._shut_down(self._node, timeout))
        if self._shutdown is not None:
            await asyncio.shield(self._shutdown)
        self._unset_global_backend()

    async def run_until_signal(self, *, grace: timedelta = GRACE) -> None:
        """Run until SIGTERM or SIGINT, then shut down; starts it when it does not run yet.

        The first signal begins a graceful shutdown, the second cancels what runs, the third ends the process at once
        (its jobs are rescued by others). Only in the main thread.

        Args:
            grace: How long running jobs may go on after the first signal.

        Raises:
            ConfigurationError: Signals cannot be caught here, or the grace is no timedelta, or negative.
            RexecutorError: A duty of the node has ended unexpectedly.
        """
        checked_delay("run_until_signal: grace", grace)
        with Signals() as signals:  # before the start, so that no signal finds claimed jobs and nobody to catch it
            if self._node is None:
                await self.start()
            node = self._node
            assert node is not None  # noqa: S101 - start has set it
            await signals.first_or(node.ended())
            signals.on_second(node.hurry.set)
            await self.graceful_shutdown(grace)
        node.raise_failure()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut it down gracefully."""
        await self.graceful_shutdown()

    async def _shut_down(self, node: RunningNode, grace: timedelta) -> None:
        try:
            await node.stop(grace)
        finally:
            self._unset_global_backend()
            try:
                await _USERS.end(self.backend)
            finally:
                self._node = self._shutdown = None

    def _unset_global_backend(self) -> None:
        if self._is_global:
            unset_global_backend(self.backend)
            self._is_global = False


def _instance(executor: object) -> AnyExecutor:
    if isinstance(executor, Executor):
        return cast("AnyExecutor", executor)
    if isinstance(executor, type) and issubclass(executor, Executor):
        if isabstract(cast("type[object]", executor)):
            missing = ", ".join(sorted(executor.__abstractmethods__))
            raise DefinitionError(f"{executor.__qualname__}: has no {missing}; define it")
        try:
            return cast("AnyExecutor", executor())
        except TypeError as error:
            raise DefinitionError(
                f"{executor.__qualname__}: cannot be made without arguments ({error}); give an instance"
            ) from error
    raise DefinitionError(f"with_executor({executor!r}): an Executor class or an instance of one expected")
