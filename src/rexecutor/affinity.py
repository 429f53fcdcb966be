"""Where something was started: what a fork and another event loop must leave alone."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from rexecutor.errors import BackendClosedError

GUARD: Final = threading.RLock()
"""For a few steps that threads must not mix. No fork falls into them, and a finalizer may take it again."""
os.register_at_fork(before=GUARD.acquire, after_in_parent=GUARD.release, after_in_child=GUARD.release)


class Home:
    """The process and the event loop in which it is made."""

    def __init__(self) -> None:
        """Take those that run."""
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()

    @property
    def is_inherited(self) -> bool:
        """Whether a fork has brought it here: it is the parent's."""
        return self._process != os.getpid()

    @property
    def has_ended(self) -> bool:
        """Whether its loop is closed."""
        return self._loop.is_closed()

    @property
    def is_elsewhere(self) -> bool:
        """Whether another loop runs here; to be asked in its own process."""
        return asyncio.get_running_loop() is not self._loop


class Opening:
    """Lets one event loop at a time open and close something, which is that loop's until it is closed.

    An `asyncio.Lock` cannot do that: when the tasks of two loops meet at one, some raise and others hang.
    """

    def __init__(self, what: str, is_open: Callable[[], bool]) -> None:
        """Keep what it is called in messages, and what tells whether it is open."""
        self._what = what
        self._is_open = is_open
        self._owner: _Owner | None = None
        self._closing = threading.Lock()

    @contextmanager
    def closing(self) -> Generator[None]:
        """Close in the block, without an event loop, what no living loop has open; loops are refused meanwhile.

        Raises:
            BackendClosedError: An event loop that goes on has it open, or is opening or closing it.
        """
        with self._closing:
            with GUARD:
                if self._owner is not None and self._owner.is_alive:
                    raise BackendClosedError(
                        f"{self._what}: it is open in an event loop; `await backend.close()` there"
                    )
                self._owner = owner = _Owner(None)
            try:
                yield
            finally:
                with GUARD:
                    if self._owner is owner:
                        self._owner = None

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Open or close it in the block: one task after the other, while other event loops are refused.

        Raises:
            BackendClosedError: Another event loop has it open, or is opening or closing it.
        """
        owner = self._enter()
        try:
            async with owner.turn:
                yield
        finally:
            self._leave(owner)

    def _enter(self) -> "_Owner":
        with GUARD:
            owner = self._owner
            if owner is None or not owner.is_alive:
                owner = self._owner = _Owner(Home())
            elif owner.home is None or owner.home.is_elsewhere:
                raise in_another_loop(self._what)
            owner.tasks += 1
            return owner

    def _leave(self, owner: "_Owner") -> None:
        with GUARD:
            owner.tasks -= 1
            if not owner.tasks and self._owner is owner and not self._is_open():
                self._owner = None


class _Owner:
    """The event loop that has something open, with its tasks that open or close it; or a thread that closes it."""

    def __init__(self, home: Home | None) -> None:
        self.home: Final = home
        """The event loop; None for a thread without one."""
        self.turn: Final = asyncio.Lock()
        self.tasks = 0
        self._process = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it goes on, in this process."""
        return self._process == os.getpid() and (self.home is None or not self.home.has_ended)


def in_another_loop(what: str) -> BackendClosedError:
    """Return the error for the use of something that another event loop has open."""
    return BackendClosedError(
        f"{what}: opened in another event loop; use it there, or enqueue with `enqueue_sync`, which works in any"
        " thread; for anything else open a backend of this loop's own"
    )
