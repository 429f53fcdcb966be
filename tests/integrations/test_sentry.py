"""What Sentry receives: its real SDK, with a transport that keeps what it would send."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import unignore_logger
from sentry_sdk.transport import Transport

from rexecutor import Cancel, InMemoryBackend, Job, JobStatus, Rexecutor, Snooze
from rexecutor.events import DutyFailed, LeaseLost, LoopBlocked
from rexecutor.sentry import SentryReports
from rexecutor.testing import FakeClock
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.engine.test_middleware import InProcess
from tests.support import soon
from tests.telemetry.test_subscribers import returning

SECRET = "4111 1111 1111 1111"  # noqa: S105 - what must not be sent


class Kept(Transport):
    """Keeps the events that would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(json.loads(json.dumps(event)))


@pytest.fixture
def sent() -> Generator[list[dict[str, Any]]]:
    """The events that Sentry's SDK has sent."""
    transport = Kept()
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=transport, auto_enabling_integrations=False)
    yield transport.events
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    unignore_logger("rexecutor")


async def run(executor: Any, data: str = SECRET, *, attempts: int = 1, clock: FakeClock | None = None) -> Job[Any]:
    backend = InMemoryBackend(clock=clock)
    async with Rexecutor(backend, executors=[executor], on_event=SentryReports()):
        handle = await executor.builder().with_data(data).with_max_attempts(attempts).enqueue(backend=backend)
        for attempt in range(1, attempts):
            assert clock is not None
            await until_status(backend, handle.id, JobStatus.RETRYABLE, attempt)
            clock.advance(10 * SECOND)
        return await soon(handle.wait(), 60)


def fails(job: Job[str]) -> None:
    number = job.data  # a local variable that holds the job's data
    raise ValueError("no luck" if number else "none")


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_a_failed_attempt_is_one_event_with_its_exception(sent: list[dict[str, Any]], kind: Any) -> None:
    job = await run(kind(fails))

    (event,) = sent
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "no luck")
    assert exception["stacktrace"]["frames"][-1]["function"] == "fails"
    assert event["level"] == "error"
    assert event["fingerprint"] == ["rexecutor", kind.name, "ValueError"]
    assert event["transaction"] == kind.name
    assert event["tags"] == {
        "rexecutor.executor": kind.name,
        "rexecutor.job": str(job.id),
        "rexecutor.attempt": "1",
        "rexecutor.status": "discarded",
    }


async def test_each_attempt_is_an_event_even_if_it_raises_the_same_exception(
    sent: list[dict[str, Any]], clock: FakeClock
) -> None:
    await run(Scripted(raising(ValueError("no luck"))), attempts=3, clock=clock)

    assert [(event["level"], event["tags"]["rexecutor.attempt"]) for event in sent] == [
        ("warning", "1"),
        ("warning", "2"),
        ("error", "3"),
    ]


class UnreadableError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class ReluctantError(Exception):
    """Shows no attribute of its own."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(("kind", "name"), [(UnreadableError, "UnreadableError"), (ReluctantError, "Exception")])
async def test_an_exception_that_cannot_be_read_is_an_event_too(
    sent: list[dict[str, Any]], kind: type[Exception], name: str
) -> None:
    def fail(_: Job[str]) -> None:
        raise kind

    await run(Scripted(fail))

    (event,) = sent
    assert (event["exception"]["values"][0]["type"], event["tags"]["rexecutor.attempt"]) == (name, "1")


def test_a_failure_of_a_node_that_cannot_be_read_is_an_event_too(sent: list[dict[str, Any]]) -> None:
    SentryReports()(DutyFailed("claim", UnreadableError()))

    assert sent[0]["fingerprint"] == ["rexecutor", "claim", "UnreadableError"]


def chain(length: int) -> Exception:
    error: Exception | None = None
    for number in range(length):
        another = ValueError(f"{number} " + "x" * 2_000_000)
        another.__cause__, error = error, another
    assert error is not None
    return error


async def test_an_event_is_not_too_large_for_sentry(sent: list[dict[str, Any]]) -> None:
    await run(Scripted(raising(chain(100))))

    assert len(json.dumps(sent)) < 1_000_000
    assert sent[0]["exception"]["values"][-1]["value"].startswith("99 xxx")


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_no_event_holds_job_data(sent: list[dict[str, Any]], kind: Any) -> None:
    await run(kind(fails))

    assert SECRET not in json.dumps(sent)
    assert all("vars" not in frame for frame in sent[0]["exception"]["values"][0]["stacktrace"]["frames"])


async def test_a_success_a_cancel_and_a_snooze_are_no_events(sent: list[dict[str, Any]]) -> None:
    snoozes = iter([Snooze(SECOND / 1000), None])

    def snooze_once(_: Job[str]) -> Snooze | None:
        return next(snoozes)

    for script in (returning(None), returning(Cancel("why")), snooze_once):
        await run(Scripted(script))

    assert sent == []


async def test_a_timeout_is_an_event(sent: list[dict[str, Any]], clock: FakeClock) -> None:
    import asyncio

    async def hangs(_: Job[str]) -> None:
        clock.call_later(0, lambda: None)
        asyncio.get_running_loop().call_soon(clock.advance, 2 * SECOND)
        await asyncio.Event().wait()

    await run(Scripted(hangs), "slow", clock=clock)

    assert [event["fingerprint"] for event in sent] == [["rexecutor", "scripted", "Timeout"]]
    assert "TimeoutError" in [one["type"] for one in sent[0]["exception"]["values"]]


async def test_an_exception_of_a_child_process_is_an_event_with_its_name(
    sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    await run(InProcess(tmp_path / "notes"), "fails")

    (event,) = sent
    assert event["fingerprint"] == ["rexecutor", "in_process", "ValueError"]
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert "no luck" in event["exception"]["values"][0]["value"]


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_what_a_job_reports_by_itself_has_its_tags_and_nothing_of_another_job(
    sent: list[dict[str, Any]], kind: Any
) -> None:
    def reports(job: Job[str]) -> None:
        sentry_sdk.capture_message(f"from {job.data}")
        sentry_sdk.set_tag("left by", job.data)

    backend = InMemoryBackend()
    async with Rexecutor(backend, executors=[kind(reports)], on_event=SentryReports(), max_concurrency=1):
        handles = [await kind.builder().with_data(data).enqueue(backend=backend) for data in "ab"]
        for handle in handles:
            await soon(handle.wait())

    assert [event["message"] for event in sent] == ["from a", "from b"]
    assert [event["tags"]["rexecutor.job"] for event in sent] == [str(handle.id) for handle in handles]
    assert all("left by" not in event["tags"] for event in sent)


async def test_failures_of_a_node_are_events(sent: list[dict[str, Any]]) -> None:
    reports = SentryReports()

    reports(DutyFailed("claim", OSError("no connection")))
    reports(LeaseLost("7", 2))
    reports(LoopBlocked(1.5, 3, "mail", 1, "the stack"))

    assert [event["fingerprint"] for event in sent] == [
        ["rexecutor", "claim", "OSError"],
        ["rexecutor", "LeaseLost"],
        ["rexecutor", "LoopBlocked", "mail"],
    ]


async def test_without_the_sdk_set_up_nothing_happens() -> None:
    job = await run(Scripted(fails))

    assert job.status is JobStatus.DISCARDED
