"""The cancel of a running job travels as wake-ups do: its node does not wait for the next heartbeat."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import Executor, Job, JobStatus, Rexecutor
from rexecutor.engine import lease
from tests.backends import made_backend
from tests.support import soon

LONG = timedelta(hours=1)


class Hanging(Executor[None]):
    """Never ends by itself; tells when it has begun."""

    name = "hanging"

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.all_run = asyncio.Event()

    async def execute(self, job: Job[None]) -> None:
        self.left -= 1
        if not self.left:
            self.all_run.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_cancel_asked_for_at_another_backend_reaches_the_job_at_once(tmp_path: Path, kind: str) -> None:
    hanging = Hanging(1)
    async with (
        made_backend(kind, tmp_path) as other,
        Rexecutor(made_backend(kind, tmp_path), lease=LONG).with_executor(hanging),
    ):
        handle = await Hanging.builder().enqueue(backend=other)
        await soon(hanging.all_run.wait())

        assert await handle.cancel("not wanted") is JobStatus.EXECUTING

        assert (await soon(handle.wait())).status is JobStatus.CANCELLED


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_many_cancels_at_once_are_told_in_few_heartbeats(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[lease.Lease] = []
    step = lease.Lease.step

    def counted(self: lease.Lease) -> object:
        heartbeat = step(self)
        if heartbeat is not None:
            beats.append(self)
        return heartbeat

    monkeypatch.setattr(lease.Lease, "step", counted)
    hanging = Hanging(50)
    async with (
        made_backend(kind, tmp_path) as backend,
        Rexecutor(backend, lease=LONG, max_concurrency=50).with_executor(hanging),
    ):
        handles = [await Hanging.builder().enqueue(backend=backend) for _ in range(50)]
        await soon(hanging.all_run.wait())
        loop = asyncio.get_running_loop()
        began = loop.time()

        await asyncio.gather(*(handle.cancel("not wanted") for handle in handles))
        await soon(asyncio.gather(*(handle.wait() for handle in handles)))

        assert len(beats) <= 3 + (loop.time() - began) / lease.HURRIED_INTERVAL.total_seconds()
