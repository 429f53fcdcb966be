"""Who has opened a backend, where several `Rexecutor`s share one."""

from weakref import WeakKeyDictionary

from rexecutor.affinity import GUARD
from rexecutor.backend.base import Backend


class Users:
    """Which backends were opened by a `Rexecutor`, and how many use them: the last to end closes."""

    def __init__(self) -> None:
        self._users: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()

    async def begin(self, backend: Backend) -> None:
        """Open the backend where nobody has; where one of us has, use it too."""
        with GUARD:  # event loops of several threads may come at the same moment
            if backend not in self._users and backend.is_open:
                return
            self._users[backend] = self._users.get(backend, 0) + 1
        try:
            await backend.open()
        except BaseException:
            await self.end(backend)
            raise

    async def end(self, backend: Backend) -> None:
        """Close the backend when this was the last user of what one of us has opened."""
        with GUARD:
            if backend not in self._users:
                return
            self._users[backend] -= 1
            if self._users[backend]:
                return
            del self._users[backend]
        await backend.close()
