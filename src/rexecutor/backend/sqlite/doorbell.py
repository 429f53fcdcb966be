"""A datagram that wakes another process at once. Only a hint: without it, that process polls (`POLL_INTERVAL`)."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rexecutor.background import in_fresh_context
from rexecutor.clock import unique_id

_RING = b"rexecutor"
_CANCEL = b"rexecutor: cancel"


class Doorbell:
    """A Unix datagram socket, whose address is stored with the node's lease.

    On Linux the address is an abstract one, which ends with the process and needs no file; elsewhere it is a file in
    a temporary folder. If there are no Unix sockets, or the loop cannot watch one, the address is None.
    """

    def __init__(self) -> None:
        self.address: str | None = None
        self._socket: socket.socket | None = None
        self._folder: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, notify: Callable[[], object], notify_cancel: Callable[[], object]) -> None:
        """Listen in the running loop. Does nothing if there can be no socket.

        Args:
            notify: Called in the loop for each ring.
            notify_cancel: Called in the loop for each request to cancel a running job.
        """
        if not hasattr(socket, "AF_UNIX"):
            return
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.setblocking(False)
        try:
            if sys.platform == "linux":
                address = f"@rexecutor-{unique_id()}"
            else:
                self._folder = tempfile.mkdtemp(prefix="rexecutor-")
                address = str(Path(self._folder) / "bell")
            bell.bind(_socket_address(address))
            self._loop = asyncio.get_running_loop()
            in_fresh_context(self._loop.add_reader, bell, self._drain, bell, notify, notify_cancel)
        except (OSError, NotImplementedError):
            bell.close()
            self._remove_folder()
            return
        self._socket, self.address = bell, address

    def close(self) -> None:
        """Close the socket. Does nothing if there is none."""
        bell, self._socket, self.address = self._socket, None, None
        if bell is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(bell)
            bell.close()
        self._remove_folder()

    def ring(self, addresses: Iterable[str], *, is_cancel: bool = False) -> None:
        """Wake the doorbells at these addresses, except this one. Addresses where nobody listens are skipped.

        Callable from any thread; this doorbell need not be open.
        """
        others = [address for address in addresses if address != self.address]
        if not others or not hasattr(socket, "AF_UNIX"):
            return
        bell = self._socket
        with contextlib.suppress(OSError):
            if bell is not None:
                _send(bell, others, is_cancel=is_cancel)
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
                made.setblocking(False)
                _send(made, others, is_cancel=is_cancel)

    @staticmethod
    def _drain(bell: socket.socket, notify: Callable[[], object], notify_cancel: Callable[[], object]) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:
                is_cancel = bell.recv(64) == _CANCEL
                (notify_cancel if is_cancel else notify)()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _send(bell: socket.socket, addresses: Iterable[str], *, is_cancel: bool) -> None:
    for address in addresses:
        with contextlib.suppress(OSError, ValueError):
            bell.sendto(_CANCEL if is_cancel else _RING, _socket_address(address))


def _socket_address(address: str) -> bytes:
    """Return the address as the kernel expects it. An abstract one begins with NUL, which is stored as `@`."""
    encoded = os.fsencode(address)
    return b"\0" + encoded[1:] if encoded.startswith(b"@") else encoded
