"""The part of the port that all others need: settings, opening and closing, and hints of changes."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, NoReturn, Self

from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock, SystemClock
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import Limits


class OpeningPort(ABC):
    """A backend that can be opened and closed. An async context manager: `async with` opens and closes it."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        """Store the settings; see `Backend` for the arguments."""
        self.clock: Final = clock or SystemClock()
        self.limits: Final = limits or Limits()
        self._wakeups = Wakeups(self.clock)
        """For changes of the store: the backend calls `notify` when it makes one, or hears of one."""
        self._cancel_wakeups: Final = Wakeups(self.clock)

    def __reduce__(self) -> NoReturn:
        """Raise `ConfigurationError`: a pickle cannot hold connections."""
        name = type(self).__name__
        raise ConfigurationError(f"cannot pickle or copy {name}; make a new one there: `connect(url)`")

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether the backend is open and can be used."""

    @abstractmethod
    async def open(self) -> None:
        """Make the backend ready for use. Does nothing if it is open; opens it again if its event loop was closed.

        Raises:
            BackendClosedError: Another event loop has it open, and the store cannot serve two.
            ConfigurationError: A setting cannot work.
            SchemaError: The store belongs to another version of rexecutor.
            BackendError: The store cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish pending work and release the store. Does nothing if the backend is closed.

        Raises:
            BackendClosedError: Another event loop has it open.
        """

    def close_sync(self) -> None:  # noqa: B027 - most stores keep nothing open for synchronous code
        """Close what synchronous calls have opened. Callable from any thread; does nothing if nothing is open.

        For programs without an event loop, and for tests that drop their database. Also closes what was opened in an
        event loop that has ended. The next use opens it again.

        Raises:
            BackendClosedError: An event loop that has not ended has it open: `await close()` there.
        """

    async def __aenter__(self) -> Self:
        """Open the backend; see `open`."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the backend; see `close`."""
        await self.close()

    @abstractmethod
    async def migrate(self) -> None:
        """Bring the store's tables up to this version. A closed backend can do this too, and stays closed.

        Does nothing if the store migrates by itself.

        Raises:
            ConfigurationError: A setting cannot work.
            SchemaError: The tables belong to another version of rexecutor.
            BackendError: The store failed; nothing was changed.
        """

    async def check_schema(self) -> None:  # noqa: B027 - most stores are ready once open
        """Raise unless the open backend's store has all that a node needs. A `Rexecutor` calls this when it starts.

        Raises:
            SchemaError: Its tables are missing, or belong to another version of rexecutor.
            BackendError: The store failed.
        """

    def command(self, words: str) -> str | None:
        """Return the shell line that runs this command of `rexecutor`, such as `jobs show 7`, on this store.

        For messages; it shows no secrets. None if the command line cannot reach the store.
        """
        return None

    @property
    def place(self) -> str:
        """What and where the store is, such as its URL. For messages; it shows no secrets."""
        return type(self).__name__

    @property
    def change_count(self) -> int:
        """Number of changes of the store that this backend has made or heard of.

        Read it before you read the store, and pass it as `since` to wait afterwards. Then no change is missed.
        """
        return self._wakeups.count

    def notify_cancel(self) -> None:
        """Count a request to cancel a running job. For the backend's own notifications from other processes."""
        self._cancel_wakeups.notify()

    def _must_be_awaited(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"{type(self).__name__} does not support {name}_sync; use `await {name}(…)`")
