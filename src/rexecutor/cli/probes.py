"""Answers probes from threads, so that they are answered while the event loop is blocked: by HTTP, and by a file."""

import io
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TypeAlias

from rexecutor.cli.failure import FailedError
from rexecutor.clock import SystemClock
from rexecutor.engine.health import Health, HealthStatus
from rexecutor.telemetry.events import DutyFailed, DutyRecovered
from rexecutor.telemetry.log import log_event

FILE_INTERVAL: Final = 1.0
"""Seconds between two updates of the health file."""

_SLOWEST_CLIENT: Final = 5.0
"""Seconds that a client may take to send its request, all in all."""

_MOST_CLIENTS: Final = 64
"""Number of requests that are served at a time. Each has a thread and a file descriptor, which the jobs need too."""

_WAITING_CLIENTS: Final = 128
"""Number of connections that the system keeps until they are accepted."""

_PAUSE: Final = 0.1
"""Seconds until another connection is accepted when there were no file descriptors for the last."""

_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Report:
    """An answer to a probe: how a process, or a supervisor with its processes, is doing."""

    is_healthy: bool
    is_ready: bool
    problems: tuple[str, ...]
    details: Mapping[str, object]
    """The report as JSON."""
    lease: float | None = None
    """Length of the process's lease, in seconds; None as long as it has none."""


Metrics: TypeAlias = Callable[[], tuple[str, bytes]]
"""Returns the media type and the text of `/metrics`. It is called in a thread for each request."""

_Answer: TypeAlias = tuple[HTTPStatus, str, bytes]
"""Status, media type and body."""


def report_of(health: Health, lease: timedelta | None = None) -> Report:
    """Return the report on one process, whose lease is so long."""
    details: dict[str, object] = {
        "status": health.status,
        "healthy": health.is_healthy,
        "ready": health.is_ready,
        "problems": list(health.problems),
        "running": health.running,
        "slots": health.slots,
        "claimed_ago": None if health.claimed_ago is None else round(health.claimed_ago.total_seconds(), 3),
        "renewed_ago": None if health.renewed_ago is None else round(health.renewed_ago.total_seconds(), 3),
        "loop_lag": round(health.loop_lag.total_seconds(), 3),
    }
    seconds = None if lease is None else lease.total_seconds()
    return Report(health.is_healthy, health.is_ready, health.problems, details, seconds)


STARTING: Final = report_of(Health(HealthStatus.STARTING))
"""The report on a process that has not made its `Rexecutor` yet."""


@contextmanager
def answered_probes(
    report: Callable[[], Report],
    *,
    file: Path | None,
    host: str,
    port: int | None,
    metrics: Metrics | None = None,
) -> Generator[str | None]:
    """Answer probes in the `with` block, and give the address of the port, such as `http://127.0.0.1:8080`.

    Args:
        report: Returns the report. It is called in other threads.
        file: The file to keep as long as the report is healthy; None for no file.
        host: The address that the port is opened on.
        port: The port for HTTP; 0 for any that is free, None for no HTTP.
        metrics: What `/metrics` shows; None if there are none.

    Raises:
        FailedError: The port or the file cannot be opened.
    """
    with ExitStack() as stack:
        url = None if port is None else stack.enter_context(_served(report, metrics, host, port))
        if file is not None:
            stack.enter_context(_kept(report, file))
        yield url


