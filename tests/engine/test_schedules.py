"""Schedules on running nodes: one job a tick, on every backend there is."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rexecutor import (
    Backend,
    CatchUp,
    ConfigurationError,
    Cron,
    DefinitionError,
    EncodeError,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    RexecutorError,
    UniquenessCriteria,
)
from rexecutor.model.job import JobRecord
from rexecutor.model.schedules import Schedule
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from tests.fault_injector import FaultInjector
from tests.support import soon, until

SECOND = timedelta(seconds=1)
EACH_MINUTE = "0 * * * * *"
EACH_SECOND = "* * * * * *"


class Report(Executor[str]):
    """Notes when it ran."""

    name = "report"

    def __init__(self, runs: list[Job[str]] | None = None) -> None:
        self.runs: list[Job[str]] = [] if runs is None else runs

    async def execute(self, job: Job[str]) -> None:
        self.runs.append(job)


async def records(backend: Backend) -> list[JobRecord]:
    return list(await backend.query(Everything(), limit=10_000))


async def ticks(backend: Backend) -> list[datetime]:
    return [record.scheduled_at for record in await records(backend)]


async def known(backend: Backend) -> bool:
    return bool(await backend.schedules())


async def running(backend: Backend, *nodes: Rexecutor) -> None:
    for node in nodes:
        await node.start()
    await until(lambda: known(backend))


class TestTicks:
    async def test_each_tick_enqueues_one_job_that_is_due_at_the_tick(self, backend: Backend, clock: FakeClock) -> None:
        runs: list[Job[str]] = []
        async with Rexecutor(backend).with_cron_executor(Report(runs), EACH_SECOND, "sales"):
            await until(lambda: known(backend))
            began = clock.now().replace(microsecond=0)
            for number in range(1, 6):
                clock.advance(SECOND)
                await until(lambda number=number: len(runs) == number)

        assert [job.scheduled_at for job in runs] == [began + number * SECOND for number in range(1, 6)]
        assert {job.data for job in runs} == {"sales"}

    async def test_many_nodes_enqueue_one_job_a_tick(self, backend: Backend, clock: FakeClock) -> None:
        nodes = [Rexecutor(backend).with_cron_executor(Report(), EACH_SECOND, "sales") for _ in range(3)]
        await running(backend, *nodes)
        for number in range(1, 11):
            clock.advance(SECOND)
            await until(lambda number=number: has_jobs(backend, number))
        for node in nodes:
            await node.graceful_shutdown()

        moments = await ticks(backend)
        assert len(moments) == len(set(moments)) == 10

    async def test_a_node_that_starts_again_runs_the_latest_missed_tick(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        def node() -> Rexecutor:
            return Rexecutor(backend).with_cron_executor(Report(), EACH_MINUTE, "sales")

        async with node():
            await until(lambda: known(backend))
        clock.advance(timedelta(minutes=10, seconds=20))
        async with node():
            await until(lambda: has_jobs(backend, 1))

        assert await ticks(backend) == [clock.now().replace(second=0, microsecond=0)]

    @pytest.mark.parametrize(("catch_up", "jobs"), [(CatchUp.SKIP, 0), (CatchUp.LATEST, 1), (CatchUp.ALL, 5)])
    async def test_missed_ticks_are_made_up_for_as_was_said(
        self, backend: Backend, clock: FakeClock, catch_up: CatchUp, jobs: int
    ) -> None:
        def node() -> Rexecutor:
            return Rexecutor(backend).with_cron_executor(
                Report(), EACH_MINUTE, "sales", catch_up=catch_up, catch_up_within=timedelta(minutes=5)
            )

        async with node():
            await until(lambda: known(backend))
        clock.advance(timedelta(minutes=10, seconds=20))
        before = (await backend.schedules())[0].next_tick
        async with node():
            await until(lambda: has_moved(backend, before))

        assert len(await records(backend)) == jobs

    async def test_ticks_during_an_outage_of_the_store_are_not_lost(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock)
        faults = FaultInjector(backend)
        async with Rexecutor(backend).with_cron_executor(Report(), EACH_SECOND, "sales"):
            await until(lambda: known(backend))
            faults.break_down("tick")
            before = faults.calls["tick"]
            clock.advance(5 * SECOND)
            await until(lambda: faults.calls["tick"] > before)
            faults.repair()
            await until(lambda: has_jobs_after(backend, clock, 5))

        moments = await ticks(backend)
        assert moments == sorted(set(moments))

    async def test_a_clock_that_is_set_back_repeats_no_tick(self, backend: Backend, clock: FakeClock) -> None:
        async with Rexecutor(backend).with_cron_executor(Report(), EACH_SECOND, "sales"):
            await until(lambda: known(backend))
            clock.advance(SECOND)
            await until(lambda: has_jobs(backend, 1))
            clock.jump(-5 * SECOND)
            for _ in range(7):
                clock.advance(SECOND)
            await until(lambda: has_jobs(backend, 2))

        moments = await ticks(backend)
        assert len(moments) == len(set(moments))

    async def test_the_zones_wall_clock_counts(self, backend: Backend, clock: FakeClock) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        async with Rexecutor(backend).with_cron_executor(Report(), "0 30 2 * * *", "sales", timezone=berlin):
            await until(lambda: known(backend))
            [schedule] = await backend.schedules()

        assert schedule.next_tick is not None
        assert (schedule.next_tick.astimezone(berlin).hour, schedule.next_tick.astimezone(berlin).minute) == (2, 30)
        assert schedule.timezone == "Europe/Berlin"

    async def test_the_executors_uniqueness_criteria_are_not_asked(self, backend: Backend, clock: FakeClock) -> None:
        class Once(Executor[None]):
            name = "once"
            uniqueness_criteria = UniquenessCriteria.by_executor().and_statuses(*JobStatus)

            async def execute(self, job: Job[None]) -> None: ...

        async with Rexecutor(backend).with_cron_executor(Once, EACH_SECOND):
            await until(lambda: known(backend))
            for number in (1, 2, 3):
                clock.advance(SECOND)
                await until(lambda number=number: has_jobs(backend, number))

    async def test_what_a_job_is_given_is_stored(self, backend: Backend, clock: FakeClock) -> None:
        class WithMetadata(Executor[str, list[int]]):
            name = "with_metadata"

            async def execute(self, job: Job[str, list[int]]) -> None: ...

        node = Rexecutor(backend).with_cron_executor(
            WithMetadata, EACH_SECOND, "sales", metadata=[1], priority=7, tags=("nightly", "sales"), id="nightly-sales"
        )
        async with node:
            await until(lambda: known(backend))
            clock.advance(SECOND)
            await until(lambda: has_jobs(backend, 1))

        [record] = await records(backend)
        assert (record.data, record.metadata, record.priority) == ('"sales"', "[1]", 7)
        assert record.tags == ("nightly", "sales")
        assert [schedule.id for schedule in await backend.schedules()] == ["nightly-sales"]

    async def test_a_job_of_a_schedule_is_run_by_whichever_node_has_its_executor(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        scheduler = Rexecutor(backend).with_cron_executor(Report(), EACH_SECOND, "sales")
        await running(backend, scheduler)
        clock.advance(SECOND)
        await until(lambda: has_jobs(backend, 1))
        await scheduler.graceful_shutdown()

        assert (await records(backend))[0].status in (JobStatus.COMPLETE, JobStatus.SCHEDULED)


async def has_jobs(backend: Backend, number: int) -> bool:
    return len(await records(backend)) >= number


async def has_jobs_after(backend: Backend, clock: FakeClock, number: int) -> bool:
    clock.advance(timedelta(milliseconds=100))
    return len(await records(backend)) >= number


async def has_moved(backend: Backend, before: datetime | None) -> bool:
    return (await backend.schedules())[0].next_tick != before


class TestRegistration:
    def test_several_schedules_share_one_executor(self) -> None:
        report = Report()
        node = (
            Rexecutor(InMemoryBackend())
            .with_cron_executor(report, EACH_SECOND, "a")
            .with_cron_executor(report, EACH_MINUTE, "a")
            .with_cron_executor(Report, EACH_MINUTE, "b")
        )

        assert list(node.executors.values()) == [report]

    def test_naming_the_executor_again_is_no_error(self) -> None:
        report = Report()
        first = Rexecutor(InMemoryBackend()).with_cron_executor(Report, EACH_SECOND, "a").with_executor(Report)
        second = Rexecutor(InMemoryBackend()).with_executor(report).with_cron_executor(Report, EACH_SECOND, "a")
        third = Rexecutor(InMemoryBackend()).with_cron_executor(report, EACH_SECOND, "a").with_executor(Report)

        assert list(first.executors) == ["report"]
        assert list(second.executors.values()) == [report]
        assert list(third.executors.values()) == [report]

    def test_an_instance_that_is_named_takes_the_place_of_one_that_was_made(self) -> None:
        report = Report()

        node = Rexecutor(InMemoryBackend()).with_cron_executor(Report, EACH_SECOND, "a").with_executor(report)

        assert list(node.executors.values()) == [report]

    def test_two_instances_are_refused(self) -> None:
        node = Rexecutor(InMemoryBackend()).with_cron_executor(Report(), EACH_SECOND, "a")

        with pytest.raises(DefinitionError, match=r"report: tests\.engine\.test_schedules\.Report is given twice"):
            node.with_executor(Report())

    def test_naming_an_executor_twice_without_a_schedule_stays_an_error(self) -> None:
        node = Rexecutor(InMemoryBackend()).with_executor(Report)

        with pytest.raises(DefinitionError, match=r"report: tests\.engine\.test_schedules\.Report is given twice"):
            node.with_executor(Report)

    def test_a_schedule_that_is_given_twice_is_refused(self) -> None:
        node = Rexecutor(InMemoryBackend()).with_cron_executor(Report, EACH_SECOND, "a")

        with pytest.raises(DefinitionError, match="given twice; give one of them an `id=`"):
            node.with_cron_executor(Report, " *  * * * * * ", "a")
        node.with_cron_executor(Report, EACH_SECOND, "a", id="another")

    def test_an_id_that_is_given_to_two_schedules_is_refused_with_both(self) -> None:
        class Audit(Report):
            name = "audit"

        node = Rexecutor(InMemoryBackend()).with_cron_executor(Report, EACH_SECOND, "a", id="nightly")

        with pytest.raises(DefinitionError) as caught:
            node.with_cron_executor(Audit, EACH_MINUTE, "a", id="nightly")
        assert str(caught.value) == (
            "audit: its schedule '0 * * * * *' and '* * * * * *' of report have the same id, 'nightly';"
            " give one of them another `id=`"
        )

    def test_the_concurrency_of_an_executor_with_two_schedules_is_one_limit(self) -> None:
        class Single(Report):
            max_concurrency = 1

        node = (
            Rexecutor(InMemoryBackend())
            .with_cron_executor(Single, EACH_SECOND, "a")
            .with_cron_executor(Single, EACH_MINUTE, "a")
        )

        assert [one.max_concurrency for one in node.executors.values()] == [1]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"schedule": "0 0 0 0 * *"}, ConfigurationError),
            ({"schedule": "whenever"}, ConfigurationError),
            ({"schedule": 5}, ConfigurationError),
            ({"data": 5}, EncodeError),
            ({"timezone": "Europe/Berlin"}, ConfigurationError),
            ({"catch_up": "sometimes"}, ConfigurationError),
            ({"catch_up_within": 60}, ConfigurationError),
            ({"catch_up_within": timedelta(days=32)}, ConfigurationError),
            ({"id": "no spaces"}, ConfigurationError),
            ({"id": ""}, ConfigurationError),
            ({"priority": -1}, ValueError),
            ({"tags": ["a", 5]}, ValueError),
            ({"executor": "report"}, DefinitionError),
        ],
        ids=str,
    )
    def test_wrong_input_fails_where_it_is_given(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        given: dict[str, Any] = {"executor": Report, "schedule": EACH_SECOND, "data": "a"} | arguments

        with pytest.raises(error):
            Rexecutor(InMemoryBackend()).with_cron_executor(**given)

    async def test_a_schedule_comes_before_the_start(self) -> None:
        node = Rexecutor(InMemoryBackend()).with_executor(Report)
        async with node:
            with pytest.raises(RexecutorError, match="before the start"):
                node.with_cron_executor(Report, EACH_SECOND, "a")

    async def test_equal_schedules_of_two_nodes_are_one(self, backend: Backend) -> None:
        texts: list[Cron | str] = ["0 0 * * *", Cron("0  0 * * *"), "@daily"]
        for text in texts[:2]:
            async with Rexecutor(backend).with_cron_executor(Report, text, "a"):
                await until(lambda: known(backend))

        assert len(await soon(backend.schedules())) == 1

    def test_a_moment_is_utc_unless_told_otherwise(self) -> None:
        node = Rexecutor(InMemoryBackend()).with_cron_executor(Report, EACH_SECOND, "a")

        schedules: list[Schedule] = list(node._config.schedules.values())
        assert [schedule.timezone for schedule in schedules] == [UTC]


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


def test_a_zone_is_checked_beside_an_id() -> None:
    with pytest.raises(ConfigurationError, match=r"with_cron_executor\(mail\): timezone"):
        Rexecutor(InMemoryBackend()).with_cron_executor(Mail, "* * * * *", "a", id="x", timezone=7)  # pyright: ignore[reportArgumentType]


def test_tags_of_a_schedule_are_several_texts() -> None:
    with pytest.raises(ConfigurationError, match=r"tags must be .*'nightly'"):
        Rexecutor(InMemoryBackend()).with_cron_executor(Mail, "* * * * *", "a", tags="nightly")
