"""Runs several worker processes, starts them again when they end, and passes signals on to them."""

import multiprocessing
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from rexecutor.cli.crew import SILENT_AFTER, Crew, Member
from rexecutor.cli.failure import MisusedError
from rexecutor.cli.logs import set_up_logging
from rexecutor.cli.metrics import added_up, exposed_metrics
from rexecutor.cli.probes import STARTING, Report, answered_probes
from rexecutor.cli.supervised import run_supervised
from rexecutor.cli.worker_options import WorkerOptions
from rexecutor.clock import SystemClock
from rexecutor.telemetry.events import DutyFailed
from rexecutor.telemetry.log import log_event
from rexecutor.telemetry.process_events import ProbesAnswered

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_RESTARTS: Final = signal.SIGHUP
_KILLS: Final = 3
"""Number of signals after which all processes are killed."""


def supervise(options: WorkerOptions) -> int:
    """Run the worker processes until SIGTERM or SIGINT. Return the exit status.

    Raises:
        MisusedError: The code is to be watched, but watchfiles is not installed.
        FailedError: The port or the file for probes cannot be opened.
    """
    if options.reload and find_spec("watchfiles") is None:
        raise MisusedError("--reload: watchfiles is not installed: pip install 'rexecutor[reload]'")
    multiprocessing.current_process().name = "supervisor"
    set_up_logging(options.log_level, options.log_format, is_one_of_several=True)
    with ExitStack() as stack:
        forget = stack.enter_context(added_up()) if options.is_measured else None
        supervisor = Supervisor(options, forget)
        url = stack.enter_context(
            answered_probes(
                supervisor.report,
                file=options.health_file,
                host=options.health_host,
                port=options.health_port,
                metrics=exposed_metrics() if options.is_measured else None,
            )
        )
        if url is not None:
            log_event(ProbesAnswered(url))
        return supervisor.run()


