"""One measurement of one system: its store, its processes and its record."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Self

from benchmarks.process import AdapterError, Process
from benchmarks.record import Record
from benchmarks.stores import Store
from benchmarks.systems import System

BATCH: Final = 10_000
"""Jobs in one call of a bulk enqueue."""


@dataclass(frozen=True)
class Setting:
    """What the jobs of a cell are like, and what the system is asked for."""

    pause: float = 0.0
    """How long a job takes, in seconds."""
    slots: int = 100
    """How many jobs one worker process may run at a time, where the system has such a limit."""
    fail_every: int = 0
    """One in this many jobs fails on its first attempt; 0 for none."""
    padding: int = 0
    """Bytes added to each job's data."""
    options: dict[str, object] = field(default_factory=dict[str, object])
    """What only this workload asks of the adapter."""


PLAIN: Final = Setting()


class Cell:
    """Starts processes of a system on a fresh store, and stops them at the end."""

    def __init__(self, system: System, store: Store, python: Path, scale: float) -> None:
        self.system: Final = system
        self.store: Final = store
        self.scale: Final = scale
        self._python: Final = python
        self._folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-cell-"))
        self._folder.chmod(0o755)
        self._processes: list[Process] = []
        self._url = ""
        self._jobs = 0
        self._setting = PLAIN
        self._control: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def scaled(self, full: float, least: int = 100) -> int:
        """Return a number of jobs, scaled."""
        return max(least, int(full * self.scale))

    @property
    def drained(self) -> int:
        """How many jobs a drain has: about two seconds of work."""
        return self.scaled(min(100_000, max(2_000, 2 * self.system.rate)), 200)

    def begin(self, jobs: int, setting: Setting = PLAIN, *, template: str = "") -> Process:
        """Make a fresh store and return a connected producer.

        Args:
            jobs: One more than the largest order of a job.
            setting: What the jobs are like.
            template: The name of a kept store to begin with.
        """
        self.stop()
        for path in self._folder.glob("*-*"):
            path.unlink()
        self._jobs, self._setting = jobs, setting
        self._url = self.store.fresh(template)
        self._control = self._start()
        if not template:
            self._control.ask("prepare")
        self._control.ask("open")
        return self._control

    def keep(self, template: str) -> None:
        """Stop all processes and keep the store."""
        self.stop()
        self.store.keep(template)

    def workers(self, number: int = 1, **options: object) -> list[Process]:
        """Return connected workers, which wait for the command to work."""
        assert self._control is not None
        if self.system.store == "memory":
            return [self._control]
        workers = [self._start(options) for _ in range(number)]
        for worker in workers:
            worker.tell("open")
        for worker in workers:
            worker.answer()
        return workers

    def stop(self) -> None:
        """Stop all processes."""
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        self._control = None

    def record(self, kind: str = "runs") -> Record:
        """Return the record of what the jobs' processes wrote."""
        return Record(self._folder, kind, self._jobs)

    def wait_runs(self, runs: Record, count: int, *workers: Process, patience: float = 60.0) -> None:
        """Wait until this many jobs have run.

        Raises:
            AdapterError: A worker has ended, or no job has run for too long.
        """
        ran, until = -1, 0.0
        while (now_ran := runs.count()) < count:
            if now_ran != ran:
                ran, until = now_ran, monotonic() + patience
            for worker in workers:
                worker.check()
            if monotonic() > until:
                raise AdapterError(f"no job has run for {patience:.0f} s; {ran:,} of {count:,} had run")
            sleep(0.005)

    def about(self) -> dict[str, Any]:
        """Return the versions of the system's packages."""
        with self._start() as process:
            return process.ask("about")

    def _start(self, options: dict[str, object] | None = None) -> Process:
        setting = self._setting
        environment = {
            "BENCH_URL": self._url,
            "BENCH_FOLDER": str(self._folder),
            "BENCH_JOBS": str(self._jobs),
            "BENCH_SLOTS": str(setting.slots),
            "BENCH_PAUSE": str(setting.pause),
            "BENCH_FAIL_EVERY": str(setting.fail_every),
            "BENCH_PADDING": str(setting.padding),
            "BENCH_OPTIONS": json.dumps(self.system.options | setting.options | (options or {})),
        }
        process = Process(self._python, self.system.adapter, environment, self._folder / "log")
        self._processes.append(process)
        return process
