"""Bulk enqueues of several executors, and executors with bases in between.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both: an `ignore`
that is not needed is itself an error.
"""

from abc import abstractmethod
from typing import Any, Generic, assert_type

from typing_extensions import TypeVar

from rexecutor import Executor, Job, JobBuilder, JobHandle, enqueue_many

T = TypeVar("T")


class Importing(Executor[list[T], int], Generic[T]):
    @abstractmethod
    def take(self, row: T) -> None: ...

    async def execute(self, job: Job[list[T], int]) -> None:
        for row in job.data:
            self.take(row)


class ImportNames(Importing[str]):
    name = "import_names"

    def take(self, row: str) -> None: ...


class Tick(Executor[None]):
    name = "tick"

    async def execute(self, job: Job[None]) -> None:
        assert_type(job.data, None)


def types_pass_through_a_generic_base() -> None:
    assert_type(ImportNames.builder(), JobBuilder[list[str], int])
    ImportNames.builder().with_data([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def several_executors_may_be_mixed() -> None:
    builders: list[JobBuilder[Any, Any, Any]] = [Tick.builder(), ImportNames.builder().with_data(["a"])]
    assert_type(await enqueue_many(builders), list[JobHandle[Any, Any, Any]])
    await enqueue_many([Tick.builder(), ImportNames.builder().with_data(["a"])])
