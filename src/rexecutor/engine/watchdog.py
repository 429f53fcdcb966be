"""Detects a blocked event loop and reports which job blocks it.

It runs in a thread of its own, which a blocked loop cannot stop.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from rexecutor.clock import Clock, SystemClock
from rexecutor.engine.attempt import Attempt
from rexecutor.engine.failure import OURS
from rexecutor.engine.loop import Emit
from rexecutor.model.job import storable
from rexecutor.telemetry.events import LoopBlocked, LoopFreed

CHECK_INTERVAL: Final = 0.25
"""Seconds between two checks of the loop."""

CHECKS_PER_MEASURE: Final = 20
"""Number of checks of the loop between two measurements of the node: 5 s."""

BLOCKED_AFTER: Final = 1.0
"""Seconds without an answer after which the loop counts as blocked."""

MAX_STACK: Final = 4_000
"""Longest stack that is reported, in characters; the middle of a longer one is left out."""


class Watchdog:
    """Checks that the event loop still responds. `check` checks once; the watchdog's thread repeats it."""

    def __init__(
        self,
        clock: Clock,
        emit: Emit,
        attempt_of: Callable[[asyncio.Task[object]], Attempt | None],
        *,
        measure: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a watchdog.

        Args:
            clock: The clock of its waits.
            emit: Called with each event.
            attempt_of: Returns the job that a task runs. Called in the watchdog's thread.
            measure: Called in the watchdog's thread every 5 s, even if the loop is blocked.
        """
        self._measure = measure
        self._clock = clock
        self._emit = emit
        self._attempt_of = attempt_of
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops_thread = 0
        self._pending_since: float | None = None
        self._last_lag = 0.0
        self._is_told = False
        self._longest = 0.0

    def start(self) -> None:
        """Watch the running loop. The thread is started for the system clock only: on a fake clock nothing is late."""
        self.watch()
        if isinstance(self._clock, SystemClock):
            threading.Thread(target=self._run, name="rexecutor watchdog", daemon=True).start()

    def watch(self) -> None:
        """Make the running loop the one to check. Call it in the loop's own thread."""
        self._loop = asyncio.get_running_loop()
        self._loops_thread = threading.get_ident()

    def stop(self) -> None:
        """Tell the thread to end."""
        self._stop.set()

    def lag(self) -> float:
        """Return how many seconds the loop took to respond to the last check, or has not responded to the present one.

        0 as long as nothing was checked, as on a fake clock. Any thread may call it.
        """
        return self._or_pending(self._last_lag)

    def check(self) -> None:
        """Ask the loop for a sign of life; report it as blocked if it has not given the last one for too long."""
        now, pending_since = self._clock.monotonic(), self._pending_since
        if pending_since is None:
            self._pending_since = now
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._respond)
        elif not self._is_told and now - pending_since >= BLOCKED_AFTER:
            self._is_told = True
            self._emit(self._blocked(now - pending_since))

    def take_lag(self) -> float:
        """Return the longest time, in seconds, that the loop has taken to respond since the last call of this.

        Callable from any thread. Counts the check under way, too.
        """
        longest, self._longest = self._longest, 0.0
        return self._or_pending(longest)

    def _or_pending(self, lag: float) -> float:
        """Return this lag, or that of the check under way if it is longer."""
        pending_since = self._pending_since
        return lag if pending_since is None else max(lag, self._clock.monotonic() - pending_since)

    def _respond(self) -> None:
        pending_since, self._pending_since = self._pending_since, None
        if pending_since is None:
            return
        self._last_lag = self._clock.monotonic() - pending_since
        self._longest = max(self._longest, self._last_lag)
        if self._is_told:
            self._is_told = False
            self._emit(LoopFreed(self._last_lag))

    def _blocked(self, seconds: float) -> LoopBlocked:
        task = asyncio.current_task(self._loop)
        attempt = None if task is None else self._attempt_of(task)
        frame = sys._current_frames().get(self._loops_thread)  # noqa: SLF001 - no other way  # pyright: ignore[reportPrivateUsage]
        stack = storable("" if frame is None else _shown(frame, is_of_job=attempt is not None), MAX_STACK)
        if attempt is None:
            return LoopBlocked(seconds, None, None, None, stack)
        return LoopBlocked(seconds, attempt.record.id, attempt.record.executor, attempt.record.attempt, stack)

    def _run(self) -> None:
        checks = 0
        while not self._stop.wait(CHECK_INTERVAL):
            if checks % CHECKS_PER_MEASURE == 0:
                self._measure()
            checks += 1
            try:
                self.check()
            except RuntimeError:  # the loop is closed
                return


def _shown(frame: FrameType, *, is_of_job: bool) -> str:
    """Return the stack that ends in this frame, from what the loop has called; of a job, from the job's own code."""
    frames = list(traceback.extract_stack(frame))
    called = next((number for number, one in enumerate(frames) if _is_call_of_loop(one)), -1) + 1
    own = called
    if is_of_job:
        own = next((number for number, one in enumerate(frames) if one.filename.startswith(OURS)), called)
        while own < len(frames) and frames[own].filename.startswith(OURS):
            own += 1
    return "".join(traceback.format_list(frames[own:] or frames[called:]))


def _is_call_of_loop(frame: traceback.FrameSummary) -> bool:
    """Whether the frame is where asyncio's loop calls what is due. uvloop has no such frame."""
    return frame.name == "_run" and frame.filename == asyncio.events.__file__
