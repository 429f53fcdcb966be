"""Turns events into log lines, on the loggers `rexecutor` and `rexecutor.jobs`. The only module that logs.

`rexecutor.jobs` gets what every job does: debug for a start, info for a success or a snooze. `rexecutor` gets the rest:
info for start and stop of a node and for a cancel, warning for a retry, error for a discard or a failed duty. No line
holds job data, but the exception logged with a failure is the application's own and may.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

from rexecutor.errors import BackendError
from rexecutor.model.job import ErrorKind, JobError
from rexecutor.model.outcomes import Cancelled, Complete, Discarded, Expired, Failed, Interrupted, Snooze
from rexecutor.telemetry.events import (
    BackoffFailed,
    DutyFailed,
    DutyRecovered,
    EnqueueForgotten,
    Event,
    JobEnded,
    JobsEnqueued,
    JobsExpired,
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
    NodeMeasured,
    NodeStarted,
    NodeStopped,
    NodeStopping,
    NothingToRun,
    OutcomeRefused,
    ProcessLeft,
    ProviderNotClosed,
    QueuesMeasured,
    ResultIgnored,
    SubscriberFailed,
    TicksEnqueued,
)
from rexecutor.telemetry.process_events import (
    ProbesAnswered,
    ProcessEnded,
    ProcessesChanged,
    ProcessesStopping,
    ProcessEvent,
    ProcessHung,
    ProcessKilled,
    ProcessStarted,
    RestartBegun,
    RestartEnded,
    RestartFailed,
    SupervisorLost,
)

Logged: TypeAlias = Event | ProcessEvent
"""Everything that is logged."""

_OURS: Final = logging.getLogger("rexecutor")
_JOBS: Final = logging.getLogger("rexecutor.jobs")

_LISTED: Final = 20
"""Maximum number of executors or jobs named in one line."""
_MEGABYTE: Final = 1024 * 1024


class _Line(NamedTuple):
    """A log line. The template is the same for all events of a kind, so that error trackers can group by it."""

    level: int
    template: str
    arguments: tuple[object, ...] = ()
    error: BaseException | None = None
    trace: str | None = None
    """The traceback as text, if the attempt has formatted it already.

    It is bounded in length, and the error's own methods, which may raise anything, are not called again.
    """


def wants_starts() -> bool:
    """Whether the start or the enqueue of a job will be logged. If not, no line is made: it costs more than a job."""
    return _enabled(_JOBS).isEnabledFor(logging.DEBUG)


def wants_ends() -> bool:
    """Whether the end of a successful job will be logged. If not, no line is made."""
    return _enabled(_JOBS).isEnabledFor(logging.INFO)


def no_command(words: str) -> None:
    """Return None: there is no command that shows more."""


def log_event(event: Logged, *, command: Callable[[str], str | None] = no_command) -> None:
    """Log the event. Errors in the application's log handlers and filters are ignored, so that no job or duty stops.

    Args:
        event: The event.
        command: Returns the shell command that shows more, given its words after the program's name, or None if there
            is no such command; for example `Backend.command`.
    """
    try:
        is_ordinary = _is_ordinary(event)
        if is_ordinary and not (wants_ends() if isinstance(event, JobEnded) else wants_starts()):
            return
        line = _line(event, command)
        logger = _enabled(_JOBS if is_ordinary else _OURS)
        if logger.isEnabledFor(line.level):
            logger.handle(_record(logger, line, event))
    except BaseException:  # noqa: BLE001, S110 - a handler shows what a job raised, whose methods may raise anything
        pass


def _is_ordinary(event: Logged) -> bool:
    """Whether the event is one that every job has. These have a logger of their own, so that they can be turned off."""
    if isinstance(event, JobEnded):
        return isinstance(event.outcome, Complete | Snooze)
    return isinstance(event, JobStarted | JobsEnqueued | TicksEnqueued)


def _enabled(logger: logging.Logger) -> logging.Logger:
    """Enable the logger and return it: by default, `dictConfig` and `fileConfig` disable all existing loggers."""
    logger.disabled = False
    return logger


def _record(logger: logging.Logger, line: _Line, event: Logged) -> logging.LogRecord:
    extra = {name: getattr(event, name) for name in ("job_id", "executor", "attempt") if hasattr(event, name)}
    error = line.error
    shown = None if error is None else (type(error), error, traceback_of(error))
    file, number, function, _ = logger.findCaller()
    record = logger.makeRecord(
        logger.name, line.level, file, number, line.template, line.arguments, shown, function, extra
    )
    if error is not None:  # handlers show this text, and format no traceback by themselves, which asks the exception
        record.exc_text = (_formatted(error) if line.trace is None else line.trace).rstrip("\n")
    return record


def _formatted(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, traceback_of(error)))
    except BaseException:  # noqa: BLE001 - an exception, or its cause, may raise anything when it is shown
        return f"{type(error).__name__}, whose traceback cannot be shown"


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return an exception's traceback without calling the exception's own methods, which may raise anything."""
    return BaseException.__dict__["__traceback__"].__get__(error)


