"""How a node says that it is doing."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from rexecutor import BackendError, Health, HealthStatus, InMemoryBackend, Rexecutor
from rexecutor.engine.health import Doing, Signs, problems_of
from rexecutor.engine.watchdog import Watchdog
from rexecutor.telemetry.events import DutyFailed
from rexecutor.testing import FakeClock
from tests.engine.gated import Gated
from tests.fault_injector import FaultInjector
from tests.support import Events, soon, until

SECOND = timedelta(seconds=1)
WELL = Signs(
    is_stopping=False,
    has_failed=False,
    up=100,
    loop_lag=0.1,
    renewed=3,
    is_trusted=True,
    heartbeat=None,
    doing=Doing.HINT,
    doing_for=1,
    failing={},
)


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "signs",
    [
        WELL,
        replace(WELL, doing=Doing.SLOTS, doing_for=10_000),
        replace(WELL, doing=None, doing_for=10_000),
        replace(WELL, doing=Doing.STORE, doing_for=4.9),
        replace(WELL, loop_lag=4.9, heartbeat=4.9),
        replace(WELL, failing={"claim": (4.9, BackendError("gone"))}),
        replace(WELL, failing={"prune 1": (900, BackendError("gone")), "cron": (900, BackendError("gone"))}),
        replace(WELL, up=4.9, renewed=None, is_trusted=False, doing=Doing.LEASE, doing_for=4.9),
        replace(WELL, is_stopping=True, renewed=None, is_trusted=False, doing=None),
    ],
)
def test_what_is_as_it_should_be_is_no_problem(signs: Signs) -> None:
    assert problems_of(signs) == ()


@pytest.mark.parametrize(
    ("signs", "problem"),
    [
        (replace(WELL, has_failed=True), "a duty of the node has ended unexpectedly"),
        (replace(WELL, loop_lag=7), "the event loop has been blocked for 7 s"),
        (replace(WELL, loop_lag=7, doing_for=7.5), "the event loop has been blocked for 7 s"),
        (replace(WELL, heartbeat=6), "a heartbeat has had no answer for 6 s"),
        (replace(WELL, up=6, renewed=None, is_trusted=False), "there is no lease, 6 s after the start"),
        (replace(WELL, renewed=26, is_trusted=False), "the lease is lost: it was renewed 26 s ago"),
        (replace(WELL, renewed=1, is_trusted=False), "the lease is lost: it was renewed 1 s ago"),
        (replace(WELL, doing=Doing.STORE, doing_for=5), "the claim loop waits for the store for 5 s"),
        (replace(WELL, doing=Doing.HINT, doing_for=9), "the claim loop waits until jobs are due for 9 s"),
        (replace(WELL, doing=Doing.OUTCOMES, doing_for=9), "the claim loop waits until outcomes are recorded for 9 s"),
        (
            replace(WELL, doing=Doing.STORE, doing_for=9, failing={"claim": (9, BackendError("a\nb"))}),
            "claim has failed for 9 s: BackendError: a b",
        ),
        (replace(WELL, failing={"settle": (5, UnshowableError())}), "settle has failed for 5 s: UnshowableError"),
    ],
)
def test_what_has_been_wrong_for_too_long_is_one_problem(signs: Signs, problem: str) -> None:
    assert problems_of(signs) == (problem,)


def test_a_long_error_is_cut() -> None:
    (problem,) = problems_of(replace(WELL, failing={"claim": (5, BackendError("x" * 1_000))}))

    assert len(problem) < 300


def test_only_what_runs_without_problems_is_ready_and_only_what_has_stopped_is_unhealthy_without_one() -> None:
    well = {status for status in HealthStatus if Health(status).is_healthy}
    ready = {status for status in HealthStatus if Health(status).is_ready}

    assert (ready, set(HealthStatus) - well) == ({HealthStatus.RUNNING}, {HealthStatus.STOPPED})
    assert not Health(HealthStatus.RUNNING, ("wrong",)).is_healthy
    assert not Health(HealthStatus.RUNNING, ("wrong",)).is_ready


async def in_a_thread(rexecutor: Rexecutor) -> Health:
    return await asyncio.to_thread(rexecutor.health)


async def until_running(rexecutor: Rexecutor) -> None:
    await until(lambda: rexecutor.health().is_ready)


async def test_a_node_is_running_once_it_has_claimed_and_stops_when_it_has_waited_for_its_jobs() -> None:
    clock, gated = FakeClock(), Gated()
    rexecutor = Rexecutor(InMemoryBackend(clock=clock), executors=[gated], max_concurrency=7)
    assert rexecutor.health() == Health(HealthStatus.STOPPED)

    async with rexecutor:
        assert rexecutor.health().status is HealthStatus.STARTING
        await until_running(rexecutor)
        await Gated.enqueue("a", backend=rexecutor.backend)
        await soon(gated.started.wait())
        clock.advance(SECOND)
        health = await in_a_thread(rexecutor)
        assert (health.running, health.slots, health.problems) == (1, 7, ())
        assert health.claimed_ago is not None
        assert health.renewed_ago is not None
        stopping = asyncio.ensure_future(rexecutor.graceful_shutdown())
        await until(lambda: rexecutor.health().status is HealthStatus.STOPPING)
        assert rexecutor.health().is_healthy
        gated.let_go.set()
        await soon(stopping)

    assert rexecutor.health() == Health(HealthStatus.STOPPED)


async def test_without_anything_to_run_it_is_running_as_soon_as_its_store_is_open() -> None:
    rexecutor = Rexecutor(InMemoryBackend())

    async with rexecutor:
        assert rexecutor.health() == Health(HealthStatus.RUNNING)


async def test_a_node_with_schedules_only_is_running_once_it_has_a_lease() -> None:
    rexecutor = Rexecutor(InMemoryBackend(), executors=[]).with_cron_executor(Gated(), "0 0 1 1 *", "a")

    async with rexecutor:
        await until_running(rexecutor)


async def test_claims_that_fail_are_a_problem_after_a_while_and_none_when_they_succeed_again(events: Events) -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    faults = FaultInjector(backend)
    rexecutor = Rexecutor(backend, executors=[Gated()])

    async with rexecutor:
        await until_running(rexecutor)
        faults.break_down("claim", "wait_ready")
        await until(lambda: _has_failed_after_a_second(events, clock))
        assert (await in_a_thread(rexecutor)).is_healthy
        clock.advance(5 * SECOND)
        health = await in_a_thread(rexecutor)
        faults.repair()
        await until(lambda: _is_ready_after_a_second(rexecutor, clock))

    assert [problem.partition(":")[0] for problem in health.problems] == ["claim has failed for 5 s"]


def _has_failed_after_a_second(events: Events, clock: FakeClock) -> bool:
    clock.advance(SECOND / 10)
    return bool(events.of(DutyFailed))


def _is_ready_after_a_second(rexecutor: Rexecutor, clock: FakeClock) -> bool:
    clock.advance(SECOND / 10)
    return rexecutor.health().is_ready


async def test_a_claim_without_an_answer_is_a_problem_after_a_while() -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    faults = FaultInjector(backend)
    rexecutor = Rexecutor(backend, executors=[Gated()])

    async with rexecutor:
        await until_running(rexecutor)
        held = faults.hold("claim")
        await Gated.enqueue("a", backend=backend)
        await until(lambda: faults.held["claim"] > 0)
        clock.advance(5 * SECOND)
        health = await in_a_thread(rexecutor)
        held.set()
        await rexecutor.graceful_shutdown(timedelta(0))

    assert "the claim loop waits for the store for 5 s" in health.problems


async def test_a_lost_lease_is_a_problem_at_once(events: Events) -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    faults = FaultInjector(backend)
    rexecutor = Rexecutor(backend, executors=[Gated()])

    async with rexecutor:
        await until_running(rexecutor)
        let_go = faults.hang_heartbeats()
        clock.advance(25 * SECOND)
        health = await in_a_thread(rexecutor)
        let_go.set()

    assert "the lease is lost: it was renewed 25 s ago" in health.problems
    assert not health.is_healthy


async def test_a_blocked_event_loop_is_a_problem_that_another_thread_can_see() -> None:
    clock = FakeClock()
    rexecutor = Rexecutor(InMemoryBackend(clock=clock), executors=[Gated()])
    found: list[Health] = []

    async with rexecutor:
        await until_running(rexecutor)
        assert rexecutor._lifetime is not None
        assert rexecutor._lifetime.node is not None
        watchdog = rexecutor._lifetime.node._watchdog

        def look() -> None:
            watchdog.check()
            clock.advance(6 * SECOND)
            found.append(rexecutor.health())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()  # blocks the loop
        await until(lambda: _is_well_after_a_look(rexecutor, watchdog))

    assert "the event loop has been blocked for 6 s" in found[0].problems
    assert found[0].loop_lag == 6 * SECOND


def _is_well_after_a_look(rexecutor: Rexecutor, watchdog: Watchdog) -> bool:
    watchdog.check()
    return not rexecutor.health().problems
