"""An event loop without a world: time leaps to the next timer, and the seed says who goes first.

Every callback belongs to a domain: one process's loop, or its lease thread. A domain can be paused, as by SIGSTOP, and
killed: what belongs to it then never runs again.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from tests.simulation.chance import Chance

T = TypeVar("T")

MOST_STEPS_A_SECOND: Final = 200_000
"""More steps than this in one simulated second are a loop that does not wait."""

_LONGEST_STEP: Final = 20e-6
"""A turn of the loop takes up to so many seconds, so that two looks at a clock differ."""


class Domain:
    """What lives and dies together: the loop of one process, or one thread of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_paused = False
        self.frozen: deque[asyncio.Handle] = deque()
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.context: Final = copy_context()
        self.context.run(DOMAIN.set, self)
        self.told_in: Context | None = None
        """Where a thread's `call_soon_threadsafe` calls: in the loop of its process."""

    @property
    def pending(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended."""
        return [task for task in self.tasks if not task.done()]


DOMAIN: Final[ContextVar[Domain | None]] = ContextVar("domain", default=None)


class SimulationError(Exception):
    """The simulated program can go no further, or goes round in circles."""


class _Task(asyncio.Task[Any]):
    """Hashed by its number and not its address: sets of tasks are gone through in the same order in each run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **keywords: Any) -> None:
        self._number = number
        super().__init__(coro, **keywords)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulationLoop(asyncio.BaseEventLoop):
    """Runs callbacks in virtual time. `is_shuffled`: in any order; otherwise each domain's in their own."""

    def __init__(self, chance: Chance, *, is_shuffled: bool) -> None:
        super().__init__()
        self.set_debug(enabled=False)
        self.steps = 0
        self.unhandled: list[str] = []
        self._chance = chance
        self._is_shuffled = is_shuffled
        self._elapsed = 0.0
        self._queue: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._numbers = count(1)
        self._second, self._steps_then = 0, 0
        self._at_step: dict[int, Callable[[], object]] = {}
        self._graves: list[asyncio.Task[Any]] = []
        self.set_task_factory(cast("Any", self._make_task))
        self.set_exception_handler(lambda _, context: self.unhandled.append(_described(context)))

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._elapsed

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Queue the callback."""
        handle = asyncio.Handle(callback, args, self, context)
        self._queue.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue the callback; from a simulated thread, in the loop of its process."""
        domain = DOMAIN.get()
        if context is None and domain is not None:
            context = domain.told_in
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue the callback when it is time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue the callback after that many seconds."""
        return self.call_at(self._elapsed + delay, callback, *args, context=context)

    def at_step(self, steps_ahead: int, callback: Callable[[], object]) -> None:
        """Call back before the step that is so many ahead: between any two awaits of whoever runs then."""
        self._at_step[self.steps + max(steps_ahead, 1)] = callback

    async def sleep(self, seconds: float) -> None:
        """Wait; without any of asyncio's own locks and tasks, since there is much of it."""
        woken = self.create_future()
        timer = self.call_later(max(seconds, 0.0), _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def pause(self, domain: Domain) -> None:
        """Run nothing of it until `resume`."""
        domain.is_paused = True

    def resume(self, domain: Domain) -> None:
        """Go on with what was queued meanwhile."""
        domain.is_paused = False
        self._queue.extend(domain.frozen)
        domain.frozen.clear()

    def kill(self, domain: Domain) -> None:
        """Run nothing of it ever again. Its tasks are kept, so that no finalizer of theirs runs by surprise."""
        domain.is_dead = True
        domain.frozen.clear()
        self._graves += domain.pending

    def bury(self) -> None:
        """Close what never ended. Call it when nothing runs any more."""
        for task in {*self._graves, *asyncio.all_tasks(self)}:
            task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue] - asyncio's own switch
            with suppress(BaseException):  # dead code may not even end well
                cast("Coroutine[Any, Any, Any]", task.get_coro()).close()
        self._graves.clear()
        self._queue.clear()
        self._timers.clear()

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], **keywords: Any
    ) -> asyncio.Task[T]:
        task = _Task(next(self._numbers), coro, loop=loop, **keywords)
        context: Context | None = keywords.get("context")
        domain = DOMAIN.get() if context is None else context.get(DOMAIN)
        if domain is not None:
            domain.tasks.add(task)
        return task

    def _run_once(self) -> None:
        """Do one turn: all that is ready, in the order that chance gives it."""
        self._let_time_pass()
        turn = list(self._queue)
        self._queue.clear()
        if len(turn) > 1:
            self._mix(turn)
        for handle in turn:
            if handle.cancelled():
                continue
            domain = _domain_of(handle)
            if domain is not None and (domain.is_paused or domain.is_dead):
                if not domain.is_dead:
                    domain.frozen.append(handle)
                continue
            self.steps += 1
            if self._at_step and self.steps in self._at_step:
                self._at_step.pop(self.steps)()
                if domain is not None and (domain.is_paused or domain.is_dead):
                    continue
            handle._run()

    def _let_time_pass(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not self._queue:
            if not timers:
                raise SimulationError("deadlock: nothing is ready, and nobody waits for a time")
            self._elapsed = max(self._elapsed, timers[0][0])
        self._elapsed += self._chance.random() * _LONGEST_STEP
        while timers and timers[0][0] <= self._elapsed:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._queue.append(timer)
        if int(self._elapsed) != self._second:
            self._second, self._steps_then = int(self._elapsed), self.steps
        elif self.steps - self._steps_then > MOST_STEPS_A_SECOND:
            raise SimulationError(f"busy: {MOST_STEPS_A_SECOND} steps within one second")

    def _mix(self, turn: list[asyncio.Handle]) -> None:
        if self._is_shuffled:
            self._chance.shuffle(turn)
        else:
            places: dict[Domain | None, float] = {}
            for handle in turn:
                places.setdefault(_domain_of(handle), self._chance.random())
            turn.sort(key=lambda handle: places[_domain_of(handle)])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers are passed over when their time comes."""

    def _write_to_self(self) -> None:
        """Do nothing: there is nobody to be woken."""


def _domain_of(handle: Any) -> Domain | None:
    return handle._context.get(DOMAIN)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _described(context: dict[str, Any]) -> str:
    error = context.get("exception")
    what = error if error is not None else context.get("task") or context.get("handle")
    return f"{context.get('message')}: {what!r}"
