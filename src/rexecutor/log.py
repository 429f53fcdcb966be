"""Events to log lines, on the logger `rexecutor`. The only module that logs; job data is never logged.

Debug for each job, info for start and stop, warning for a retry, error for a discard or a failed duty.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import assert_never

from rexecutor.events import (
    BackoffFailed,
    DutyFailed,
    DutyRecovered,
    Event,
    JobEnded,
    JobsPruned,
    JobsRescued,
    JobStarted,
    JobStuck,
    JobUnreadable,
    LeaseLost,
    LeaseRegained,
    ListeningUseless,
    LogReset,
    LogUnbounded,
    LoopBlocked,
    LoopFreed,
    NodeStarted,
    NodeStopped,
    NodeStopping,
    OutcomeRefused,
    ResultIgnored,
)
from rexecutor.outcome import Cancelled, Complete, Failed, Interrupted, Outcome, Snooze

_LOGGER = logging.getLogger("rexecutor")
_MEGABYTE = 1024 * 1024


def wants_jobs() -> bool:
    """Whether single jobs are worth an event: a line a job would cost more than the job."""
    return _LOGGER.isEnabledFor(logging.DEBUG)


def _no_command(words: str) -> None:  # noqa: ARG001 - see `log_event`
    return None


def log_event(event: Event, *, command: Callable[[str], str | None] = _no_command) -> None:
    """Write the event's line. A handler or a filter of the application's that raises must not stop a job or a duty.

    Args:
        event: What happened.
        command: Returns the line for a shell that shows more, as `Backend.command` does.
    """
    with contextlib.suppress(Exception):
        level, text = _line(event, command)
        extra = {name: getattr(event, name) for name in ("job_id", "executor", "attempt") if hasattr(event, name)}
        _LOGGER.log(level, "%s", text, extra=extra)


def _line(event: Event, command: Callable[[str], str | None]) -> tuple[int, str]:  # noqa: C901, PLR0912 - one case an event
    match event:
        case NodeStarted(node, name, executors, most):
            listed = ", ".join(executors[:20]) + (" …" if len(executors) > 20 else "")  # noqa: PLR2004 - a line's worth
            return logging.INFO, f"node {node} ({name}) started: {most} jobs at a time, executors: {listed or 'none'}"
        case NodeStopping(node, running):
            return logging.INFO, f"node {node} stopping: waits for {running} running jobs"
        case NodeStopped(node, unsettled):
            if unsettled:
                return (
                    logging.ERROR,
                    f"node {node} stopped: {unsettled} outcomes not delivered, others will rescue these",
                )
            return logging.INFO, f"node {node} stopped"
        case LeaseLost(node, cancelled):
            return logging.ERROR, f"node {node} could not renew its lease: claims nothing, cancelled {cancelled} jobs"
        case LeaseRegained(node):
            return logging.INFO, f"node {node} renewed its lease again"
        case JobsRescued(jobs):
            return logging.WARNING, f"rescued {jobs} jobs of lost nodes"
        case JobsPruned(jobs, status):
            return logging.INFO, f"pruned {jobs} jobs that were {status}"
        case DutyFailed(duty, error):
            return logging.ERROR, f"{duty} fails, will be tried again: {type(error).__name__}: {error}"
        case DutyRecovered(duty, failures):
            return logging.INFO, f"{duty} succeeds again after {failures} failures"
        case ListeningUseless():
            why = "a pooler in transaction mode drops LISTEN"
            return logging.WARNING, f"PostgreSQL's notifications do not come ({why}?): jobs are found by polling"
        case LogUnbounded(path, size):
            text = (
                f"{path}: its write-ahead log has grown to {size / _MEGABYTE:.0f} MB, because a connection that reads"
                " stays in its transaction; end that transaction"
            )
            return logging.WARNING, text
        case LogReset(path):
            return logging.INFO, f"{path}: its write-ahead log is small again"
        case JobStarted(job_id, executor, attempt):
            return logging.DEBUG, f"job {job_id} ({executor}) started, attempt {attempt}"
        case JobEnded(job_id, executor, attempt, outcome, is_final):
            level, text = _ended(outcome, is_final=is_final)
            more = command(f"jobs show {job_id}") if isinstance(outcome, Failed) else None
            return level, f"job {job_id} ({executor}) {text}, attempt {attempt}" + (f"; see: {more}" if more else "")
        case JobUnreadable(job_id, executor, error):
            return logging.WARNING, f"job {job_id} ({executor}) cannot be read and was left out: {type(error).__name__}"
        case OutcomeRefused(job_id):
            return logging.WARNING, f"job {job_id} was no longer ours when it ended here; its outcome was not recorded"
        case JobStuck(job_id, executor, attempt, stuck):
            text = (
                f"job {job_id} ({executor}) does not stop and holds its slot, attempt {attempt}; slots held so: {stuck}"
            )
            return logging.WARNING, text
        case LoopBlocked(seconds, job_id, executor, _, stack):
            whose = "code outside the jobs' own tasks" if job_id is None else f"job {job_id} ({executor})"
            return logging.ERROR, f"{whose} has blocked the event loop for {seconds:.1f} s; it stands at:\n{stack}"
        case LoopFreed(seconds):
            return logging.WARNING, f"the event loop goes on after {seconds:.1f} s"
        case ResultIgnored(job_id, executor, _, type_name):
            text = f"{executor}: execute returned a value of type {type_name}, which is ignored"
            return logging.WARNING, f"{text}; return None, Cancel or Snooze (job {job_id} is complete)"
        case BackoffFailed(job_id, executor, _, error):
            return logging.ERROR, f"job {job_id} ({executor}): backoff failed, default used: {type(error).__name__}"
        case _:
            assert_never(event)


def _ended(outcome: Outcome, *, is_final: bool) -> tuple[int, str]:
    match outcome:
        case Complete():
            return logging.DEBUG, "complete"
        case Cancelled():
            return logging.INFO, "cancelled"
        case Snooze(delay):
            return logging.DEBUG, f"snoozed for {delay}"
        case Interrupted():
            return logging.INFO, "interrupted and given back"
        case Failed(error, delay):
            if is_final:
                return logging.ERROR, f"discarded after {error.kind} {error.type_name}"
            return logging.WARNING, f"failed with {error.kind} {error.type_name}, again in {delay}"
        case _:
            assert_never(outcome)