class Supervisor:
    """Starts the processes that a `Crew` asks for, and reports to it."""

    def __init__(self, options: WorkerOptions, forget: Callable[[int], None] | None = None) -> None:
        """Start nothing yet. The processes have all of the options except those of the supervisor.

        Args:
            options: What the command was asked to do.
            forget: Called with the id of each process that has ended.
        """
        self._forget: Final = forget
        of_process = replace(options, processes=None, reload=False, health_file=None, health_port=None)
        self._watched: Final = Path.cwd() if options.reload else None
        self._crew: Final = Crew(
            partial(_WorkerProcess, of_process), log_event, options.processes or 1, options.grace, options.reload
        )
        self._wakes, self._wake = socket.socketpair()
        self._caught: deque[int] = deque()
        self._has_changed = threading.Event()
        self._last = 0
        self._published = (_now(), STARTING)

    def report(self) -> Report:
        """Return the report on all processes. Any thread may ask."""
        published, report = self._published
        silent = _now() - published
        if silent < SILENT_AFTER:
            return report
        problems = (f"the supervisor has done nothing for {silent:.0f} s", *report.problems)
        details = {**report.details, "healthy": False, "ready": False, "problems": list(problems)}
        return Report(is_healthy=False, is_ready=False, problems=problems, details=details)

    def run(self) -> int:
        """Run until a signal, and return the exit status."""
        try:
            with self._signals_caught(), self._code_watched():
                while not self._crew.is_over:
                    seconds = self._crew.step(_now())
                    self._published = _now(), self._crew.report(_now())
                    self._wait(seconds)
        finally:
            for member in self._crew.members():  # left behind only by an error here
                _of(member).close()
        if self._crew.signals >= _KILLS:
            return 128 + self._last
        return self._crew.status

    def _wait(self, seconds: float) -> None:
        """Wait until something happens, at most this long, and tell the crew of it."""
        members = {_of(one).sentinel: one for one in self._crew.members()}
        pipes = {pipe: one for one in self._crew.members() if (pipe := _of(one).pipe) is not None}
        ready: list[Any] = wait([self._wakes, *members, *pipes], seconds)
        for one in ready:
            if one in pipes:
                self._read(pipes[one])
        for one in ready:
            if one is self._wakes:
                self._wakes.recv(4096)
                self._act_on_signals()
            elif one in members:
                member = members[one]
                self._crew.ended(member, _of(member).reap(), _now())
                if self._forget is not None:
                    self._forget(member.process.pid)
        if self._has_changed.is_set():
            self._has_changed.clear()
            self._crew.change(_now())

    def _read(self, member: Member) -> None:
        report = _of(member).read()
        if report is not None:
            self._crew.reported(member, report, _now())

    def _act_on_signals(self) -> None:
        while self._caught:
            number = self._caught.popleft()
            if number == _RESTARTS:
                self._crew.restart(_now())
            else:
                self._last = number
                self._crew.signal(_now())

    @contextmanager
    def _signals_caught(self) -> Generator[None]:
        """Catch signals in the block. After it they are ignored: the process is ending."""
        self._wakes.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (*_ENDS, _RESTARTS):
            signal.signal(number, lambda caught, _: self._caught.append(caught))
        try:
            yield
        finally:
            for number in (*_ENDS, _RESTARTS):
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)

    @contextmanager
    def _code_watched(self) -> Generator[None]:
        """Note changes of Python files in the working directory, in the block."""
        if self._watched is None:
            yield
            return
        ends = threading.Event()
        thread = threading.Thread(
            target=_watch, args=(self._watched, ends, self._note_change), name="rexecutor reload", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ends.set()

    def _note_change(self) -> None:
        self._has_changed.set()
        with suppress(OSError):  # full: then it is awake
            self._wake.send(b"\0")


def _watch(folder: Path, ends: threading.Event, changed: Callable[[], None]) -> None:
    watchfiles = import_module("watchfiles")  # it may not be installed
    try:
        for _ in watchfiles.watch(
            folder, watch_filter=watchfiles.PythonFilter(), stop_event=ends, raise_interrupt=False, debounce=400
        ):
            changed()
    except Exception as error:  # noqa: BLE001 - such as a system that watches too many files already
        log_event(DutyFailed("watching the code", error))


class _WorkerProcess:
    """One worker process, seen from the supervisor."""

    def __init__(self, options: WorkerOptions, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        pipes: tuple[Any, Any] = context.Pipe()
        pipe, theirs = pipes
        self.pipe: Connection[Any, Any] | None = pipe
        self._process = context.Process(target=run_supervised, args=(options, theirs), name=name)
        try:
            self._process.start()
        except BaseException:
            pipe.close()
            raise
        finally:
            theirs.close()
        self.pid: Final = self._process.pid or 0

    @property
    def sentinel(self) -> int:
        """An object for `wait`, ready when the process has ended."""
        return self._process.sentinel

    def tell(self, number: int) -> None:
        if self.pipe is not None:
            with suppress(OSError):  # it has ended
                self.pipe.send(number)

    def kill(self) -> None:
        self._process.kill()

    def read(self) -> Report | None:
        """Return the report that has come, or None if the process has closed its end."""
        try:
            report: object = None if self.pipe is None else self.pipe.recv()
        except (EOFError, OSError):
            self.close()
            return None
        return report if isinstance(report, Report) else None

    def reap(self) -> int:
        """Return the exit status of the process, which has ended."""
        self._process.join()
        status = self._process.exitcode
        self.close()
        self._process.close()
        return 1 if status is None else status

    def close(self) -> None:
        """Close the pipe, on which a process that has not ended shuts down."""
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None


def _of(member: Member) -> _WorkerProcess:
    process = member.process
    assert isinstance(process, _WorkerProcess)  # noqa: S101 - this module has made it
    return process


def _now() -> float:
    return SystemClock().monotonic()
