"""What a node says of itself with each heartbeat."""

import os
import socket
from importlib.metadata import version

from rexecutor import Backend, Executor, Job, Rexecutor
from rexecutor.backend import NodeState
from rexecutor.testing import FakeClock
from tests.engine.executors import SECOND, Quick, Waiting
from tests.support import until


class Limited(Executor[None]):
    name = "limited"
    max_concurrency = 3

    async def execute(self, job: Job[None]) -> None: ...


async def state_of(backend: Backend) -> NodeState | None:
    nodes = await backend.nodes()
    return nodes[0].state if nodes else None


async def tells_two(backend: Backend) -> bool:
    state = await state_of(backend)
    return state is not None and state.running == 2


async def test_a_node_tells_its_process_its_executors_and_how_many_jobs_run(backend: Backend, clock: FakeClock) -> None:
    waiting = Waiting()

    async with Rexecutor(backend, max_concurrency=50, executors=[waiting, Quick, Limited]):
        for _ in range(2):
            await Waiting.enqueue(backend=backend)
        await until(lambda: waiting.runs == 2)
        first = await state_of(backend)
        clock.advance(5 * SECOND)
        await until(lambda: tells_two(backend))
        waiting.let_go.set()

    names = tuple(sorted([Waiting.name, Quick.name, "limited"]))
    expected = NodeState(socket.gethostname(), os.getpid(), version("rexecutor"), names, 50, 0, 0.0, {"limited": 3})
    assert first == expected
    assert await backend.nodes() == []
