"""The global backend holds as long as its `Rexecutor`."""

from pathlib import Path

import pytest

from rexecutor import (
    ConfigurationError,
    GlobalBackendError,
    InMemoryBackend,
    JobStatus,
    Rexecutor,
    SQLiteBackend,
    override_global_backend,
)
from tests.engine.gated import Gated
from tests.support import soon, status_of


async def test_a_start_that_fails_leaves_no_global_backend_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        async with Rexecutor(SQLiteBackend(tmp_path / "no" / "jobs.db")).set_global_backend():
            pass

    async with Rexecutor(InMemoryBackend()).set_global_backend():
        pass


async def test_the_global_backend_holds_until_its_rexecutor_has_ended() -> None:
    gated, backend = Gated(), InMemoryBackend()
    gated.let_go.set()

    async with Rexecutor(backend).with_executor(gated).set_global_backend():
        handle = await Gated.builder().with_data("x").enqueue()
        with pytest.raises(GlobalBackendError, match="set already"):
            Rexecutor(InMemoryBackend()).set_global_backend()
        await soon(handle.wait())

    with pytest.raises(GlobalBackendError, match="no backend"):
        await Gated.builder().with_data("x").enqueue()


async def test_an_override_holds_for_its_block_alone() -> None:
    backend = InMemoryBackend()

    with override_global_backend(backend):
        handle = await Gated.builder().with_data("x").enqueue()

    assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
    with pytest.raises(GlobalBackendError):
        await Gated.builder().with_data("x").enqueue()


async def test_a_global_backend_that_never_started_is_let_go_by_a_shutdown() -> None:
    rexecutor = Rexecutor(InMemoryBackend()).set_global_backend()

    await rexecutor.graceful_shutdown()

    with pytest.raises(GlobalBackendError):
        await Gated.builder().with_data("x").enqueue()