@contextmanager
def _served(report: Callable[[], Report], metrics: Metrics | None, host: str, port: int) -> Generator[str]:
    try:
        server = _Server(host, port, report, metrics)
    except OSError as error:
        raise FailedError(f"--health-port {port}: cannot listen on {host}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, name="rexecutor probes", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves the probes, each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = _WAITING_CLIENTS

    def __init__(self, host: str, port: int, report: Callable[[], Report], metrics: Metrics | None) -> None:
        self.report: Final = report
        self.metrics: Final = metrics
        self._failures: Final[dict[str, int]] = {}
        self._free: Final = threading.BoundedSemaphore(_MOST_CLIENTS)
        self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        super().__init__(address[:2], _Handler)  # pyright: ignore[reportArgumentType] - the port of an IP address is an int

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def server_bind(self) -> None:
        """Bind the socket, without asking for the host's name, as `HTTPServer` does: that may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def answer_of(self, path: str, make: Callable[[str], _Answer]) -> _Answer:
        """Return the answer, or the error if there is none. The first failure is logged, and so is the recovery."""
        try:
            answer = make(path)
        except Exception as error:  # noqa: BLE001 - whatever a collector of the application raises
            failures = self._failures[path] = self._failures.get(path, 0) + 1
            if failures == 1:
                log_event(DutyFailed(f"answering {path}", error))
            text = f"{type(error).__name__}: {error}\n".encode(errors="backslashreplace")
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, text
        if failures := self._failures.pop(path, 0):
            log_event(DutyRecovered(f"answering {path}", failures))
        return answer

    def get_request(self) -> Any:
        """Accept a connection. If that fails, wait: the connection that could not be accepted is there still."""
        try:
            return super().get_request()
        except OSError:
            threading.Event().wait(_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request in a thread of its own, or close it at once if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # there is no thread for it
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the request, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away."""
        if not isinstance(sys.exception(), OSError):  # a client that is too slow is one, too
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - as its only server makes it
    server_version = "rexecutor"
    sys_version = ""

    def setup(self) -> None:
        """Read from the client, but not for longer than it may take."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Hurried(self.connection))

    def do_GET(self) -> None:
        """Answer with the report or the metrics."""
        self._send(*self.server.answer_of(self.path.partition("?")[0], self._answer))

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _answer(self, path: str) -> _Answer:
        match path:
            case "/healthz":
                return self._told(lambda report: report.is_healthy)
            case "/readyz":
                return self._told(lambda report: report.is_ready)
            case "/metrics" if self.server.metrics is not None:
                return HTTPStatus.OK, *self.server.metrics()
            case "/metrics":
                return HTTPStatus.NOT_FOUND, _TEXT, b"no metrics: pip install 'rexecutor[prometheus]'\n"
            case _:
                return HTTPStatus.NOT_FOUND, _TEXT, b"there are /healthz, /readyz and /metrics\n"

    def _told(self, is_well: Callable[[Report], bool]) -> _Answer:
        report = self.server.report()
        status = HTTPStatus.OK if is_well(report) else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(report.details).encode() + b"\n"

    def _send(self, status: HTTPStatus, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: probes come every few seconds."""


class _Hurried(io.RawIOBase):
    """What a client sends until its time is over. A time-out of the socket alone would begin anew with each byte."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._ends = SystemClock().monotonic() + _SLOWEST_CLIENT
        client.settimeout(_SLOWEST_CLIENT)

    def readable(self) -> bool:
        """Whether it can be read, as `io` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come."""
        left = self._ends - SystemClock().monotonic()
        if left <= 0:
            raise TimeoutError
        self._client.settimeout(left)
        try:
            return self._client.recv_into(buffer)
        finally:
            self._client.settimeout(_SLOWEST_CLIENT)  # for the answer


@contextmanager
def _kept(report: Callable[[], Report], path: Path) -> Generator[None]:
    file = _HealthFile(report, path)
    try:
        file.update()
    except OSError as error:
        raise FailedError(f"--health-file {str(path)!r}: {error.strerror or error}") from error
    ends = threading.Event()
    thread = threading.Thread(target=file.keep, args=(ends,), name="rexecutor health file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(FILE_INTERVAL)
        file.remove()


class _HealthFile:
    """A file that is written anew every second as long as the report is healthy, and is not there otherwise."""

    def __init__(self, report: Callable[[], Report], path: Path) -> None:
        self._report = report
        self._path = path
        self._next = path.with_name(f".{path.name}.{os.getpid()}")
        self._failures = 0

    def keep(self, ends: threading.Event) -> None:
        """Update the file every second until the event is set. The first failure is logged, and so is the recovery."""
        while not ends.wait(FILE_INTERVAL):
            try:
                self.update()
            except Exception as error:  # noqa: BLE001 - without this thread, an old file would go on to say that all is well
                self._failures += 1
                if self._failures == 1:
                    log_event(DutyFailed("writing the health file", error))
            else:
                if self._failures:
                    log_event(DutyRecovered("writing the health file", self._failures))
                self._failures = 0

    def update(self) -> None:
        """Write the file if the report is healthy, otherwise remove it. A reader sees all of it or none."""
        report = self._report()
        if report.is_healthy:
            self._next.write_text(json.dumps(report.details) + "\n", encoding="utf-8")
            self._next.replace(self._path)
        else:
            self.remove()

    def remove(self) -> None:
        """Remove the file."""
        for path in (self._path, self._next):
            with suppress(OSError):
                path.unlink(missing_ok=True)
