"""Why a job has not run, or what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from shlex import quote
from typing import Final

from rexecutor.answers.health import ailing
from rexecutor.answers.overview import counted
from rexecutor.answers.spans import at, span
from rexecutor.backend.messages import EVERY_EXECUTOR, Load, Pause, StoredNode
from rexecutor.model.job import JobRecord, last_line
from rexecutor.model.status import JobStatus

LATE: Final = timedelta(seconds=30)
"""Delay above which it is odd that nobody has taken a job although there is a free slot."""
_LONGEST: Final = 200
"""Number of characters that an answer quotes of an error or a reason."""


class Reason(StrEnum):
    """Why a job is where it is; for programs."""

    COMPLETE = "complete"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    EXECUTING = "executing"
    CANCELLING = "cancelling"
    """It executes, and a cancel was requested."""
    LOST = "lost"
    """It executes on a node that is lost."""
    EXPIRED = "expired"
    """It waits, but its time to start has passed."""
    SCHEDULED = "scheduled"
    """Its time has not come."""
    RETRY = "retry"
    """It has failed, and the time of its next attempt has not come."""
    PAUSED = "paused"
    NO_NODE = "no node"
    """No live node runs its executor."""
    BUSY = "busy"
    """All slots that it could have are taken."""
    DUE = "due"
    """Nothing keeps it from running: it is next, or other jobs come first."""


PURPOSES: Final = {
    Reason.COMPLETE: "to run it again",
    Reason.CANCELLED: "to run it again",
    Reason.DISCARDED: "to run it again",
    Reason.EXECUTING: "to cancel it",
    Reason.SCHEDULED: "to run it now",
    Reason.RETRY: "to run it now",
    Reason.PAUSED: "to end the pause",
    Reason.DUE: "to look for the cause",
}
"""The purpose of an answer's command."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was read about a job, at about the same moment."""

    record: JobRecord
    now: datetime
    """The store's time."""
    pauses: Sequence[Pause] = ()
    nodes: Sequence[StoredNode] = ()
    load: Load | None = None
    """The load of its executor; None if nothing of it waits or executes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a job is where it is."""

    reason: Reason
    text: str
    """One sentence or two."""
    then: Sequence[str] = ()
    """Other reasons that keep a waiting job from running after that."""
    command: str | None = None
    """The command that changes this, without the program's name; None if there is none."""


def why(seen: Seen) -> Answer:
    """Return why the job has not run, where it runs, or how it has ended."""
    match seen.record.status:
        case JobStatus.COMPLETE | JobStatus.CANCELLED | JobStatus.DISCARDED:
            return _ended(seen)
        case JobStatus.EXECUTING:
            return _executing(seen)
        case JobStatus.SCHEDULED | JobStatus.RETRYABLE:
            return _waiting(seen)


def _ended(seen: Seen) -> Answer:
    record, again = seen.record, f"jobs rerun {seen.record.id}"
    when = "" if record.ended_at is None else f" at {at(record.ended_at, seen.now)}"
    attempts = f"{record.attempt} of {record.max_attempts} attempts"
    if record.status is JobStatus.COMPLETE:
        return Answer(Reason.COMPLETE, f"already complete{when}, after {attempts}", command=again)
    if record.status is JobStatus.CANCELLED:
        return Answer(Reason.CANCELLED, f"already cancelled{when}: {_last_error(record)}", command=again)
    return Answer(Reason.DISCARDED, f"already discarded{when}, after {attempts}: {_last_error(record)}", command=again)


def _executing(seen: Seen) -> Answer:
    record = seen.record
    node = next((node for node in seen.nodes if node.id == record.node), None)
    since = "" if record.attempted_at is None else f" for {span(seen.now - record.attempted_at)}"
    attempt = f"attempt {record.attempt} of {record.max_attempts}"
    if node is None or not node.is_live:
        name = "a node that the store does not know" if node is None else f"{node.name}, whose lease has run out"
        rescuer = "the next heartbeat of a live node gives it to another"
        if not any(node.is_live for node in seen.nodes):
            rescuer = "no node is live that could give it to another: start a worker"
        return Answer(Reason.LOST, f"executes{since} on {name}: {rescuer}")
    text = f"executes{since} on {node.name}, {attempt}"
    text = "; ".join((text, *ailing([node])))
    if record.cancel_reason is not None:
        return Answer(
            Reason.CANCELLING, f"{text}; a cancel was requested, and its code has not stopped: {record.cancel_reason}"
        )
    return Answer(Reason.EXECUTING, text, command=f"jobs cancel {record.id}")


def _waiting(seen: Seen) -> Answer:
    """Return the first reason why it waits; the other reasons hold after that one."""
    if seen.record.expires_at is not None and seen.record.expires_at <= seen.now:
        text = f"has expired at {at(seen.record.expires_at, seen.now)}: a heartbeat of a node cancels it"
        if not any(node.is_live for node in seen.nodes):
            text += ", but no node is live"
        return Answer(Reason.EXPIRED, text)
    not_yet = _not_yet(seen)
    busy = _busy(seen) if not_yet is None else None  # the slots that are busy now may be free by then
    found = [answer for answer in (not_yet, *_paused(seen), _no_node(seen), busy) if answer is not None]
    if not found:
        return _due(seen)
    first, *others = found
    return Answer(first.reason, first.text, tuple(other.text for other in others), first.command)


