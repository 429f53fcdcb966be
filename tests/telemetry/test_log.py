"""Log lines in an application that has logging of its own, and error trackers."""

import asyncio
import logging
import logging.config
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from rexecutor import Backend, BackendError, Cancel, ErrorKind, InMemoryBackend, Job, JobStatus, Rexecutor, Snooze
from rexecutor.model.job import JobError, NewJob
from rexecutor.model.outcomes import Cancelled, Complete, Failed, Interrupted
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
    Queue,
    QueuesMeasured,
    ResultIgnored,
    SubscriberFailed,
    TicksEnqueued,
)
from rexecutor.telemetry.log import log_event
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick, works
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import soon

OURS = ("rexecutor", "rexecutor.jobs")


@pytest.fixture(autouse=True)
def logging_is_as_it_was() -> Iterator[None]:
    """What an application configures holds for the process: take it back."""
    manager = logging.root.manager
    loggers = [logging.root, *(one for one in manager.loggerDict.values() if isinstance(one, logging.Logger))]
    before = [(one, one.level, one.handlers[:], one.disabled, one.propagate, one.filters[:]) for one in loggers]
    yield
    for logger, level, handlers, disabled, propagate, filters in before:
        logger.setLevel(level)
        logger.handlers[:], logger.disabled, logger.propagate, logger.filters[:] = (
            handlers,
            disabled,
            propagate,
            filters,
        )


class Kept(logging.Handler):
    """Keeps what reaches it."""

    records: list[logging.LogRecord]

    def __init__(self) -> None:
        super().__init__()
        self.records = []

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What reaches the root logger at INFO."""
    handler, root = Kept(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


async def live(backend: Backend) -> None:
    """Start a node, run a job of each kind, and stop."""
    async with Rexecutor(backend).with_executor(Scripted(raising(ValueError("no luck")))).with_executor(Blocking(ok)):
        bad = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        good = await Blocking.builder().with_data("x").enqueue(backend=backend)
        await soon(asyncio.gather(bad.wait(), good.wait()))


def ok(_: Job[str]) -> None:
    pass


LIVED = ["started:", "discarded: ValueError", "complete, attempt 1", "stopping:", "stopped"]


def says_all(text: str) -> bool:
    return all(word in text for word in LIVED)


async def test_lines_appear_after_a_dictconfig_that_disables_what_is_older(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"level": "INFO", "handlers": ["console"]},
        }
    )

    await live(InMemoryBackend())

    assert says_all(capsys.readouterr().err)


async def test_lines_appear_after_a_fileconfig_that_disables_what_is_older(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "logging.ini").write_text(f"""
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ({str(log)!r},)
""")
    logging.config.fileConfig(tmp_path / "logging.ini")

    await live(InMemoryBackend())
    for handler in logging.getLogger().handlers:
        handler.close()

    assert says_all(log.read_text())


async def test_lines_appear_when_the_application_configures_while_a_node_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(Scripted(raising(ValueError("no luck")))):
        logging.config.dictConfig(
            {
                "version": 1,
                "handlers": {"console": {"class": "logging.StreamHandler"}},
                "root": {"level": "WARNING", "handlers": ["console"]},
            }
        )
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await soon(handle.wait())

    told = capsys.readouterr().err
    assert "discarded: ValueError" in told
    assert "stopped" not in told


async def test_an_application_silences_us_by_a_level(kept: Kept) -> None:
    for name in OURS:
        logging.getLogger(name).setLevel(logging.CRITICAL)

    await live(InMemoryBackend())

    assert kept.records == []


async def test_successes_are_told_at_info_on_a_logger_of_their_own(kept: Kept) -> None:
    await live(InMemoryBackend())

    told = [(one.name, one.levelname, one.getMessage()) for one in kept.records if hasattr(one, "job_id")]
    assert sorted(told) == [
        ("rexecutor", "ERROR", "job 1 (scripted) discarded: ValueError, attempt 1"),
        ("rexecutor.jobs", "INFO", "job 2 (blocking) complete, attempt 1"),
    ]


async def test_successes_can_be_switched_off_alone(kept: Kept) -> None:
    logging.getLogger("rexecutor.jobs").setLevel(logging.WARNING)

    await live(InMemoryBackend())

    assert [one.name for one in kept.records if hasattr(one, "job_id")] == ["rexecutor"]


class Tracker(logging.Handler):
    """Makes events of records as error trackers do: grouped by the message's template, and by the exception."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.events: list[tuple[str, type[BaseException] | None]] = []
        self.errors: list[BaseException | None] = []
        self.arguments: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        kind, error, _ = record.exc_info or (None, None, None)
        self.events.append((record.msg, kind))
        self.errors.append(error)
        self.arguments.append(record.args)


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    handler, root = Tracker(), logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_retries_and_discards_are_grouped_by_their_template_and_their_exception(
    backend: Backend, clock: FakeClock, tracker: Tracker, kind: type[Scripted] | type[Blocking]
) -> None:
    errors = [ValueError("first"), KeyError("second"), ValueError("third"), KeyError("fourth")]

    def script(job: Job[str]) -> None:
        raise errors[2 * job.priority + job.attempt - 1]

    async with Rexecutor(backend).with_executor(kind(script)):
        for priority in range(2):
            builder = kind.builder().with_data("x").with_priority(priority).with_max_attempts(2)
            handle = await builder.enqueue(backend=backend)
            await until_status(backend, handle.id, JobStatus.RETRYABLE)
            clock.advance(5 * SECOND)
            await soon(handle.wait())

    assert tracker.errors == errors
    assert [one.__traceback__ is not None for one in errors] == [True] * 4
    retry, discard = (tracker.events[place][0] for place in range(2))
    assert tracker.events == [(retry, ValueError), (discard, KeyError)] * 2
    assert "scripted" not in retry + discard
    assert retry.startswith("job %s (%s) failed: %s, again in")
    assert discard.startswith("job %s (%s) discarded: %s")


