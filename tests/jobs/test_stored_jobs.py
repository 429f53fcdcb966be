"""Queries, updates, cancels and reruns by an executor's class, on every backend there is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    DecodeError,
    EncodeError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    Replace,
    Rexecutor,
    StaleJobError,
    UniquenessCriteria,
    Where,
    enqueue_many,
    override_global_backend,
)
from rexecutor.model.job import NewJob
from rexecutor.telemetry.events import JobUnreadable
from rexecutor.testing import FakeClock
from tests.backends import bring_ids_to
from tests.fault_injector import FaultInjector
from tests.support import Events, record_of, soon, until

HOUR = timedelta(hours=1)


class Order(msgspec.Struct, frozen=True):
    id: int


class Charge(Executor[Order, list[str]]):
    name = "charge"

    async def execute(self, job: Job[Order, list[str]]) -> None: ...


class Mail(Executor[str]):
    name = "mail"
    max_attempts = 1

    async def execute(self, job: Job[str]) -> Cancel | None:
        if job.data == "fail":
            raise ValueError("bounced")
        return Cancel("unsubscribed") if job.data == "cancel" else None


async def enqueued(backend: Backend, *data: str) -> list[int]:
    return [
        handle.id for handle in await enqueue_many([Mail.builder().with_data(one) for one in data], backend=backend)
    ]


async def all_run(backend: Backend, *ids: int) -> None:
    """Run what is due, until these jobs have ended."""

    async def have_ended() -> bool:
        return all([(await record_of(backend, job_id)).status.has_ended for job_id in ids])

    async with Rexecutor(backend).with_executor(Mail).with_executor(Charge):
        await until(have_ended)


async def the_job(backend: Backend, job_id: int) -> Job[str]:
    [job] = await Mail.query_jobs(Where.id_equals(job_id), backend=backend)
    return job


class TestQueryJobs:
    async def test_an_executors_jobs_are_answered_with_their_data(self, backend: Backend) -> None:
        await enqueued(backend, "a")
        order = Order(7)
        await Charge.builder().with_data(order).with_metadata(["web"]).enqueue(backend=backend)
        await Charge.builder().with_data(Order(8)).enqueue(backend=backend)

        jobs = await Charge.query_jobs(
            Where.data_equals(order) & ~Where.status_equals(JobStatus.COMPLETE), backend=backend
        )

        assert [(job.data, job.metadata, job.executor) for job in jobs] == [(order, ["web"], "charge")]

    async def test_another_executors_jobs_are_never_answered(self, backend: Backend) -> None:
        ids = await enqueued(backend, "a", "b")
        await Charge.builder().with_data(Order(7)).enqueue(backend=backend)

        jobs = await Mail.query_jobs(
            Where.status_equals(JobStatus.SCHEDULED) | Where.tagged_by_one_of("x"), backend=backend
        )

        assert [job.id for job in jobs] == ids

    async def test_without_a_limit_all_are_answered(self, backend: Backend) -> None:
        ids = await enqueued(backend, *["a"] * 2_345)

        assert [job.id for job in await Mail.query_jobs(Where.tagged_by_all_of(), backend=backend)] == ids

    async def test_a_limit_and_the_last_id_make_pages(self, backend: Backend) -> None:
        ids = await enqueued(backend, *"abcdefg")
        pages: list[list[int]] = []
        after: int | None = None
        while page := await Mail.query_jobs(
            Where.data_equals("a") | ~Where.data_equals("a"), limit=3, after=after, backend=backend
        ):
            pages.append([job.id for job in page])
            after = page[-1].id

        assert pages == [ids[:3], ids[3:6], ids[6:]]

    async def test_a_job_that_cannot_be_decoded_is_left_out_with_a_warning(
        self, backend: Backend, events: Events
    ) -> None:
        bad = NewJob("mail", "[1]", None, 5, 0, (), None, timedelta(0))
        first, *_ = await enqueued(backend, "a")
        await backend.enqueue([bad, bad])
        last, *_ = await enqueued(backend, "b")

        jobs = await Mail.query_jobs(Where.status_equals(JobStatus.SCHEDULED), limit=2, backend=backend)

        assert [job.id for job in jobs] == [first, last]
        unreadable = events.of(JobUnreadable)
        assert [(one.executor, type(one.error)) for one in unreadable] == [("mail", DecodeError)] * 2

    @pytest.mark.parametrize("limit", [0, -1, True, "3", 1.5])
    async def test_a_limit_is_a_number_of_jobs(self, backend: Backend, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match="mail: query_jobs: limit"):
            await Mail.query_jobs(Where.data_equals("a"), limit=limit, backend=backend)

    async def test_what_is_no_expression_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ConfigurationError, match="must be a Where"):
            await Mail.query_jobs(JobStatus.COMPLETE, backend=backend)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ConfigurationError, match="after must be None or an int"):
            await Mail.query_jobs(Where.data_equals("a"), after="7", backend=backend)  # pyright: ignore[reportArgumentType]

    async def test_without_a_backend_the_global_one_is_asked(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with override_global_backend(backend):
            assert [job.id for job in await Mail.query_jobs(Where.id_equals(job_id))] == [job_id]
        with pytest.raises(GlobalBackendError):
            await Mail.query_jobs(Where.id_equals(job_id))


class TestUpdateJob:
    async def test_a_changed_copy_is_stored_and_answered(self, backend: Backend, clock: FakeClock) -> None:
        await Charge.builder().with_data(Order(7)).enqueue(backend=backend)
        [job] = await Charge.query_jobs(Where.data_equals(Order(7)), backend=backend)
        changed = replace(
            job,
            data=Order(8),
            metadata=["desk"],
            priority=3,
            max_attempts=9,
            tags=("late",),
            scheduled_at=clock.now() + HOUR,
        )

        answered = await Charge.update_job(changed, backend=backend)

        assert answered == changed
        assert await Charge.query_jobs(Where.tagged_by_all_of("late"), backend=backend) == [changed]

    async def test_a_stale_copy_is_refused(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")
        job = await the_job(backend, job_id)
        newer = await Mail.update_job(replace(job, priority=1), backend=backend)

        with pytest.raises(StaleJobError, match=f"job {job_id} \\(mail\\) has changed since"):
            await Mail.update_job(replace(job, priority=2), backend=backend)

        assert (await record_of(backend, job_id)).priority == 1
        assert (await Mail.update_job(replace(newer, priority=2), backend=backend)).priority == 2

    async def test_the_status_and_the_history_are_never_updated(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")
        job = await the_job(backend, job_id)

        await Mail.update_job(
            replace(job, status=JobStatus.COMPLETE, attempt=4, completed_at=job.inserted_at, priority=1),
            backend=backend,
        )

        stored = await the_job(backend, job_id)
        assert stored == replace(job, priority=1)

    async def test_an_ended_job_is_not_updated(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")
        await all_run(backend, job_id)

        with pytest.raises(JobStateError, match="an update while complete is not possible"):
            await Mail.update_job(replace(await the_job(backend, job_id), priority=1), backend=backend)

    async def test_another_executors_job_is_not_found(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")
        job: Any = replace(await the_job(backend, job_id), data=Order(1))

        with pytest.raises(JobNotFoundError):
            await Charge.update_job(job, backend=backend)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"data": 5}, EncodeError),
            ({"metadata": 5}, EncodeError),
            ({"priority": -1}, InvalidJobError),
            ({"max_attempts": 0}, InvalidJobError),
            ({"tags": "abc"}, InvalidJobError),
            ({"tags": ("",)}, InvalidJobError),
            ({"scheduled_at": None}, InvalidJobError),
        ],
        ids=str,
    )
    async def test_what_no_store_may_hold_is_refused(
        self, backend: Backend, change: dict[str, Any], error: type[Exception]
    ) -> None:
        [job_id] = await enqueued(backend, "a")
        job = await the_job(backend, job_id)

        with pytest.raises(error):
            await Mail.update_job(replace(job, **change), backend=backend)

        assert await the_job(backend, job_id) == job

    async def test_what_is_no_job_is_refused(self, backend: Backend) -> None:
        with pytest.raises(InvalidJobError, match="must be a Job"):
            await Mail.update_job(7, backend=backend)  # pyright: ignore[reportArgumentType]

    async def test_a_job_that_is_gone_is_not_found(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with pytest.raises(JobNotFoundError, match=f"there is no job {job_id + 1} of mail in this store"):
            await Mail.update_job(replace(await the_job(backend, job_id), id=job_id + 1), backend=backend)

    async def test_a_job_that_is_moved_to_now_runs(self, backend: Backend, clock: FakeClock) -> None:
        handle = await Mail.builder().with_data("a").schedule_in(HOUR).enqueue(backend=backend)
        async with Rexecutor(backend).with_executor(Mail):
            await Mail.update_job(replace(await handle.fetch(), scheduled_at=clock.now()), backend=backend)

            assert (await soon(handle.wait())).status is JobStatus.COMPLETE


class TestCancelAndRerun:
    async def test_a_waiting_job_is_cancelled_at_once(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        assert await Mail.cancel_job(job_id, "no longer wanted", backend=backend) is JobStatus.CANCELLED
        assert (await the_job(backend, job_id)).errors[-1].details == "no longer wanted"

    @pytest.mark.parametrize("data", ["done", "fail", "cancel"])
    async def test_an_ended_job_runs_again(self, backend: Backend, data: str) -> None:
        [job_id] = await enqueued(backend, data)
        await all_run(backend, job_id)
        before = await the_job(backend, job_id)

        await Mail.rerun_job(job_id, backend=backend)
        await all_run(backend, job_id)

        after = await the_job(backend, job_id)
        assert (before.attempt, after.attempt) == (1, 2)
        assert after.status is before.status

    async def test_a_waiting_job_is_not_rerun(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with pytest.raises(JobStateError):
            await Mail.rerun_job(job_id, backend=backend)

    async def test_another_executors_job_is_neither_cancelled_nor_rerun(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with pytest.raises(JobNotFoundError):
            await Charge.cancel_job(job_id, "no", backend=backend)
        with pytest.raises(JobNotFoundError):
            await Charge.rerun_job(job_id, backend=backend)

        assert (await record_of(backend, job_id)).status is JobStatus.SCHEDULED


class TestUnique:
    async def test_the_executors_criteria_hold(self, backend: Backend) -> None:
        class EveryFiveMinutes(Mail):
            name = "every_five_minutes"
            uniqueness_criteria = (
                UniquenessCriteria.by_executor()
                .and_within(timedelta(minutes=5))
                .on_conflict(Replace.priority().for_statuses(*JobStatus))
            )

        first = await EveryFiveMinutes.builder().with_data("a").enqueue(backend=backend)
        second = await EveryFiveMinutes.builder().with_data("b").with_priority(3).enqueue(backend=backend)

        assert (first.disposition, second.disposition) == ("inserted", "replaced")
        assert second.id == first.id
        job = await second.fetch()
        assert (job.data, job.priority) == ("a", 3)

    async def test_the_criteria_of_one_enqueue_take_the_place_of_the_executors(self, backend: Backend) -> None:
        class Once(Mail):
            name = "once"
            uniqueness_criteria = UniquenessCriteria.by_executor()

        by_key = UniquenessCriteria.by_key("k")
        builder = Once.builder().with_data("a")

        handles = await enqueue_many(
            [builder, builder, builder.unique(by_key), builder.unique(by_key), builder.unique(None)], backend=backend
        )

        assert [handle.disposition for handle in handles] == [
            "inserted",
            "existing",
            "inserted",
            "existing",
            "inserted",
        ]

    def test_what_are_no_criteria_are_refused(self) -> None:
        with pytest.raises(InvalidJobError, match="mail: unique"):
            Mail.builder().unique("k")  # pyright: ignore[reportArgumentType]

    async def test_a_completed_job_counts_once_there_is_a_window(self, backend: Backend, clock: FakeClock) -> None:
        builder = Mail.builder().with_data("a")
        windowed = builder.unique(UniquenessCriteria.by_executor().and_within(HOUR))
        first = await windowed.enqueue(backend=backend)
        await all_run(backend, first.id)

        in_window = await windowed.enqueue(backend=backend)
        without = await builder.unique(UniquenessCriteria.by_executor()).enqueue(backend=backend)

        assert (in_window.disposition, without.disposition) == ("existing", "inserted")


async def test_ids_go_on_beyond_two_thousand_million(backend: Backend) -> None:
    builder = Mail.builder().with_data("x")
    await builder.schedule_in(timedelta(days=1)).enqueue(backend=backend)
    await bring_ids_to(backend, 2**31 + 5)

    async with Rexecutor(backend).with_executor(Mail):
        [first, second] = await enqueue_many([builder, builder.schedule_in(timedelta(days=1))], backend=backend)
        assert (first.id, second.id) == (2**31 + 6, 2**31 + 7)
        assert (await soon(first.wait())).status is JobStatus.COMPLETE
        await first.rerun()
        assert (await soon(first.wait())).status is JobStatus.COMPLETE
    await Mail.update_job(replace(await second.fetch(), priority=7), backend=backend)
    await second.cancel("not wanted")

    jobs = await Mail.query_jobs(Where.id_in(first.id, second.id), after=2**31, backend=backend)
    assert [(job.id, job.status, job.priority) for job in jobs] == [
        (2**31 + 6, JobStatus.COMPLETE, 0),
        (2**31 + 7, JobStatus.CANCELLED, 7),
    ]


class Count(Executor[int]):
    name = "count"

    async def execute(self, job: Job[int]) -> None: ...


async def test_jobs_that_cannot_be_decoded_cost_no_query_each() -> None:
    backend = InMemoryBackend()
    faults = FaultInjector(backend)
    await backend.enqueue([NewJob("mail", "7", None, 5, 0, (), None, timedelta(0))] * 5_000)
    last = await Mail.builder().with_data("a").enqueue(backend=backend)

    jobs = await Mail.query_jobs(Where.everything(), limit=1, backend=backend)

    assert [job.id for job in jobs] == [last.id]
    assert faults.calls["query"] <= 7


@pytest.mark.parametrize("job_id", ["1", None, True, 1.0])
async def test_an_id_is_a_whole_number_on_every_backend(backend: Backend, job_id: Any) -> None:
    await Mail.builder().with_data("a").enqueue(backend=backend)

    with pytest.raises(ConfigurationError, match="job_id must be an int"):
        await Mail.cancel_job(job_id, "enough", backend=backend)
    with pytest.raises(ConfigurationError, match="job_id must be an int"):
        await Mail.rerun_job(job_id, backend=backend)


async def test_another_executors_job_is_not_found_whatever_its_data_are(backend: Backend) -> None:
    handle = await Mail.builder().with_data("a").enqueue(backend=backend)
    job: Any = await handle.fetch()

    with pytest.raises(JobNotFoundError, match=f"job {job.id} belongs to mail, not to count"):
        await Count.update_job(job, backend=backend)