def _not_yet(seen: Seen) -> Answer | None:
    record = seen.record
    if record.scheduled_at <= seen.now:
        return None
    when = at(record.scheduled_at, seen.now)
    if record.status is JobStatus.RETRYABLE:
        attempt = f"attempt {record.attempt + 1} of {record.max_attempts}"
        text = f"waits for its retry at {when}, {attempt}; the last one failed: {_last_error(record)}"
        return Answer(Reason.RETRY, text, command=_now(record))
    snoozed = ", to which it was snoozed" if record.snoozes else ""
    return Answer(Reason.SCHEDULED, f"is scheduled for {when}{snoozed}", command=_now(record))


def _paused(seen: Seen) -> list[Answer]:
    """Return the pause of the executor and that of all, if they are in force, in this order."""
    return [
        _pause(pause, seen.now)
        for name in (seen.record.executor, EVERY_EXECUTOR)
        for pause in seen.pauses
        if pause.executor == name
    ]


def _pause(pause: Pause, now: datetime) -> Answer:
    what = "every executor" if pause.executor == EVERY_EXECUTOR else pause.executor
    until = "" if pause.until is None else f", until {at(pause.until, now)}"
    reason = f": {_short(pause.reason)}" if pause.reason else ""
    command = "resume --all" if pause.executor == EVERY_EXECUTOR else f"resume {quote(pause.executor)}"
    return Answer(Reason.PAUSED, f"{what} is paused since {at(pause.since, now)}{until}{reason}", command=command)


def _no_node(seen: Seen) -> Answer | None:
    executor = seen.record.executor
    live = [node for node in seen.nodes if node.is_live]
    if any(node.state is None or executor in node.state.executors for node in live):
        return None
    start = "start one with: rexecutor worker MODULE:REXECUTOR"
    if not live:
        return Answer(Reason.NO_NODE, f"no node is live, so nothing runs {executor}: {start}")
    known = sorted({name for node in live if node.state is not None for name in node.state.executors})
    listed = _short(", ".join(known)) or "no executor"
    return Answer(
        Reason.NO_NODE, f"no live node runs this executor, {executor}: {start}; {_nodes(len(live))} live, for {listed}"
    )


def _busy(seen: Seen) -> Answer | None:
    executor, load = seen.record.executor, seen.load
    runners = [
        node for node in seen.nodes if node.is_live and node.state is not None and executor in node.state.executors
    ]
    if not runners or any(node.is_live and node.state is None for node in seen.nodes):
        return None
    held = {} if load is None else {holder.node: holder.executing for holder in load.holders}
    slots = own = 0
    for node in runners:
        assert node.state is not None  # noqa: S101 - see above
        of_executor = node.state.slots_of(executor)
        taken = min(held.get(node.id, 0), of_executor)
        if taken < of_executor and node.state.running < node.state.slots:
            return None
        slots += of_executor
        own += taken
    where = f"on {_nodes(len(runners))}"
    if own == slots:
        text = f"all {slots} slots of {executor} {where} are busy"
        if slots == 1:
            text = f"the only slot of {executor} {where} is busy"
        text += _longest(seen, runners)
    else:
        text = f"all slots {where} are busy: {own} with jobs of {executor}, the others with those of other executors"
        text += _longest(seen, runners)
    return Answer(Reason.BUSY, "; ".join((text, *ailing(runners))))


def _longest(seen: Seen, runners: Sequence[StoredNode]) -> str:
    """Return who holds a slot for the longest time, as the rest of a sentence."""
    if seen.load is None or not seen.load.holders:
        return ""
    holder = min(seen.load.holders, key=lambda holder: holder.longest)
    name = next((f" on {node.name}" for node in runners if node.id == holder.node), "")
    return f"; the longest for {span(seen.now - holder.longest)}: job {holder.longest_id}{name}"


def _due(seen: Seen) -> Answer:
    record, load = seen.record, seen.load
    waited = seen.now - record.scheduled_at
    text = f"is due for {span(waited)}, and there are free slots: a node takes it next"
    if load is not None and load.due > 1:
        number = counted(load.due, load.counted_to)
        text = (
            f"is due for {span(waited)}, as are {number} jobs of {record.executor} in all: nodes take them by priority,"
            " then by time"
        )
    ills = ailing([node for node in seen.nodes if node.is_live])
    if ills:
        return Answer(Reason.DUE, f"{text}; but {', and '.join(ills)}")
    if waited > LATE and (load is None or load.due <= 1):
        return Answer(Reason.DUE, f"{text}; that should have happened by now", command="doctor")
    return Answer(Reason.DUE, text)


def _nodes(number: int) -> str:
    return "1 node" if number == 1 else f"{number} nodes"


def _now(record: JobRecord) -> str:
    return f"jobs update {record.id} --schedule-at now"


def _last_error(record: JobRecord) -> str:
    """Return the last error in one line."""
    if not record.errors:
        return "no error is recorded"
    return _short(last_line(record.errors[-1]))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
