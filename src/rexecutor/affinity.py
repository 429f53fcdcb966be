"""Ties an object to the process and the event loop that made it, so that forks and other loops leave it alone."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from rexecutor.errors import BackendClosedError

GUARD: Final = threading.RLock()
"""Lock for short critical sections. It is held across forks, and reentrant because a finalizer may run inside one."""
os.register_at_fork(before=GUARD.acquire, after_in_parent=GUARD.release, after_in_child=GUARD.release)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None if none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Affinity:
    """The process and the running event loop in which this object was made."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()

    @property
    def is_other_process(self) -> bool:
        """Whether it was made in a parent process and got here by a fork."""
        return self._process != os.getpid()

    @property
    def has_ended(self) -> bool:
        """Whether the event loop is closed."""
        return self._loop.is_closed()

    @property
    def is_other_loop(self) -> bool:
        """Whether the running event loop is another one. Only valid in the process where it was made."""
        return asyncio.get_running_loop() is not self._loop


class Opening:
    """Lets only one event loop at a time open and close something. It belongs to that loop until it is closed.

    An `asyncio.Lock` cannot do this: if tasks of two loops wait for one, some raise and others hang.
    """

    def __init__(self, what: str, is_open: Callable[[], bool]) -> None:
        """Make it for something that no event loop has open.

        Args:
            what: Name of the thing, for error messages.
            is_open: Returns whether it is open.
        """
        self._what = what
        self._is_open = is_open
        self._owner: _Owner | None = None
        self._closing = threading.Lock()

    @contextmanager
    def closing(self) -> Generator[None]:
        """Close it in the `with` block, from a thread without an event loop. Meanwhile no event loop can open it.

        Raises:
            BackendClosedError: An event loop that is not closed has it open, or is opening or closing it.
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
        """Open or close it in the `async with` block. Tasks of this loop take turns; other event loops are refused.

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
                owner = self._owner = _Owner(Affinity())
            elif owner.home is None or owner.home.is_other_loop:
                raise in_another_loop(self._what)
            owner.tasks += 1
            return owner

    def _leave(self, owner: "_Owner") -> None:
        with GUARD:
            owner.tasks -= 1
            if not owner.tasks and self._owner is owner and not self._is_open():
                self._owner = None


class _Owner:
    """The owner of an `Opening`: an event loop with its tasks that open or close, or a thread that closes."""

    def __init__(self, home: Affinity | None) -> None:
        self.home: Final = home
        """The event loop that owns it; None for a thread without one."""
        self.turn: Final = asyncio.Lock()
        self.tasks = 0
        self._process = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether the owner is of this process, and its event loop, if any, is not closed."""
        return self._process == os.getpid() and (self.home is None or not self.home.has_ended)


def in_another_loop(what: str) -> BackendClosedError:
    """Return the error for using something that another event loop has open."""
    return BackendClosedError(
        f"{what}: opened in another event loop; use it there, or enqueue with `enqueue_sync`, which works in any"
        " thread; for anything else open a backend of this loop's own"
    )
