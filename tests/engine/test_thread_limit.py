"""How many jobs run in threads at a time, and what becomes of those for which there is none."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    ErrorKind,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    enqueue_many,
)
from rexecutor.engine.node import thread_limit
from rexecutor.model.where import Everything
from rexecutor.telemetry.events import JobStuck
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick, Waiting, pass_time, works
from tests.engine.in_children import InChild
from tests.engine.scripted import SECOND, Blocking, Scripted, until_status
from tests.support import Events, record_of, soon, status_of, until


class Held:
    """What jobs wait for; counts those that wait."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.ran = 0
        self._lock = threading.Lock()
        self._let_go = threading.Semaphore(0)

    def __call__(self, _: Job[str]) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self._let_go.acquire(timeout=20)
        with self._lock:
            self.running -= 1
            self.ran += 1

    def let_go(self, jobs: int) -> None:
        self._let_go.release(jobs)


class Other(Blocking):
    name = "other"


async def enqueue(backend: Backend, jobs: int, *kinds: type[Blocking]) -> list[int]:
    builders = [kind.builder().with_data("x") for kind in kinds for _ in range(jobs)]
    return [handle.id for handle in await enqueue_many(builders, backend=backend)]


async def in_status(backend: Backend, status: JobStatus) -> int:
    return sum(one.status is status for one in await backend.query(Everything()))


async def test_ten_jobs_run_in_threads_at_a_time_of_all_executors_together(backend: Backend) -> None:
    held = Held()
    await enqueue(backend, 15, Blocking, Other)

    async with Rexecutor(backend).with_executor(Blocking(held)).with_executor(Other(held)):
        await until(lambda: held.running == 10)
        marker = await Scripted.builder().with_data("x").enqueue(backend=backend)
        assert (await in_status(backend, JobStatus.EXECUTING), held.most) == (10, 10)
        held.let_go(30)
        await until(lambda: held.ran == 30)

    assert held.most == 10
    assert await status_of(backend, marker.id) is JobStatus.SCHEDULED


async def test_what_there_is_no_thread_for_is_left_to_other_nodes(backend: Backend) -> None:
    held = Held()
    here = Rexecutor(backend, max_threads=2).with_executor(Blocking(held))
    await enqueue(backend, 5, Blocking)

    async with here:
        await until(lambda: held.running == 2)
        async with Rexecutor(backend, max_threads=3).with_executor(Blocking(held)):
            await until(lambda: held.running == 5)
            held.let_go(5)

    assert await in_status(backend, JobStatus.COMPLETE) == 5


async def test_jobs_that_wait_for_a_thread_hold_up_none_that_need_none(backend: Backend) -> None:
    held, ran = Held(), list[str]()
    await enqueue(backend, 5, Blocking)
    later = [Scripted.builder().with_data(str(number)).with_priority(9) for number in range(50)]
    await enqueue_many(later, backend=backend)

    async with (
        Rexecutor(backend, max_concurrency=10, max_threads=2)
        .with_executor(Blocking(held))
        .with_executor(Scripted(lambda job: ran.append(job.data)))
    ):
        await until(lambda: len(ran) == 50)
        await until(lambda: held.running == 2)  # a thread may begin later than the jobs without one
        held.let_go(5)
        await until(lambda: held.ran == 5)

    assert held.most == 2


async def test_with_threads_free_other_jobs_have_all_slots_that_there_are(backend: Backend) -> None:
    """A claim takes no more than there are threads for; those who need none are not bounded by that."""
    held, running = Held(), set[str]()

    async def wait(job: Job[str]) -> None:
        running.add(job.data)
        await until(lambda: len(running) == 20)

    await enqueue_many([Scripted.builder().with_data(str(number)) for number in range(20)], backend=backend)

    async with (
        Rexecutor(backend, max_concurrency=20, max_threads=2)
        .with_executor(Blocking(held))
        .with_executor(Scripted(wait))
    ):
        await until(lambda: len(running) == 20)


async def test_a_thread_that_does_not_end_keeps_its_place(backend: Backend, clock: FakeClock) -> None:
    held = Held()
    async with Rexecutor(backend, max_threads=1).with_executor(Blocking(held)):
        stuck = await Blocking.builder().with_data("slow").enqueue(backend=backend)
        await until(lambda: held.running == 1)
        clock.advance(SECOND)
        await until_status(backend, stuck.id, JobStatus.DISCARDED)
        (second,) = await enqueue(backend, 1, Blocking)
        clock.advance(2 * SECOND)  # the node looks for jobs
        assert await status_of(backend, second) is JobStatus.SCHEDULED

        held.let_go(2)
        await until_status(backend, second, JobStatus.COMPLETE)

    assert held.most == 1