async def test_a_timeout_is_told_with_where_the_code_stood(
    backend: Backend, clock: FakeClock, tracker: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()

    async def hang_here(_: Job[str]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with Rexecutor(backend).with_executor(Scripted(hang_here)):
        handle = await Scripted.builder().with_data("slow").with_max_attempts(1).enqueue(backend=backend)
        await soon(begun.wait())
        clock.advance(SECOND)
        await soon(handle.wait())

    assert [kind for _, kind in tracker.events] == [TimeoutError]
    assert str(tracker.errors[0]) == "the attempt took longer than 0:00:01"
    assert "in hang_here" in caplog.text
    assert "runner.py" not in caplog.text
    assert "job 1 (scripted) discarded: timeout, attempt 1" in caplog.text


async def test_the_traceback_of_a_job_begins_with_the_applications_code(caplog: pytest.LogCaptureFixture) -> None:
    backend = InMemoryBackend()

    async with Rexecutor(backend).with_executor(Blocking(raising(ValueError("no luck")))):
        handle = await Blocking.builder().with_data("x").enqueue(backend=backend)
        (error,) = (await soon(handle.wait())).errors

    first = error.details.splitlines()[1]
    assert "scripted.py" in first
    assert "in execute" in first
    assert "threads.py" not in caplog.text


async def test_data_that_do_not_fit_are_told_without_them(
    backend: Backend, tracker: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rexecutor(backend).with_executor(Scripted(ok)):
        (enqueued,) = await backend.enqueue([NewJob("scripted", '["secret"]', None, 1, 0, (), None, 0 * SECOND)])
        await until_status(backend, enqueued.id, JobStatus.DISCARDED)

    assert [kind.__name__ for _, kind in tracker.events if kind] == ["DecodeError"]
    assert "its data cannot be decoded" in tracker.arguments[0]
    assert "secret" not in caplog.text


async def test_a_long_message_is_told_shortened(tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
    backend = InMemoryBackend()

    async with Rexecutor(backend).with_executor(Scripted(raising(ValueError("long " * 1_000_000)))):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await soon(handle.wait())

    assert [kind for _, kind in tracker.events] == [ValueError]
    assert len(caplog.text) < 2 * backend.limits.error_text


async def test_each_kind_of_end_has_a_template_of_its_own(kept: Kept) -> None:
    backend, found = InMemoryBackend(), list[Any]([None, Cancel("why"), Snooze(SECOND)])
    logging.getLogger("rexecutor.jobs").setLevel(logging.DEBUG)

    async with Rexecutor(backend, max_concurrency=1).with_executor(Scripted(lambda job: found[int(job.data)])):
        for data in "0120":
            handle = await Scripted.builder().with_data(data).enqueue(backend=backend)
            if data != "2":
                await soon(handle.wait())

    templates = [str(one.msg) for one in kept.records if hasattr(one, "job_id")]
    assert len(set(templates)) == 4  # the start, and three ends
    assert not [one for one in templates if re.search(r"\d|scripted", one)]


async def test_a_failed_duty_is_told_with_its_exception(tracker: Tracker) -> None:
    error = OSError("no route to host")

    log_event(DutyFailed("claim", error))

    assert tracker.events == [("%s failed and will be retried: %s: %s", OSError)]
    assert tracker.errors == [error]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (DutyRecovered("claim", 1), "claim succeeds again after 1 failure"),
        (DutyRecovered("claim", 2), "claim succeeds again after 2 failures"),
        (JobsRescued(1), "rescued 1 job of lost nodes; any without an attempt left is discarded"),
        (JobsExpired(1), "cancelled 1 job that had expired before starting"),
        (JobsPruned(1, JobStatus.COMPLETE), "pruned 1 job with the status complete"),
        (NodeStopping("7", 1), "node 7 stopping: waiting for 1 running job"),
        (NodeStopping("7", 0), "node 7 stopping: waiting for 0 running jobs"),
        (NodeStopping("7", 0, 1), "node 7 stopping: waiting for 0 running jobs, but not for 1 job that does not stop"),
        (NodeStopped("7", 0, ((3, "mail"),)), "node 7 stopped, leaving behind code that does not stop: job 3 (mail)"),
    ],
)
def test_one_is_no_plural(kept: Kept, event: Event, told: str) -> None:
    log_event(event)

    assert kept.messages == [told]


FAILED = JobError(1, ErrorKind.EXCEPTION, "ValueError", "Traceback …", datetime(2026, 8, 1, tzinfo=UTC))
TIMED_OUT = replace(FAILED, kind=ErrorKind.TIMEOUT)


@pytest.mark.parametrize(
    ("event", "level", "told"),
    [
        (NodeStarted("7", "host", ("mail",), 9), "INFO", "node 7 (host) started: 9 jobs at a time, executors: mail"),
        (NothingToRun(), "INFO", "started with nothing to run: no executor, schedule or pruner was given"),
        (NodeStopping("7", 2), "INFO", "node 7 stopping: waiting for 2 running jobs"),
        (NodeStopped("7", 0), "INFO", "node 7 stopped"),
        (NodeStopped("7", 2), "ERROR", "node 7 stopped: 2 outcomes not delivered; other nodes will rescue their jobs"),
        (
            NodeStopped("7", 0, ((3, "mail"), (4, "mail"))),
            "WARNING",
            "node 7 stopped, leaving behind code that does not stop: job 3 (mail), job 4 (mail)",
        ),
        (ProcessLeft(), "WARNING", "the process exits although code that a job started is still running"),
        (LeaseLost("7", 2), "ERROR", "node 7 could not renew its lease: it claims nothing and has cancelled 2 jobs"),
        (LeaseRegained("7"), "INFO", "node 7 renewed its lease again"),
        (JobsRescued(2), "WARNING", "rescued 2 jobs of lost nodes; any without an attempt left is discarded"),
        (JobsExpired(2), "INFO", "cancelled 2 jobs that had expired before starting"),
        (JobsPruned(2, JobStatus.COMPLETE), "INFO", "pruned 2 jobs with the status complete"),
        (
            DutyFailed("claim", BackendError("no connection")),
            "ERROR",
            "claim failed and will be retried: BackendError: no connection",
        ),
        (DutyRecovered("claim", 2), "INFO", "claim succeeds again after 2 failures"),
        (
            ListeningUseless(),
            "WARNING",
            (
                "PostgreSQL's notifications do not arrive (a pooler in transaction mode drops LISTEN?);"
                " jobs are found by polling"
            ),
        ),
        (
            LogUnbounded("jobs.db", 5 * 1024 * 1024),
            "WARNING",
            (
                "jobs.db: its write-ahead log has grown to 5 MB, because a connection that reads stays in its"
                " transaction; end that transaction"
            ),
        ),
        (LogReset("jobs.db"), "INFO", "jobs.db: its write-ahead log is small again"),
        (JobStarted(3, "mail", 1), "DEBUG", "job 3 (mail) started, attempt 1"),
        (JobEnded(3, "mail", 1, Complete(), is_final=False), "INFO", "job 3 (mail) complete, attempt 1"),
        (JobEnded(3, "mail", 1, Cancelled(FAILED), is_final=False), "INFO", "job 3 (mail) cancelled, attempt 1"),
        (JobEnded(3, "mail", 1, Snooze(SECOND), is_final=False), "INFO", "job 3 (mail) snoozed for 0:00:01, attempt 1"),
        (
            JobEnded(3, "mail", 1, Interrupted(), is_final=False),
            "INFO",
            "job 3 (mail) interrupted and given back, attempt 1",
        ),
        (
            JobEnded(3, "mail", 1, Failed(FAILED, SECOND), is_final=False),
            "WARNING",
            "job 3 (mail) failed: ValueError, again in 0:00:01, attempt 1",
        ),
        (
            JobEnded(3, "mail", 1, Failed(TIMED_OUT, SECOND), is_final=True),
            "ERROR",
            "job 3 (mail) discarded: timeout, attempt 1",
        ),
        (
            JobUnreadable(3, "mail", ValueError("secret")),
            "WARNING",
            "job 3 (mail) cannot be read and was left out: ValueError",
        ),
        (
            OutcomeRefused(3),
            "WARNING",
            "the outcome of job 3 was not recorded: the job no longer belongs to this node",
        ),
        (
            JobStuck(3, "mail", 1, 2),
            "WARNING",
            "job 3 (mail) does not stop and holds its slot, attempt 1; 2 slots are held in this way",
        ),
        (
            LoopBlocked(1.04, 3, "mail", 1, "stack"),
            "ERROR",
            "job 3 (mail) has blocked the event loop for 1.0 s; its stack:\nstack",
        ),
        (
            LoopBlocked(1.04, None, None, None, "stack"),
            "ERROR",
            "code outside the jobs' own tasks has blocked the event loop for 1.0 s; its stack:\nstack",
        ),
        (LoopFreed(1.04), "WARNING", "the event loop runs again after 1.0 s"),
        (
            ResultIgnored(3, "mail", 1, "str"),
            "WARNING",
            (
                "mail: execute returned a value of type str, which is ignored (job 3 is complete); to keep it as the"
                " result, declare its type as the third in Executor[…], or as the function's return annotation"
            ),
        ),
        (
            ProviderNotClosed("get_client", ValueError("no")),
            "ERROR",
            "provider get_client: its object for the worker could not be closed: ValueError",
        ),
        (
            BackoffFailed(3, "mail", 1, ValueError("no")),
            "ERROR",
            "job 3 (mail): backoff failed, so the default is used: ValueError",
        ),
        (
            EnqueueForgotten("mail", "enqueue", 1),
            "ERROR",
            "mail: enqueue was never awaited, so no job was stored; write `await enqueue(…)`",
        ),
        (
            EnqueueForgotten("mail, tick", "enqueue_many", 3),
            "ERROR",
            "mail, tick: enqueue_many of 3 jobs was never awaited, so no job was stored; write `await enqueue_many(…)`",
        ),
        (JobsEnqueued(((3, "mail", "existing"),)), "DEBUG", "job 3 (mail) enqueued: existing"),
        (
            JobsEnqueued(((3, "mail", "inserted"), (4, "tick", "inserted"), (5, "mail", "inserted"))),
            "DEBUG",
            "enqueued 3 jobs: mail, tick",
        ),
        (
            QueuesMeasured((Queue("mail", 5, 2, 1.5, 3, 100), Queue("tick", 1, 1, 0.0, 0, 100))),
            "DEBUG",
            "3 jobs due, 3 executing",
        ),
        (NodeMeasured("7", 10, 4, 1.0, 0.0), "DEBUG", "node 7 runs 4 of 10 jobs"),
        (
            TicksEnqueued((("mail", "daily", datetime(2026, 8, 1, tzinfo=UTC)),)),
            "DEBUG",
            "enqueued 1 job of schedules: mail",
        ),
        (
            SubscriberFailed("count", "JobEnded", ValueError("no")),
            "ERROR",
            "the subscriber count raised, and more failures with a JobEnded are not logged: ValueError",
        ),
    ],
)
def test_each_event_has_a_line(kept: Kept, event: Event, level: str, told: str) -> None:
    logging.getLogger().setLevel(logging.DEBUG)

    log_event(event)

    (record,) = kept.records
    assert (record.levelname, record.getMessage()) == (level, told)
    for name in ("job_id", "executor", "attempt"):
        assert getattr(record, name, None) == getattr(event, name, None)


def test_every_event_is_in_the_table_of_lines() -> None:
    (mark,) = test_each_event_has_a_line.pytestmark  # pyright: ignore[reportFunctionMemberAccess]

    assert {type(event) for event, _, _ in mark.args[1]} == set(get_args(Event))


@pytest.mark.parametrize("error", [OSError("no space left on device"), SystemExit(1), asyncio.CancelledError()])
async def test_a_log_handler_that_raises_stops_no_job(kept: Kept, error: BaseException) -> None:
    backend = InMemoryBackend()

    def broken(_: logging.LogRecord) -> bool:
        raise error

    kept.addFilter(broken)
    logging.getLogger("rexecutor").setLevel(logging.DEBUG)

    async with Rexecutor(backend, max_concurrency=1).with_executor(Scripted(raising(ValueError()))):
        for _ in range(3):
            handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
            assert (await soon(handle.wait())).status is JobStatus.DISCARDED


def test_no_blank_line_follows_a_traceback() -> None:
    details = "Traceback …\nValueError: no luck\n"
    error = JobError(1, ErrorKind.EXCEPTION, "ValueError", details, datetime(2026, 8, 1, tzinfo=UTC))
    shown: list[str] = []

    class Formatted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(self.format(record))

    logging.getLogger().addHandler(Formatted())
    log_event(JobEnded(7, "mail", 1, Failed(error, SECOND), is_final=True, exception=ValueError("no luck")))

    assert [one.endswith("ValueError: no luck") for one in shown] == [True]


def test_a_rescue_names_the_command_that_lists_what_it_discarded(kept: Kept) -> None:
    log_event(JobsRescued(2), command=lambda words: f"rexecutor {words} --url sqlite:////jobs.db")

    assert [one.partition("see: ")[2] for one in kept.messages] == [
        "rexecutor jobs list --status discarded --url sqlite:////jobs.db"
    ]


async def test_the_start_says_how_many_jobs_run_in_threads(kept: Kept) -> None:
    backend = InMemoryBackend()
    async with backend:
        async with Rexecutor(backend).with_executor(Scripted(raising(ValueError()))):
            pass
        async with Rexecutor(backend).with_executor(Blocking(ok)):
            pass

    started = [one.partition("started: ")[2] for one in kept.messages if "started: " in one]
    assert started == [
        "100 jobs at a time, executors: scripted",
        "100 jobs at a time (10 in threads), executors: blocking",
    ]


async def test_jobs_that_others_run_are_not_worth_a_line(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rexecutor")

    async with Rexecutor(backend).with_executor(Quick):
        assert await works(backend)
        before = len(caplog.records)
        for _ in range(20):
            await backend.enqueue([NewJob("stranger", "null", None, 1, 0, (), None, timedelta(0))])
            assert await works(backend)

        assert [one for one in caplog.records[before:] if one.name != "rexecutor.jobs"] == []
