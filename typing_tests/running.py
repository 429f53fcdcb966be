"""What users see of a `Rexecutor`.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both: an `ignore`
that is not needed is itself an error.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeAlias, TypeVar, assert_type

from rexecutor import Backend, Executor, Job, Rexecutor


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...


class Charge(Executor[int, dict[str, str], bool]):
    name = "charge"

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway

    async def execute(self, job: Job[int, dict[str, str]]) -> bool:
        return job.data > len(self.gateway)


def executors_may_be_given_at_once(backend: Backend, others: Iterator[type[Executor[Any, Any, Any]]]) -> None:
    assert_type(Rexecutor(backend, executors=[EmailJob, Charge("bank")]), Rexecutor)
    Rexecutor(backend, executors=(EmailJob,), max_concurrency=10)
    Rexecutor(backend, executors={EmailJob}).with_executor(Charge("bank"))
    Rexecutor(backend, executors=others)


def what_is_no_executor_is_an_error(backend: Backend) -> None:
    Rexecutor(backend, executors=EmailJob)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Rexecutor(backend, executors=[EmailJob, int])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Rexecutor(backend, executors="email_job")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


App = TypeVar("App")
Lifespan: TypeAlias = (
    Callable[[App], AbstractAsyncContextManager[None]] | Callable[[App], AbstractAsyncContextManager[Mapping[str, Any]]]
)


class Starlette:
    """Takes a lifespan as Starlette and FastAPI do."""

    def __init__(self, lifespan: Lifespan[Self] | None) -> None: ...


def a_lifespan_is_what_frameworks_take(rexecutor: Rexecutor) -> None:
    Starlette(lifespan=rexecutor.lifespan)
    Starlette(lifespan=Rexecutor.lifespan)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_lifespan_is_a_context_manager(rexecutor: Rexecutor, app: Starlette) -> None:
    async with rexecutor.lifespan(app) as state:
        assert_type(state, None)
