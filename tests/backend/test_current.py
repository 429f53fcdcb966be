"""Which backend an enqueue uses."""

import asyncio
from collections.abc import Iterator

import pytest

from rexecutor.backend.current import (
    current_backend,
    override_global_backend,
    set_global_backend,
    unset_global_backend,
)
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.errors import GlobalBackendError


@pytest.fixture
def in_the_process() -> Iterator[InMemoryBackend]:
    backend = InMemoryBackend()
    set_global_backend(backend)
    yield backend
    unset_global_backend(backend)


def test_without_any_backend_the_error_says_what_to_do() -> None:
    with pytest.raises(GlobalBackendError, match="set_global_backend"):
        current_backend()


def test_a_backend_that_is_named_is_used(in_the_process: InMemoryBackend) -> None:
    named = InMemoryBackend()

    with override_global_backend(InMemoryBackend()):
        assert current_backend(named) is named


def test_else_the_overriding_one_is_used(in_the_process: InMemoryBackend) -> None:
    overriding = InMemoryBackend()

    with override_global_backend(overriding):
        assert current_backend() is overriding


def test_else_the_process_s_is_used(in_the_process: InMemoryBackend) -> None:
    assert current_backend() is in_the_process


def test_setting_a_second_one_is_an_error_and_changes_nothing(in_the_process: InMemoryBackend) -> None:
    with pytest.raises(GlobalBackendError, match="set already"):
        set_global_backend(InMemoryBackend())

    assert current_backend() is in_the_process


def test_taking_back_another_one_changes_nothing(in_the_process: InMemoryBackend) -> None:
    unset_global_backend(InMemoryBackend())

    assert current_backend() is in_the_process


def test_after_it_was_taken_back_another_one_may_be_set(in_the_process: InMemoryBackend) -> None:
    other = InMemoryBackend()
    unset_global_backend(in_the_process)

    set_global_backend(other)

    assert current_backend() is other
    unset_global_backend(other)


def test_overrides_nest_and_end_with_their_block(in_the_process: InMemoryBackend) -> None:
    outer, inner = InMemoryBackend(), InMemoryBackend()

    with override_global_backend(outer):
        with override_global_backend(inner):
            within = current_backend()
        after = current_backend()

    assert (within, after) == (inner, outer)
    assert current_backend() is in_the_process


def test_an_override_ends_when_its_block_raises(in_the_process: InMemoryBackend) -> None:
    with pytest.raises(KeyError), override_global_backend(InMemoryBackend()):
        raise KeyError

    assert current_backend() is in_the_process


async def test_an_override_holds_in_its_own_task_and_in_no_other() -> None:
    entered, looked = asyncio.Event(), asyncio.Event()
    backend = InMemoryBackend()

    async def override() -> InMemoryBackend:
        with override_global_backend(backend):
            entered.set()
            await looked.wait()
            return current_backend()  # pyright: ignore[reportReturnType] - it is the one above

    overriding = asyncio.ensure_future(override())
    await entered.wait()
    with pytest.raises(GlobalBackendError):
        current_backend()
    looked.set()

    assert await overriding is backend
