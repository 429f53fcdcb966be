"""Pruning on running nodes, on every backend there is."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Pruner,
    PrunerConfig,
    Rexecutor,
    RexecutorError,
    enqueue_many,
)
from rexecutor.engine import periodic
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from tests.fault_injector import FaultInjector
from tests.support import until

SECOND = timedelta(seconds=1)
EACH_SECOND = "* * * * * *"


class Alpha(Executor[int]):
    name = "alpha"

    async def execute(self, job: Job[int]) -> None: ...


class Beta(Executor[int]):
    name = "beta"

    async def execute(self, job: Job[int]) -> None: ...


async def finish(backend: Backend, alphas: int, betas: int) -> None:
    """Leave so many complete jobs."""
    jobs = [Alpha.builder().with_data(number) for number in range(alphas)]
    others = [Beta.builder().with_data(number) for number in range(betas)]
    async with Rexecutor(backend).with_executor(Alpha).with_executor(Beta):
        await enqueue_many([*jobs, *others], backend=backend)
        await until(lambda: are_complete(backend))


async def are_complete(backend: Backend) -> bool:
    return {count.status for count in await backend.count()} == {JobStatus.COMPLETE}


async def left(backend: Backend) -> dict[str, int]:
    jobs: Counter[str] = Counter()
    for count in await backend.count():
        jobs[count.executor] += count.jobs
    return dict(jobs)


async def is_known(backend: Backend) -> bool:
    return bool(await backend.schedules())


class TestPruning:
    async def test_what_is_too_old_goes_and_what_is_not_stays(self, backend: Backend, clock: FakeClock) -> None:
        await finish(backend, 5, 3)
        clock.advance(timedelta(days=2))
        await finish(backend, 2, 0)
        config = PrunerConfig(EACH_SECOND).with_pruner(Pruner.max_age(timedelta(days=1), JobStatus.COMPLETE))

        async with Rexecutor(backend).with_job_pruner(config):
            await until(lambda: is_known(backend))
            clock.advance(SECOND)
            await until(lambda: has_left(backend, {"alpha": 2}))

    async def test_each_pruner_has_its_own_executors(self, backend: Backend, clock: FakeClock) -> None:
        await finish(backend, 9, 9)
        config = PrunerConfig(EACH_SECOND).with_pruners(
            [
                Pruner.max_length(2, JobStatus.COMPLETE).only(Alpha),
                Pruner.max_length(5, JobStatus.COMPLETE).except_(Alpha),
                Pruner.max_length(0, JobStatus.DISCARDED),
            ]
        )

        async with Rexecutor(backend).with_job_pruner(config.with_max_concurrency(2)):
            await until(lambda: is_known(backend))
            clock.advance(SECOND)
            await until(lambda: has_left(backend, {"alpha": 2, "beta": 5}))

    async def test_more_than_a_batch_is_pruned_at_one_tick(self, clock: FakeClock, monkeypatch: Any) -> None:
        monkeypatch.setattr(periodic, "BATCH", 10)
        backend = InMemoryBackend(clock=clock)
        await finish(backend, 35, 0)
        config = PrunerConfig(EACH_SECOND).with_pruner(Pruner.max_length(1, JobStatus.COMPLETE))

        async with Rexecutor(backend).with_job_pruner(config):
            await until(lambda: is_known(backend))
            clock.advance(SECOND)
            await until(lambda: has_left(backend, {"alpha": 1}))

    async def test_one_node_prunes_at_a_time(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock)
        faults = FaultInjector(backend)
        may_go_on = faults.hold("prune")
        await finish(backend, 3, 0)
        configs = [
            PrunerConfig(EACH_SECOND).with_pruner(Pruner.max_length(length, JobStatus.COMPLETE)) for length in (2, 1)
        ]
        nodes = [Rexecutor(backend).with_job_pruner(config) for config in configs]
        for node in nodes:
            await node.start()
        await until(lambda: knows(backend, 2))
        clock.advance(SECOND)
        await until(lambda: faults.held["prune"] == 1)
        may_go_on.set()
        await until(lambda: has_left_ticking(backend, clock, {"alpha": 1}))
        for node in nodes:
            await node.graceful_shutdown()

        assert faults.most_under_way["prune"] == 1

    async def test_a_tick_whose_pruning_failed_is_made_up_for(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock)
        faults = FaultInjector(backend)
        faults.fail("prune", "before")
        await finish(backend, 3, 0)
        config = PrunerConfig("0 0 0 1 1 *").with_pruner(Pruner.max_length(0, JobStatus.COMPLETE))

        async with Rexecutor(backend).with_job_pruner(config):
            await until(lambda: is_known(backend))
            clock.advance(timedelta(days=366))
            await until(lambda: faults.calls["prune"] > 0)
            await until(lambda: has_left_ticking(backend, clock, {}))

    async def test_a_node_that_is_told_to_stop_ends_between_two_batches(self, clock: FakeClock) -> None:
        backend = InMemoryBackend(clock=clock)
        faults = FaultInjector(backend)
        may_go_on = faults.hold("prune")
        await finish(backend, 3, 0)
        config = PrunerConfig(EACH_SECOND).with_pruner(Pruner.max_length(0, JobStatus.COMPLETE))
        node = Rexecutor(backend).with_job_pruner(config)
        await node.start()
        await until(lambda: is_known(backend))
        clock.advance(SECOND)
        await until(lambda: faults.held["prune"] == 1)
        stopping = asyncio.ensure_future(node.graceful_shutdown())
        may_go_on.set()

        await until(stopping.done)
        assert await backend.acquire_lock(periodic.PRUNING_LOCK, "another")

    async def test_a_pruner_without_executors_is_all_that_a_node_needs(self, backend: Backend) -> None:
        async with Rexecutor(backend).with_job_pruner(PrunerConfig("0 0 * * * *")):
            await until(lambda: is_known(backend))

        assert [schedule.executor for schedule in await backend.schedules()] == [None]

    async def test_waiting_jobs_are_never_pruned(self, backend: Backend, clock: FakeClock) -> None:
        await finish(backend, 1, 0)
        await Alpha.builder().with_data(1).schedule_in(timedelta(days=9)).enqueue(backend=backend)
        config = PrunerConfig(EACH_SECOND)
        for status in (JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED):
            config = config.with_pruner(Pruner.max_length(0, status))

        async with Rexecutor(backend).with_job_pruner(config):
            await until(lambda: is_known(backend))
            clock.advance(SECOND)
            await until(lambda: has_left(backend, {"alpha": 1}))

        [record] = await backend.query(Everything())
        assert record.status is JobStatus.SCHEDULED


async def knows(backend: Backend, schedules: int) -> bool:
    return len(await backend.schedules()) == schedules


async def has_left(backend: Backend, counts: dict[str, int]) -> bool:
    return await left(backend) == counts


async def has_left_ticking(backend: Backend, clock: FakeClock, counts: dict[str, int]) -> bool:
    clock.advance(SECOND / 4)
    return await left(backend) == counts


class TestConfiguration:
    def test_each_call_answers_another(self) -> None:
        config = PrunerConfig("0 0 * * * *")

        changed = config.with_max_concurrency(2).with_pruner(Pruner.max_length(1, JobStatus.COMPLETE))

        assert (config.max_concurrency, config.pruners) == (None, ())
        assert (changed.max_concurrency, len(changed.pruners)) == (2, 1)

    def test_a_pruner_says_what_it_was_told(self) -> None:
        age = Pruner.max_age(timedelta(days=31), JobStatus.COMPLETE)

        assert age.spec == PruneSpec(JobStatus.COMPLETE, OlderThan(timedelta(days=31)))
        assert age.only(Alpha, Beta) == age.only(Alpha).and_(Beta)
        assert age.only(Alpha).spec.executors == {"alpha"}
        assert [age.only(Alpha).spec.concerns(name) for name in ("alpha", "beta")] == [True, False]
        assert [age.except_(Alpha).spec.concerns(name) for name in ("alpha", "beta")] == [False, True]
        assert age.spec.concerns("whoever")
        assert Pruner.max_length(200, JobStatus.DISCARDED).spec.what == BeyondNewest(200)

    @pytest.mark.parametrize("status", [JobStatus.SCHEDULED, JobStatus.EXECUTING, JobStatus.RETRYABLE, "complete"])
    def test_only_ended_jobs_can_be_meant(self, status: Any) -> None:
        with pytest.raises(ConfigurationError, match="only ended jobs are deleted"):
            Pruner.max_length(1, status)
        with pytest.raises(ConfigurationError, match="only ended jobs are deleted"):
            Pruner.max_age(SECOND, status)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Pruner.max_length(-1, JobStatus.COMPLETE),
            lambda: Pruner.max_length(True, JobStatus.COMPLETE),
            lambda: Pruner.max_age(-SECOND, JobStatus.COMPLETE),
            lambda: Pruner.max_age(5, JobStatus.COMPLETE),  # pyright: ignore[reportArgumentType]
            lambda: Pruner.max_length(1, JobStatus.COMPLETE).only(),
            lambda: Pruner.max_length(1, JobStatus.COMPLETE).and_(Alpha),
            lambda: Pruner.max_length(1, JobStatus.COMPLETE).only(Alpha).except_(Beta),
            lambda: Pruner.max_length(1, JobStatus.COMPLETE).only("alpha"),  # pyright: ignore[reportArgumentType]
            lambda: PrunerConfig("whenever"),
            lambda: PrunerConfig(5),  # pyright: ignore[reportArgumentType]
            lambda: PrunerConfig("* * * * *").with_max_concurrency(0),
            lambda: PrunerConfig("* * * * *").with_pruner("all"),  # pyright: ignore[reportArgumentType]
            lambda: Rexecutor(InMemoryBackend()).with_job_pruner("all"),  # pyright: ignore[reportArgumentType]
        ],
    )
    def test_wrong_input_fails_where_it_is_given(self, make: Any) -> None:
        with pytest.raises(ConfigurationError):
            make()

    async def test_a_pruner_comes_before_the_start(self) -> None:
        async with Rexecutor(InMemoryBackend()) as node:
            with pytest.raises(RexecutorError, match="before the start"):
                node.with_job_pruner(PrunerConfig("0 0 * * * *"))


def test_the_concurrency_of_a_pruner_is_checked_however_it_is_given() -> None:
    with pytest.raises(ConfigurationError, match="max_concurrency must be None or an int of 1 or more, not -1"):
        PrunerConfig("* * * * *", max_concurrency=-1)
