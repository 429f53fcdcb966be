"""What stands for Django's dummy and immediate backend in Django's own tests."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rexecutor import InMemoryBackend, Where
from rexecutor.backend.base import Backend
from rexecutor.django import TaskBackend
from rexecutor.django.annotations import AnyResult, AnyTask
from rexecutor.django.executors import executors_of
from rexecutor.testing import drain


class Paused(TaskBackend):
    """Keeps its tasks in memory and runs none: the dummy backend."""

    store: Backend = InMemoryBackend()

    @property
    def results(self) -> list[AnyResult]:
        """The results of all tasks, as the dummy backend has them."""
        return [
            self.get_result(str(record.id)) for record in self.store.query_sync(Where.tagged_by_all_of(), limit=1_000)
        ]

    def clear(self) -> None:
        """Forget all tasks."""
        Paused.store = InMemoryBackend()

    def _bound(self) -> Backend:
        return self.store


class Drained(Paused):
    """Runs a task as soon as it is enqueued, as a worker does: the immediate backend."""

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:
        """Enqueue the task, run it, and return its result."""
        result = super().enqueue(task, args, kwargs)
        with ThreadPoolExecutor(1) as outside:  # a thread that no loop of the test waits for
            outside.submit(asyncio.run, drain(*executors_of(self.alias), backend=self.store)).result()
        result.refresh()
        return result
