"""Threads that are none: greenlets on the simulated loop, so that the lease's own thread runs there, unchanged.

They stand in for the module `threading` where the engine starts a thread. What blocks, blocks in virtual time.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from tests.simulation.loop import DOMAIN, Domain, SimulationLoop

T = TypeVar("T")

_FOR_EVER: Final = 1e9
"""Seconds that no simulation has."""


class ProcessDomain(Domain):
    """A process: its loop, and the thread that keeps the lease, which can be paused on its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.thread = Domain(f"{name} thread")
        self.thread.told_in = self.context
        self.threads: list[GreenThread] = []

    @property
    def live_threads(self) -> int:
        """How many threads have not ended."""
        return sum(thread.is_alive for thread in self.threads)

    def end_threads(self) -> None:
        """End what is left of them. Call it when nothing runs any more."""
        for thread in self.threads:
            thread.end()


class GreenThread:
    """What the engine knows of `threading.Thread`."""

    def __init__(self, *, target: Callable[[], object], name: str, daemon: bool) -> None:
        self.name = name
        self.daemon = daemon
        self._greenlet: Any = greenlet(target)

    def start(self) -> None:
        """Begin soon, in the domain of the process's thread."""
        domain = DOMAIN.get()
        assert isinstance(domain, ProcessDomain)
        domain.threads.append(self)
        self._greenlet.gr_context = domain.thread.context.copy()
        _loop().call_soon(self._greenlet.switch, context=domain.thread.context.copy())

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self._greenlet.dead

    def end(self) -> None:
        """End it where it waits, as often as it takes."""
        while self._greenlet and not self._greenlet.dead:
            with suppress(BaseException):  # as with a process that ends, nobody hears of it
                self._greenlet.throw(GreenletExit)


class _Pause:
    """A green thread that waits, and is woken once."""

    def __init__(self, seconds: float) -> None:
        domain = DOMAIN.get()
        assert domain is not None
        self._context = domain.context.copy()
        self._thread: Any = getcurrent()
        self._is_over = False
        self._timer = _loop().call_later(seconds, self._resume, context=self._context)

    def last(self) -> None:
        """Give way until it is over."""
        try:
            self._thread.parent.switch()
        finally:
            self._is_over = True
            self._timer.cancel()

    def end(self) -> None:
        """Let the thread go on soon."""
        _loop().call_soon(self._resume, context=self._context)

    def _resume(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._thread.switch()


class GreenEvent:
    """What the engine knows of `threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[_Pause] = []

    def set(self) -> None:
        """Wake who waits."""
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for pause in waiting:
            pause.end()

    def clear(self) -> None:
        """Let the next one wait."""
        self._is_set = False

    def wait(self, timeout: float) -> bool:
        """Wait for `set`, in virtual time."""
        if not self._is_set:
            pause = _Pause(timeout)
            self._waiting.append(pause)
            pause.last()
            if pause in self._waiting:
                self._waiting.remove(pause)
        return self._is_set


class GreenQueue(Generic[T]):
    """What the engine knows of `queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._filled = GreenEvent()

    def put(self, item: T) -> None:
        """Add one."""
        self._items.append(item)
        self._filled.set()

    def get(self) -> T:
        """Take the first, or wait for one, in virtual time."""
        while not self._items:
            self._filled.clear()
            self._filled.wait(_FOR_EVER)
        return self._items.popleft()


class GreenThreading:
    """Takes the place of the module."""

    Thread = GreenThread
    Event = GreenEvent


def block(seconds: float) -> None:
    """Block the simulated thread."""
    _Pause(seconds).last()


def block_job(seconds: float) -> None:
    """Block a simulated thread that runs a job: it goes on if only the loop of its process stands still."""
    domain = DOMAIN.get()
    assert isinstance(domain, ProcessDomain)
    domain.thread.context.copy().run(block, seconds)


def _loop() -> SimulationLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    return loop
