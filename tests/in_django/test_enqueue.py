"""Tasks are stored as jobs: when, with what, and what is refused."""

import asyncio
import pickle
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, transaction
from django.test import override_settings
from django.utils import timezone

from tests.in_django.running import NEEDS_6

pytest.importorskip("django.tasks", reason=NEEDS_6)

from django.tasks import TaskResultStatus, task, task_backends
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist

from rexecutor import BackendError, BackoffStrategy, EncodeError, InvalidJobError, Where
from rexecutor.django import RexecutorTask, TaskBackend, task_backend
from rexecutor.testing import Drained
from tests.in_django.databases import jobs_in
from tests.in_django.running import memory_settings, run_tasks
from tests.in_django.shop import tasks
from tests.in_django.shop.models import Order


class UndoneError(Exception):
    """Rolls a block back."""


@contextmanager
def rolled_back(alias: str) -> Generator[None]:
    """Roll the block back at its end."""
    with suppress(UndoneError), transaction.atomic(using=alias):
        yield
        raise UndoneError


@pytest.fixture
def memory() -> Iterator[None]:
    """A new store in memory."""
    with memory_settings():
        yield


def test_a_task_is_run_after_its_commit_and_gives_its_result(jobs: str) -> None:
    with transaction.atomic(using=jobs):
        Order.objects.using(jobs).create(reference="a")
        result = tasks.add.enqueue(1, b=2)

    assert run_tasks() == Drained(complete=1)
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)


