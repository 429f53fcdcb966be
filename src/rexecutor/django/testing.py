"""Helpers for the tests of a Django project: run enqueued tasks, look at them, and delete them after the test.

They use Django's own connection, so they see what a `TestCase` has not committed.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections

from rexecutor.app.config import Registry
from rexecutor.app.rexecutor import Rexecutor
from rexecutor.backend.app_transaction import SyncTransaction
from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend, override_global_backend
from rexecutor.cli.load import find_target
from rexecutor.django.connection_store import CallingThread, ConnectionStore
from rexecutor.django.connections import KEEPS_CONNECTIONS
from rexecutor.django.stores import Store, bound_store, forget, shared_backend, store_of, stores, task_backends
from rexecutor.errors import ConfigurationError, GlobalBackendError
from rexecutor.jobs.executor import AnyExecutor, ExecutorLike, executor_class
from rexecutor.model.checks import checked_int
from rexecutor.testing.draining import MAX_RUNS, Drained, drained

if TYPE_CHECKING:
    from django.test import SimpleTestCase

    from rexecutor.django.annotations import AnyResult, AnyTask

    MixedIn = SimpleTestCase
else:
    MixedIn = object

__all__ = ["JobsMixin", "delete_jobs", "enqueued_tasks", "run_tasks"]

_EMPTIED: Final = ("stored_jobs", "queue", "running", "schedules", "pauses", "stats")
_EMPTIED_ON_POSTGRES: Final = (*_EMPTIED, "ended", "scopes")


def run_tasks(*executors: ExecutorLike, limit: int = MAX_RUNS) -> Drained:
    """Run the due tasks and jobs, and those that they enqueue, until none is due. Return how the runs ended.

    ```python
    class CheckoutTest(TestCase):
        def test_the_buyer_gets_a_receipt(self) -> None:
            self.client.post("/checkout/", {"reference": "A-1"})

            self.assertEqual(run_tasks(), Drained(complete=1))
            self.assertEqual(len(mail.outbox), 1)
    ```

    They run as with `rexecutor.testing.drain`, one at a time, in this thread and on Django's own connection. That is
    within the transaction of a `TestCase`, which no worker can see. A task that fails does not fail the test: compare
    the result, which has its error. Tasks that are due later, such as retries, do not run.

    Args:
        executors: Executors and function jobs to run, besides the tasks of all task backends of this package in
            `TASKS`, and what the `Rexecutor` of `REXECUTOR` runs.
        limit: Maximum number of runs in each store, 1 or more, so that a task that enqueues itself does not hang the
            test.

    Raises:
        RexecutorError: `limit` runs were made and another job is due.
        ConfigurationError: There are no executors, `limit` is out of range, or a store cannot be used.
        RuntimeError: An event loop runs in this thread; in an `async def` test, `await sync_to_async(run_tasks)()`.
    """
    checked_int("run_tasks: limit", limit, 1)
    ended: list[Drained] = []
    for store in stores():
        backend = shared_backend(store)
        known = _executors(store, backend, executors)
        if not known:
            raise ConfigurationError(
                "run_tasks: nothing to run: give executors, name a task backend of rexecutor in TASKS, or set REXECUTOR"
            )
        ended.append(async_to_sync(_run)(backend, bound_store(store), known, limit))
    counts = {name: sum(getattr(one, name) for one in ended) for name in Drained.__slots__ if name != "errors"}
    return Drained(**counts, errors=tuple(error for one in ended for error in one.errors))


def enqueued_tasks(task: "AnyTask | None" = None) -> "list[AnyResult]":
    """Return the results of the stored tasks in any status, by task backend, in the order of their enqueues.

    Of each task backend's store, the first 10,000 jobs are read.

    ```python
    (receipt,) = enqueued_tasks(send_receipt)
    self.assertEqual(receipt.args, ["A-1"])
    ```

    Args:
        task: The task to look for; None for all. Its settings, such as those of `using()`, do not matter.

    Raises:
        ImportError: This Django has no `django.tasks`.
        BackendError: The store failed.
    """
    from django.tasks import task_backends as backends  # since Django 6

    from rexecutor.django.calls import queue_of
    from rexecutor.django.results import result_of
    from rexecutor.model.where import Where

    found: list[AnyResult] = []
    for alias, params in task_backends().items():
        bound = bound_store(store_of(params.get("OPTIONS", {})))
        for record in bound.query_sync(Where.everything(), limit=MAX_RUNS):
            queue = queue_of(alias, record.executor)
            if queue is not None:
                found.append(result_of(record, queue, backends[alias]))
    return [one for one in found if task is None or one.task.module_path == task.module_path]


def delete_jobs() -> None:
    """Delete all jobs, schedules, pauses and statistics in the stores of the settings, on Django's connection."""
    for store in stores():
        if store.database is None:
            forget(store)
            continue
        connection = connections[store.database]
        if connection.vendor == "postgresql":
            tables = [f'"{store.schema}"."{name}"' for name in _EMPTIED_ON_POSTGRES]
        else:
            tables = [f"rexecutor_{name}" for name in _EMPTIED]
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - names of the settings


