"""A proxy of our own before a PostgreSQL server: late, silent, cut off, half closed, or forgetful as a pooler is."""

import asyncio
import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PORT: Final = 5432
_NOTIFICATION: Final = b"A"
_KEY: Final = b"K"
_READY: Final = b"Z"


Loss: TypeAlias = Literal["request", "answer"]
"""What is lost of a message whose connection falls silent: itself, or what the server says to it."""


class Proxy:
    """On a Unix socket, in a thread and a loop of its own; each fault may be set and taken back at any time."""

    def __init__(self, url: str) -> None:
        self._server = _address(url)
        self.folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-proxy-"))
        self.url: Final = make_conninfo(url, host=str(self.folder), port=_PORT)
        self.delay = 0.0
        """Seconds by which each piece is late, both ways."""
        self.is_silent = False
        """Whether whatever is sent is swallowed, both ways: a half-open connection."""
        self.refuses = False
        """Whether new connections are refused."""
        self.is_pooler = False
        """Whether notifications come within answers alone and the server's process is not told, as behind a pooler."""
        self.keeps_sessions = False
        """Whether the pooler hands on all notifications, as in session mode."""
        self.cuts_before_answer: Callable[[bytes], bool] | None = None
        """Cut the connection once, after what this says yes to was sent and before its answer comes."""
        self.silences: Callable[[bytes], Loss | None] | None = None
        """Says of each message whether its connection becomes a hole with it: open, and silent for ever, both ways."""
        self.bytes_left: int | None = None
        """Cut the connection after this many bytes of the server's."""
        self.connections = 0
        """How many there have been."""
        self._loop = asyncio.new_event_loop()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._holes: set[asyncio.StreamWriter] = set()
        self._answered: set[asyncio.StreamWriter] = set()
        """Whose statements are all done: a pooler has lent the server's session to another."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_unix_server(self._serve, str(self.folder / f".s.PGSQL.{_PORT}"))
        self._listening = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        shutil.rmtree(self.folder)

    def cut(self, *, resets: bool = True) -> None:
        """Cut all connections now: by a reset, or by a half close, after which the server still hears."""
        asyncio.run_coroutine_threadsafe(self._cut_all(resets=resets), self._loop).result(10)

    def lead_to(self, url: str) -> None:
        """Lead new connections to this server. The others stay where they are."""
        self._server = _address(url)

    def silence_all(self) -> None:
        """Make a hole of each connection that is open now."""
        asyncio.run_coroutine_threadsafe(self._silence_all(), self._loop).result(10)

    async def _silence_all(self) -> None:
        self._holes |= {near for near, _ in self._pairs}

    async def _close(self) -> None:
        self._listening.close()
        await self._cut_all(resets=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut_all(self, *, resets: bool) -> None:
        for near, far in list(self._pairs):
            if resets:
                _reset(near)
                _reset(far)
            else:
                with contextlib.suppress(OSError):
                    near.write_eof()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuses:
            _reset(writer)
            return
        # `_close` cancels it, of which asyncio's own callback would otherwise make an error.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_unix_connection(self._server)
            pair = (writer, far_writer)
            self._pairs.add(pair)
            try:
                await asyncio.gather(self._send_on(reader, far_writer, writer), self._answer(far_reader, writer))
            finally:
                self._pairs.discard(pair)
                _reset(far_writer)
        self._answered.discard(writer)
        _reset(writer)

    async def _send_on(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(65_536):
            await self._be_late()
            if self.is_silent or client in self._holes:
                continue
            loss = None if self.silences is None else self.silences(chunk)
            if loss is not None:
                self._holes.add(client)
            if loss == "request":
                continue
            if self.cuts_before_answer is not None and self.cuts_before_answer(chunk):
                self.cuts_before_answer = None
                _reset(client)
            self._answered.discard(client)
            server.write(chunk)
            await server.drain()
        await self._stay_silent(client)
        server.write_eof()

    async def _answer(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readexactly(5)
            except (OSError, asyncio.IncompleteReadError):
                await self._stay_silent(client)
                raise
            body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self._be_late()
            if (
                self.is_silent
                or client in self._holes
                or (head[:1] == _NOTIFICATION and self._drops_notifications(client))
            ):
                continue
            if head[:1] == _READY:
                self._answered.add(client)
            if self.is_pooler and head[:1] == _KEY:
                body = struct.pack("!I", 1) + body[4:]
            answer = head + body
            if self.bytes_left is not None:
                self.bytes_left, answer = self.bytes_left - len(answer), answer[: self.bytes_left]
                if self.bytes_left <= 0:
                    self.bytes_left = None
                    client.write(answer)
                    _reset(client)
                    return
            client.write(answer)
            await client.drain()

    async def _stay_silent(self, client: asyncio.StreamWriter) -> None:
        """Keep the end of one side from the other, as a hole does: wait until the proxy is closed."""
        if client in self._holes:
            await asyncio.Event().wait()

    def _drops_notifications(self, client: asyncio.StreamWriter) -> bool:
        return self.is_pooler and not self.keeps_sessions and client in self._answered

    async def _be_late(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)


def _address(url: str) -> str:
    """Return the Unix socket of a server."""
    server = conninfo_to_dict(url)
    return str(Path(str(server["host"])) / f".s.PGSQL.{server.get('port', _PORT)}")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a farewell: what was not sent yet is lost."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