def _line(event: Logged, command: Callable[[str], str | None]) -> _Line:  # noqa: C901, PLR0912, PLR0915 - one case an event
    match event:
        case NodeStarted():
            return _started(event)
        case NothingToRun():
            return _Line(logging.INFO, "started with nothing to run: no executor, schedule or pruner was given")
        case NodeStopping(node, running, stuck):
            template = "node %s stopping: waiting for %s" + (", but not for %s" if stuck else "")
            left = "1 job that does not stop" if stuck == 1 else f"{stuck} jobs that do not stop"
            jobs = (_counted(running, "running job"), *([left] if stuck else []))
            return _Line(logging.INFO, template, (node, *jobs))
        case NodeStopped(node, unsettled, stuck):
            if unsettled:
                template = "node %s stopped: %s not delivered; other nodes will rescue their jobs"
                return _Line(logging.ERROR, template, (node, _counted(unsettled, "outcome")))
            if stuck:
                template = "node %s stopped, leaving behind code that does not stop: %s"
                return _Line(logging.WARNING, template, (node, _listed([f"job {one} ({of})" for one, of in stuck])))
            return _Line(logging.INFO, "node %s stopped", (node,))
        case ProcessLeft():
            return _Line(logging.WARNING, "the process exits although code that a job started is still running")
        case LeaseLost(node, cancelled):
            template = "node %s could not renew its lease: it claims nothing and has cancelled %s"
            return _Line(logging.ERROR, template, (node, _counted(cancelled, "job")))
        case LeaseRegained(node):
            return _Line(logging.INFO, "node %s renewed its lease again", (node,))
        case JobsRescued(jobs):
            more = command("jobs list --status discarded")
            see: tuple[str, tuple[object, ...]] = ("", ()) if more is None else (", see: %s", (more,))
            template = "rescued %s of lost nodes; any without an attempt left is discarded" + see[0]
            return _Line(logging.WARNING, template, (_counted(jobs, "job"), *see[1]))
        case JobsExpired(jobs):
            return _Line(logging.INFO, "cancelled %s that had expired before starting", (_counted(jobs, "job"),))
        case JobsPruned(jobs, status):
            return _Line(logging.INFO, "pruned %s with the status %s", (_counted(jobs, "job"), status))
        case DutyFailed(duty, error):
            template = "%s failed and will be retried: %s: %s"
            # An outage of the store needs one line; any other error is a bug and needs its traceback.
            shown = None if isinstance(error, BackendError) else error
            return _Line(logging.ERROR, template, (duty, type(error).__name__, error), shown)
        case DutyRecovered(duty, failures):
            return _Line(logging.INFO, "%s succeeds again after %s", (duty, _counted(failures, "failure")))
        case QueuesMeasured(queues):
            due = sum(queue.due for queue in queues)
            return _Line(
                logging.DEBUG, "%s due, %s executing", (_counted(due, "job"), sum(q.executing for q in queues))
            )
        case NodeMeasured(node, slots, running):
            return _Line(logging.DEBUG, "node %s runs %s of %s jobs", (node, running, slots))
        case ListeningUseless():
            why = "a pooler in transaction mode drops LISTEN"
            template = f"PostgreSQL's notifications do not arrive ({why}?); jobs are found by polling"
            return _Line(logging.WARNING, template)
        case LogUnbounded(path, size):
            template = (
                "%s: its write-ahead log has grown to %.0f MB, because a connection that reads stays in its"
                " transaction; end that transaction"
            )
            return _Line(logging.WARNING, template, (path, size / _MEGABYTE))
        case LogReset(path):
            return _Line(logging.INFO, "%s: its write-ahead log is small again", (path,))
        case JobStarted(job_id, executor, attempt):
            return _Line(logging.DEBUG, "job %s (%s) started, attempt %s", (job_id, executor, attempt))
        case JobEnded():
            return _ended(event, command)
        case JobsEnqueued(jobs):
            if len(jobs) == 1:
                job_id, executor, disposition = jobs[0]
                return _Line(logging.DEBUG, "job %s (%s) enqueued: %s", (job_id, executor, disposition))
            executors = list(dict.fromkeys([executor for _, executor, _ in jobs]))
            return _Line(logging.DEBUG, "enqueued %s: %s", (_counted(len(jobs), "job"), _listed(executors)))
        case TicksEnqueued(ticks):
            names = list(dict.fromkeys([executor for executor, _, _ in ticks]))
            return _Line(logging.DEBUG, "enqueued %s of schedules: %s", (_counted(len(ticks), "job"), _listed(names)))
        case JobUnreadable(job_id, executor, error):  # the error itself may hold data
            template = "job %s (%s) cannot be read and was left out: %s"
            return _Line(logging.WARNING, template, (job_id, executor, type(error).__name__))
        case OutcomeRefused(job_id):
            template = "the outcome of job %s was not recorded: the job no longer belongs to this node"
            return _Line(logging.WARNING, template, (job_id,))
        case JobStuck(job_id, executor, attempt, stuck):
            template = "job %s (%s) does not stop and holds its slot, attempt %s; %s held in this way"
            held = "1 slot is" if stuck == 1 else f"{stuck} slots are"
            return _Line(logging.WARNING, template, (job_id, executor, attempt, held))
        case LoopBlocked(seconds, None, _, _, stack):
            template = "code outside the jobs' own tasks has blocked the event loop for %.1f s; its stack:\n%s"
            return _Line(logging.ERROR, template, (seconds, stack))
        case LoopBlocked(seconds, job_id, executor, _, stack):
            template = "job %s (%s) has blocked the event loop for %.1f s; its stack:\n%s"
            return _Line(logging.ERROR, template, (job_id, executor, seconds, stack))
        case LoopFreed(seconds):
            return _Line(logging.WARNING, "the event loop runs again after %.1f s", (seconds,))
        case ResultIgnored(job_id, executor, _, type_name):
            template = (
                "%s: execute returned a value of type %s, which is ignored (job %s is complete); to keep it as the"
                " result, declare its type as the third in Executor[…], or as the function's return annotation"
            )
            return _Line(logging.WARNING, template, (executor, type_name, job_id))
        case ProviderNotClosed(provider, error):
            template = "provider %s: its object for the worker could not be closed: %s"
            return _Line(logging.ERROR, template, (provider, type(error).__name__), error)
        case BackoffFailed(job_id, executor, _, error):
            template = "job %s (%s): backoff failed, so the default is used: %s"
            return _Line(logging.ERROR, template, (job_id, executor, type(error).__name__), error)
        case ProbesAnswered(url):
            return _Line(
                logging.INFO, "health probes are answered at %s/healthz and /readyz, metrics at /metrics", (url,)
            )
        case ProcessStarted(worker, pid):
            return _Line(logging.INFO, "%s started: process %s", (worker, pid))
        case ProcessEnded():
            return _process_ended(event)
        case ProcessKilled(worker, pid):
            return _Line(logging.ERROR, "%s (process %s) has not ended in time and is killed", (worker, pid))
        case ProcessHung(worker, pid, seconds):
            template = "%s (process %s) has not responded for %.0f s and is killed; its lease has run out"
            return _Line(logging.ERROR, template, (worker, pid, seconds))
        case ProcessesStopping(processes):
            return _Line(logging.INFO, "stopping: waiting for %s", (_counted(processes, "process", "processes"),))
        case ProcessesChanged():
            return _Line(logging.INFO, "the code has changed: starting anew")
        case RestartBegun(processes):
            return _Line(logging.INFO, "restarting %s", (_counted(processes, "process", "processes"),))
        case RestartEnded(seconds):
            return _Line(logging.INFO, "restarted all processes in %.1f s", (seconds,))
        case RestartFailed(worker, pid, why):
            template = "the restart is given up and the old processes go on: the new %s (process %s) %s"
            return _Line(logging.ERROR, template, (worker, pid, why))
        case SupervisorLost():
            return _Line(logging.ERROR, "the supervisor has ended, so this worker shuts down")
        case EnqueueForgotten(executor, call, jobs):
            template = "%s: %s was never awaited, so no job was stored; write `await %s(…)`"
            what = call if jobs == 1 else f"{call} of {jobs} jobs"
            return _Line(logging.ERROR, template, (executor, what, call))
        case SubscriberFailed(subscriber, name, error):
            template = "the subscriber %s raised, and more failures with a %s are not logged: %s"
            return _Line(logging.ERROR, template, (subscriber, name, type(error).__name__), error)
        case _:
            assert_never(event)


