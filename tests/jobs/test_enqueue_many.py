"""Batches: stored as a whole or not at all."""

import pytest

from rexecutor import Backend, EncodeError, Executor, Job, enqueue_many
from rexecutor.model.where import Everything
from tests.fault_injector import FaultInjector


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


async def test_a_batch_is_one_call_and_stored_as_a_whole_or_not_at_all(backend: Backend) -> None:
    faults = FaultInjector(backend)
    good = Mail.builder().with_data("x")
    bad = Mail.builder().with_data(7)  # pyright: ignore[reportArgumentType] - that is the test

    with pytest.raises(EncodeError):
        await enqueue_many([good, good, bad, good], backend=backend)
    assert await backend.count() == []
    handles = await enqueue_many([good] * 100, backend=backend)

    assert faults.calls["enqueue"] == 1
    assert [handle.id for handle in handles] == [record.id for record in await backend.query(Everything())]
