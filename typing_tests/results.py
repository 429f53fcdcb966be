"""What users see of results: on executors, jobs, builders and handles, and through generic bases.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both: an `ignore`
that is not needed is itself an error.
"""

from abc import abstractmethod
from datetime import timedelta
from typing import Any, Generic, assert_type

import msgspec
from typing_extensions import TypeVar

from rexecutor import (
    Backend,
    Cancel,
    ExecutionResult,
    Executor,
    Job,
    JobBuilder,
    JobHandle,
    JobStatus,
    Snooze,
    UniquenessCriteria,
    Where,
    enqueue_many,
    results,
    results_sync,
)

T = TypeVar("T")
R = TypeVar("R", default=None)


class Query(msgspec.Struct, frozen=True):
    month: str


class Report(msgspec.Struct, frozen=True):
    rows: int


class Build(Executor[Query, None, Report]):
    name = "build"
    uniqueness_criteria = UniquenessCriteria.by_data("month")

    async def execute(self, job: Job[Query]) -> Report | Snooze:
        assert_type(job.data, Query)
        return Report(1) if job.attempt > 1 else Snooze(timedelta(seconds=1))


class BuildOrCancel(Executor[Query, str, Report]):
    name = "build_or_cancel"
    discard_on = (ValueError, KeyError)

    async def execute(self, job: Job[Query, str]) -> Report | Cancel | Snooze:
        return Cancel(job.metadata or "no")


class Count(Executor[str, None, int]):
    name = "count"
    blocking = True

    def execute(self, job: Job[str]) -> int:
        return len(job.data)


class MayFind(Executor[str, None, Report | None]):
    name = "may_find"

    async def execute(self, job: Job[str]) -> Report | None:
        return Report(1) if job.data else None


class Plain(Executor[str]):
    name = "plain"

    async def execute(self, job: Job[str]) -> ExecutionResult: ...


class ReturnsWithoutSaying(Executor[str]):
    name = "returns_without_saying"

    async def execute(self, job: Job[str]) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return len(job.data)


class ReturnsAnother(Executor[str, None, Report]):
    name = "returns_another"

    async def execute(self, job: Job[str]) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return len(job.data)


class BlocksAndReturnsAnother(Executor[str, None, Report]):
    name = "blocks_and_returns_another"
    blocking = True

    def execute(self, job: Job[str]) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return job.data


class TakesAnother(Executor[str, None, int]):
    name = "takes_another"

    async def execute(self, job: Job[int]) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return job.data


class Fetching(Executor[list[T], None, R], Generic[T, R]):
    @abstractmethod
    def fetched(self, row: T) -> R: ...

    async def execute(self, job: Job[list[T]]) -> R | Snooze:
        return self.fetched(job.data[0]) if job.data else Snooze(timedelta(seconds=1))


class FetchNames(Fetching[str, int]):
    name = "fetch_names"

    def fetched(self, row: str) -> int:
        return len(row)


class FetchNothing(Fetching[str]):
    name = "fetch_nothing"

    def fetched(self, row: str) -> None: ...


async def an_enqueue_gives_a_handle_that_knows_the_result(backend: Backend) -> None:
    handle = await Build.enqueue(Query("2026-05"), tags=["monthly"])
    assert_type(handle, JobHandle[Query, None, Report])
    assert_type(await handle.result(timeout=timedelta(minutes=10)), Report)
    assert_type(handle.result_sync(), Report)
    assert_type((await handle.wait()).result, Report | None)
    assert_type((await handle.fetch()).data, Query)
    assert_type(handle.fetch_sync().result, Report | None)
    assert_type(handle.wait_sync(), Job[Query, None, Report])
    assert_type(await BuildOrCancel.enqueue(Query("5"), metadata="m"), JobHandle[Query, str, Report])
    assert_type(Count.enqueue_sync("a", backend=backend), JobHandle[str, None, int])
    assert_type(await (await MayFind.enqueue("a")).result(), Report | None)
    assert_type(await (await Plain.enqueue("a")).result(), None)
    assert_type((await (await Plain.enqueue("a")).fetch()).result, None)


async def builders_know_the_result() -> None:
    assert_type(Build.new(Query("5"), priority=1), JobBuilder[Query, None, Report])
    assert_type(Build.builder().with_data(Query("5")), JobBuilder[Query, None, Report])
    assert_type(await Build.new(Query("5")).enqueue(), JobHandle[Query, None, Report])
    assert_type(Build.new(Query("5")).enqueue_sync(), JobHandle[Query, None, Report])


async def many_results_are_of_their_type() -> None:
    handles = await enqueue_many([Build.new(Query(month)) for month in ("5", "6")])
    assert_type(handles, list[JobHandle[Query, None, Report]])
    assert_type(await results(handles, timeout=timedelta(minutes=5)), list[Report])
    assert_type(results_sync(handles), list[Report])
    mixed: list[JobHandle[Any, Any, Any]] = [*handles, await Count.enqueue("a")]
    assert_type(await results(mixed), list[Any])


async def jobs_that_were_read_know_the_result(backend: Backend) -> None:
    jobs = await Build.query_jobs(Where.status_equals(JobStatus.COMPLETE), backend=backend)
    assert_type(jobs, list[Job[Query, None, Report]])
    assert_type(jobs[0].result, Report | None)
    assert_type(await Build.update_job(jobs[0]), Job[Query, None, Report])
    assert_type(Build.query_jobs_sync(Where.id_equals(1)), list[Job[Query, None, Report]])
    await Count.update_job(jobs[0])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_generic_base_passes_types_on() -> None:
    assert_type(await FetchNames.enqueue(["a"]), JobHandle[list[str], None, int])
    assert_type(await (await FetchNames.enqueue(["a"])).result(), int)
    assert_type(await FetchNothing.enqueue(["a"]), JobHandle[list[str], None, None])
    await FetchNames.enqueue([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def data_of_another_type_are_an_error() -> None:
    await Build.enqueue("2026-05")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Build.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Count.enqueue_sync(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Count.new(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Count.enqueue("a", tag="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await BuildOrCancel.enqueue(Query("5"), metadata=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def fields_of_the_data_are_texts() -> None:
    UniquenessCriteria.by_data("a", "b").and_data("c")
    UniquenessCriteria.by_data(["a"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
