"""`rexecutor.django.testing`: jobs in the tests of a Django project."""

import unittest
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.test import TransactionTestCase, override_settings

import rexecutor
from rexecutor import ErrorKind, JobFunction, JobStatus, job
from rexecutor.backend.current import current_backend
from rexecutor.django.connections import KEEPS_CONNECTIONS
from rexecutor.django.models import Job, Node
from rexecutor.django.stores import Store, shared_backend, stores
from rexecutor.django.testing import JobsMixin, delete_jobs, run_tasks
from rexecutor.errors import ConfigurationError, RexecutorError
from rexecutor.testing import Drained, assert_enqueued_sync
from tests.in_django.databases import jobs_in
from tests.in_django.shop.models import Order
from tests.postgres import run_postgres


@job(blocking=True)
def pay(reference: str, database: str) -> int:
    return Order.objects.using(database).filter(reference=reference).update(paid=True)


@job
async def pay_awaiting(reference: str, database: str) -> int:
    found = Order.objects.using(database).filter(reference=reference)
    return await found.aupdate(paid=True)


@job(max_attempts=2, blocking=True)
def fail() -> None:
    raise ValueError("declined")


@job(max_attempts=1, blocking=True)
def leave() -> None:
    raise SystemExit(3)


@job(blocking=True)
def finish(running: rexecutor.Job[Any], database: str) -> None:
    running.complete_in_sync(connections[database])


@job(blocking=True)
def then_pay(reference: str, database: str) -> None:
    enqueue(pay, reference, database)


@job(blocking=True)
def again(database: str) -> None:
    enqueue(again, database)


rexecutor_of_settings = rexecutor.Rexecutor(rexecutor.InMemoryBackend(), executors=[pay])


@pytest.fixture
def alias(database: str) -> Iterator[str]:
    """The alias of a migrated database that holds the jobs."""
    with jobs_in(database):
        yield database


def enqueue(function: JobFunction[..., Any], *given: Any) -> None:
    """Enqueue a job on Django's connection, or in memory."""
    store = stores()[0]
    backend = shared_backend(store)
    connection = None if store.database is None else connections[store.database]
    function.options(backend=backend, connection=connection).enqueue_sync(*given)


@pytest.mark.parametrize("function", [pay, pay_awaiting])
def test_a_job_runs_in_the_tests_transaction_and_sees_what_is_not_committed(
    alias: str, function: JobFunction[..., Any]
) -> None:
    with transaction.atomic(using=alias):
        order = Order.objects.using(alias).create(reference="a")
        enqueue(function, "a", alias)

        assert run_tasks(function) == Drained(complete=1)
        assert not KEEPS_CONNECTIONS.get()

        order.refresh_from_db()
        assert order.paid
        assert (Job.objects.get().status, Job.objects.get().result) == ("complete", 1)
        transaction.set_rollback(True, using=alias)
    assert not Job.objects.exists()
    assert not Order.objects.using(alias).exists()


def test_committed_jobs_run_too_and_no_node_is_left(alias: str) -> None:
    Order.objects.using(alias).create(reference="a")
    enqueue(then_pay, "a", alias)

    assert run_tasks(then_pay, pay) == Drained(complete=2)
    assert run_tasks(then_pay, pay) == Drained()

    assert Order.objects.using(alias).get().paid
    assert not Node.objects.exists()


def test_failures_are_in_the_result_and_what_is_due_later_is_left(alias: str) -> None:
    with transaction.atomic(using=alias):
        enqueue(fail)
        enqueue(leave)

        drained = run_tasks(fail, leave)

    assert drained == Drained(failed=1, discarded=1)
    assert [error.type_name for error in drained.errors] == ["ValueError", "SystemExit"]
    assert [one.status for one in Job.objects.order_by("pk")] == ["retryable", "discarded"]
    (waiting,) = assert_enqueued_sync(1, for_executor=fail, backend=shared_backend(Store(alias)))
    assert (waiting.status, waiting.errors[0].kind) == (JobStatus.RETRYABLE, ErrorKind.EXCEPTION)


def test_a_job_may_be_completed_in_the_tests_transaction(alias: str) -> None:
    with transaction.atomic(using=alias):
        enqueue(finish, alias)

        assert run_tasks(finish) == Drained(complete=1)


def test_a_job_that_enqueues_itself_does_not_hang_the_test(alias: str) -> None:
    enqueue(again, alias)

    with pytest.raises(RexecutorError, match="3 runs, and job"):
        run_tasks(again, limit=3)

    assert Job.objects.order_by("-pk")[0].status == "scheduled"
    assert not Node.objects.exists()


def test_jobs_run_while_the_test_awaits(alias: str) -> None:
    Order.objects.using(alias).create(reference="a")

    async def act() -> Drained:
        await sync_to_async(enqueue)(pay_awaiting, "a", alias)
        return await sync_to_async(run_tasks)(pay_awaiting)

    assert async_to_sync(act)() == Drained(complete=1)


def test_jobs_in_memory_run_too(sqlite_database: str) -> None:
    Order.objects.create(reference="a")
    enqueue(pay, "a", sqlite_database)

    assert run_tasks(pay) == Drained(complete=1)
    delete_jobs()

    assert shared_backend(stores()[0]).count_sync() == []


def test_the_jobs_of_the_settings_run_too(alias: str) -> None:
    Order.objects.using(alias).create(reference="a")
    enqueue(pay, "a", alias)

    with override_settings(REXECUTOR="tests.in_django.test_testing:rexecutor_of_settings"):
        assert run_tasks() == Drained(complete=1)


def test_where_nothing_could_run_that_is_an_error() -> None:
    with override_settings(TASKS={}), pytest.raises(ConfigurationError, match="nothing to run"):
        run_tasks()
    with pytest.raises(ConfigurationError, match="limit"):
        run_tasks(pay, limit=0)


def test_jobs_are_deleted_with_schedules_and_pauses(alias: str) -> None:
    enqueue(pay, "a", alias)
    shared_backend(Store(alias)).pause_sync("pay", "for a test")

    delete_jobs()

    assert not Job.objects.exists()
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {'rexecutor.pauses' if alias == 'postgres' else 'rexecutor_pauses'}")
        assert cursor.fetchone() == (0,)


def test_no_job_is_left_to_the_next_test_of_a_class_that_commits(alias: str) -> None:
    class Committing(JobsMixin, TransactionTestCase):
        databases = {alias}  # noqa: RUF012 - as Django's users write it

        def act(self) -> None:
            assert not Job.objects.exists()
            assert current_backend() is shared_backend(Store(alias))
            enqueue(pay, "a", alias)
            pay.enqueue_sync("b", alias)  # on a connection of the backend's own

        test_a = test_b = act

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Committing).run(result)

    assert result.testsRun == 2
    assert not result.errors, result.errors[0][1]
    assert not Job.objects.exists()
    if alias == "postgres":
        name = connections[alias].settings_dict["NAME"]
        connections[alias].close()
        run_postgres(f"DROP DATABASE {name}")  # which nobody uses any more
        run_postgres(f"CREATE DATABASE {name}")