def blocking(limit: int | None, kind: Any = True) -> Any:
    """Return an executor with this limit of its own."""
    return type("Limited", (Blocking,), {"name": "limited", "blocking": kind, "max_concurrency": limit})(lambda _: None)


@pytest.mark.parametrize(
    ("executors", "asked", "limit", "threads"),
    [
        ([], None, 100, 10),
        ([blocking(None)], None, 100, 10),
        ([blocking(None)], None, 4, 4),
        ([blocking(3)], None, 100, 10),
        ([blocking(25), blocking(12, "thread")], None, 100, 25),
        ([blocking(25)], None, 20, 20),
        ([blocking(25)], 5, 100, 5),
        ([blocking(None)], 50, 100, 50),
        ([blocking(50, "process")], None, 100, 10),
    ],
)
def test_there_are_ten_threads_unless_somebody_asks_for_others(
    executors: list[Any], asked: int | None, limit: int, threads: int
) -> None:
    assert thread_limit({str(place): one for place, one in enumerate(executors)}, asked, limit) == threads


async def test_jobs_in_child_processes_take_no_thread_of_these(tmp_path: Any) -> None:
    held, backend = Held(), InMemoryBackend()

    async with (
        Rexecutor(backend, max_threads=1).with_executor(Blocking(held)).with_executor(InChild(tmp_path / "notes"))
    ):
        await enqueue(backend, 1, Blocking)
        await until(lambda: held.running == 1)
        handle = await InChild.builder().with_data("nothing").enqueue(backend=backend)
        assert (await soon(handle.wait(timedelta(seconds=60)), 60)).status is JobStatus.COMPLETE
        held.let_go(1)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "10", True])
def test_a_number_of_threads_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_threads must be None or an int of 1 or more, not"):
        Rexecutor(InMemoryBackend(), max_threads=wrong)


class Hanging(Executor[str]):
    """Blocks a thread, in spite of its timeout, until it is let go."""

    name = "hanging"
    blocking = True
    max_attempts = 1
    max_concurrency = 1

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()

    def execute(self, job: Job[str]) -> None:
        if job.data == "hangs":
            self.started.set()
            self.let_go.wait(20)

    def timeout(self, job: Job[str]) -> timedelta:
        return SECOND


async def tells_one_stuck(backend: Backend) -> bool:
    [node] = await backend.nodes()
    return node.state is not None and (node.state.running, node.state.stuck) == (1, 1)


async def test_a_thread_that_does_not_end_holds_its_slot_and_is_told_of(
    backend: Backend, clock: FakeClock, events: Events
) -> None:
    hanging = Hanging()

    async with Rexecutor(backend).with_executor(hanging).with_executor(Quick):
        hung = await Hanging.builder().with_data("hangs").enqueue(backend=backend)
        await until(hanging.started.is_set)
        clock.advance(SECOND)
        timed_out = await soon(hung.wait())
        second = await Hanging.builder().with_data("x").enqueue(backend=backend)
        assert await works(backend)  # the node claims, and does not claim this one
        while_it_hangs = await record_of(backend, second.id)
        clock.advance(5 * SECOND)  # the next heartbeat
        await until(lambda: tells_one_stuck(backend))
        hanging.let_go.set()
        after = await soon(second.wait())

    assert (timed_out.status, timed_out.errors[-1].kind) == (JobStatus.DISCARDED, ErrorKind.TIMEOUT)
    assert events.of(JobStuck) == [JobStuck(hung.id, "hanging", 1, 1)]
    assert (while_it_hangs.status, while_it_hangs.claims) == (JobStatus.SCHEDULED, 0)
    assert after.status is JobStatus.COMPLETE


async def test_a_thread_that_does_not_end_holds_a_slot_of_the_node(backend: Backend, clock: FakeClock) -> None:
    hanging, waiting = Hanging(), Waiting()

    async with Rexecutor(backend, max_concurrency=2).with_executor(hanging).with_executor(waiting):
        hung = await Hanging.builder().with_data("hangs").enqueue(backend=backend)
        await until(hanging.started.is_set)
        clock.advance(SECOND)
        await soon(hung.wait())
        handles = await enqueue_many([Waiting.builder()] * 2, backend=backend)
        await until(lambda: waiting.runs == 1)
        await pass_time(clock, 2 * SECOND)
        running = [await status_of(backend, handle.id) for handle in handles]
        hanging.let_go.set()
        await until(lambda: waiting.runs == 2)
        waiting.let_go.set()

    assert running == [JobStatus.EXECUTING, JobStatus.SCHEDULED]
