"""Signals that come when all is over, while Python ends the process."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecutor.cli import run_worker

APPLICATION = """
import atexit
import os
import signal

from rexecutor import Executor, Rexecutor, SQLiteBackend

class Noop(Executor[None]):
    name = "noop"

    async def execute(self, job):
        pass

rexecutor = Rexecutor(SQLiteBackend("jobs.db"), executors=[Noop])
start = rexecutor.start

async def start_and_stop():
    await start()
    os.kill(os.getpid(), signal.SIGTERM)

rexecutor.start = start_and_stop

def send(number):
    for _ in range(number):
        os.kill(os.getpid(), signal.SIGTERM)

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=int(signal.SIGTERM)):
        kill(process, number)

last = Last()  # which Python lets go of when it has taken its handlers of signals away

def late(number):
    atexit.register(send, number)
"""


def _status_of(folder: Path, code: str) -> tuple[int, str]:
    (folder / "shop.py").write_text(APPLICATION)
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    return ended.returncode, ended.stderr


def test_a_worker_whose_work_is_over_ends_with_0_however_many_signals_come(tmp_path: Path) -> None:
    status, said = _status_of(
        tmp_path,
        "import shop, sys; shop.late(3); sys.argv = ['rexecutor', 'worker', 'shop:rexecutor'];"
        "from rexecutor.cli import main; main()",
    )

    assert (status, "stopped" in said) == (0, True), said


@pytest.mark.parametrize(("late", "status"), [(1, 0), (2, 128 + signal.SIGTERM)])
def test_a_program_of_ones_own_ends_well_after_a_second_signal_and_at_once_after_a_third(
    tmp_path: Path, late: int, status: int
) -> None:
    code = f"import asyncio, shop; shop.late({late}); asyncio.run(shop.rexecutor.run_until_signal())"

    found, said = _status_of(tmp_path, code)

    assert (found, "third signal" in said) == (status, late > 1), said


@pytest.mark.parametrize("is_stuck", [False, True])
async def test_a_worker_waits_less_for_what_was_told_to_end_again_and_again(
    monkeypatch: pytest.MonkeyPatch, is_stuck: bool
) -> None:
    waits: list[float] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, _: Callable[[], None]) -> None:
            waits.append(seconds)

        def start(self) -> None: ...

    async def go_on() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    def keep(_: int, __: object) -> None: ...

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(signal, "signal", keep)
    over = asyncio.Event()
    task = asyncio.ensure_future(go_on())
    await asyncio.wait((task,), timeout=0)
    for _ in range(2 if is_stuck else 0):
        task.cancel()
        await asyncio.wait((task,), timeout=0)

    run_worker._leave_soon()

    assert waits == [run_worker.STUCK_EXIT_TIMEOUT if is_stuck else run_worker.EXIT_TIMEOUT]
    over.set()
    await task
