"""What a supervisor decides, without any process."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from rexecutor import Health, HealthStatus
from rexecutor.cli.crew import KILL_AFTER, LEAST_SILENCE, UNREADY_AFTER, Crew, Member, how
from rexecutor.cli.probes import STARTING, Report, report_of
from rexecutor.telemetry.events import DutyFailed
from rexecutor.telemetry.log import Logged
from rexecutor.telemetry.process_events import (
    ProcessEnded,
    ProcessHung,
    ProcessKilled,
    RestartBegun,
    RestartEnded,
    RestartFailed,
)

READY = report_of(Health(HealthStatus.RUNNING, slots=10, running=1))
ILL = report_of(Health(HealthStatus.RUNNING, ("the lease is lost",)))
GRACE = 25.0


@dataclass(eq=False)
class Sham:
    """Takes the place of a process."""

    name: str
    pid: int
    told: list[int] = field(default_factory=list[int])
    killed: bool = False

    def tell(self, number: int) -> None:
        self.told.append(number)

    def kill(self) -> None:
        self.killed = True


class Stage:
    """A crew of shams, and the time."""

    def __init__(self, size: int = 3, *, waits_for_changes: bool = False) -> None:
        self.now = 1_000.0
        self.launched: list[Sham] = []
        self.events: list[Logged] = []
        self.refuses = False
        self.crew = Crew(self._launch, self.events.append, size, GRACE, waits_for_changes)

    def _launch(self, name: str) -> Sham:
        if self.refuses:
            raise OSError("no memory")
        sham = Sham(name, 100 + len(self.launched))
        self.launched.append(sham)
        return sham

    def step(self, seconds: float = 0) -> None:
        self.now += seconds
        self.crew.step(self.now)
        assert self.crew.step(self.now) > 0, "the supervisor would go round and round"

    def member(self, sham: Sham) -> Member:
        return next(one for one in self.crew.members() if one.process is sham)

    def report(self, sham: Sham, report: Report = READY) -> None:
        self.crew.reported(self.member(sham), report, self.now)
        self.step()

    def end(self, sham: Sham, status: int = 0) -> None:
        self.crew.ended(self.member(sham), status, self.now)
        self.step()

    def begin(self) -> list[Sham]:
        """Start all and have them ready."""
        self.step()
        self.report(self.launched[0])
        for sham in self.launched[1:]:
            self.report(sham)
        return list(self.launched)

    @property
    def alive(self) -> list[Sham]:
        return [sham for sham in self.launched if any(one.process is sham for one in self.crew.members())]

    def of(self, kind: type[Logged]) -> list[Logged]:
        return [event for event in self.events if isinstance(event, kind)]

    def health(self) -> Report:
        return self.crew.report(self.now)


def test_the_others_start_once_the_first_is_ready() -> None:
    stage = Stage()

    stage.step()
    assert [one.name for one in stage.launched] == ["worker 1"]
    stage.report(stage.launched[0], STARTING)
    assert len(stage.launched) == 1
    stage.report(stage.launched[0])

    assert [one.name for one in stage.launched] == ["worker 1", "worker 2", "worker 3"]


@pytest.mark.parametrize(("status", "expected"), [(2, 2), (1, 1), (0, 1), (-9, 1)])
def test_a_first_process_that_cannot_start_ends_the_supervisor_with_its_status(status: int, expected: int) -> None:
    stage = Stage()
    stage.step()

    stage.end(stage.launched[0], status)

    assert (stage.crew.is_over, stage.crew.status, len(stage.launched)) == (True, expected, 1)


def test_a_process_that_waits_to_be_started_is_of_no_matter_to_a_crew_that_ends() -> None:
    stage = Stage()
    first, *_ = stage.begin()
    stage.end(first, -9)

    stage.crew.signal(stage.now)
    stage.step(10)

    assert (len(stage.alive), len(stage.launched)) == (2, 3)


def test_a_process_that_ends_is_started_again_and_later_each_time_that_it_ends_soon() -> None:
    stage = Stage()
    stage.begin()
    pauses: list[float] = []
    for _ in range(12):
        last = next(one for one in reversed(stage.launched) if one.name == "worker 2")
        stage.end(last, -9)
        (*_, ended) = stage.of(ProcessEnded)
        assert isinstance(ended, ProcessEnded)
        assert ended.again is not None
        pauses.append(ended.again)
        before = len(stage.launched)
        stage.step(ended.again - 0.01)
        assert len(stage.launched) == before
        stage.step(0.02)
        assert len(stage.launched) == before + 1

    assert 0.4 <= pauses[0] <= 0.6
    assert all(later > sooner for sooner, later in pairwise(pauses[:6]))
    assert 24 <= pauses[-1] <= 30


def test_a_process_that_has_run_for_long_is_started_again_soon() -> None:
    stage = Stage()
    first, *_ = stage.begin()
    for _ in range(4):
        stage.end(first, -9)
        stage.step(60)
        first = stage.launched[-1]
        stage.report(first)
        stage.step(61)

    stage.end(first, -9)
    (*_, ended) = stage.of(ProcessEnded)

    assert isinstance(ended, ProcessEnded)
    assert ended.again is not None
    assert ended.again <= 0.6


def test_a_process_that_the_system_refuses_is_tried_again() -> None:
    stage = Stage()
    first, *_ = stage.begin()
    stage.refuses = True
    stage.end(first, -9)
    stage.step(1)
    assert len(stage.of(DutyFailed)) == 1
    stage.refuses = False

    stage.step(2)

    assert [one.name for one in stage.alive] == ["worker 2", "worker 3", "worker 1"]


def test_signals_are_passed_on_and_the_third_kills() -> None:
    stage = Stage()
    shams = stage.begin()

    for _ in range(3):
        stage.crew.signal(stage.now)

    assert [one.told for one in shams] == [[1, 2]] * 3
    assert all(one.killed for one in shams)


def test_it_is_over_when_all_have_ended_and_none_is_started_after_a_signal() -> None:
    stage = Stage()
    shams = stage.begin()
    stage.crew.signal(stage.now)
    for sham in shams:
        assert not stage.crew.is_over
        stage.end(sham)

    assert (stage.crew.is_over, stage.crew.status, len(stage.launched)) == (True, 0, 3)


def test_a_process_that_fails_while_it_ends_is_told_by_the_exit_status() -> None:
    stage = Stage()
    first, *others = stage.begin()
    stage.crew.signal(stage.now)
    stage.end(first, 1)
    for sham in others:
        stage.end(sham)

    assert stage.crew.status == 1


def test_a_process_that_does_not_end_is_killed() -> None:
    stage = Stage(1)
    (sham,) = stage.begin()
    stage.crew.signal(stage.now)
    stage.step(GRACE + KILL_AFTER - 0.1)
    assert not sham.killed

    stage.step(0.2)

    assert sham.killed
    assert len(stage.of(ProcessKilled)) == 1
    assert stage.crew.status == 1


def test_a_restart_replaces_one_after_the_other_each_once_its_successor_is_ready() -> None:
    stage = Stage(2)
    first, second = stage.begin()

    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()
    assert ([one.name for one in stage.launched[2:]], first.told) == (["worker 1"], [])
    stage.report(stage.launched[2], STARTING)
    assert first.told == []
    stage.report(stage.launched[2])
    assert (first.told, len(stage.launched)) == ([1], 3)
    stage.end(first)
    assert [one.name for one in stage.launched[3:]] == ["worker 2"]
    stage.report(stage.launched[3])
    assert second.told == [1]
    assert stage.of(RestartEnded) == []
    stage.end(second)

    assert len(stage.of(RestartEnded)) == 1
    assert stage.alive == stage.launched[2:]


def test_a_restart_is_given_up_if_a_successor_ends_before_it_is_ready() -> None:
    stage = Stage(2)
    first, second = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()

    stage.end(stage.launched[2], 1)
    stage.step(100)

    assert len(stage.of(RestartFailed)) == 1
    assert stage.alive == [first, second]
    assert (first.told, second.told, len(stage.launched)) == ([], [], 3)


def test_a_restart_is_given_up_if_a_successor_is_not_ready_in_time() -> None:
    stage = Stage(2)
    first, second = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()
    successor = stage.launched[2]
    stage.report(successor, STARTING)

    stage.step(UNREADY_AFTER - 1)
    assert (stage.of(RestartFailed), successor.told) == ([], [])
    stage.step(1)
    stage.step(GRACE + KILL_AFTER)
    stage.end(successor, -9)

    assert len(stage.of(RestartFailed)) == 1
    assert (successor.told, successor.killed) == ([1], True)
    assert (stage.alive, first.told, second.told, len(stage.launched)) == ([first, second], [], [], 3)


def test_a_restart_that_was_asked_for_meanwhile_follows_one_that_is_given_up() -> None:
    stage = Stage(1)
    (first,) = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()
    stage.crew.restart(stage.now)  # once the code has been mended

    stage.end(stage.launched[1], 1)
    stage.report(stage.launched[2])
    stage.end(first)
    stage.step(UNREADY_AFTER)

    assert (len(stage.of(RestartBegun)), len(stage.of(RestartFailed)), len(stage.of(RestartEnded))) == (2, 1, 1)
    assert stage.alive == stage.launched[2:]


def test_a_process_that_ends_while_it_is_replaced_leaves_its_place_to_the_successor() -> None:
    stage = Stage(2)
    first, second = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()

    stage.end(first, -9)
    stage.step(10)
    assert [one.name for one in stage.launched] == ["worker 1", "worker 2", "worker 1", "worker 2"]
    stage.report(stage.launched[2])
    stage.report(stage.launched[3])
    stage.end(second)

    assert stage.alive == stage.launched[2:]
    assert len(stage.of(RestartEnded)) == 1


def test_a_restart_during_a_restart_is_one_more_after_it() -> None:
    stage = Stage(1)
    (first,) = stage.begin()
    stage.step(1)
    for _ in range(3):
        stage.crew.restart(stage.now)
        stage.step()
    stage.report(stage.launched[1])
    stage.step(1)
    stage.end(first)
    assert len(stage.of(RestartBegun)) == 2
    stage.step()
    stage.report(stage.launched[2])
    stage.end(stage.launched[1])

    assert len(stage.of(RestartEnded)) == 2
    assert stage.alive == [stage.launched[2]]


def test_a_signal_during_a_restart_ends_the_old_and_the_new() -> None:
    stage = Stage(1)
    (first,) = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()

    stage.crew.signal(stage.now)

    assert [one.told for one in stage.launched] == [[1], [1]]
    stage.end(first)
    stage.end(stage.launched[1])
    assert (stage.crew.is_over, stage.crew.status) == (True, 0)
    assert stage.of(RestartFailed) == []
    assert len(stage.of(ProcessEnded)) == 2


def test_a_restart_after_a_signal_is_ignored() -> None:
    stage = Stage(1)
    stage.begin()
    stage.crew.signal(stage.now)

    stage.crew.restart(stage.now)
    stage.crew.change(stage.now)
    stage.step()

    assert len(stage.launched) == 1


def test_changed_code_ends_a_process_before_its_successor_starts() -> None:
    stage = Stage(1, waits_for_changes=True)
    (first,) = stage.begin()

    stage.crew.change(stage.now)
    stage.crew.restart(stage.now)
    stage.step(1)
    assert (first.told, len(stage.launched)) == ([1, 1], 1)
    stage.end(first)

    assert len(stage.launched) == 2


def test_code_that_cannot_start_is_started_again_once_it_has_changed() -> None:
    stage = Stage(1, waits_for_changes=True)
    stage.step()
    stage.end(stage.launched[0], 1)
    stage.step(1_000)
    assert (len(stage.launched), stage.crew.is_over) == (1, False)

    stage.crew.change(stage.now)
    stage.step()

    assert len(stage.launched) == 2


def test_the_report_is_of_all_processes() -> None:
    stage = Stage(2)
    assert (stage.health().is_healthy, stage.health().is_ready) == (True, False)
    stage.begin()

    health = stage.health()
    processes: Any = health.details["processes"]

    assert (health.is_healthy, health.is_ready) == (True, True)
    assert (health.details["running"], health.details["slots"]) == (2, 20)
    assert [(one["name"], one["pid"], one["status"]) for one in processes] == [
        ("worker 1", 100, "running"),
        ("worker 2", 101, "running"),
    ]


def test_a_problem_of_one_process_is_one_of_all_and_named() -> None:
    stage = Stage(2)
    _, second = stage.begin()
    stage.report(second, ILL)

    assert stage.health().problems == ("worker 2: the lease is lost",)
    assert not stage.health().is_healthy


def test_a_process_that_says_nothing_is_a_problem_after_a_while() -> None:
    stage = Stage(2)
    first, _ = stage.begin()
    stage.step(4.9)
    stage.report(first)
    assert stage.health().is_healthy

    stage.step(0.2)

    assert stage.health().problems == ("worker 2: has not reported for 5 s",)


def reporting(lease: float) -> Report:
    return report_of(Health(HealthStatus.RUNNING), timedelta(seconds=lease))


@pytest.mark.parametrize(("lease", "patience"), [(30, 30), (1, LEAST_SILENCE)])
def test_a_process_that_hangs_is_killed_when_its_lease_has_run_out_and_started_again(
    lease: float, patience: float
) -> None:
    stage = Stage(2)
    first, second = stage.begin()
    stage.report(second, reporting(lease))
    for _ in range(int(patience) - 1):
        stage.step(1)
        stage.report(first)
    assert not second.killed

    stage.step(1)
    stage.step(1)

    assert (first.killed, second.killed) == (False, True)
    assert stage.of(ProcessHung) == [ProcessHung("worker 2", second.pid, patience)]
    stage.end(second, -9)
    (ended,) = stage.of(ProcessEnded)
    assert isinstance(ended, ProcessEnded)
    assert ended.was_told
    assert ended.again is not None
    stage.step(ended.again)
    assert stage.launched[-1].name == "worker 2"
    stage.crew.signal(stage.now)
    stage.end(first)
    stage.end(stage.launched[-1])
    assert (stage.crew.is_over, stage.crew.status) == (True, 0)


def test_a_process_that_reports_is_not_killed_even_if_its_loop_is_blocked() -> None:
    stage = Stage(1)
    (only,) = stage.begin()
    blocked = report_of(Health(HealthStatus.RUNNING, ("the event loop is blocked",)), timedelta(seconds=1))

    for _ in range(60):
        stage.step(1)
        stage.report(only, blocked)

    assert not only.killed


def test_a_process_that_has_no_lease_yet_may_take_its_time() -> None:
    stage = Stage(1)
    stage.step()
    (only,) = stage.launched
    stage.report(only, STARTING)

    for _ in range(600):
        stage.step(1)

    assert not only.killed


def test_time_in_which_the_supervisor_stood_still_is_not_held_against_its_processes() -> None:
    stage = Stage(1)
    (only,) = stage.begin()
    stage.report(only, reporting(30))

    stage.step(3_600)
    stage.step(1)

    assert not only.killed


def test_a_process_that_a_debugger_halts_in_development_is_not_killed() -> None:
    stage = Stage(1, waits_for_changes=True)
    (only,) = stage.begin()
    stage.report(only, reporting(30))

    for _ in range(600):
        stage.step(1)

    assert not only.killed


def test_a_process_that_hangs_while_it_ends_is_killed_before_its_grace_is_over() -> None:
    stage = Stage(1)
    (only,) = stage.begin()
    stage.report(only, reporting(12))
    stage.crew.signal(stage.now)

    for _ in range(13):
        stage.step(1)

    assert only.killed
    stage.end(only, -9)
    assert (stage.crew.is_over, stage.crew.status) == (True, 1)


def test_a_process_that_is_missing_is_a_problem_after_a_while() -> None:
    stage = Stage(2)
    first, second = stage.begin()
    assert stage.health().is_ready
    stage.end(second, -9)
    assert (stage.health().is_healthy, stage.health().is_ready) == (True, False)

    stage.step(5)
    stage.report(first)

    assert stage.health().problems == ("worker 2 has not been ready for 5 s",)


def test_it_is_ready_throughout_a_restart() -> None:
    stage = Stage(1)
    (first,) = stage.begin()
    stage.step(1)
    stage.crew.restart(stage.now)
    stage.step()
    stage.report(first)
    assert stage.health().is_ready
    stage.report(stage.launched[1])
    assert stage.health().is_ready
    stage.end(first)

    assert stage.health().is_ready


def test_after_a_signal_it_is_not_ready_but_healthy() -> None:
    stage = Stage(1)
    stage.begin()
    stage.crew.signal(stage.now)

    assert (stage.health().is_healthy, stage.health().is_ready) == (True, False)
    assert stage.health().details["status"] == "stopping"


@pytest.mark.parametrize(("status", "words"), [(0, "exit status 0"), (-9, "SIGKILL"), (-200, "signal 200")])
def test_how_a_process_ended_is_told_in_words(status: int, words: str) -> None:
    assert how(status) == words
