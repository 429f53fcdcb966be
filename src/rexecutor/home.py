"""Where something was started: what a fork and another event loop must leave alone."""

import asyncio
import os


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
