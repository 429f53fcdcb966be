"""`rexecutor.django.testing` with the tasks of `django.tasks`."""

import django
import pytest
from django.db import transaction

from rexecutor.testing import Drained
from tests.in_django.databases import jobs_in
from tests.in_django.shop.models import Order

pytestmark = pytest.mark.skipif(django.VERSION < (6,), reason="Django 6 needs Python 3.12")


def test_a_task_runs_in_the_tests_transaction(database: str) -> None:
    from rexecutor.django.testing import enqueued_tasks, run_tasks
    from tests.in_django.shop.tasks import add, add_async, make_order

    with jobs_in(database), transaction.atomic(using=database):
        making, adding = make_order.enqueue("a", database), add_async.enqueue(1, b=2)

        assert [one.args for one in enqueued_tasks(make_order)] == [["a", database]]
        assert run_tasks() == Drained(complete=2)

        making.refresh()
        adding.refresh()
        assert making.status == "SUCCESSFUL"
        assert adding.return_value == 3
        assert Order.objects.using(database).exists()
        assert [one.id for one in enqueued_tasks()] == [making.id, adding.id]
        assert enqueued_tasks(add) == []
        transaction.set_rollback(True, using=database)
    with jobs_in(database):
        assert enqueued_tasks() == []
    assert not Order.objects.using(database).exists()


def test_tasks_in_memory_run_and_are_deleted() -> None:
    from rexecutor.django.testing import delete_jobs, enqueued_tasks, run_tasks
    from tests.in_django.shop.tasks import add

    delete_jobs()
    result = add.enqueue(1, 2)

    assert run_tasks() == Drained(complete=1)
    result.refresh()
    assert result.return_value == 3

    delete_jobs()
    assert enqueued_tasks() == []
