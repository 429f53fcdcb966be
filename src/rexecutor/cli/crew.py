"""Decides about the worker processes of a supervisor: when one is started, told to end, or killed.

It only decides. `Supervisor` starts the processes, waits until something happens, and reports that here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from rexecutor.cli.probes import Report
from rexecutor.model.backoff import BackoffStrategy, Jitter
from rexecutor.telemetry.events import DutyFailed
from rexecutor.telemetry.log import Logged
from rexecutor.telemetry.process_events import (
    ProcessEnded,
    ProcessesChanged,
    ProcessesStopping,
    ProcessHung,
    ProcessKilled,
    ProcessStarted,
    RestartBegun,
    RestartEnded,
    RestartFailed,
)

KILL_AFTER: Final = 30.0
"""Seconds beyond the grace after which a process that was told to end is killed. It records outcomes after its jobs."""

HURRIED_KILL_AFTER: Final = 20.0
"""Seconds after which it is killed if it was told to cancel its jobs."""

STEADY_AFTER: Final = 60.0
"""Seconds after which the end of a process is not counted together with those before it."""

UNREADY_AFTER: Final = 300.0
"""Seconds after which a restart is given up if the successor is not ready."""

SILENT_AFTER: Final = 5.0
"""Seconds after which a missing report is a problem, and so is a place without a ready process."""

LEAST_SILENCE: Final = 10.0
"""Seconds without a report before which no process is killed, however short its lease is."""

_LONGEST_STEP: Final = 2.0
"""Seconds between two steps that count as silence, at most. If there are more, the supervisor itself stood still."""

_PAUSE: Final = (
    BackoffStrategy.exponential(timedelta(seconds=0.5))
    .with_max(timedelta(seconds=30))
    .with_jitter(Jitter.relative(0.2))
)
"""Pause before a process that has ended by itself is started again: 0.5 s, up to 30 s if its successors end soon."""


class Process(Protocol):
    """A worker process."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def tell(self, number: int) -> None:
        """Have it act as after this many signals, 1 or 2."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@dataclass(slots=True, eq=False)
class Member:
    """One process, with its last report."""

    name: str
    process: Process
    started_at: float
    report: Report | None = None
    reported_at: float = 0.0
    kill_at: float | None = None
    """When it is killed unless it has ended by then; None if it was not told to end."""
    silence: float = 0.0
    """Seconds since its last report, without those in which the supervisor stood still."""
    is_hung: bool = False
    """Whether it was killed because it was silent."""

    @property
    def must_be_killed(self) -> bool:
        """Whether it has been silent for so long that its lease has run out.

        Its heartbeats and its reports come from threads. So if reports are missing, either the process stands still, or
        code of a job keeps all other threads from running. Other nodes run its jobs then, and on SQLite it may hold the
        lock that they need. A process that only blocks its event loop goes on reporting, and keeps its lease.
        """
        if self.is_hung or self.report is None or self.report.lease is None:
            return False
        return self.silence >= max(self.report.lease, LEAST_SILENCE)

    @property
    def is_ready(self) -> bool:
        """Whether its last report says that it runs jobs and has no problem."""
        return self.report is not None and self.report.is_ready


@dataclass(slots=True)
class _Place:
    """Room for one process: there is one in it, or a successor of one that is about to end, or none for a moment."""

    name: str
    start_at: float | None
    """When a process is started if there is none; None to start none until the code has changed."""
    member: Member | None = None
    successor: Member | None = None
    early_ends: int = 0
    """How many processes in a row have ended by themselves soon after their start."""
    was_ready: bool = False
    unready_since: float | None = None
    """Since when no process of it is ready, after one was."""


@dataclass(slots=True)
class _Restart:
    """A restart of all processes, one place after the other."""

    began_at: float
    left: list[_Place]
    """The first is the one whose process is being replaced."""
    leaving: Member | None = None
    """The old process of that place, which was told to end."""


@dataclass(slots=True, eq=False)
class Crew:
    """The worker processes. Each method is told the time, in monotonic seconds."""

    launch: Callable[[str], Process]
    """Starts a process of this name."""
    emit: Callable[[Logged], None]
    size: int
    grace: float
    waits_for_changes: bool = False
    """Whether a process that ends by itself is only started again once the code has changed: for development."""
    status: int = 0
    """Exit status of the supervisor, once `is_over`."""
    signals: int = 0
    """How many signals to end have come."""
    _places: list[_Place] = field(default_factory=list[_Place])
    _leaving: list[Member] = field(default_factory=list[Member])
    _restart: _Restart | None = None
    _restarts_again: bool = False
    _was_ready: bool = False
    _stepped_at: float | None = None

    def __post_init__(self) -> None:
        """Make the places, the first of which is filled at once."""
        self._places = [_Place(f"worker {number}", 0.0) for number in range(1, self.size + 1)]

    @property
    def is_over(self) -> bool:
        """Whether all processes have ended, and no other will be started."""
        return self.signals > 0 and not any(True for _ in self.members())

    def members(self) -> Iterator[Member]:
        """Return all processes that have not ended."""
        for place in self._places:
            yield from (one for one in (place.member, place.successor) if one is not None)
        yield from self._leaving

    def step(self, now: float) -> float:
        """Start and kill what is due, and return how many seconds nothing else will be; at most 1."""
        if not self.waits_for_changes:  # for development, where a debugger may halt a process
            self._kill_hung(now)
        for member in list(self.members()):
            if member.kill_at is not None and now >= member.kill_at:
                member.kill_at = now + KILL_AFTER
                self.status = 1
                self.emit(ProcessKilled(member.name, member.process.pid))
                member.process.kill()
        if not self.signals:
            self._fill_places(now)
            self._go_on_with_restart(now)
        due = [one.kill_at for one in self.members() if one.kill_at is not None]
        due += [start_at for _, start_at in self._empty_places()]
        return min([1.0, *(max(0.0, moment - now) for moment in due)])

    def signal(self, now: float) -> None:
        """Tell all processes to end; the second time, to cancel their jobs; the third time, kill them."""
        self.signals += 1
        self._restart = None
        if self.signals == 1:
            self.emit(ProcessesStopping(sum(True for _ in self.members())))
        for member in self.members():
            self._dismiss(member, now, self.signals)

    def restart(self, now: float) -> None:
        """Replace all processes, one after the other, each once its successor is ready. Again if under way."""
        if self.signals:
            return
        if self.waits_for_changes:
            self.change(now)
        elif self._restart is None:
            self._restart = _Restart(now, list(self._places))
            self.emit(RestartBegun(self.size))
        else:
            self._restarts_again = True

    def change(self, now: float) -> None:
        """End all processes because the code has changed; new ones are started as soon as the old ones have ended."""
        if self.signals:
            return
        self.emit(ProcessesChanged())
        for place in self._places:
            if place.member is not None:
                self._dismiss(place.member, now, 1)
            place.start_at = now
            place.early_ends = 0

    def reported(self, member: Member, report: Report, now: float) -> None:
        """Take the report of a process."""
        member.report, member.reported_at, member.silence = report, now, 0.0
        if member.is_ready:
            self._was_ready = True
            for place in self._places:
                place.was_ready = place.was_ready or place.member is member

    def ended(self, member: Member, status: int, now: float) -> None:
        """Take note that a process has ended with this status, negative for the number of a signal that killed it."""
        was_told = member.kill_at is not None or member.is_hung
        if member in self._leaving:
            self._leaving.remove(member)
        place = next((one for one in self._places if member in (one.member, one.successor)), None)
        again: float | None = None
        if place is not None and place.successor is member:
            place.successor = None
            if not self.signals:
                self._give_restart_up(member, f"has ended ({how(status)}) before it was ready", now)
                return
            place = None
        if place is not None:
            place.member, place.successor = place.successor, None
            if not (member.kill_at is not None or self.signals):
                again = self._missed(place, member, status, now)
        if self.signals and status:
            self.status = self.status or 1
        self.emit(ProcessEnded(member.name, member.process.pid, how(status), was_told=was_told, again=again))

    def report(self, now: float) -> Report:
        """Return the report on all processes."""
        problems: list[str] = []
        is_ready = not self.signals
        for place in self._places:
            members = [one for one in (place.member, place.successor) if one is not None]
            found = [(one.name, problem) for one in members for problem in _problems_of(one, now)]
            problems += (f"{name}: {problem}" for name, problem in found)
            has_ready = any(one.is_ready for one in members) and not found
            is_ready = is_ready and has_ready
            if has_ready or self.signals:
                place.unready_since = None
            elif place.unready_since is None and place.was_ready:
                place.unready_since = now
            since = place.unready_since
            if not found and since is not None and now - since >= SILENT_AFTER:
                problems.append(f"{place.name} has not been ready for {now - since:.0f} s")
        status = "stopping" if self.signals else "running" if self._was_ready else "starting"
        processes = [_details_of(member) for member in self.members()]
        details: dict[str, object] = {
            "status": status,
            "healthy": not problems,
            "ready": is_ready and not problems,
            "problems": problems,
            "running": _sum_of(processes, "running"),
            "slots": _sum_of(processes, "slots"),
            "processes": processes,
        }
        return Report(not problems, is_ready and not problems, tuple(problems), details)

    def _kill_hung(self, now: float) -> None:
        """Kill the processes that hang, once each."""
        passed = 0.0 if self._stepped_at is None else min(now - self._stepped_at, _LONGEST_STEP)
        self._stepped_at = now
        for member in list(self.members()):
            member.silence += passed
            if member.must_be_killed:
                member.is_hung = True
                self.emit(ProcessHung(member.name, member.process.pid, member.silence))
                member.process.kill()

    def _fill_places(self, now: float) -> None:
        """Start what is missing."""
        for place, start_at in self._empty_places():
            if start_at <= now:
                place.member = self._start(place, now)

    def _empty_places(self) -> list[tuple[_Place, float]]:
        """Return where a process is missing, and when it is to start: at first one, and the others once that is ready.

        Nothing is started after a signal, or before the last process of that name has ended.
        """
        if self.signals:
            return []
        places = self._places if self._was_ready or self.waits_for_changes else self._places[:1]
        leaving = {one.name for one in self._leaving}
        return [
            (place, place.start_at)
            for place in places
            if place.member is None and place.start_at is not None and place.name not in leaving
        ]

    def _start(self, place: _Place, now: float) -> Member | None:
        """Start a process; return None if the system refuses, and try again in a while."""
        try:
            process = self.launch(place.name)
        except OSError as error:
            place.early_ends += 1
            place.start_at = now + _pause(place)
            self._restart, self._restarts_again = None, False
            self.emit(DutyFailed(f"starting {place.name}", error))
            return None
        self.emit(ProcessStarted(place.name, process.pid))
        return Member(place.name, process, now, reported_at=now)

    def _go_on_with_restart(self, now: float) -> None:
        restart = self._restart
        if restart is None or restart.leaving in self._leaving:
            return
        restart.leaving = None
        while restart.left:
            place = restart.left[0]
            if place.successor is None:
                if place.member is None or place.member.started_at >= restart.began_at:
                    restart.left.pop(0)  # it is missing, so that it will be a new one anyway, or is one already
                    continue
                place.successor = self._start(place, now)
                return
            if not place.successor.is_ready:
                if now - place.successor.started_at >= UNREADY_AFTER:
                    successor, place.successor = place.successor, None
                    self._leaving.append(successor)
                    self._dismiss(successor, now, 1)
                    self._give_restart_up(successor, f"was not ready after {UNREADY_AFTER:.0f} s", now)
                return
            old, place.member, place.successor = place.member, place.successor, None
            restart.left.pop(0)
            if old is not None:
                restart.leaving = old
                self._leaving.append(old)
                self._dismiss(old, now, 1)
                return
        self.emit(RestartEnded(now - restart.began_at))
        self._restart = None
        if self._restarts_again:
            self._restarts_again = False
            self.restart(now)

    def _give_restart_up(self, successor: Member, why: str, now: float) -> None:
        """Leave the other processes as they are, unless another restart was asked for meanwhile."""
        self.emit(RestartFailed(successor.name, successor.process.pid, why))
        again, self._restart, self._restarts_again = self._restarts_again, None, False
        if again:
            self.restart(now)

    def _dismiss(self, member: Member, now: float, signals: int) -> None:
        """Tell a process to end, and set when it is killed."""
        waits = (self.grace + KILL_AFTER, HURRIED_KILL_AFTER, 0.0)[min(signals, 3) - 1]
        member.kill_at = now + waits if member.kill_at is None else min(member.kill_at, now + waits)
        if signals > 2:  # noqa: PLR2004 - the third
            member.process.kill()
        else:
            member.process.tell(signals)

    def _missed(self, place: _Place, member: Member, status: int, now: float) -> float | None:
        """Decide what follows when a process has ended by itself. Return in how many seconds it is started again."""
        if self.waits_for_changes:
            place.start_at = None
            return None
        # If it cannot start, the supervisor ends, as a worker without one does. But one that hung had begun a job.
        if not self._was_ready and not member.is_hung:
            self.signals = 1
            self.status = status if status > 0 else 1
            for other in self.members():
                self._dismiss(other, now, 1)
            return None
        place.early_ends = 1 if now - member.started_at >= STEADY_AFTER else place.early_ends + 1
        pause = _pause(place)
        place.start_at = now + pause
        return pause if place.member is None else None


def _pause(place: _Place) -> float:
    return _PAUSE(min(place.early_ends, 16)).total_seconds()


def how(status: int) -> str:
    """Return how a process has ended, in words."""
    if status >= 0:
        return f"exit status {status}"
    from signal import Signals

    known = {number.value: number.name for number in Signals}
    return known.get(-status, f"signal {-status}")


def _problems_of(member: Member, now: float) -> Sequence[str]:
    silent = now - member.reported_at
    if member.report is None:  # it imports the application, which may take long
        return ()
    if silent >= SILENT_AFTER:
        return (f"has not reported for {silent:.0f} s",)
    return member.report.problems


def _details_of(member: Member) -> dict[str, object]:
    found: dict[str, object] = {"name": member.name, "pid": member.process.pid}
    return found | dict({"status": "starting"} if member.report is None else member.report.details)


def _sum_of(processes: Sequence[dict[str, object]], name: str) -> int:
    return sum(value for one in processes if isinstance(value := one.get(name), int))
