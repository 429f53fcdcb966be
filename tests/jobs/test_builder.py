"""How a job is described and enqueued."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from rexecutor import DefinitionError, UniquenessCriteria
from rexecutor.backend.current import override_global_backend
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.errors import EncodeError, GlobalBackendError, InvalidJobError
from rexecutor.jobs.enqueue import JobBuilder, enqueue_many
from rexecutor.jobs.executor import Executor
from rexecutor.model.job import Job, JobRecord, Limits
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock

HOUR = timedelta(hours=1)


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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> InMemoryBackend:
    return InMemoryBackend(clock=clock)


async def stored(backend: InMemoryBackend) -> list[JobRecord]:
    return list(await backend.query(Everything()))


class TestEnqueue:
    async def test_what_is_not_said_has_a_default(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        handle = await EmailJob.builder().with_data("bob").enqueue(backend=backend)

        [job] = await stored(backend)
        assert (job.id, handle.id, handle.disposition) == (1, 1, "inserted")
        assert (job.executor, job.data, job.metadata) == ("email_job", '"bob"', None)
        assert (job.max_attempts, job.priority, job.tags) == (2, 0, ())
        assert job.scheduled_at == job.inserted_at == clock.now()

    async def test_all_that_is_said_is_stored(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        builder = (
            EmailJob.builder()
            .with_data("bob")
            .with_metadata(Trace("me"))
            .with_max_attempts(7)
            .with_priority(3)
            .with_tags("a", "b")
            .add_tag("c")
            .schedule_in(HOUR)
        )

        await builder.enqueue(backend=backend)

        [job] = await stored(backend)
        assert job.metadata == '{"by":"me"}'
        assert (job.max_attempts, job.priority, job.tags) == (7, 3, ("a", "b", "c"))
        assert job.scheduled_at == clock.now() + HOUR

    async def test_a_delay_counts_from_the_enqueue_on_the_stores_clock(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        builder = Tick.builder().schedule_in(HOUR)
        clock.advance(timedelta(days=1))

        await builder.enqueue(backend=backend)

        assert (await stored(backend))[0].scheduled_at == clock.now() + HOUR

    async def test_a_moment_is_stored_in_utc(self, backend: InMemoryBackend) -> None:
        moment = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))

        await Tick.builder().schedule_at(moment).enqueue(backend=backend)

        scheduled_at = (await stored(backend))[0].scheduled_at
        assert scheduled_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
        assert scheduled_at.tzinfo is UTC

    async def test_the_last_said_time_counts(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        at = Tick.builder().schedule_in(HOUR).schedule_at(clock.now())
        after = Tick.builder().schedule_at(clock.now()).schedule_in(HOUR)

        await enqueue_many([at, after], backend=backend)

        assert [job.scheduled_at - clock.now() for job in await stored(backend)] == [timedelta(0), HOUR]

    async def test_data_of_type_none_may_be_left_out(self, backend: InMemoryBackend) -> None:
        await Tick.builder().enqueue(backend=backend)

        assert (await stored(backend))[0].data == "null"

    async def test_the_global_backend_is_used_when_none_is_named(self, backend: InMemoryBackend) -> None:
        with override_global_backend(backend):
            await Tick.builder().enqueue()

        assert len(await stored(backend)) == 1

    async def test_without_any_backend_an_enqueue_is_an_error(self) -> None:
        with pytest.raises(GlobalBackendError):
            await Tick.builder().enqueue()

    def test_a_builder_is_immutable(self) -> None:
        builder = EmailJob.builder()

        changed = builder.with_data("bob").with_priority(1).with_tags("a")

        assert builder == EmailJob.builder()
        assert changed != builder

    def test_tags_replace_those_set_before_and_count_once(self) -> None:
        builder = Tick.builder().with_tags("a", "b").with_tags("c", "d", "c").add_tag("d")

        assert builder.tags == ("c", "d")


class TestEnqueueMany:
    async def test_handles_come_in_the_order_given(self, backend: InMemoryBackend) -> None:
        handles = await enqueue_many([EmailJob.builder().with_data(str(n)) for n in range(50)], backend=backend)

        assert [(await handle.fetch()).data for handle in handles] == [str(number) for number in range(50)]

    async def test_several_executors_may_be_mixed(self, backend: InMemoryBackend) -> None:
        await enqueue_many([Tick.builder(), EmailJob.builder().with_data("bob")], backend=backend)

        assert [job.executor for job in await stored(backend)] == ["tick", "email_job"]

    async def test_nothing_is_stored_when_one_of_them_is_wrong(self, backend: InMemoryBackend) -> None:
        wrong: JobBuilder[Any, Any, Any] = EmailJob.builder()

        with pytest.raises(EncodeError, match=r"^job 2 of 3: email_job: data is missing"):
            await enqueue_many([Tick.builder(), wrong, Tick.builder()], backend=backend)

        assert await stored(backend) == []

    async def test_none_at_all_are_stored_without_a_word(self, backend: InMemoryBackend) -> None:
        assert await enqueue_many([], backend=backend) == []

    async def test_a_generator_may_be_given(self, backend: InMemoryBackend) -> None:
        await enqueue_many((Tick.builder() for _ in range(3)), backend=backend)

        assert len(await stored(backend)) == 3


def builder() -> JobBuilder[str, Trace]:
    return EmailJob.builder().with_data("bob")


class TestBadInput:
    @pytest.mark.parametrize("priority", [-1, 32_768, True, 1.0, "1", None])
    def test_a_priority_out_of_range_is_refused_at_once(self, priority: Any) -> None:
        with pytest.raises(InvalidJobError, match=r"email_job: priority must be an int from 0 to 32767"):
            builder().with_priority(priority)

    @pytest.mark.parametrize("max_attempts", [0, -1, 32_768, True, 1.0, "1", None])
    def test_attempts_out_of_range_are_refused_at_once(self, max_attempts: Any) -> None:
        with pytest.raises(InvalidJobError, match=r"email_job: max_attempts must be an int from 1 to 32767"):
            builder().with_max_attempts(max_attempts)

    @pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01", 0, None])  # noqa: DTZ001 - the point
    def test_a_naive_moment_or_none_at_all_is_refused_at_once(self, moment: Any) -> None:
        with pytest.raises(InvalidJobError, match=r"email_job: schedule_at.*aware datetime"):
            builder().schedule_at(moment)

    @pytest.mark.parametrize("year", [1, 1969, 9999])
    def test_a_moment_that_no_store_holds_is_refused_at_once(self, year: int) -> None:
        with pytest.raises(InvalidJobError, match="in the years 1970 to 9998"):
            builder().schedule_at(datetime(year, 12, 31, tzinfo=UTC))

    @pytest.mark.parametrize("delay", [timedelta(microseconds=-1), timedelta.max])
    def test_a_delay_out_of_range_is_refused_at_once(self, delay: timedelta) -> None:
        with pytest.raises(
            InvalidJobError, match=r"email_job: schedule_in: delay must be a timedelta from 0:00:00 to 365000 days"
        ):
            builder().schedule_in(delay)

    @pytest.mark.parametrize("delay", [5, 5.0, "5", None])
    def test_a_bare_number_is_no_delay(self, delay: Any) -> None:
        with pytest.raises(InvalidJobError, match="must be a timedelta"):
            builder().schedule_in(delay)

    @pytest.mark.parametrize("tag", ["", 1, None, b"a", "a\0b", "\ud800"])
    def test_a_tag_that_is_no_text_is_refused_at_once(self, tag: Any) -> None:
        with pytest.raises(InvalidJobError, match=r"email_job: .*tag"):
            builder().add_tag(tag)

    async def test_too_many_tags_are_refused(self, backend: InMemoryBackend) -> None:
        with pytest.raises(InvalidJobError, match="33 tags given, at most 32"):
            await builder().with_tags(*map(str, range(33))).enqueue(backend=backend)

    async def test_a_tag_that_is_too_long_is_refused(self, backend: InMemoryBackend) -> None:
        with pytest.raises(InvalidJobError, match="tag has 129 characters, at most 128"):
            await builder().with_tags("ž" * 129).enqueue(backend=backend)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (EmailJob.builder, "email_job: data is missing, str expected"),
            (lambda: builder().with_data(Trace("me")), "email_job: data: str expected"),  # pyright: ignore[reportArgumentType] - the point
            (lambda: builder().with_data("a\0b"), "email_job: data contains a NUL"),
            (lambda: builder().with_data("\ud800"), "email_job: data.*lone surrogate"),
            (lambda: builder().with_data("x" * 1024 * 1024), "email_job: data has 1,048,578 bytes"),
            (lambda: builder().with_metadata("me"), "email_job: metadata: .*Trace expected"),  # pyright: ignore[reportArgumentType] - the point
            (lambda: builder().with_metadata(Trace("x" * 70_000)), "email_job: metadata has .* at most 65,536"),
        ],
    )
    async def test_data_that_cannot_be_stored_is_refused_and_nothing_is_stored(
        self, backend: InMemoryBackend, change: Callable[[], JobBuilder[Any, Any, Any]], message: str
    ) -> None:
        with pytest.raises(EncodeError, match=message):
            await change().enqueue(backend=backend)

        assert await stored(backend) == []

    async def test_limits_are_the_backends_own(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock, limits=Limits(data=8, tags=1))

        with pytest.raises(EncodeError, match="at most 8"):
            await builder().with_data("longer than that").enqueue(backend=backend)
        with pytest.raises(InvalidJobError, match="at most 1 are"):
            await builder().with_tags("a", "b").enqueue(backend=backend)

    async def test_a_struct_is_checked_to_its_leaves(self, backend: InMemoryBackend) -> None:
        class Order(msgspec.Struct):
            id: int

        class ChargeOrder(Executor[Order]):
            name = "charge_order"

            async def execute(self, job: Job[Order]) -> None: ...

        with pytest.raises(EncodeError, match=r"Expected `int`, got `str` - at `\$.id`"):
            await ChargeOrder.builder().with_data(Order("7")).enqueue(backend=backend)  # pyright: ignore[reportArgumentType] - the point


def test_criteria_that_say_nothing_are_refused() -> None:
    with pytest.raises(InvalidJobError, match="email_job: unique: criteria are empty"):
        EmailJob.builder().unique(UniquenessCriteria())
    with pytest.raises(DefinitionError, match="uniqueness_criteria are empty"):
        type("Any", (EmailJob,), {"uniqueness_criteria": UniquenessCriteria()})
