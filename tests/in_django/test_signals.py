"""Django's signals of tasks: when they are sent, on which thread, and with what."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from tests.in_django.running import NEEDS_6

pytest.importorskip("django.tasks", reason=NEEDS_6)

from django.tasks.signals import task_enqueued, task_finished, task_started

from rexecutor import JobStatus, Rexecutor, Where
from rexecutor.django import TaskBackend
from rexecutor.django.executors import executors_of
from rexecutor.testing import Drained
from tests.in_django.running import backend_of, memory_settings, run_tasks
from tests.in_django.shop import tasks
from tests.support import until


class Sent(NamedTuple):
    """One signal, as its receiver has seen it."""

    name: str
    status: str
    attempts: int
    thread: str
    raised: type[BaseException] | None
    errors: list[type[BaseException]]


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """A new store in memory."""
    with memory_settings():
        yield


@pytest.fixture
def sent() -> Iterator[list[Sent]]:
    """The signals that were sent during the test."""
    noted: list[Sent] = []

    def receiver(name: str) -> Any:
        def receive(sender: object, task_result: Any, **_: Any) -> None:
            assert sender is TaskBackend
            errors = [error.exception_class for error in task_result.errors]
            thread, raised = threading.current_thread().name, sys.exc_info()[0]
            noted.append(Sent(name, str(task_result.status), task_result.attempts, thread, raised, errors))

        return receive

    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {name: receiver(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name])
    yield noted
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


def test_a_task_sends_each_signal_once_the_last_two_on_its_thread(sent: list[Sent]) -> None:
    tasks.note.enqueue("my thread")

    run_tasks()

    thread = next(name for value, name in tasks.NOTED if value == "my thread")
    assert [one[:5] for one in sent] == [
        ("enqueued", "READY", 0, threading.current_thread().name, None),
        ("started", "RUNNING", 1, thread, None),
        ("finished", "SUCCESSFUL", 1, thread, None),
    ]


@pytest.mark.parametrize("name", ["fail", "fail_async"])
def test_the_receiver_of_a_failure_finds_the_exception(sent: list[Sent], name: str) -> None:
    getattr(tasks, name).enqueue("no")

    run_tasks()

    assert [(one.name, one.status) for one in sent[1:]] == [("started", "RUNNING"), ("finished", "FAILED")]
    assert (sent[-1].raised, sent[-1].errors) == (ValueError, [ValueError])


def test_an_asynchronous_task_sends_the_same(sent: list[Sent]) -> None:
    tasks.add_async.enqueue(1)

    run_tasks()

    assert [(one.name, one.status) for one in sent[1:]] == [("started", "RUNNING"), ("finished", "SUCCESSFUL")]


def test_an_attempt_that_will_be_repeated_finishes_nothing(sent: list[Sent]) -> None:
    tasks.fail_until.enqueue(3)

    run_tasks()

    assert [(one.name, one.status, one.attempts) for one in sent[1:]] == [
        ("started", "RUNNING", 1),
        ("started", "RUNNING", 2),
        ("started", "RUNNING", 3),
        ("finished", "SUCCESSFUL", 3),
    ]


def test_the_last_failed_attempt_finishes_the_task_with_all_errors(sent: list[Sent]) -> None:
    tasks.fail_until.enqueue(4)

    run_tasks()

    assert [one.name for one in sent] == ["enqueued", *["started"] * 3, "finished"]
    assert sent[-1].errors == [ConnectionError] * 3


def test_a_result_that_cannot_be_stored_finishes_the_task_as_failed(sent: list[Sent]) -> None:
    tasks.give_complex.enqueue()

    run_tasks()

    assert [(one.name, one.status) for one in sent[1:]] == [("started", "RUNNING"), ("finished", "FAILED")]


def test_a_timeout_finishes_an_asynchronous_task(sent: list[Sent]) -> None:
    tasks.wait_async.enqueue()

    run_tasks()

    assert sent[-1][:2] == ("finished", "FAILED")
    assert (sent[-1].raised, sent[-1].errors) == (asyncio.CancelledError, [TimeoutError])


def test_a_thread_whose_timeout_is_over_tells_of_its_failure_when_it_ends(sent: list[Sent]) -> None:
    tasks.RELEASED.clear()
    tasks.outlast.enqueue()

    async def run() -> None:
        async with Rexecutor(backend_of(), executors=executors_of("default")):
            await until(lambda: bool(rows_of_failures()))
            assert [one.name for one in sent] == ["enqueued", "started"]
            tasks.RELEASED.set()
            await until(lambda: len(sent) == 3)

    asyncio.run(run())
    assert (sent[-1].name, sent[-1].status, sent[-1].errors) == ("finished", "FAILED", [TimeoutError])


def test_a_cancel_finishes_a_running_task(sent: list[Sent]) -> None:
    result = tasks.hang_async.enqueue()

    async def run() -> None:
        async with Rexecutor(backend_of(), executors=executors_of("default")):
            await until(lambda: len(sent) == 2)
            await backend_of().cancel(int(result.id), "not needed")
            await until(lambda: len(sent) == 3)

    asyncio.run(run())
    assert (sent[-1].name, sent[-1].status, sent[-1].errors) == ("finished", "FAILED", [asyncio.CancelledError])


def test_a_task_that_a_shutdown_gives_back_is_not_finished(sent: list[Sent]) -> None:
    result = tasks.hang_async.enqueue()

    async def run() -> None:
        async with Rexecutor(backend_of(), executors=executors_of("default")) as rexecutor:
            await until(lambda: len(sent) == 2)
            await rexecutor.graceful_shutdown(timedelta(0))

    asyncio.run(run())
    result.refresh()
    assert [one.name for one in sent] == ["enqueued", "started"]
    assert (str(result.status), result.attempts) == ("READY", 0)


def test_a_receiver_that_raises_changes_nothing_of_the_task(sent: list[Sent]) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("of the receiver")

    task_started.connect(refuse)
    task_finished.connect(refuse)
    try:
        result = tasks.add.enqueue(1)
        assert run_tasks() == Drained(complete=1)
    finally:
        task_started.disconnect(refuse)
        task_finished.disconnect(refuse)

    result.refresh()
    assert result.return_value == 1
    assert [one.name for one in sent] == ["enqueued", "started", "finished"]


def test_a_task_that_is_not_stored_was_not_enqueued(sent: list[Sent]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        tasks.give.enqueue("\0")

    assert sent == []


def rows_of_failures() -> list[Any]:
    """Return the records of failed jobs."""
    return list(backend_of().query_sync(Where.status_equals(JobStatus.DISCARDED)))
