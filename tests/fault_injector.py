"""What goes wrong between a worker and its store, whichever store that is."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from rexecutor import Backend, BackendError

Moment = Literal["before", "after"]
"""Whether a call fails before the store has done the work, or after, so that only the answer is lost."""

_VERBS = ("enqueue", "claim", "settle", "release_claims", "wait_ready")


class FaultInjector:
    """Stands between a backend and those who call it: counts the calls, lets them fail, or holds their answers up."""

    def __init__(self, backend: Backend) -> None:
        """Begin with a sound connection."""
        self.calls: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self._failing: dict[str, list[Moment]] = defaultdict(list)
        self._broken: set[str] = set()
        self._held: dict[str, asyncio.Event] = {}
        for verb in _VERBS:
            vars(backend)[verb] = self._around(verb, getattr(backend, verb))

    def fail(self, verb: str, *moments: Moment) -> None:
        """Let the next calls fail."""
        self._failing[verb] += moments

    def break_down(self, *verbs: str) -> None:
        """Let all calls fail, before anything is done, until `repair`."""
        self._broken.update(verbs)

    def repair(self) -> None:
        """End the outage."""
        self._broken.clear()

    def hold(self, verb: str) -> asyncio.Event:
        """Let the store do the work, but keep its answers back until the event is set."""
        self._held[verb] = asyncio.Event()
        return self._held[verb]

    def _around(self, verb: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **keywords: Any) -> Any:
            self.calls[verb] += 1
            self.under_way[verb] += 1
            try:
                return await faulty(*arguments, **keywords)
            finally:
                self.under_way[verb] -= 1

        async def faulty(*arguments: Any, **keywords: Any) -> Any:
            moment = self._failing[verb].pop(0) if self._failing[verb] else None
            if moment == "before" or verb in self._broken:
                raise BackendError("no connection")
            answer = await call(*arguments, **keywords)
            self.answered[verb] += 1
            if verb in self._held:
                await self._held[verb].wait()
            if moment == "after":
                raise BackendError("connection cut before the answer")
            return answer

        return called
