"""Duties that one node at a time does for all nodes."""

import asyncio

from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import LEASE, MICROSECOND, NODE, OTHER_NODE, Store

_DUTY = "prune"


class DutyCases(Cases):
    """At any time a lock belongs to at most one node, which has a live lease."""

    async def test_the_first_to_ask_does_the_duty_and_others_do_not(self, store: Store) -> None:
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)

        assert await store.backend.acquire_lock(_DUTY, NODE)
        assert not await store.backend.acquire_lock(_DUTY, OTHER_NODE)

    async def test_who_does_it_may_ask_again(self, store: Store) -> None:
        store.heartbeat(NODE)

        assert [await store.backend.acquire_lock(_DUTY, NODE) for _ in range(3)] == [True] * 3

    async def test_each_duty_is_for_itself(self, store: Store) -> None:
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)
        await store.backend.acquire_lock(_DUTY, NODE)

        assert await store.backend.acquire_lock("another", OTHER_NODE)
        assert not await store.backend.acquire_lock("another", NODE)

    async def test_a_released_duty_is_free(self, store: Store) -> None:
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        await store.backend.release_lock(_DUTY, NODE)

        assert await store.backend.acquire_lock(_DUTY, OTHER_NODE)
        assert not await store.backend.acquire_lock(_DUTY, NODE)

    async def test_a_release_by_who_does_not_do_it_changes_nothing(self, store: Store) -> None:
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)
        await store.backend.release_lock(_DUTY, NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        await store.backend.release_lock(_DUTY, OTHER_NODE)
        await store.backend.release_lock("another", NODE)

        assert not await store.backend.acquire_lock(_DUTY, OTHER_NODE)

    async def test_a_duty_is_free_once_the_lease_of_its_node_has_run_out(self, store: Store) -> None:
        store.heartbeat(NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        store.clock.advance(LEASE - MICROSECOND)
        store.heartbeat(OTHER_NODE)

        assert not await store.backend.acquire_lock(_DUTY, OTHER_NODE)
        store.clock.advance(MICROSECOND)
        assert await store.backend.acquire_lock(_DUTY, OTHER_NODE)

    async def test_a_lease_that_is_renewed_keeps_the_duty(self, store: Store) -> None:
        store.heartbeat(NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        store.clock.advance(LEASE / 2)
        store.heartbeat(NODE)
        store.clock.advance(LEASE / 2)
        store.heartbeat(OTHER_NODE)

        assert not await store.backend.acquire_lock(_DUTY, OTHER_NODE)

    async def test_a_duty_is_free_once_its_node_has_retired(self, store: Store) -> None:
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        store.deregister(NODE)

        assert await store.backend.acquire_lock(_DUTY, OTHER_NODE)

    async def test_a_node_that_lost_the_duty_does_not_take_it_from_the_next(self, store: Store) -> None:
        store.heartbeat(NODE)
        await store.backend.acquire_lock(_DUTY, NODE)
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        await store.backend.acquire_lock(_DUTY, OTHER_NODE)
        store.heartbeat(NODE)

        assert not await store.backend.acquire_lock(_DUTY, NODE)
        await store.backend.release_lock(_DUTY, NODE)
        assert not await store.backend.acquire_lock(_DUTY, NODE)

    async def test_of_many_that_ask_at_once_one_does_it(self, store: Store) -> None:
        nodes = [f"node-{number}" for number in range(20)]
        for node in nodes:
            store.heartbeat(node)

        answers = await asyncio.gather(*(store.backend.acquire_lock(_DUTY, node) for node in nodes))

        assert sum(answers) == 1

    async def test_a_duty_is_held_against_the_other_backend_too(self, store: Store) -> None:
        async with store.another_backend() as other:
            store.heartbeat(NODE)
            store.heartbeat(OTHER_NODE)
            await store.backend.acquire_lock(_DUTY, NODE)

            assert not await other.acquire_lock(_DUTY, OTHER_NODE)
            await other.release_lock(_DUTY, NODE)
            assert await other.acquire_lock(_DUTY, OTHER_NODE)
