"""The demo's worker processes: starts, pauses, kills and ends them, and leaves none behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rexecutor.cli.failure import FailedError

ROOT: Final = Path(__file__).parents[1]
"""The folder from which `import demo` works."""
STOP_TIMEOUT: Final = 15.0
"""Seconds that a worker may take to end after it was told to."""

Worker = subprocess.Popen[bytes]


class Fleet:
    """Worker processes on one store. When its `with` block ends, all of them have ended."""

    def __init__(self, url: str, history: Path, folder: Path, *, are_hosts: bool = False) -> None:
        """Start no worker yet.

        Args:
            url: The workers' store.
            history: The file in which they record what they do.
            folder: Where their logs go.
            are_hosts: Whether each worker gets a working directory and a host name of its own, as on a machine of its
                own. The workers then share only the URL and the history, which only the demo reads.
        """
        # -P, because `-m` would look into the working directory first; PYTHONPATH, because the demo is not installed.
        self._command = [sys.executable, "-P", "-m", "demo.worker", url, str(history)]
        path = os.environ.get("PYTHONPATH")
        self._environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}
        self._folder = folder
        self._are_hosts = are_hosts
        self._started = 0
        self._hosts: dict[int, str] = {}
        self._logs: dict[int, Path] = {}
        self.workers: list[Worker] = []
        """Workers that should be running."""

    def start(self) -> Worker:
        """Start one more worker."""
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        place = self._folder / f"host-{self._started}" if self._are_hosts else None
        if place is not None:
            place.mkdir()
        with log.open("wb") as output:
            # In a process group of its own, so that Ctrl-C reaches only the demo, which then ends its workers.
            worker = subprocess.Popen(  # noqa: S603 - this Python, and our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                process_group=0,
                cwd=place,
                env=self._environment,
            )
        self._logs[worker.pid] = log
        self._hosts[worker.pid] = "" if place is None else f" on {place.name}"
        self.workers.append(worker)
        return worker

    def named(self, worker: Worker) -> str:
        """Return the worker's process id, and its host if it has one."""
        return f"{worker.pid}{self._hosts[worker.pid]}"

    @contextmanager
    def held(self, worker: Worker) -> Generator[None]:
        """Pause the worker within the block, so that its jobs do not end. After that it goes on, unless killed."""
        worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if worker in self.workers:
                worker.send_signal(signal.SIGCONT)

    def kill(self, worker: Worker) -> None:
        """End the worker by SIGKILL, so that it cannot clean up."""
        self.workers.remove(worker)
        worker.kill()
        worker.wait()
        _close(worker)

    def check(self) -> None:
        """Raise a `FailedError` if a worker that should be running has ended."""
        for worker in self.workers:
            if worker.poll() is not None:
                raise FailedError(self._failure(worker, "ended before it was told to"))

    def end(self) -> None:
        """Tell all workers to end, and wait until they have.

        Raises:
            FailedError: A worker did not end in time, or not with status 0.
        """
        for worker in self.workers:
            worker.terminate()
        while self.workers:
            worker = self.workers[0]
            try:
                status = worker.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise FailedError(self._failure(worker, f"did not end within {STOP_TIMEOUT:.0f} s")) from None
            self.workers.remove(worker)
            _close(worker)
            if status not in (0, -signal.SIGTERM):  # the latter if it had only just been started
                raise FailedError(self._failure(worker, "did not end well"))

    def __enter__(self) -> Self:
        """Return the fleet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the workers that still run."""
        for worker in list(self.workers):
            self.kill(worker)

    def _failure(self, worker: Worker, what: str) -> str:
        log = self._logs[worker.pid]
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"worker {self.named(worker)} {what} (status {worker.poll()}; {log}): {last or 'it logged nothing'}"


def _close(worker: Worker) -> None:
    if worker.stdin is not None:
        worker.stdin.close()
