"""What a `Rexecutor` calls while it runs: the application's subscribers."""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from rexecutor.backend.base import Backend
from rexecutor.model.checks import mistake
from rexecutor.telemetry.subscribers import Emitter, Subscriber, add_subscriber, checked_subscriber


class Hooks:
    """The subscribers of one `Rexecutor`. They are in effect from `begin` until `end`."""

    def __init__(self, backend: Backend, on_event: Subscriber | Iterable[Subscriber]) -> None:
        """Check the hooks; `Rexecutor` documents them."""
        self._backend = backend
        self._on_event = [
            checked_subscriber("Rexecutor: on_event", one) for one in _several("Rexecutor: on_event", on_event)
        ]
        self.emit: Final = Emitter(backend.command)
        """Emits the events of the node."""
        self._ends: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Put the hooks into effect; does nothing if they are."""
        if not self._ends:
            self._ends = [add_subscriber(one, (self.emit, self._backend)) for one in self._on_event]

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
