"""What `why` says, as a function of what was read."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from rexecutor.answers.why import Answer, Reason, Seen, why
from rexecutor.backend.messages import EVERY_EXECUTOR, Holder, Load, NodeState, Pause, StoredNode
from rexecutor.model.job import ErrorKind, JobError, JobRecord, last_line
from rexecutor.model.status import JobStatus

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RECORD = JobRecord(
    id=7,
    executor="email",
    status=JobStatus.SCHEDULED,
    data="1",
    metadata=None,
    attempt=0,
    max_attempts=5,
    priority=0,
    tags=(),
    errors=(),
    claims=0,
    snoozes=0,
    losses=0,
    node=None,
    cancel_reason=None,
    unique_key=None,
    revision=0,
    inserted_at=NOW - timedelta(hours=1),
    scheduled_at=NOW - MINUTE,
)
ERROR = JobError(2, ErrorKind.EXCEPTION, "SmtpError", "Traceback …\nSmtpError: no such host", NOW)


def node(
    name: str = "a:1", *, executors: Sequence[str] = ("email",), live: bool = True, age: int = 2, **state: Any
) -> StoredNode:
    usual: dict[str, Any] = {"slots": 10, "running": 0, "loop_lag": 0.0}
    said = NodeState(host="a", pid=1, version="1", executors=executors, **(usual | state))
    until = NOW + 20 * timedelta(seconds=1) if live else NOW - MINUTE
    return StoredNode(name, name, NOW - timedelta(hours=2), NOW - timedelta(seconds=age), until, said, NOW)


def holder(name: str, executing: int, minutes: int = 4, job_id: int = 3) -> Holder:
    return Holder(name, executing, NOW - minutes * MINUTE, job_id)


def load(*holders: Holder, due: int = 1) -> Load:
    return Load("email", due, due, NOW - MINUTE, holders)


def asked(record: JobRecord = RECORD, *nodes: StoredNode, seen_load: Load | None = None, pauses: Any = ()) -> Answer:
    return why(Seen(record, NOW, pauses, nodes, seen_load))


def changed(**values: Any) -> JobRecord:
    return replace(RECORD, **values)


def test_a_retry_says_when_it_comes_and_what_failed() -> None:
    record = changed(status=JobStatus.RETRYABLE, attempt=2, errors=(ERROR,), scheduled_at=NOW + 5 * MINUTE)

    answer = asked(record, node())

    assert answer.reason is Reason.RETRY
    assert answer.text == (
        "waits for its retry at 10:05:00 UTC (in 5 min), attempt 3 of 5; the last one failed: SmtpError: no such host"
    )
    assert answer.command is not None
    assert answer.command.startswith("jobs update 7 --schedule-at")
    assert answer.then == ()


def test_a_job_for_later_says_so_and_what_comes_then() -> None:
    record = changed(scheduled_at=NOW + timedelta(days=2), snoozes=1)

    answer = asked(record)

    assert answer.reason is Reason.SCHEDULED
    assert answer.text == "is scheduled for 2026-11-29 10:00:00 UTC (in 2 d), to which it was snoozed"
    assert answer.then == ("no node is live, so nothing runs email: start one with: rexecutor worker MODULE:REXECUTOR",)


@pytest.mark.parametrize(
    ("pause", "said", "command"),
    [
        (
            Pause("email", NOW - MINUTE, NOW + MINUTE, "provider is down"),
            "email is paused since 09:59:00 UTC (1 min ago), until 10:01:00 UTC (in 1 min): provider is down",
            "resume email",
        ),
        (
            Pause(EVERY_EXECUTOR, NOW - MINUTE, None, ""),
            "every executor is paused since 09:59:00 UTC (1 min ago)",
            "resume --all",
        ),
    ],
)
def test_a_pause_says_since_when_and_why(pause: Pause, said: str, command: str) -> None:
    answer = asked(RECORD, node(), pauses=[Pause("other", NOW, None, ""), pause])

    assert (answer.reason, answer.text, answer.command) == (Reason.PAUSED, said, command)


def test_the_command_that_ends_a_pause_holds_a_name_as_one_word() -> None:
    name = "x; reboot"

    answer = asked(replace(RECORD, executor=name), pauses=[Pause(name, NOW, None, "")])

    assert answer.command == "resume 'x; reboot'"


def test_of_two_pauses_both_are_told_and_that_of_the_executor_first() -> None:
    answer = asked(RECORD, node(), pauses=[Pause(EVERY_EXECUTOR, NOW, None, "deploy"), Pause("email", NOW, None, "")])

    assert (answer.text, answer.command) == ("email is paused since 10:00:00 UTC (now)", "resume email")
    assert answer.then == ("every executor is paused since 10:00:00 UTC (now): deploy",)


def test_no_live_node_of_the_executor_says_what_the_others_run() -> None:
    answer = asked(RECORD, node(executors=["report", "a"]), node("b:1", executors=["a"]), node("dead", live=False))

    assert answer.reason is Reason.NO_NODE
    assert answer.text == (
        "no live node runs this executor, email: start one with: rexecutor worker MODULE:REXECUTOR;"
        " 2 nodes live, for a, report"
    )


def test_a_node_that_does_not_say_what_it_runs_may_run_it() -> None:
    silent = StoredNode("x", "x", NOW, NOW, NOW + MINUTE, None, NOW)

    assert asked(RECORD, silent).reason is Reason.DUE


def test_busy_slots_of_the_executor_say_who_holds_one_for_longest() -> None:
    nodes = node("a:1", limits={"email": 5}, running=5), node("b:2", limits={"email": 5}, running=9)

    answer = asked(RECORD, *nodes, seen_load=load(holder("a:1", 8, 1), holder("b:2", 5, 4, 12)))

    assert answer.reason is Reason.BUSY
    assert answer.text == "all 10 slots of email on 2 nodes are busy; the longest for 4 min: job 12 on b:2"


def test_slots_that_other_executors_hold_are_told() -> None:
    answer = asked(RECORD, node(running=10), seen_load=load(holder("a:1", 3)))

    assert answer.text == (
        "all slots on 1 node are busy: 3 with jobs of email, the others with those of other executors; the longest for"
        " 4 min: job 3 on a:1"
    )


def test_a_free_slot_on_one_node_is_enough() -> None:
    nodes = node("a:1", running=10), node("b:2", running=9)

    assert asked(RECORD, *nodes, seen_load=load(holder("a:1", 10), holder("b:2", 9))).reason is Reason.DUE


def test_a_job_behind_others_says_how_many() -> None:
    answer = asked(RECORD, node(), seen_load=load(due=100_001))

    assert answer.text == (
        "is due for 1 min, as are 100,000+ jobs of email in all: nodes take them by priority, then by time"
    )
    assert answer.command is None


def test_a_job_that_nobody_takes_although_it_could_be_points_to_the_doctor() -> None:
    answer = asked(RECORD, node(), seen_load=load())

    assert answer.text == (
        "is due for 1 min, and there are free slots: a node takes it next; that should have happened by now"
    )
    assert answer.command == "doctor"


def test_a_blocked_event_loop_is_named() -> None:
    answer = asked(RECORD, node(loop_lag=12.0), seen_load=load())

    assert "but the event loop of a:1 has not responded for 12 s" in answer.text


def test_an_expired_job_waits_for_a_heartbeat() -> None:
    record = changed(expires_at=NOW - MINUTE)

    assert asked(record, node()).text == "has expired at 09:59:00 UTC (1 min ago): a heartbeat of a node cancels it"
    assert asked(record).text.endswith("but no node is live")


EXECUTING = changed(status=JobStatus.EXECUTING, attempt=2, node="a:1", attempted_at=NOW - 3 * MINUTE)


def test_an_executing_job_says_where_and_for_how_long() -> None:
    answer = asked(EXECUTING, node())

    assert (answer.reason, answer.text) == (Reason.EXECUTING, "executes for 3 min on a:1, attempt 2 of 5")
    assert answer.command == "jobs cancel 7"


def test_a_cancel_that_was_requested_is_told() -> None:
    answer = asked(replace(EXECUTING, cancel_reason="ordered twice"), node())

    assert answer.reason is Reason.CANCELLING
    assert answer.text.endswith("a cancel was requested, and its code has not stopped: ordered twice")


def test_a_job_of_a_dead_node_says_who_rescues_it() -> None:
    on_dead = asked(EXECUTING, node(live=False), node("b:2"))
    on_unknown = asked(EXECUTING)

    assert on_dead.text == (
        "executes for 3 min on a:1, whose lease has run out: the next heartbeat of a live node gives it to another"
    )
    assert on_unknown.text.endswith("no node is live that could give it to another: start a worker")
    assert on_dead.reason is on_unknown.reason is Reason.LOST


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"status": JobStatus.DISCARDED, "attempt": 5, "errors": (ERROR,), "discarded_at": NOW - MINUTE},
            "already discarded at 09:59:00 UTC (1 min ago), after 5 of 5 attempts: SmtpError: no such host",
        ),
        (
            {"status": JobStatus.COMPLETE, "attempt": 1, "completed_at": NOW - MINUTE},
            "already complete at 09:59:00 UTC (1 min ago), after 1 of 5 attempts",
        ),
        (
            {
                "status": JobStatus.CANCELLED,
                "cancelled_at": NOW - MINUTE,
                "errors": (JobError(0, ErrorKind.CANCELLED, "Cancel", "not wanted", NOW),),
            },
            "already cancelled at 09:59:00 UTC (1 min ago): Cancel: not wanted",
        ),
    ],
)
def test_an_ended_job_says_how_and_how_to_run_it_again(values: dict[str, Any], said: str) -> None:
    answer = asked(changed(**values), node())

    assert (answer.text, answer.command) == (said, "jobs rerun 7")


def test_a_node_whose_heartbeat_is_late_is_named() -> None:
    late = node(age=15)
    told = "the heartbeat of a:1 is late: the last one came 15 s ago"

    assert asked(RECORD, late).text.endswith(f"a node takes it next; but {told}")
    executing = changed(status=JobStatus.EXECUTING, node="a:1", attempted_at=NOW - MINUTE, attempt=1)
    assert asked(executing, late).text.endswith(f"; {told}")
    assert asked(RECORD, replace_slots(late), seen_load=load(holder("a:1", 1))).text.endswith(f"; {told}")


def replace_slots(one: StoredNode) -> StoredNode:
    """The node with one slot, which is taken."""
    assert one.state is not None
    return dataclasses.replace(one, state=dataclasses.replace(one.state, slots=1, running=1))


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ("Traceback …\napp.errors.SmtpError: no such host", "SmtpError: no such host"),
        ("Traceback …\napp.send.<locals>.SmtpError: no such host", "SmtpError: no such host"),
        ("SmtpError", "SmtpError"),
        ("no such host", "SmtpError: no such host"),
        ("Traceback …\nSmtpErrors: other", "SmtpError: SmtpErrors: other"),
    ],
)
def test_an_error_is_told_with_its_type_once_and_without_its_module(details: str, told: str) -> None:
    assert last_line(JobError(2, ErrorKind.EXCEPTION, "SmtpError", details, NOW)) == told
