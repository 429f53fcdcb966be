"""Counts who uses a backend, so that several `Rexecutor`s can share one."""

from weakref import WeakKeyDictionary

from rexecutor.affinity import GUARD
from rexecutor.backend.base import Backend


class Users:
    """The backends that a `Rexecutor` has opened, and how many use each. The last to end closes the backend."""

    def __init__(self) -> None:
        self._users: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()

    async def begin(self, backend: Backend) -> None:
        """Open the backend and count one more user. Does nothing if the application has opened it itself."""
        with GUARD:  # event loops in several threads may call it at the same moment
            if backend not in self._users and backend.is_open:
                return
            self._users[backend] = self._users.get(backend, 0) + 1
        try:
            await backend.open()
        except BaseException:
            await self.end(backend)
            raise

    async def end(self, backend: Backend) -> None:
        """Count one user less, and close the backend after the last. Does nothing if the application has opened it."""
        with GUARD:
            if backend not in self._users:
                return
            self._users[backend] -= 1
            if self._users[backend]:
                return
            del self._users[backend]
        await backend.close()
