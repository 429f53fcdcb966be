"""A datagram that wakes another process at once. Only a hint: whoever misses it looks again within `LOOK` anyway."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rexecutor.background import apart
from rexecutor.clock import unique_id

_RING = b"rexecutor"
_CANCEL = b"rexecutor: cancel"


class Doorbell:
    """A Unix datagram socket. Its address stands in the store beside the node's lease.

    On Linux the address is an abstract one, which ends with the process and needs no file; elsewhere it is a file in
    a temporary folder. Where there are no Unix sockets, or the loop cannot watch one, there is no address.
    """

    def __init__(self) -> None:
        """Do nothing yet."""
        self.address: str | None = None
        self._socket: socket.socket | None = None
        self._folder: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, heard: Callable[[], object], heard_cancel: Callable[[], object]) -> None:
        """Call back in the running loop whenever somebody rings, or asks for the cancel of a job that runs."""
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
            apart(self._loop.add_reader, bell, self._drain, bell, heard, heard_cancel)
        except (OSError, NotImplementedError):
            bell.close()
            self._remove_folder()
            return
        self._socket, self.address = bell, address

    def close(self) -> None:
        """Take it down. Harmless when there is none."""
        bell, self._socket, self.address = self._socket, None, None
        if bell is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(bell)
            bell.close()
        self._remove_folder()

    def ring(self, addresses: Iterable[str], *, is_cancel: bool = False) -> None:
        """Wake those who listen there, but for this process's own loop. Who is not there any more is passed over."""
        if self._socket is not None:
            for address in addresses:
                if address != self.address:
                    with contextlib.suppress(OSError, ValueError):
                        self._socket.sendto(_CANCEL if is_cancel else _RING, _socket_address(address))

    @staticmethod
    def _drain(bell: socket.socket, heard: Callable[[], object], heard_cancel: Callable[[], object]) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:
                is_cancel = bell.recv(64) == _CANCEL
                (heard_cancel if is_cancel else heard)()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _socket_address(address: str) -> bytes:
    """Answer the kernel's form: an abstract address begins with NUL, which no text column may hold."""
    encoded = os.fsencode(address)
    return b"\0" + encoded[1:] if encoded.startswith(b"@") else encoded
