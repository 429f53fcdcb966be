"""The `Rexecutor` of a Django project: `rexecutor worker rexecutor.django.worker:make`, or `manage.py rexecutor`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from rexecutor.app.rexecutor import Rexecutor
from rexecutor.backend.django_connection import django_migrate_command
from rexecutor.cli.load import find_target, made_rexecutor
from rexecutor.django.connections import closes_connections
from rexecutor.django.stores import Store, database_of, shared_backend, store_of, task_backends
from rexecutor.errors import ConfigurationError, SchemaError
from rexecutor.jobs.executor import AnyExecutor

TARGET: Final = "rexecutor.django.worker:make"
"""Target of `rexecutor worker` for a Django project."""
BACKENDS: Final = "REXECUTOR_DJANGO_BACKENDS"
"""Environment variable: aliases of the task backends to run, separated by commas; all if it is empty or unset."""
QUEUES: Final = "REXECUTOR_DJANGO_QUEUES"
"""Environment variable: names of the queues to run, separated by commas; all if it is empty or unset."""
IN_MEMORY: Final = "memory:"

if not apps.ready:  # as wsgi.py does; here no event loop runs yet, in which Django refuses queries
    django.setup()


@asynccontextmanager
async def make() -> AsyncGenerator[Rexecutor]:
    """Yield the `Rexecutor` of the Django project that `DJANGO_SETTINGS_MODULE` names.

    It runs the tasks of this package's task backends, or of those that the environment chooses (`BACKENDS`, `QUEUES`).
    If the settings have `REXECUTOR = "shop.jobs:rexecutor"`, these tasks are added to that `Rexecutor`. In both cases
    `closes_connections` is around all jobs.

    Raises:
        ConfigurationError: There is nothing to run, it is in several stores or in memory, or the environment names an
            unknown task backend or queue.
        FailedError: What `REXECUTOR` names cannot be imported or made.
        SchemaError: The worker that uses it found no tables; the message names `manage.py migrate`.
    """
    chosen = _chosen(task_backends(), _names(BACKENDS))
    async with AsyncExitStack() as stack:
        rexecutor = await _own(stack)
        store = _store(chosen, rexecutor)
        if rexecutor is None:
            if store is None:
                raise ConfigurationError(nothing_to_run())
            rexecutor = Rexecutor(shared_backend(store))
        try:
            executors = await asyncio.to_thread(_executors, chosen, _names(QUEUES))
        except ImproperlyConfigured as error:
            raise ConfigurationError(str(error)) from error
        for executor in executors:
            if executor.name not in rexecutor.executors:  # it is there if the same Rexecutor runs again
                rexecutor.with_executor(executor)
        try:
            yield rexecutor.with_around_execute(closes_connections)
        except SchemaError as error:
            database = database_of(rexecutor.backend)
            if error.advice is None or database is None:
                raise
            raise SchemaError(error.found, f"run `{django_migrate_command(database)}`") from error.__cause__


def nothing_to_run() -> str:
    """Return the error message for a project with nothing to run."""
    own = 'set REXECUTOR = "shop.jobs:rexecutor" in the settings to the Rexecutor that runs your jobs'
    if django.VERSION < (6,):
        return f"nothing to run: {own} (django.tasks needs Django 6)"
    return f'nothing to run: name "rexecutor.django.TaskBackend" as a BACKEND in TASKS, or {own}'


async def _own(stack: AsyncExitStack) -> Rexecutor | None:
    """Return the `Rexecutor` that the settings name; None if they name none."""
    target: object = getattr(settings, "REXECUTOR", None)
    if target is None:
        return None
    if not isinstance(target, str):
        raise ConfigurationError(f'REXECUTOR must be a text such as "shop.jobs:rexecutor", not {target!r}')
    return await made_rexecutor(target, await asyncio.to_thread(find_target, target), stack)


def _chosen(known: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ConfigurationError(
                f"--backends: {name!r} is not a task backend of rexecutor in TASKS; there are {there}"
            )
    return {alias: params for alias, params in known.items() if not names or alias in names}


def _store(chosen: Mapping[str, Mapping[str, Any]], own: Rexecutor | None) -> Store | None:
    """Return the one store of the task backends; None if there are no task backends.

    Raises:
        ConfigurationError: They have several stores, or one in memory, which other processes cannot reach; or `own` has
            another backend.
    """
    of = {alias: store_of(params.get("OPTIONS", {})) for alias, params in chosen.items()}
    if len(set(of.values())) > 1:
        raise ConfigurationError(
            "a worker runs the jobs of one store, and the task backends have several"
            f" ({', '.join(f'{alias}: {_described(store)}' for alias, store in of.items())});"
            " run one worker for each: --backends ALIAS,ALIAS"
        )
    store = next(iter(of.values()), None)
    if store is None:
        return None
    if store.url == IN_MEMORY:
        raise ConfigurationError(
            f"TASKS[{next(iter(of))!r}]: the STORE {IN_MEMORY!r} is in the memory of the process that enqueues, where"
            " no worker finds a job; use it in tests, and a database otherwise"
        )
    if own is not None and own.backend is not shared_backend(store):
        raise ConfigurationError(
            f"REXECUTOR has another backend than the task backends ({', '.join(of)}), and a worker runs the jobs of one"
            f" store; make it as Rexecutor(rexecutor.django.backend_for({store.database!r}, schema={store.schema!r}))"
            if store.database is not None
            else "REXECUTOR has another backend than the task backends; run it by itself, with `rexecutor worker`"
        )
    return store


def _executors(chosen: Mapping[str, Mapping[str, Any]], queues: Collection[str]) -> list[type[AnyExecutor]]:
    """Return the executors of the chosen task backends: of these queues, or of all if none are given."""
    if not chosen or django.VERSION < (6,):  # there, TASKS only names where the jobs are
        return []
    from rexecutor.django.executors import executors_of, queues_of  # these need django.tasks
    from rexecutor.django.registry import discover

    discover()
    known = {alias: queues_of(alias) for alias in chosen}
    for queue in queues:
        if not any(queue in names for names in known.values()):
            there = ", ".join(sorted({name for names in known.values() for name in names}))
            raise ConfigurationError(f"--queues: no task backend has a queue {queue!r}; there are {there or 'none'}")
    return [
        executor
        for alias, names in known.items()
        if not queues or names & set(queues)
        for executor in executors_of(alias, names & set(queues))
    ]


def _described(store: Store) -> str:
    return store.url or f"{store.database}, schema {store.schema}"


def _names(variable: str) -> list[str]:
    """Return the names in an environment variable, which are separated by commas."""
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
