"""An enqueue with keyword arguments: `Executor.enqueue`, `enqueue_sync` and `new`."""

import pickle
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rexecutor import (
    EncodeError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobBuilder,
    JobHandle,
    UniquenessCriteria,
    enqueue_many,
    override_global_backend,
)
from rexecutor.model.job import JobRecord, Limits
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock

HOUR = timedelta(hours=1)
MOMENT = datetime(2126, 5, 1, 12, tzinfo=UTC)
ONLY_ONE = UniquenessCriteria.by_executor()


@dataclass
class Trace:
    by: str


class EmailJob(Executor[str, Trace]):
    name = "email_job"
    max_attempts = 2

    async def execute(self, job: Job[str, Trace]) -> None: ...


class Tick(Executor[None]):
    name = "tick"

    async def execute(self, job: Job[None]) -> None: ...


class OnlyOne(Executor[str | None]):
    name = "only_one"
    uniqueness_criteria = ONLY_ONE

    async def execute(self, job: Job[str | None]) -> None: ...


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> InMemoryBackend:
    return InMemoryBackend(clock=clock)


async def stored(backend: InMemoryBackend) -> list[JobRecord]:
    return list(await backend.query(Everything()))


class TestKeywords:
    async def test_what_is_not_said_has_a_default(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        handle = await EmailJob.enqueue("bob", backend=backend)

        [job] = await stored(backend)
        assert handle == JobHandle(job.id, "inserted", EmailJob, backend)
        assert (job.executor, job.data, job.metadata) == ("email_job", '"bob"', None)
        assert (job.max_attempts, job.priority, job.tags, job.expires_at) == (2, 0, (), None)
        assert job.scheduled_at == job.inserted_at == clock.now()

    async def test_all_that_is_said_is_stored(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        settings: dict[str, Any] = {
            "metadata": Trace("me"),
            "tags": ["a", "b", "a"],
            "priority": 3,
            "max_attempts": 7,
            "schedule_in": HOUR,
            "expires_in": 2 * HOUR,
            "unique": None,
        }

        await EmailJob.enqueue("bob", backend=backend, **settings)
        EmailJob.enqueue_sync("ann", backend=backend, **settings)
        await enqueue_many([EmailJob.new("eve", **settings)], backend=backend)

        jobs = await stored(backend)
        assert [job.data for job in jobs] == ['"bob"', '"ann"', '"eve"']
        for job in jobs:
            assert job.metadata == '{"by":"me"}'
            assert (job.max_attempts, job.priority, job.tags) == (7, 3, ("a", "b"))
            assert job.scheduled_at == clock.now() + HOUR
            assert job.expires_at == clock.now() + 2 * HOUR

    async def test_moments_are_stored_in_utc(self, backend: InMemoryBackend) -> None:
        there = MOMENT.astimezone(timezone(HOUR))

        await Tick.enqueue(schedule_at=there, expires_at=there + HOUR, backend=backend)

        [job] = await stored(backend)
        assert (job.scheduled_at, job.expires_at) == (MOMENT, MOMENT + HOUR)
        assert job.expires_at is not None
        assert job.scheduled_at.tzinfo is job.expires_at.tzinfo is UTC

    async def test_data_of_type_none_may_be_left_out_or_given(self, backend: InMemoryBackend) -> None:
        await Tick.enqueue(backend=backend)
        await Tick.enqueue(None, backend=backend)
        Tick.enqueue_sync(priority=1, backend=backend)

        assert [job.data for job in await stored(backend)] == ["null"] * 3

    async def test_the_executors_criteria_count_unless_others_or_none_are_given(self, backend: InMemoryBackend) -> None:
        first = await OnlyOne.enqueue("a", backend=backend)

        again = await OnlyOne.enqueue("b", backend=backend)
        beside = await OnlyOne.enqueue("c", unique=None, backend=backend)

        assert (first.id, again.id, again.disposition) == (1, 1, "existing")
        assert (beside.id, beside.disposition) == (2, "inserted")

    async def test_the_global_backend_is_used_if_none_is_given(self, backend: InMemoryBackend) -> None:
        with override_global_backend(backend):
            await Tick.enqueue()
            Tick.enqueue_sync()

        assert len(await stored(backend)) == 2

    async def test_without_a_backend_the_error_says_the_three_ways_to_give_one(self) -> None:
        three = r"backend=….*set_global_backend\(\).*override_global_backend"

        with pytest.raises(GlobalBackendError, match=three):
            await Tick.enqueue()
        with pytest.raises(GlobalBackendError, match=three):
            Tick.enqueue_sync()
        with pytest.raises(GlobalBackendError, match=three):
            await Tick.enqueue(connection=object())

    async def test_an_instance_enqueues_as_its_class_does(self, backend: InMemoryBackend) -> None:
        handle = await EmailJob().enqueue("bob", backend=backend)

        assert handle.executor is EmailJob

    def test_new_is_the_builder_with_the_same_settings(self) -> None:
        built = (
            EmailJob.builder()
            .with_data("bob")
            .with_metadata(Trace("me"))
            .with_tags("a")
            .with_priority(1)
            .with_max_attempts(3)
            .schedule_at(MOMENT)
            .expires_in(HOUR)
            .unique(None)
        )

        new = EmailJob.new(
            "bob",
            metadata=Trace("me"),
            tags={"a"},
            priority=1,
            max_attempts=3,
            schedule_at=MOMENT,
            expires_in=HOUR,
            unique=None,
        )

        assert new == built
        assert EmailJob.new("bob") == EmailJob.builder().with_data("bob")
        assert pickle.loads(pickle.dumps(new)) == new  # noqa: S301 - our own

    def test_a_name_that_is_no_setting_is_an_error_of_python(self) -> None:
        with pytest.raises(TypeError, match="countdown"):
            EmailJob.new("bob", countdown=3)  # pyright: ignore[reportCallIssue] - the point


class TestExpiry:
    async def test_a_builder_takes_a_moment_or_a_delay_and_the_last_counts(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        builder = Tick.builder()

        await enqueue_many(
            [
                builder.expires_at(MOMENT),
                builder.expires_in(HOUR),
                builder.expires_at(MOMENT).expires_in(HOUR),
                builder.expires_in(HOUR).expires_at(MOMENT),
            ],
            backend=backend,
        )

        later = clock.now() + HOUR
        assert [job.expires_at for job in await stored(backend)] == [MOMENT, later, later, MOMENT]

    async def test_a_delay_counts_from_the_enqueue_on_the_stores_clock(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        builder = Tick.new(expires_in=HOUR)
        clock.advance(timedelta(days=1))

        await builder.enqueue(backend=backend)

        assert (await stored(backend))[0].expires_at == clock.now() + HOUR

    async def test_a_moment_in_the_past_is_stored_for_the_job_to_expire(self, backend: InMemoryBackend) -> None:
        await Tick.enqueue(expires_at=datetime(1990, 1, 1, tzinfo=UTC), backend=backend)

        assert (await stored(backend))[0].expires_at == datetime(1990, 1, 1, tzinfo=UTC)


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"schedule_at": MOMENT, "schedule_in": HOUR}, "schedule_at and schedule_in exclude each other; give one"),
            ({"expires_at": MOMENT, "expires_in": HOUR}, "expires_at and expires_in exclude each other; give one"),
            ({"schedule_in": timedelta(0), "schedule_at": MOMENT}, "schedule_at and schedule_in exclude each other"),
            ({"tags": "urgent"}, r"tags must be a collection of str, not 'urgent'; write \['urgent'\]"),
            ({"tags": None}, "tags must be a collection of str, not None"),
            ({"tags": 7}, "tags must be a collection of str, not 7"),
            ({"tags": b"ab"}, "each tag must be a non-empty str, not 97"),
            ({"tags": ["a", ""]}, "each tag must be a non-empty str, not ''"),
            ({"tags": [["a"]]}, r"each tag must be a non-empty str, not \['a'\]"),
            ({"tags": ["a\0"]}, "contains a NUL"),
            ({"priority": -1}, "priority must be an int from 0 to 32767, not -1"),
            ({"priority": None}, "priority must be an int from 0 to 32767, not None"),
            ({"priority": False}, "priority must be an int from 0 to 32767, not False"),
            ({"max_attempts": 0}, "max_attempts must be an int from 1 to 32767, not 0"),
            ({"max_attempts": True}, "max_attempts must be an int from 1 to 32767, not True"),
            ({"schedule_at": datetime(2026, 1, 1)}, "schedule_at must be an aware datetime"),  # noqa: DTZ001 - the point
            ({"schedule_at": HOUR}, "schedule_at must be an aware datetime"),
            ({"schedule_at": datetime(1969, 1, 1, tzinfo=UTC)}, "schedule_at must be in the years 1970 to 9998"),
            ({"schedule_in": 5}, "schedule_in must be a timedelta, not 5; write timedelta"),
            ({"schedule_in": MOMENT}, "schedule_in must be a timedelta"),
            ({"schedule_in": -HOUR}, "schedule_in must be a timedelta from 0:00:00 to 365000 days"),
            ({"expires_at": datetime(2026, 1, 1)}, "expires_at must be an aware datetime"),  # noqa: DTZ001 - the point
            ({"expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at must be in the years 1970 to 9998"),
            ({"expires_in": timedelta(0)}, "expires_in must be a timedelta above zero and of at most 365000 days"),
            ({"expires_in": -HOUR}, "expires_in must be a timedelta above zero"),
            ({"expires_in": 0}, "expires_in must be a timedelta, not 0"),
            ({"expires_in": timedelta.max}, "expires_in must be a timedelta above zero and of at most 365000 days"),
            (
                {"schedule_in": 2 * HOUR, "expires_in": HOUR},
                "expires_in 1:00:00 is not longer than schedule_in 2:00:00, so the job would never start; let it",
            ),
            ({"schedule_in": HOUR, "expires_in": HOUR}, "expires_in 1:00:00 is not longer than schedule_in 1:00:00"),
            (
                {"schedule_at": MOMENT, "expires_at": MOMENT},
                r"expires_at .* is not after schedule_at .*, so the job would never start; let it expire later",
            ),
            ({"unique": "email_job"}, "unique must be"),
            ({"unique": UniquenessCriteria()}, "unique are empty"),
        ],
    )
    async def test_a_setting_that_cannot_be_is_refused_at_the_call(
        self, backend: InMemoryBackend, settings: dict[str, Any], message: str
    ) -> None:
        for call in (EmailJob.new, EmailJob.enqueue, EmailJob.enqueue_sync):
            with pytest.raises(InvalidJobError, match=f"^email_job: enqueue: .*{message}"):
                call("bob", **settings)

        assert await stored(backend) == []

    @pytest.mark.parametrize(
        ("builder", "message"),
        [
            (lambda: EmailJob.builder().expires_in(timedelta(0)), "email_job: expires_in: delay must be a timedelta"),
            (lambda: EmailJob.builder().expires_in(5), "email_job: expires_in: delay must be a timedelta, not 5"),  # pyright: ignore[reportArgumentType] - the point
            (lambda: EmailJob.builder().expires_at(datetime(2026, 1, 1)), "email_job: expires_at: moment must be an"),  # noqa: DTZ001 - the point
        ],
    )
    def test_a_builders_expiry_is_checked_at_once(self, builder: Any, message: str) -> None:
        with pytest.raises(InvalidJobError, match=message):
            builder()

    @pytest.mark.parametrize(
        "builder",
        [
            EmailJob.new("bob").schedule_in(HOUR).expires_in(HOUR),
            EmailJob.new("bob").expires_in(HOUR).schedule_in(2 * HOUR),
            EmailJob.new("bob").schedule_at(MOMENT).expires_at(MOMENT - HOUR),
        ],
    )
    async def test_a_builders_job_that_would_expire_before_it_is_due_is_refused_by_its_enqueue(
        self, backend: InMemoryBackend, builder: JobBuilder[str, Trace]
    ) -> None:
        with pytest.raises(InvalidJobError, match=r"^email_job: enqueue: expires_.* so the job would never start"):
            await builder.enqueue(backend=backend)
        with pytest.raises(InvalidJobError, match=r"^job 2 of 2: email_job: enqueue: expires_.* would never start"):
            await enqueue_many([EmailJob.new("ann"), builder], backend=backend)

        assert await stored(backend) == []

    async def test_a_retry_that_is_due_after_the_expiry_may_be_changed(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        handle = await EmailJob.enqueue("bob", expires_at=clock.now() + HOUR, backend=backend)
        stored_job = await handle.fetch()

        await EmailJob.update_job(replace(stored_job, scheduled_at=clock.now() + 2 * HOUR), backend=backend)

        assert (await handle.fetch()).scheduled_at == clock.now() + 2 * HOUR

    async def test_a_moment_and_a_delay_are_not_compared(self, backend: InMemoryBackend) -> None:
        await EmailJob.enqueue("bob", schedule_at=MOMENT, expires_in=HOUR, backend=backend)
        await EmailJob.enqueue("bob", schedule_in=HOUR, expires_at=MOMENT, backend=backend)

        assert len(await stored(backend)) == 2

    async def test_data_that_cannot_be_stored_is_refused_in_the_await(self, backend: InMemoryBackend) -> None:
        with pytest.raises(EncodeError, match="email_job: data is missing, str expected"):
            await EmailJob.enqueue(backend=backend)  # pyright: ignore[reportCallIssue] - the point
        with pytest.raises(EncodeError, match="email_job: data: str expected"):
            await EmailJob.enqueue(None, backend=backend)  # pyright: ignore[reportArgumentType] - the point
        with pytest.raises(EncodeError, match="email_job: data: str expected"):
            EmailJob.enqueue_sync(7, backend=backend)  # pyright: ignore[reportArgumentType] - the point
        with pytest.raises(EncodeError, match=r"email_job: metadata: .*Trace expected"):
            await EmailJob.enqueue("bob", metadata="me", backend=backend)  # pyright: ignore[reportArgumentType] - the point

        assert await stored(backend) == []

    async def test_the_backends_limits_count(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock, limits=Limits(data=8, tags=1))

        with pytest.raises(EncodeError, match="at most 8"):
            await EmailJob.enqueue("longer than that", backend=backend)
        with pytest.raises(InvalidJobError, match="at most 1 are"):
            await EmailJob.enqueue("bob", tags=["a", "b"], backend=backend)

        assert await stored(backend) == []

    def test_a_builder_is_no_data_for_enqueue_many(self) -> None:
        with pytest.raises(InvalidJobError, match=r"enqueue_many: each builder must be a JobBuilder, such as"):
            enqueue_many([EmailJob])  # pyright: ignore[reportArgumentType, reportCallIssue] - the point
