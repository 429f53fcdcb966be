"""What a `Rexecutor` calls while it runs: the application's subscribers and middleware."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, cast

from rexecutor.backend.base import Backend
from rexecutor.jobs.enqueue import AroundEnqueue
from rexecutor.jobs.middleware import AroundExecute, add_around_enqueue, checked_middleware
from rexecutor.model.checks import mistake
from rexecutor.telemetry.subscribers import Emitter, Subscriber, add_subscriber, checked_subscriber


class Hooks:
    """The subscribers and middleware of one `Rexecutor`. They are in effect from `begin` until `end`."""

    def __init__(
        self,
        backend: Backend,
        on_event: Subscriber | Iterable[Subscriber],
        around_execute: Iterable[AroundExecute],
        around_enqueue: Iterable[AroundEnqueue],
    ) -> None:
        """Check the hooks; `Rexecutor` documents them."""
        self._backend = backend
        self._on_event = [
            checked_subscriber("Rexecutor: on_event", one) for one in _several("Rexecutor: on_event", on_event)
        ]
        self.emit: Final = Emitter(backend.command)
        """Emits the events of the node."""
        self.around_execute: Final = checked_middleware("Rexecutor: around_execute", around_execute)
        """Middleware around each job that the node runs."""
        self._around_enqueue = checked_middleware("Rexecutor: around_enqueue", around_enqueue)
        self._ends: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Put the hooks into effect; does nothing if they are."""
        if not self._ends:
            self._ends = [add_subscriber(one, (self.emit, self._backend)) for one in self._on_event]
            self._ends += [add_around_enqueue(one, self._backend) for one in self._around_enqueue]

    @contextmanager
    def around_enqueues(self, backend: Backend) -> Generator[None]:
        """Put the middleware around enqueues into this backend, in the block."""
        ends = [add_around_enqueue(one, backend) for one in self._around_enqueue]
        try:
            yield
        finally:
            for end in ends:
                end()

    def end(self) -> None:
        """Take the hooks out of effect."""
        for end in self._ends:
            end()
        self._ends = []


def _several(what: str, given: Any) -> list[Any]:
    """Return what is given as a list: one callable, or an iterable of them."""
    if callable(given):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return list(cast("Iterable[Any]", given))
    raise mistake(what, "a callable, or an iterable of callables", given)
