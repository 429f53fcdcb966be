"""Connections that are cut after a statement was sent and before its answer comes: nobody knows whether it was done."""

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Final

from tests.faults.proxy import Proxy


class CutConnections:
    """While it is on, each message to the server that is chosen costs its connection; the server gets it all the same.

    Each chosen message is one the client has sent whole, as long as it is of less than 64 KiB.
    """

    def __init__(self, proxy: Proxy, chooses: Callable[[bytes], bool]) -> None:
        self._proxy = proxy
        self._chooses = chooses
        self._is_on = threading.Event()
        self.number = 0
        """How many connections have been cut."""

    def begin(self) -> None:
        """Cut from now on."""
        self._is_on.set()
        self._arm()

    def end(self) -> None:
        """Cut no more."""
        self._is_on.clear()

    def _arm(self) -> None:
        self._proxy.cuts_before_answer = self._cuts

    def _cuts(self, message: bytes) -> bool:
        if not self._is_on.is_set() or not self._chooses(message):
            return False
        self.number += 1
        asyncio.get_running_loop().call_soon(self._arm)  # the proxy disarms itself after a cut
        return True


def holding(pattern: bytes) -> Callable[[bytes], bool]:
    """Return a function that says whether a message contains the pattern."""
    found: Final = re.compile(pattern)
    return lambda message: found.search(message) is not None
