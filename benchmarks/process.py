"""Starts an adapter in its environment and talks to it."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.environments import ROOT

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class AdapterError(Exception):
    """An adapter has failed or does not answer."""


class Process:
    """A process of an adapter, with its children."""

    def __init__(self, python: Path, adapter: str, environment: dict[str, str], log: Path) -> None:
        self._log: Final = log
        self._name: Final = adapter
        paths = os.pathsep.join((str(ROOT), str(ROOT / "src")))
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.adapters", adapter],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=log.parent,
                env=os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | environment,
                start_new_session=True,  # so that its children end with it
            )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, do: str, **parameters: object) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | parameters).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._error("ended") from None

    def answer(self, deadline: float = 300.0) -> dict[str, Any]:
        """Return the answer to a command."""
        assert self._process.stdout is not None
        if not self._selector.select(deadline):
            raise self._error(f"did not answer within {deadline:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._error("ended")
        return json.loads(line)

    def ask(self, do: str, deadline: float = 300.0, **parameters: object) -> dict[str, Any]:
        """Send a command and return its answer."""
        self.tell(do, **parameters)
        return self.answer(deadline)

    def check(self) -> None:
        """Check that it runs.

        Raises:
            AdapterError: It has ended.
        """
        if self._process.poll() is not None:
            raise self._error("ended")

    def stop(self, patience: float = 15.0) -> None:
        """End the process, gracefully if it ends in time, and all processes that it has started."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        for how, wait in ((None, 3.0), (signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
            if how is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(how)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                continue
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children, if it left any
        process.stdout.close()
        self._selector.close()

    def _error(self, what: str) -> AdapterError:
        tail = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        code = self._process.poll()
        last = tail[-1].strip() if tail else "it said nothing"
        return AdapterError(f"{self._name} {what}{'' if code is None else f' with exit status {code}'}: {last}")


def tree(pid: int) -> list[int]:
    """Return the process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time, in seconds, of the process and all below it, ended ones included."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def memory(pid: int) -> float:
    """Return what the process and its children hold in memory, in MiB."""
    pages = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE / 2**20