def test_a_connection_lost_right_after_the_commit_does_not_make_the_enqueue_fail(
    jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise BackendError("lost")

    monkeypatch.setattr(task_backend, "_found", lost)
    stored = tasks.add.enqueue(1)
    with pytest.raises(BackendError), transaction.atomic(using=jobs):
        tasks.add.enqueue(2)
    monkeypatch.undo()

    assert stored.enqueued_at is None
    assert run_tasks() == Drained(complete=1)
    stored.refresh()
    assert (stored.status, stored.return_value) == (TaskResultStatus.SUCCESSFUL, 1)


def test_a_rolled_back_task_was_never_there(jobs: str) -> None:
    with rolled_back(jobs):
        Order.objects.using(jobs).create(reference="a")
        result = tasks.add.enqueue(1)
        assert tasks.add.get_result(result.id) == result
        job_id = result.id

    assert not Order.objects.using(jobs).exists()
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result(job_id)


def test_a_savepoint_takes_its_tasks_with_it(jobs: str) -> None:
    with transaction.atomic(using=jobs):
        kept = tasks.add.enqueue(1)
        with rolled_back(jobs):
            tasks.add.enqueue(2)

    assert _ids() == [kept.id]


def test_an_error_of_the_database_leaves_no_task_of_its_block(jobs: str) -> None:
    Order.objects.using(jobs).create(reference="a")

    def enqueue_and_fail() -> None:
        with transaction.atomic(using=jobs):
            tasks.add.enqueue(1)
            Order.objects.using(jobs).create(reference="a")

    with pytest.raises(IntegrityError):
        enqueue_and_fail()

    assert _ids() == []


def test_a_block_that_must_be_rolled_back_takes_no_task(jobs: str) -> None:
    Order.objects.using(jobs).create(reference="a")

    with transaction.atomic(using=jobs):
        with pytest.raises(IntegrityError), transaction.atomic(using=jobs, savepoint=False):
            Order.objects.using(jobs).create(reference="a")
        with pytest.raises(transaction.TransactionManagementError, match="let it leave the block"):
            tasks.add.enqueue(1)

    assert _ids() == []


def test_an_awaited_enqueue_is_in_the_transaction_of_the_request(jobs: str) -> None:
    with rolled_back(jobs):
        async_to_sync(tasks.add.aenqueue)(1)

    assert _ids() == []


def test_a_task_enqueued_outside_a_block_is_stored_at_once(jobs: str) -> None:
    result = tasks.add.enqueue(1)

    assert _ids() == [result.id]


def test_a_task_may_enqueue_others_in_its_own_transaction(jobs: str) -> None:
    tasks.enqueue_with_order.enqueue("a", jobs)

    assert run_tasks() == Drained(complete=2)
    assert Order.objects.using(jobs).count() == 2


@pytest.mark.parametrize(("use_tz", "zone"), [(True, "UTC"), (True, "Asia/Kolkata"), (False, "Asia/Kolkata")])
def test_the_enqueued_result_is_that_which_is_read(jobs: str, use_tz: bool, zone: str) -> None:
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        later = timezone.now() + timedelta(hours=1)
        results = [
            tasks.add.enqueue(1, b=2),
            tasks.add.using(priority=-7).enqueue(1),
            tasks.add.using(run_after=later).enqueue(1),
        ]

        assert [tasks.add.get_result(result.id) for result in results] == results
        assert [one.task.run_after for one in results] == [None, None, later]
        assert all(one.enqueued_at is not None and timezone.is_aware(one.enqueued_at) is use_tz for one in results)
        assert all(abs(timezone.now() - (one.enqueued_at or later)) < timedelta(minutes=1) for one in results)


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_moments_of_a_finished_task_are_those_of_django(jobs: str, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz, TIME_ZONE="Asia/Kolkata"):
        result = tasks.add.enqueue(1)
        run_tasks()
        result.refresh()

        given = [result.enqueued_at, result.started_at, result.last_attempted_at, result.finished_at]
        moments = [one for one in given if one is not None]
        assert [timezone.is_aware(one) for one in moments] == [use_tz] * 4
        assert moments == sorted(moments)
        assert abs(timezone.now() - moments[-1]) < timedelta(minutes=1)


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_task_is_not_run_before_its_run_after(memory: None, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz, TIME_ZONE="Asia/Kolkata"):
        late = tasks.add.using(run_after=timezone.now() + timedelta(minutes=1)).enqueue(1)
        early = tasks.add.using(run_after=timezone.now() - timedelta(minutes=1)).enqueue(1)

        assert run_tasks() == Drained(complete=1)
        late.refresh()
        early.refresh()
        assert (late.status, early.status) == (TaskResultStatus.READY, TaskResultStatus.SUCCESSFUL)


@pytest.mark.parametrize(("year", "month"), [(1, 1), (1960, 1), (9999, 12)])
def test_a_run_after_beyond_the_calendar_is_refused(memory: None, year: int, month: int) -> None:
    at = datetime(year, month, 1, tzinfo=UTC).replace(tzinfo=None)
    with (
        override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"),
        pytest.raises(InvalidJobError, match="in the years 1970 to 9998"),
    ):
        tasks.add.using(run_after=at).enqueue(1)


def test_tasks_of_a_higher_priority_run_first(memory: None) -> None:
    for priority in (0, -100, 100, 7):
        tasks.note.using(priority=priority).enqueue(f"priority {priority}")

    run_tasks()

    noted = [value for value, _ in tasks.NOTED if str(value).startswith("priority ")]
    assert noted[-4:] == ["priority 100", "priority 7", "priority 0", "priority -100"]


def test_arguments_are_json_as_django_makes_it(memory: None) -> None:
    given = {"bytes": b"abc", "tuple": (1, (2,)), 3: [True, None], "status": TaskResultStatus.READY, "int": 2**100}
    result = tasks.give.enqueue(given)
    run_tasks()
    result.refresh()

    expected = {"bytes": "abc", "tuple": [1, [2]], "3": [True, None], "status": "READY", "int": 2**100}
    assert result.args == [expected]
    assert result.return_value == expected
    assert tasks.give.get_result(result.id) == result


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), TypeError),
        (b"\xff", ValueError),
        (float("nan"), EncodeError),
        ("\0", EncodeError),
    ],
    ids=["moment", "bytes", "nan", "nul"],
)
def test_arguments_that_cannot_be_stored_are_refused(memory: None, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        tasks.give.enqueue(value)

    assert _ids() == []


def test_the_queue_decides_the_executor(memory: None) -> None:
    with memory_settings(QUEUES=["default", "mail"]):
        tasks.add.using(queue_name="mail").enqueue(1)
        tasks.add_async.enqueue(1)

        assert [record.executor for record in _records()] == ["django.default.mail", "django.default.default:async"]


def test_a_backend_of_any_queue_keeps_it_in_a_tag(memory: None) -> None:
    with memory_settings(QUEUES=[]):
        result = tasks.add.using(queue_name="Straße 7").enqueue(1)

        assert [(record.executor, record.tags) for record in _records()] == [("django.default", ("Straße 7",))]
        assert tasks.add.get_result(result.id).task.queue_name == "Straße 7"
        assert run_tasks() == Drained(complete=1)


@pytest.mark.parametrize("queue", ["Straße 7", "", "mail:async", "q" * 128])
def test_a_queue_that_no_executor_can_have_is_refused(memory: None, queue: str) -> None:
    with memory_settings(QUEUES=[queue]), pytest.raises(InvalidTask, match="the queue"):
        tasks.add.using(queue_name=queue).enqueue(1)


@pytest.mark.parametrize("queue", ["", "q" * 129])
def test_a_queue_that_no_tag_can_have_is_refused(memory: None, queue: str) -> None:
    with memory_settings(QUEUES=[]), pytest.raises(InvalidTask, match="must have 1 to 128 characters"):
        tasks.add.using(queue_name=queue).enqueue(1)


def test_an_alias_that_no_executor_can_have_is_refused() -> None:
    settings = {"a.b": {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": {"STORE": "memory:"}}}

    with override_settings(TASKS=settings), pytest.raises(InvalidTask, match=r"the alias 'a\.b'"):
        tasks.add.using(backend="a.b").enqueue(1)


def test_a_task_under_another_name_than_its_function_is_refused(memory: None) -> None:
    def other() -> None: ...

    other.__qualname__, other.__module__ = "add", tasks.__name__

    with pytest.raises(InvalidTask, match="add is not what a worker would find"):
        task(other).enqueue()


@pytest.mark.parametrize("settings", [{"timeout": timedelta(1)}, {"backoff": tasks.AT_ONCE}, {"takes_context": True}])
def test_settings_that_a_worker_takes_from_the_module_cannot_be_changed_for_one_enqueue(
    memory: None, settings: dict[str, Any]
) -> None:
    changed: Any = replace(tasks.takes_anything, **settings)

    with pytest.raises(InvalidTask, match=f"{next(iter(settings))} cannot be changed for one enqueue"):
        changed.enqueue()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be an int from 1"),
        ({"max_attempts": True}, "max_attempts must be an int from 1"),
        ({"timeout": 5}, "timeout must be a timedelta"),
        ({"timeout": timedelta(0)}, "timeout must be a timedelta"),
        ({"backoff": 5}, "backoff must be a BackoffStrategy"),
        ({"backoff": tasks.fail_async.func}, "backoff must be a BackoffStrategy"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_task_is_made(settings: dict[str, Any], message: str) -> None:
    made: Any = tasks.add

    with pytest.raises(InvalidTask, match=message):
        replace(made, **settings)


@pytest.mark.skipif(django.VERSION < (6, 1), reason="@task takes keywords of ours since Django 6.1")
def test_django_passes_settings_of_ours_on(memory: None) -> None:
    made: Any = task

    changed = made(max_attempts=5, backoff=tasks.AT_ONCE, timeout=timedelta(1))(tasks.add.func)

    assert isinstance(changed, RexecutorTask)
    assert (changed.max_attempts, changed.backoff, changed.timeout) == (5, tasks.AT_ONCE, timedelta(1))
    with pytest.raises(TypeError):
        made(retries=5)(tasks.add.func)


def test_the_most_attempts_are_those_of_the_task_or_of_the_settings_or_one(memory: None) -> None:
    tasks.add.enqueue(1)
    tasks.fail_until.enqueue(1)
    with memory_settings(OPTIONS={"MAX_ATTEMPTS": 4}):
        tasks.add.enqueue(1)
        tasks.fail_until.enqueue(1)
        assert [record.max_attempts for record in _records()] == [4, 3]


@pytest.mark.parametrize("given", [0, "5", True, 100_000])
def test_a_number_of_attempts_that_cannot_work_is_named(memory: None, given: object) -> None:
    expected = r"TASKS\['default'\]: MAX_ATTEMPTS must be an int"
    with memory_settings(OPTIONS={"MAX_ATTEMPTS": given}), pytest.raises(InvalidTaskBackend, match=expected):
        tasks.add.enqueue(1)


@pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks are pickled since Django 6.1")
def test_a_task_and_its_result_can_be_pickled(memory: None) -> None:
    result = tasks.fail_until.using(priority=3).enqueue(2)

    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301
    for backoff in (
        BackoffStrategy.constant(timedelta(1)),
        BackoffStrategy.linear(timedelta(1)),
        BackoffStrategy.polynomial(timedelta(1), 2),
        BackoffStrategy.exponential(timedelta(1)).with_max(timedelta(3)),
    ):
        made: Any = replace(tasks.fail_until, backoff=backoff)
        assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301


def test_a_backend_is_made_without_a_look_at_its_database() -> None:
    made = TaskBackend("default", {"OPTIONS": {"DATABASE": "nowhere", "MAX_ATTEMPTS": "x"}})

    assert made.alias == "default"


@pytest.mark.parametrize("alias", ["nowhere", None], ids=str)  # None as of a variable that is not set
def test_a_database_that_the_settings_lack_is_named(alias: Any) -> None:
    with jobs_in(alias), pytest.raises(InvalidTaskBackend, match=rf"TASKS\['default'\]: DATABASES has no '{alias}'"):
        tasks.add.enqueue(1)


async def test_a_synchronous_enqueue_in_an_event_loop_is_refused_as_django_refuses_a_query(jobs: str) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
        tasks.add.enqueue(1)


async def test_tasks_are_enqueued_and_read_in_an_event_loop(memory: None) -> None:
    result = await tasks.add_async.aenqueue(1, 2)

    assert await tasks.add_async.aget_result(result.id) == result
    await asyncio.to_thread(run_tasks)
    await result.arefresh()
    assert result.return_value == 3


def _records() -> list[Any]:
    backend: Any = task_backends["default"]
    return list(backend._bound().query_sync(Where.tagged_by_all_of()))


def _ids() -> list[str]:
    return [str(record.id) for record in _records()]
