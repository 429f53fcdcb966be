"""Which backend an enqueue uses."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from rexecutor.backend.base import Backend
from rexecutor.backend.current import (
    current_backend,
    override_global_backend,
    set_global_backend,
    unset_global_backend,
)
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.errors import ConfigurationError, GlobalBackendError


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


def seen_in_a_thread() -> Backend:
    """Return the backend that code in a new thread finds, which begins with an empty context."""
    seen: list[Backend] = []
    thread = threading.Thread(target=lambda: seen.append(current_backend()))
    thread.start()
    thread.join(20)
    return seen[0]


def test_an_override_holds_in_threads_too() -> None:
    outer, inner = InMemoryBackend(), InMemoryBackend()

    with override_global_backend(outer):
        assert seen_in_a_thread() is outer
        with override_global_backend(inner):
            assert seen_in_a_thread() is inner
        assert seen_in_a_thread() is outer

    with pytest.raises(GlobalBackendError):
        contextvars.Context().run(current_backend)


def test_threads_with_an_override_each_use_their_own() -> None:
    both, done = threading.Barrier(2), threading.Barrier(2)

    def own() -> bool:
        with override_global_backend(InMemoryBackend()) as backend:
            both.wait(20)
            is_own = current_backend() is backend
            done.wait(20)
            return is_own

    with ThreadPoolExecutor(2) as pool:
        assert all(one.result(20) for one in [pool.submit(own), pool.submit(own)])


def test_event_loops_in_two_threads_each_use_their_own() -> None:
    both, done = threading.Barrier(2), threading.Barrier(2)

    async def look() -> Backend:
        return current_backend()

    async def own() -> bool:
        with override_global_backend(InMemoryBackend()) as backend:
            await asyncio.to_thread(both.wait, 20)
            seen = [current_backend(), await asyncio.create_task(look()), await asyncio.to_thread(current_backend)]
            await asyncio.to_thread(done.wait, 20)
            return seen == [backend] * 3

    with ThreadPoolExecutor(2) as pool:
        assert all(one.result(20) for one in [pool.submit(asyncio.run, own()), pool.submit(asyncio.run, own())])


async def test_tasks_with_an_override_each_use_their_own_and_one_without_uses_the_latest() -> None:
    first, second = InMemoryBackend(), InMemoryBackend()
    let_go = asyncio.Event()

    async def own(backend: Backend, entered: asyncio.Event) -> Backend:
        with override_global_backend(backend):
            entered.set()
            await let_go.wait()
            return current_backend()

    running: list[asyncio.Future[Backend]] = []
    for backend in (first, second):
        entered = asyncio.Event()
        running.append(asyncio.ensure_future(own(backend, entered)))
        await entered.wait()
        assert current_backend() is backend
    let_go.set()

    assert await asyncio.gather(*running) == [first, second]
    with pytest.raises(GlobalBackendError):
        current_backend()


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_what_a_task_or_thread_overrides_is_not_seen_by_who_has_an_override(*, in_a_thread: bool) -> None:
    entered, done = threading.Event(), threading.Event()

    def within() -> None:
        with override_global_backend(InMemoryBackend()):
            entered.set()
            done.wait(20)

    async def in_a_task() -> None:
        with override_global_backend(InMemoryBackend()):
            entered.set()
            await asyncio.to_thread(done.wait, 20)

    with override_global_backend(InMemoryBackend()) as outer:
        running = asyncio.ensure_future(asyncio.to_thread(within) if in_a_thread else in_a_task())
        await asyncio.to_thread(entered.wait, 20)
        seen = current_backend()
        done.set()
        await running

        assert seen is outer


def test_an_override_may_end_in_another_context_than_it_began(in_the_process: InMemoryBackend) -> None:
    block = override_global_backend(InMemoryBackend())
    began, elsewhere = contextvars.copy_context(), contextvars.copy_context()

    backend = began.run(block.__enter__)
    assert [began.run(current_backend), elsewhere.run(current_backend), current_backend()] == [backend] * 3
    elsewhere.run(block.__exit__, None, None, None)

    assert [one.run(current_backend) for one in (began, elsewhere)] == [in_the_process] * 2
    assert current_backend() is in_the_process


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_blocks_may_overlap(order: tuple[int, int], in_the_process: InMemoryBackend) -> None:
    blocks = [override_global_backend(InMemoryBackend()) for _ in range(2)]
    backends = [block.__enter__() for block in blocks]
    assert current_backend() is backends[1]

    blocks[order[0]].__exit__(None, None, None)
    assert current_backend() is backends[order[1]]
    blocks[order[1]].__exit__(None, None, None)

    assert current_backend() is in_the_process


@pytest.mark.parametrize("is_async", [False, True])
def test_a_fixture_of_a_narrower_scope_goes_before_one_of_a_wider_scope(*, is_async: bool) -> None:
    wide, narrow = override_global_backend(InMemoryBackend()), override_global_backend(InMemoryBackend())
    test, fixture = contextvars.copy_context(), contextvars.copy_context()

    async def begin() -> Backend:
        return narrow.__enter__()

    outer = test.run(wide.__enter__)
    inner = fixture.run(asyncio.run, begin()) if is_async else fixture.run(narrow.__enter__)
    assert test.run(current_backend) is inner
    fixture.run(narrow.__exit__, None, None, None)
    assert test.run(current_backend) is outer
    test.run(wide.__exit__, None, None, None)


def test_who_has_seen_an_override_uses_it_no_longer_when_it_has_ended(in_the_process: InMemoryBackend) -> None:
    with override_global_backend(InMemoryBackend()) as outer:
        with override_global_backend(InMemoryBackend()) as inner:
            context = contextvars.copy_context()
            assert context.run(current_backend) is inner
        assert context.run(current_backend) is outer

    assert context.run(current_backend) is in_the_process


def test_what_is_no_backend_is_refused(in_the_process: InMemoryBackend) -> None:
    for wrong in ("", "jobs.db", 0):
        with pytest.raises(ConfigurationError, match="backend must be a Backend"):
            current_backend(cast("Any", wrong))
