"""What a type checker makes of function jobs. Read by basedpyright and mypy, never run, as `jobs.py`."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Annotated, Any, assert_type

import msgspec

from rexecutor import (
    PROVIDED,
    Backend,
    BackoffStrategy,
    Cancel,
    ExecutionResult,
    InMemoryBackend,
    Job,
    JobBuilder,
    JobFunction,
    JobHandle,
    JobStatus,
    Provide,
    Pruner,
    Rexecutor,
    Snooze,
    UniquenessCriteria,
    Where,
    current_job,
    enqueue_many,
    enqueue_many_sync,
    job,
    override_provider,
)
from rexecutor.testing import assert_enqueued, drain, perform


class Report(msgspec.Struct):
    pages: int


class Client:
    def send(self, to: str) -> int:
        return len(to)


async def get_client() -> Client:
    return Client()


@job
async def send_email(to: str, subject: str = "hello", *, copies: int = 1) -> int:
    return copies * len(to + subject)


@job(max_attempts=3, timeout=timedelta(seconds=5), discard_on=(ValueError,))
async def build(pages: int) -> Report | Cancel | Snooze:
    return Report(pages)


@job(unique=UniquenessCriteria.by_executor())
async def maybe(pages: int) -> Report | None:
    return Report(pages)


@job(blocking=True, backoff=BackoffStrategy.constant(timedelta(seconds=1)))
def resize(picture: str, size: float = 1.0) -> None: ...


@job(blocking="process", backoff=lambda failed: timedelta(seconds=failed.attempt))
def count(words: list[str]) -> int | Cancel:
    return len(words)


@job
async def knows_its_job(job: Job[object], to: str) -> None:
    assert_type(job.id, int)
    assert_type(to, str)


@job(blocking="thread")
def blocking_and_knows_its_job(job: Job[object], to: str) -> bytes:
    return job.executor.encode() + to.encode()


@job
async def takes_anything(payload: object) -> int:
    return 1 if payload else 0


@job()
async def decides() -> ExecutionResult:
    return None


@job
async def send_by(to: str, client: Annotated[Client, Provide(get_client)] = PROVIDED) -> int:
    assert_type(client, Client)
    return client.send(to)


@job
def through_a_decorator(to: str) -> Awaitable[int]:
    return build_later(to)


async def build_later(to: str) -> int:
    return len(to)


async def an_enqueue_takes_the_arguments_of_the_function() -> None:
    assert_type(await send_email.enqueue("bob", subject="hi", copies=2), JobHandle[Any, Any, int])
    assert_type(await send_email.enqueue("bob", "hi"), JobHandle[Any, Any, int])
    assert_type(send_email.enqueue_sync("bob"), JobHandle[Any, Any, int])
    assert_type(send_email.new("bob"), JobBuilder[Any, Any, int])
    assert_type(await knows_its_job.enqueue("bob"), JobHandle[Any, Any, None])
    assert_type(await knows_its_job.enqueue(to="bob"), JobHandle[Any, Any, None])
    assert_type(await blocking_and_knows_its_job.enqueue("bob"), JobHandle[Any, Any, bytes])
    assert_type(await send_by.enqueue("bob"), JobHandle[Any, Any, int])
    assert_type(await decides.enqueue(), JobHandle[Any, Any, None])


async def options_keep_the_arguments_and_the_result(backend: Backend) -> None:
    later = send_email.options(schedule_in=timedelta(hours=1), tags=["a"], unique=None, backend=backend)
    assert_type(await later.enqueue("bob", copies=2), JobHandle[Any, Any, int])
    assert_type(later.enqueue_sync("bob"), JobHandle[Any, Any, int])
    assert_type(later.new("bob"), JobBuilder[Any, Any, int])
    await later.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send_email.options(schedul_in=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send_email.options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_parameter_that_takes_anything_is_not_taken_for_the_job() -> None:
    assert_type(await takes_anything.enqueue({"a": 1}), JobHandle[Any, Any, int])
    assert_type(await takes_anything.enqueue(payload=[1]), JobHandle[Any, Any, int])


async def cancel_and_snooze_are_no_results() -> None:
    assert_type(await build.enqueue(3), JobHandle[Any, Any, Report])
    assert_type(await maybe.enqueue(3), JobHandle[Any, Any, Report | None])
    assert_type(await count.enqueue(["a"]), JobHandle[Any, Any, int])
    assert_type(await resize.enqueue("a.png", size=2), JobHandle[Any, Any, None])
    assert_type(await through_a_decorator.enqueue("bob"), JobHandle[Any, Any, int])
    handle = await build.enqueue(3)
    assert_type(await handle.result(), Report)
    assert_type(handle.result_sync(timedelta(seconds=1)), Report)
    assert_type((await handle.fetch()).result, Report | None)


async def a_call_is_the_functions() -> None:
    assert_type(await send_email("bob", subject="hi"), int)
    assert_type(await build(3), Report)
    assert_type(resize("a.png"), None)
    assert_type(count(["a"]), int)
    assert_type(await send_by("bob"), int)
    assert_type(await send_by("bob", client=Client()), int)


async def many_of_one_function_can_be_enqueued(backend: Backend) -> None:
    builders = [send_email.new(to) for to in ("a", "b")]
    assert_type(builders, list[JobBuilder[Any, Any, int]])
    await enqueue_many(builders, backend=backend)
    enqueue_many_sync(builders)


async def a_wrong_argument_is_an_error() -> None:
    await send_email.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send_email.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send_email.enqueue("bob", bcc="eve")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send_email.enqueue("bob", "hi", 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await knows_its_job.enqueue("bob", "eve")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send_email.enqueue_sync(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send_email.new(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send_email.data(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send_email(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resize(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def plain() -> None: ...
def plain_def() -> None: ...


def the_function_must_go_with_blocking() -> None:
    job(plain_def)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    job(name="a")(plain_def)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    job(max_atempts=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    job(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def it_goes_wherever_an_executor_goes(rexecutor: Rexecutor) -> None:
    assert_type(rexecutor.with_executor(send_email).with_executor(resize), Rexecutor)
    rexecutor.with_cron_executor(send_email, "0 9 * * *", send_email.data("bob"))
    rexecutor.with_cron_executor(decides, "0 9 * * *")
    Rexecutor(InMemoryBackend(), executors=[send_email, build, resize, count])
    Pruner.max_length(1, JobStatus.COMPLETE).only(send_email, resize)


async def it_is_tested_as_an_executor_is() -> None:
    assert_type(await assert_enqueued(for_executor=send_email), list[Job[Any, Any, int]])
    await assert_enqueued(for_executor=send_email, with_data=send_email.data("bob"))
    await drain(send_email, resize)
    await perform(send_email, send_email.data("bob"))
    with override_provider(get_client, Client):
        await send_by("bob")
    assert_type(await send_email.query_jobs(Where.id_equals(1)), list[Job[Any, Any, int]])
    assert_type(current_job(), Job[Any, Any, Any])


async def it_can_be_passed_on(function: JobFunction[[str], int]) -> None:
    assert_type(await function.enqueue("bob"), JobHandle[Any, Any, int])


async def a_function_of_the_same_parameters_can_be_passed() -> None:
    await it_can_be_passed_on(send_by)
