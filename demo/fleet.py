"""The demo's worker processes: started, stopped for a look, killed, and never left behind."""

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
"""The folder that `import demo` finds the demo in."""
PATIENCE: Final = 15.0
"""How many seconds a worker may take to end by itself."""

Worker = subprocess.Popen[bytes]


class Fleet:
    """Worker processes on one store. A context manager: all have ended when the block has, however it did."""

    def __init__(self, url: str, history: Path, folder: Path, *, are_hosts: bool = False) -> None:
        """Begin without any.

        Args:
            url: Their store.
            history: The file that they write down what they do in.
            folder: Where their logs go.
            are_hosts: Whether each has a folder and a name as if on a machine of its own. They then share nothing but
                the URL, and that file, which is the demo's account and not theirs.
        """
        # -P, since `-m` would look into the working directory first; PYTHONPATH, since no one has installed the demo.
        self._command = [sys.executable, "-P", "-m", "demo.worker", url, str(history)]
        path = os.environ.get("PYTHONPATH")
        self._environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}
        self._folder = folder
        self._are_hosts = are_hosts
        self._started = 0
        self._hosts: dict[int, str] = {}
        self._logs: dict[int, Path] = {}
        self.workers: list[Worker] = []
        """Those that should be running."""

    def start(self) -> Worker:
        """Start one more."""
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        place = self._folder / f"host-{self._started}" if self._are_hosts else None
        if place is not None:
            place.mkdir()
        with log.open("wb") as output:
            # A group of its own: Ctrl-C reaches the demo alone, which then ends its workers in good order.
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
        """Answer its process id, and its host where it has one."""
        return f"{worker.pid}{self._hosts[worker.pid]}"

    @contextmanager
    def held(self, worker: Worker) -> Generator[None]:
        """Stop the worker for the block, so that what it has in its hands stays there; unless killed, it goes on."""
        worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if worker in self.workers:
                worker.send_signal(signal.SIGCONT)

    def kill(self, worker: Worker) -> None:
        """End the worker by SIGKILL: it has no chance to tidy up."""
        self.workers.remove(worker)
        worker.kill()
        worker.wait()
        _close(worker)

    def check(self) -> None:
        """Raise a `FailedError` when a worker has ended that should be running."""
        for worker in self.workers:
            if worker.poll() is not None:
                raise FailedError(self._told(worker, "ended before it was told to"))

    def end(self) -> None:
        """Tell all to end, and wait until they have.

        Raises:
            FailedError: One had to be killed, or did not end well.
        """
        for worker in self.workers:
            worker.terminate()
        while self.workers:
            worker = self.workers[0]
            try:
                status = worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise FailedError(self._told(worker, f"did not end within {PATIENCE:.0f} s")) from None
            self.workers.remove(worker)
            _close(worker)
            if status not in (0, -signal.SIGTERM):  # the latter, where it had only just been started
                raise FailedError(self._told(worker, "did not end well"))

    def __enter__(self) -> Self:
        """Answer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill those that are still there."""
        for worker in list(self.workers):
            self.kill(worker)

    def _told(self, worker: Worker, what: str) -> str:
        log = self._logs[worker.pid]
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"worker {self.named(worker)} {what} (status {worker.poll()}; {log}): {last or 'it logged nothing'}"


def _close(worker: Worker) -> None:
    if worker.stdin is not None:
        worker.stdin.close()