def _started(event: NodeStarted) -> _Line:
    template = "node %s (%s) started: %s at a time" + (" (%s in threads)" if event.threads else "")
    jobs = (_counted(event.max_concurrency, "job"), *([event.threads] if event.threads else []))
    arguments = (event.node, event.name, *jobs, _listed(event.executors) or "none")
    return _Line(logging.INFO, template + ", executors: %s", arguments)


def _ended(event: JobEnded, command: Callable[[str], str | None]) -> _Line:
    job: tuple[Any, ...] = (event.job_id, event.executor)
    match event.outcome:
        case Complete():
            return _Line(logging.INFO, "job %s (%s) complete, attempt %s", (*job, event.attempt))
        case Cancelled():
            return _Line(logging.INFO, "job %s (%s) cancelled, attempt %s", (*job, event.attempt))
        case Snooze(delay):
            return _Line(logging.INFO, "job %s (%s) snoozed for %s, attempt %s", (*job, delay, event.attempt))
        case Interrupted():
            return _Line(logging.INFO, "job %s (%s) interrupted and given back, attempt %s", (*job, event.attempt))
        case Expired():
            return _Line(logging.WARNING, "job %s (%s) expired before it started and was cancelled", job)
        case Failed(error) | Discarded(error):
            exception, is_shown = event.exception, error.kind in (ErrorKind.EXCEPTION, ErrorKind.LOST)
            trace = error.details if exception is not None and is_shown else None
            more = command(f"jobs show {event.job_id}")
            see: tuple[str, tuple[object, ...]] = ("", ()) if more is None else ("; see: %s", (more,))
            if isinstance(event.outcome, Discarded) or event.is_final:
                template = "job %s (%s) discarded: %s, attempt %s" + see[0]
                arguments = (*job, _why(error), event.attempt, *see[1])
                return _Line(logging.ERROR, template, arguments, exception, trace)
            template = "job %s (%s) failed: %s, again in %s, attempt %s" + see[0]
            arguments = (*job, _why(error), event.outcome.delay, event.attempt, *see[1])
            return _Line(logging.WARNING, template, arguments, exception, trace)
        case _:
            assert_never(event.outcome)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")


def _why(error: JobError) -> str:
    """Return the reason for a failed attempt, in a few words."""
    match error.kind:
        case ErrorKind.TIMEOUT:
            return "timeout"
        case ErrorKind.LOST:
            return "its process died"
        case ErrorKind.DECODE:
            return "its data cannot be decoded"
        case ErrorKind.EXPIRED:
            return "it had expired"
        case ErrorKind.EXCEPTION | ErrorKind.CANCELLED:
            return error.type_name
        case _:
            assert_never(error.kind)


def _process_ended(event: ProcessEnded) -> _Line:
    process = (event.worker, event.pid)
    level, cause = (logging.INFO, "") if event.was_told else (logging.ERROR, " by itself")
    if event.again is not None:
        template = "%s (process %s) ended%s: %s; it is started again in %.1f s"
        return _Line(level, template, (*process, cause, event.how, event.again))
    return _Line(level, "%s (process %s) ended%s: %s", (*process, cause, event.how))


def _counted(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