class JobsMixin(MixedIn):
    """Mixin for test classes: deletes all jobs after each test, and makes the test database's backend the global one.

    ```python
    class WorkerTest(JobsMixin, TransactionTestCase): ...
    ```

    A `TestCase` with its jobs in a database needs it only for function jobs and executors that use the global backend:
    the rollback removes its jobs. A `TransactionTestCase` needs it because Django empties only the tables of its own
    models, and so do tests with a store in memory. After each test, the backends close the connections that synchronous
    calls have opened, so that the test database can be dropped.
    """

    def run(self, result: Any = None) -> Any:
        """Run the test with the backend of the first store in the settings as the global backend."""
        with override_global_backend(shared_backend(stores()[0])):
            return super().run(result)

    def _fixture_teardown(self) -> None:
        cast("Any", super())._fixture_teardown()  # noqa: SLF001 - where TransactionTestCase empties its tables
        for store in stores():
            if store.database is not None:
                shared_backend(store).close_sync()
        delete_jobs()


async def _run(
    backend: Backend, bound: Backend | SyncTransaction, executors: Mapping[str, AnyExecutor], limit: int
) -> Drained:
    token = KEEPS_CONNECTIONS.set(True)
    threads = CallingThread()
    try:
        with _global_if_none(backend):
            if isinstance(bound, SyncTransaction):
                on_connection = cast("Backend", ConnectionStore(backend, bound))
                return await drained(on_connection, executors, limit=limit, threads=threads)
            async with nullcontext() if backend.is_open else backend:
                return await drained(backend, executors, limit=limit, threads=threads)
    finally:
        KEEPS_CONNECTIONS.reset(token)  # async_to_sync gives the context back to its caller


def _executors(store: Store, backend: Backend, given: tuple[ExecutorLike, ...]) -> Mapping[str, AnyExecutor]:
    registry = Registry(backend.limits)
    for executor in given:
        executor_class("run_tasks: executor", executor)
        registry.add(executor, is_implied=False)
    path: object = getattr(settings, "REXECUTOR", None)
    own = None if path is None else find_target(str(path))
    if isinstance(own, Rexecutor):
        for name, one in own.executors.items():
            if name not in registry.executors:
                registry.add(one, is_implied=False)
    if find_spec("django.tasks") is not None:
        from rexecutor.django.executors import executors_of
        from rexecutor.django.registry import discover

        discover()
        for alias, params in task_backends().items():
            if store_of(params.get("OPTIONS", {})) == store:
                for executor in executors_of(alias):
                    registry.add(executor, is_implied=False)
    return registry.executors


def _global_if_none(backend: Backend) -> Any:
    try:
        current_backend()
    except GlobalBackendError:
        return override_global_backend(backend)
    return nullcontext()
