"""What a workload runs on: a store, and what was counted there."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rexecutor.backend.base import Backend
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import Store


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows of a table were written."""

    inserted: int = 0
    updated: int = 0
    hot: int | None = None
    """How many of the updates added no entry to any index; None for a store without such updates."""
    deleted: int = 0

    def __str__(self) -> str:
        rows = {"+": self.inserted, "~": self.updated, "-": self.deleted}
        return " ".join(f"{sign}{number}" for sign, number in rows.items() if number)


@dataclass(frozen=True, slots=True)
class Costs:
    """What was sent to the store, and what that wrote."""

    calls: Mapping[str, int]
    """What is counted, such as statements → how often."""
    rows: Mapping[str, Written]
    """Table → its rows."""


class Ground(ABC):
    """An open store whose statements and rows are counted."""

    def __init__(self, backend: Backend, clock: FakeClock) -> None:
        self.backend: Final = backend
        self.clock: Final = clock
        self.store: Final = Store(backend, clock, lambda: backend, shares_store=False)

    @abstractmethod
    async def clear(self) -> None:
        """Delete all rows."""

    @abstractmethod
    async def taken(self) -> Costs:
        """Return what was counted since the last call."""

    @abstractmethod
    async def together(self, calls: Sequence[Coroutine[Any, Any, object]]) -> None:
        """Await the calls, which are all made while the store is busy with the first one."""
