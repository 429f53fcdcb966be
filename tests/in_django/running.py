"""Runs tasks in the process of a test."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from django.test import override_settings

from rexecutor.backend.base import Backend
from rexecutor.django.stores import shared_backend, store_of, task_backends
from rexecutor.testing import Drained, drain

NEEDS_6 = "Django 6 needs Python 3.12"


def backend_of(alias: str = "default") -> Backend:
    """Return this process's backend of a task backend's store."""
    return shared_backend(store_of(task_backends()[alias].get("OPTIONS", {})))


def run_tasks(alias: str = "default") -> Drained:
    """Run the tasks that are due, as a worker does, until there are none."""
    from rexecutor.django.executors import executors_of  # needs Django 6

    return asyncio.run(drain(*executors_of(alias), backend=backend_of(alias)))


@contextmanager
def memory_settings(**changed: Any) -> Generator[None]:
    """Let the one task backend have a new store in memory, in the block; with these `OPTIONS` or other settings."""
    options = {"STORE": "memory:", **changed.pop("OPTIONS", {})}
    params = {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": options, **changed}
    with override_settings(TASKS={"default": params}):
        yield
