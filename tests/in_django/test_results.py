"""The results of Django's tasks, as they are read from the store."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from tests.in_django.running import NEEDS_6

pytest.importorskip("django.tasks", reason=NEEDS_6)

from django.tasks import TaskResultStatus, task_backends
from django.tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch

from rexecutor import ErrorKind, JobError, LeaseLostError, Where
from rexecutor.django.calls import Queue
from rexecutor.django.executors import executor_class
from rexecutor.django.results import task_error
from rexecutor.errors import DecodeError
from rexecutor.model.job import NewJob
from rexecutor.testing import Drained
from tests.in_django.databases import jobs_in
from tests.in_django.running import backend_of, memory_settings, run_tasks
from tests.in_django.shop import tasks


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """A new store in memory."""
    with memory_settings():
        yield


def test_a_failure_has_the_exception_and_the_node() -> None:
    result = tasks.fail.enqueue("no stock")

    assert run_tasks() == Drained(discarded=1)
    result.refresh()
    [error] = result.errors
    assert result.status == TaskResultStatus.FAILED
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: no stock\n")
    assert "rexecutor" not in error.traceback
    assert [len(worker) for worker in result.worker_ids] == [32]
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


@pytest.mark.parametrize("name", ["fail", "fail_async"])
def test_a_task_has_one_attempt_unless_it_says_otherwise(name: str) -> None:
    result = getattr(tasks, name).enqueue("no")

    run_tasks()

    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)


def test_attempts_are_counted_by_their_workers() -> None:
    result = tasks.fail_until.enqueue(3)

    assert run_tasks() == Drained(complete=1, failed=2)
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 3)
    assert [error.exception_class for error in result.errors] == [ConnectionError] * 2


def test_a_task_that_fails_at_last_keeps_all_of_its_errors() -> None:
    result = tasks.fail_until.enqueue(4)

    assert run_tasks() == Drained(discarded=1, failed=2)
    result.refresh()
    assert [error.traceback.splitlines()[-1] for error in result.errors] == [
        f"ConnectionError: attempt {attempt}" for attempt in (1, 2, 3)
    ]


def test_the_context_has_the_running_result() -> None:
    result = tasks.attempt_of.enqueue()

    run_tasks()

    result.refresh()
    assert result.return_value == [1, result.id, "RUNNING"]


@pytest.mark.parametrize(("name", "error"), [("give_complex", TypeError), ("give_nan", ValueError)])
def test_a_value_that_json_lacks_fails_the_task_at_once(name: str, error: type[Exception]) -> None:
    result = replace(getattr(tasks, name), max_attempts=5).enqueue()

    assert run_tasks() == Drained(discarded=1)
    result.refresh()
    assert [one.exception_class for one in result.errors] == [error]


def test_an_exit_of_the_task_is_a_failure() -> None:
    result = tasks.leave.enqueue()

    run_tasks()

    result.refresh()
    assert [one.exception_class for one in result.errors] == [SystemExit]


def test_a_timeout_is_a_timeout_error() -> None:
    result = tasks.wait_async.enqueue()

    run_tasks()

    result.refresh()
    [error] = result.errors
    assert (error.exception_class, error.traceback) == (TimeoutError, "the attempt took longer than 0:00:00.050000")


def test_a_cancelled_task_has_failed() -> None:
    result = tasks.add.enqueue(1)
    backend_of().cancel_sync(int(result.id), "ordered twice")

    result.refresh()
    [error] = result.errors
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 0)
    assert (error.exception_class, error.traceback) == (asyncio.CancelledError, "ordered twice")
    assert result.finished_at is not None


def test_a_path_that_no_task_has_is_a_failure_that_names_it() -> None:
    job_id = _stored("tests.in_django.shop.tasks.forgotten")

    assert run_tasks() == Drained(discarded=1)
    result = task_backends["default"].get_result(job_id)
    [error] = result.errors
    assert error.exception_class is DecodeError
    assert "no task 'tests.in_django.shop.tasks.forgotten' is defined here" in error.traceback
    assert "or restart this worker" in error.traceback
    assert _kinds(job_id) == ["decode"]


@pytest.mark.parametrize(
    "path", ["os.getcwd", "tests.in_django.never_imported.task", "rexecutor.django.TaskBackend", "x"]
)
def test_data_never_import_a_module_or_call_what_is_no_task(path: str) -> None:
    job_id = _stored(path)

    assert run_tasks() == Drained(discarded=1)
    assert _kinds(job_id) == ["decode"]


def test_a_module_that_the_settings_name_is_imported_for_its_tasks() -> None:
    module = "tests.in_django.shop.more"
    with memory_settings(OPTIONS={"MODULES": [module]}):
        job_id = _stored(f"{module}.multiply", 6, 7)

        assert module not in sys.modules
        assert run_tasks() == Drained(complete=1)
        assert task_backends["default"].get_result(job_id).return_value == 42


def test_the_result_of_a_task_that_is_no_longer_defined_has_a_stand_in() -> None:
    result = task_backends["default"].get_result(_stored("shop.tasks.removed"))

    assert (result.task.module_path, result.task.name, result.args) == ("shop.tasks.removed", "removed", [])
    with pytest.raises(LookupError, match=r"'shop\.tasks\.removed' is no longer defined"):
        result.task.call()
    with pytest.raises(TaskResultMismatch, match=r"shop\.tasks\.removed"):
        tasks.add.get_result(result.id)


def test_a_result_is_read_whatever_the_settings_allow_by_now(jobs: str) -> None:
    with jobs_in(jobs, QUEUES=["old"]):
        result = tasks.add.using(queue_name="old", priority=5).enqueue(1)
    with jobs_in(jobs, QUEUES=["new"]):
        found = task_backends["default"].get_result(result.id)

    assert (found.task.queue_name, found.task.priority) == ("old", 5)


@pytest.mark.parametrize("result_id", ["", "x", "-1", "1.5", "٣", "9" * 30, "9" * 5_000, "99999", "01", None, 7])
def test_an_id_that_no_result_has_is_that(result_id: Any) -> None:
    tasks.add.enqueue(1)

    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(result_id)


def test_a_backend_does_not_read_the_results_of_another() -> None:
    options = {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": {"STORE": "memory:"}}
    with override_settings(TASKS={"default": options, "default-2": options}):
        result = tasks.add.enqueue(1)

        assert task_backends["default"].get_result(result.id) == result
        with pytest.raises(TaskResultDoesNotExist):
            task_backends["default-2"].get_result(result.id)


def test_a_row_that_is_no_tasks_job_is_no_result() -> None:
    executor = executor_class(Queue("default", "default"), is_async=False)
    backend = backend_of()
    [stored] = backend.enqueue_sync([NewJob(executor.name, '{"to": "bob"}', None, 1, 0, (), None, timedelta(0))])

    with pytest.raises(TaskResultDoesNotExist, match="it is not the job of a task"):
        task_backends["default"].get_result(str(stored.id))


@pytest.mark.parametrize("damage", ["data = CAST(X'FF' AS TEXT)", "errors = '[7]'"])
def test_a_damaged_row_is_no_result_and_says_why(sqlite_database: str, damage: str) -> None:
    with jobs_in(sqlite_database):
        result = tasks.add.enqueue(1)
        with connections[sqlite_database].cursor() as cursor:
            cursor.execute(f"UPDATE rexecutor_stored_jobs SET {damage} WHERE id = %s", [result.id])

        with pytest.raises(TaskResultDoesNotExist, match=f"job {result.id}: "):
            task_backends["default"].get_result(result.id)


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "now"])
def test_a_damaged_run_after_is_no_error_of_its_own(at: str) -> None:
    executor = executor_class(Queue("default", "default"), is_async=False)
    data, metadata = '{"path":"x.y","args":[],"kwargs":{}}', json.dumps({"run_after": at})
    [stored] = backend_of().enqueue_sync([NewJob(executor.name, data, metadata, 1, 0, (), None, timedelta(0))])

    with override_settings(USE_TZ=False, TIME_ZONE="America/New_York"), suppress(TaskResultDoesNotExist):
        assert task_backends["default"].get_result(str(stored.id)).task.run_after is None


def test_a_task_whose_worker_was_lost_says_so() -> None:
    error = task_error(JobError(1, ErrorKind.LOST, "NodeLost", "the node was lost", timezone.now()))

    assert error.exception_class is LeaseLostError


def _stored(path: str, *args: object) -> str:
    """Store the job of a task with this path and these arguments, and return its id."""
    name = executor_class(Queue("default", "default"), is_async=False).name
    data = json.dumps({"path": path, "args": args, "kwargs": {}})
    [stored] = backend_of().enqueue_sync([NewJob(name, data, None, 1, 100, (), None, timedelta(0))])
    return str(stored.id)


def _kinds(job_id: str) -> list[str]:
    """Return the kinds of the job's errors."""
    [record] = backend_of().query_sync(Where.id_equals(int(job_id)))
    return [error.kind for error in record.errors]
