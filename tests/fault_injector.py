"""Faults between a node and its store, whichever store that is."""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from rexecutor import Backend, BackendError
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import Claim, Heartbeat, Node
from rexecutor.model.job import JobId, NodeId
from rexecutor.model.outcomes import Settlement

Moment = Literal["before", "after"]
"""Whether a call fails before the store has done the work, or after it, so that only the result is lost."""

_VERBS = (
    "enqueue",
    "claim",
    "settle",
    "release_claims",
    "wait_ready",
    "query",
    "tick",
    "prune",
    "add_stats",
    "fold_stats",
    "acquire_lock",
    "release_lock",
)


class FaultInjector:
    """Stands between a backend and its callers: counts calls, makes them fail, and holds their results back.

    A claim that brings no jobs is never held back and does not fail after the work: nothing would be lost with it.
    """

    def __init__(self, backend: Backend) -> None:
        """Wrap the backend's methods; without faults so far."""
        self.calls: Counter[str] = Counter()
        self.returned: Counter[str] = Counter()
        """Calls that the store has done; their callers may not have the result yet."""
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        """Calls whose result was held back."""
        self.poison: set[JobId] = set()
        """A `settle` with an outcome of one of these jobs fails before anything is done."""
        self.heartbeat_failed = threading.Event()
        self._failing: dict[str, list[Moment]] = defaultdict(list)
        self._broken: set[str] = set()
        self._holds: dict[str, asyncio.Event] = {}
        self._heartbeats_may_go_on = threading.Event()
        self._heartbeats_may_go_on.set()
        for verb in _VERBS:
            vars(backend)[verb] = self._around(verb, getattr(backend, verb))
        connect = backend.heartbeat_connection
        vars(backend)["heartbeat_connection"] = lambda: _FaultyHeartbeats(connect(), self)

    def fail(self, verb: str, *moments: Moment) -> None:
        """Make the next calls fail."""
        self._failing[verb] += moments

    def break_down(self, *verbs: str) -> None:
        """Make all calls fail before anything is done, until `repair`. `heartbeat` is a verb too."""
        self._broken.update(verbs)

    def repair(self) -> None:
        """End the outage."""
        self._broken.clear()

    def hold(self, verb: str) -> asyncio.Event:
        """Let the store do the work, but hold its results back until the event is set."""
        self._holds[verb] = asyncio.Event()
        return self._holds[verb]

    def hang_heartbeats(self) -> threading.Event:
        """Make heartbeats hang, before anything is done, until the event is set; for 20 s at most."""
        self._heartbeats_may_go_on.clear()
        return self._heartbeats_may_go_on

    def before_heartbeat(self) -> None:
        """Do to a heartbeat what it has coming."""
        self.calls["heartbeat"] += 1
        if "heartbeat" in self._broken:
            self.heartbeat_failed.set()
            raise BackendError("no connection")
        self._heartbeats_may_go_on.wait(20)

    def _around(self, verb: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **keywords: Any) -> Any:
            self.calls[verb] += 1
            self.under_way[verb] += 1
            self.most_under_way[verb] = max(self.most_under_way[verb], self.under_way[verb])
            try:
                return await faulty(*arguments, **keywords)
            finally:
                self.under_way[verb] -= 1

        async def faulty(*arguments: Any, **keywords: Any) -> Any:
            moment = self._failing[verb].pop(0) if self._failing[verb] else None
            if moment == "before" or verb in self._broken or (verb == "settle" and self._is_poisoned(*arguments)):
                raise BackendError("no connection")
            result = await call(*arguments, **keywords)
            self.returned[verb] += 1
            if isinstance(result, Claim) and not result.jobs:
                if moment == "after":
                    self._failing[verb].insert(0, moment)
                return result
            if verb in self._holds:
                self.held[verb] += 1
                await self._holds[verb].wait()
                await asyncio.to_thread(lambda: None)  # gives way, so that calls overlap if they may
            if moment == "after":
                raise BackendError("connection cut before the answer")
            return result

        return called

    def _is_poisoned(self, settlements: Sequence[Settlement]) -> bool:
        return any(settlement.job_id in self.poison for settlement in settlements)


class _FaultyHeartbeats(HeartbeatConnection):
    """Heartbeats that have the faults of an injector."""

    def __init__(self, connection: HeartbeatConnection, faults: FaultInjector) -> None:
        self._connection = connection
        self._faults = faults

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        self._faults.before_heartbeat()
        return self._connection.send(node, rescues=rescues)

    def deregister(self, node_id: NodeId) -> None:
        self._connection.deregister(node_id)

    def close(self) -> None:
        self._connection.close()
