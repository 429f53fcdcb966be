"""The nodes that a store knows, and the state that each has sent with its heartbeats."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from rexecutor.backend.messages import Node, NodeState, StoredNode
from rexecutor.model.job import NodeId
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import LEASE, NODE, OTHER_NODE, SECOND, Store

STATE: Final = NodeState("web-1", 4711, "1.2.3", ("alpha", "beta:2.x"), 100, 7, 0.25, {"alpha": 10}, 2)


def sent(store: Store, node_id: NodeId, state: NodeState | None, *, name: str = "") -> None:
    """Send one heartbeat on a connection of its own."""
    heartbeats = store.backend.heartbeat_connection()
    heartbeats.send(Node(node_id, name or f"host:{node_id}", LEASE, state=state))
    heartbeats.close()


class NodeCases(Cases):
    """`nodes` returns each node that the store knows, on the store's clock."""

    async def test_without_nodes_none_are_told(self, store: Store) -> None:
        assert list(await store.backend.nodes()) == []

    async def test_a_node_is_told_with_all_that_it_has_said(self, store: Store) -> None:
        sent(store, NODE, STATE)

        now = store.now
        assert list(await store.backend.nodes()) == [
            StoredNode(NODE, f"host:{NODE}", now, now, now + LEASE, STATE, now)
        ]

    async def test_a_node_that_says_nothing_is_told_without_a_state(self, store: Store) -> None:
        store.heartbeat()

        [node] = await store.backend.nodes()

        assert (node.id, node.state, node.is_live, node.age) == (NODE, None, True, timedelta(0))

    async def test_each_heartbeat_says_it_anew(self, store: Store) -> None:
        began = store.now
        heartbeats = store.backend.heartbeat_connection()
        changed = [
            STATE,
            replace(STATE, running=8, loop_lag=1.5),
            replace(STATE, executors=("gamma",), limits={}),
            replace(STATE, executors=(), limits={}, host="Ž'\"\\"),
            None,
            STATE,
        ]
        for state in changed:
            heartbeats.send(Node(NODE, "host", LEASE, state=state))

            [node] = await store.backend.nodes()

            assert node == StoredNode(NODE, "host", began, store.now, store.now + LEASE, state, store.now)
            store.clock.advance(SECOND)
        heartbeats.close()

    async def test_the_age_of_a_lease_is_on_the_stores_clock(self, store: Store) -> None:
        sent(store, NODE, STATE)
        store.clock.advance(7 * SECOND)

        [node] = await store.backend.nodes()

        assert (node.age, node.seen_at, node.is_live) == (7 * SECOND, store.now, True)

    async def test_a_node_is_live_until_its_lease_ends_and_no_longer(self, store: Store) -> None:
        sent(store, NODE, STATE)
        store.clock.advance(LEASE - timedelta(microseconds=1))
        [within] = await store.backend.nodes()
        store.clock.advance(timedelta(microseconds=1))

        [after] = await store.backend.nodes()

        assert (within.is_live, after.is_live) == (True, False)
        assert after.state == STATE

    async def test_live_nodes_come_first_then_they_come_by_name(self, store: Store) -> None:
        sent(store, "1", STATE, name="a")
        store.clock.advance(SECOND)
        for node_id, name in (("2", "c"), ("4", "b"), ("3", "b")):
            sent(store, node_id, STATE, name=name)
        store.clock.advance(LEASE - SECOND)

        nodes = await store.backend.nodes()

        assert [(node.name, node.id, node.is_live) for node in nodes] == [
            ("b", "3", True),
            ("b", "4", True),
            ("c", "2", True),
            ("a", "1", False),
        ]

    async def test_a_node_that_has_ended_is_not_told(self, store: Store) -> None:
        sent(store, NODE, STATE)
        store.deregister(NODE)

        assert list(await store.backend.nodes()) == []

    async def test_a_dead_node_is_forgotten_once_its_jobs_are_rescued(self, store: Store) -> None:
        await store.executing()
        sent(store, NODE, STATE)
        store.clock.advance(LEASE)

        store.heartbeat(OTHER_NODE, rescues=False)
        before = [node.id for node in await store.backend.nodes()]
        store.heartbeat(OTHER_NODE)
        store.heartbeat(OTHER_NODE)

        assert before == [OTHER_NODE, NODE]
        assert [node.id for node in await store.backend.nodes()] == [OTHER_NODE]

    async def test_a_node_that_was_forgotten_says_all_again(self, store: Store) -> None:
        heartbeats = store.backend.heartbeat_connection()
        node = Node(NODE, "host", LEASE, state=STATE)
        heartbeats.send(node)
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        store.deregister(OTHER_NODE)

        began = heartbeats.send(node).began
        heartbeats.send(node)
        heartbeats.close()

        assert began
        assert [(known.started_at, known.state) for known in await store.backend.nodes()] == [(store.now, STATE)]

    async def test_a_node_may_run_thousands_of_executors(self, store: Store) -> None:
        names = tuple(f"executor-{number:05}" for number in range(5_000))
        state = replace(STATE, executors=names, limits=dict.fromkeys(names[::2], 3))
        heartbeats = store.backend.heartbeat_connection()
        for running in range(3):
            heartbeats.send(Node(NODE, "host", LEASE, state=replace(state, running=running)))
        heartbeats.close()

        [node] = await store.backend.nodes()

        assert node.state == replace(state, running=2)

    async def test_nodes_of_one_backend_are_told_by_the_other(self, store: Store) -> None:
        async with store.another_backend() as other:
            sent(store, NODE, STATE)

            [node] = await other.nodes()

            assert (node.id, node.state) == (NODE, STATE)
