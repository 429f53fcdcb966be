"""Bad input, from the outside and on every store: a clear error at the earliest moment, and nothing stored or lost.

What each function checks in detail stands beside it (`test_function_definitions`, `test_keyword_enqueue` and others).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    DecodeError,
    DefinitionError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobFailedError,
    JobNotFoundError,
    JobStatus,
    Rexecutor,
    UniquenessCriteria,
    Where,
    job,
    job_handle,
)
from rexecutor.model.job import JobRecord
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.where import Everything
from rexecutor.testing import drain

SOON = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Report(msgspec.Struct, frozen=True):
    rows: int


class Build(Executor[str, None, Report]):
    name = "build"
    max_attempts = 1
    uniqueness_criteria = UniquenessCriteria.by_data()

    async def execute(self, job: Job[str]) -> Any:
        match job.data:
            case "cancel":
                return Cancel("not needed")
            case "fail":
                raise ValueError("no such month")
            case "wrong":
                return {"rows": "many"}
            case _:
                return Report(len(job.data))


class BuildOfToday(Executor[str, None, int]):
    """What `Build` has become since its jobs were run."""

    name = "build"

    async def execute(self, job: Job[str]) -> int: ...


class Other(Executor[str, None, Report]):
    name = "other"

    async def execute(self, job: Job[str]) -> Report: ...


@job
async def repeat(text: str, times: int = 1) -> str:
    return text * times


async def stored(backend: Backend) -> list[JobRecord]:
    return list(await backend.query(Everything()))


async def ended(backend: Backend, data: str) -> int:
    handle = await Build.enqueue(data, backend=backend)
    await drain(Build, backend=backend)
    return handle.id


class TestIds:
    @pytest.mark.parametrize("wrong", ["7", True, 7.0, None, b"7", [7], Report(7), JobStatus.COMPLETE])
    async def test_what_is_no_id_is_refused_before_the_store_is_asked(self, backend: Backend, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"build: get_job: job_id must be an int, not "):
            await Build.get_job(wrong, backend=backend)
        with pytest.raises(ConfigurationError, match=r"build: handle: job_id must be an int, not "):
            Build.handle(wrong, backend=backend)
        with pytest.raises(ConfigurationError, match=r"job_handle: job_id must be an int, not "):
            job_handle(wrong, backend=backend)
        with pytest.raises(ConfigurationError, match=r"job_id must be an int, not "):
            await Build.cancel_job(wrong, "no longer wanted", backend=backend)
        with pytest.raises(ConfigurationError, match=r"job_id must be an int, not "):
            await Build.rerun_job(wrong, backend=backend)

    @pytest.mark.parametrize("none", [0, -1, 10, 2**63 - 1, 2**63, -(2**63) - 1, 10**30])
    async def test_an_id_that_no_job_has_is_no_job(self, backend: Backend, none: int) -> None:
        await Build.enqueue("may", backend=backend)
        asked: list[Callable[[], Awaitable[object]]] = [
            lambda: Build.get_job(none, backend=backend),
            lambda: Build.handle(none, backend=backend).fetch(),
            lambda: Build.handle(none, backend=backend).result(SOON),
            lambda: Build.handle(none, backend=backend).wait(SOON),
            lambda: Build.cancel_job(none, "no longer wanted", backend=backend),
            lambda: Build.rerun_job(none, backend=backend),
            lambda: job_handle(none, backend=backend).fetch(),
            lambda: job_handle(none, backend=backend).cancel("no longer wanted"),
        ]

        for ask in asked:
            with pytest.raises(JobNotFoundError, match=f"there is no job {none}"):
                await ask()
        assert [record.status for record in await stored(backend)] == [JobStatus.SCHEDULED]


class TestResults:
    async def test_of_a_cancelled_job(self, backend: Backend) -> None:
        job_id = await ended(backend, "cancel")

        with pytest.raises(JobFailedError, match=rf"job {job_id} \(build\) is cancelled: not needed") as failed:
            await Build.handle(job_id, backend=backend).result(SOON)

        assert failed.value.job.status is JobStatus.CANCELLED

    async def test_of_a_discarded_job(self, backend: Backend) -> None:
        job_id = await ended(backend, "fail")

        with pytest.raises(JobFailedError, match=rf"job {job_id} \(build\) is discarded: ValueError: no such month"):
            await Build.handle(job_id, backend=backend).result(SOON)

    async def test_of_another_executors_job(self, backend: Backend) -> None:
        job_id = await ended(backend, "may")

        with pytest.raises(JobNotFoundError, match=f"job {job_id} belongs to build, not to other"):
            await Other.handle(job_id, backend=backend).result(SOON)

    async def test_of_a_pruned_job(self, backend: Backend) -> None:
        job_id = await ended(backend, "may")
        await backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 100)

        with pytest.raises(JobNotFoundError, match=f"there is no job {job_id} of build"):
            await Build.handle(job_id, backend=backend).result(SOON)

    async def test_whose_type_has_changed_since(self, backend: Backend) -> None:
        job_id = await ended(backend, "may")

        with pytest.raises(DecodeError, match=r"build: result: int expected: Expected `int`, got `object`"):
            await BuildOfToday.handle(job_id, backend=backend).result(SOON)

        assert await Build.handle(job_id, backend=backend).result(SOON) == Report(3)

    async def test_of_the_wrong_type_are_a_failed_attempt(self, backend: Backend) -> None:
        job_id = await ended(backend, "wrong")

        read = await Build.get_job(job_id, backend=backend)

        assert (read.status, read.result, read.errors[-1].type_name) == (JobStatus.DISCARDED, None, "EncodeError")
        assert "build: result: Report expected: Expected `int`, got `str` - at `$.rows`" in read.errors[-1].details

    async def test_of_64_kib_are_stored_and_one_byte_more_is_a_failed_attempt(self, backend: Backend) -> None:
        most = 64 * 1024 - 2  # the quotes
        fits = await repeat.options(backend=backend).enqueue("x", times=most)
        does_not = await repeat.options(backend=backend, max_attempts=1).enqueue("x", times=most + 1)
        await drain(repeat, backend=backend)

        assert await fits.result(SOON) == "x" * most
        with pytest.raises(JobFailedError, match="repeat: result has 65,537 bytes as JSON, at most 65,536 are allowed"):
            await does_not.result(SOON)


class TestEnqueues:
    async def test_without_a_backend_the_three_ways_to_give_one_are_named(self) -> None:
        for enqueue in (lambda: Build.enqueue("may"), lambda: repeat.enqueue("x")):
            with pytest.raises(GlobalBackendError) as refused:
                await enqueue()
            for way in ("backend=…", "set_global_backend()", "override_global_backend(…)"):
                assert way in str(refused.value)

    async def test_what_is_refused_is_not_stored(self, backend: Backend) -> None:
        build, repeated = cast("Any", Build), cast("Any", repeat)  # as untyped code has them
        at = datetime(2030, 1, 1, tzinfo=UTC)
        refused: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (lambda: build.enqueue("a", schedule_at=at, schedule_in=HOUR, backend=backend), "exclude each other"),
            (lambda: build.enqueue("a", expires_in=timedelta(0), backend=backend), "a timedelta above zero"),
            (lambda: build.enqueue("a", expires_in=-HOUR, backend=backend), "a timedelta above zero"),
            (lambda: build.enqueue("a", expires_in=60, backend=backend), r"timedelta\(seconds=…\)"),
            (lambda: build.enqueue(7, backend=backend), "build: data: str expected"),
            (lambda: build.enqueue("a\0", backend=backend), "build: data contains a NUL"),
            (
                lambda: build.enqueue("a", tags="b", backend=backend),
                r"build: enqueue: tags must be a collection of str",
            ),
            (lambda: repeated.options(backend=backend).enqueue(), "repeat: missing a required argument: 'text'"),
            (lambda: repeated.options(backend=backend).enqueue("a", b=1), "repeat: got an unexpected keyword"),
            (lambda: repeated.options(backend=backend).enqueue("a", times="2"), r"got `str` - at `\$\.times`"),
            (
                lambda: build.enqueue("a", unique=UniquenessCriteria.by_data("month"), backend=backend),
                r"build: data: by_data\('month'\): the data have no field",
            ),
        ]

        for enqueue, message in refused:
            with pytest.raises(InvalidJobError, match=message):
                await enqueue()
        assert await stored(backend) == []


class TestDefinitions:
    def test_a_function_with_args_is_no_job(self) -> None:
        with pytest.raises(DefinitionError, match=r"takes \*words, which has no name in the job's data; take a list"):

            @job
            async def send(*words: str) -> None: ...

    def test_a_default_must_be_json(self) -> None:
        with pytest.raises(
            DefinitionError, match=r"the default of when: \$\['at'\]: datetime given, which would arrive"
        ):

            @job
            async def send(when: dict[str, Any] = {"at": datetime(2026, 1, 1, tzinfo=UTC)}) -> None: ...  # noqa: B006

    def test_a_return_annotation_must_be_json(self) -> None:
        with pytest.raises(DefinitionError, match="send: result: complex cannot be stored as JSON"):

            @job
            async def send() -> complex: ...

        with pytest.raises(DefinitionError, match="sends: result: complex cannot be stored as JSON"):

            class _Send(Executor[None, None, complex]):  # pyright: ignore[reportUnusedClass] - its definition fails
                name = "sends"

                async def execute(self, job: Job[None]) -> complex: ...

    def test_two_functions_of_one_name_cannot_be_told_apart(self, backend: Backend) -> None:
        @job(name="repeat")
        async def again() -> None: ...

        with pytest.raises(
            DefinitionError, match=r"repeat: two executors have this name, .*repeat and .*again; give one"
        ):
            Rexecutor(backend, executors=[repeat, again])


@pytest.mark.parametrize("kind", ["JobHandle", "JobBuilder"])
def test_a_handle_or_a_builder_among_the_data_is_named_by_its_own_type(kind: str) -> None:
    builder: Any = repeat.new("a")
    given = builder if kind == "JobBuilder" else builder.enqueue_sync(backend=InMemoryBackend())

    wrong: Any
    for wrong in (given, [given]):
        with pytest.raises(InvalidJobError, match=rf"{kind} is not a type that JSON can hold"):
            repeat.new(wrong).enqueue_sync(backend=InMemoryBackend())
        with pytest.raises(InvalidJobError, match=rf"{kind} is not a type that JSON can hold"):
            Where.data_equals(wrong)
