"""Leases of nodes: how they begin, are renewed and end, and what a heartbeat reports."""

import threading

from rexecutor.backend.messages import CancelRequest, Heartbeat, Node
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import LEASE, NODE, OTHER_NODE, SECOND, Store, new_job


class LeaseCases(Cases):
    """A node lives as long as it heartbeats, and no other node gets its jobs meanwhile."""

    async def test_a_first_heartbeat_begins_a_lease(self, store: Store) -> None:
        await store.enqueue(new_job())

        heartbeat = store.heartbeat()

        assert heartbeat.rescued == 0
        assert list(heartbeat.cancels) == []
        assert len(await store.claim()) == 1

    async def test_each_heartbeat_renews_the_lease_from_now(self, store: Store) -> None:
        [job] = await store.executing()
        for _ in range(5):
            store.clock.advance(LEASE - SECOND)
            store.heartbeat()

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 0
        assert await store.job(job.id) == job

    async def test_a_heartbeat_of_one_node_renews_no_other_lease(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE - SECOND)
        assert store.heartbeat(OTHER_NODE).rescued == 0
        store.clock.advance(SECOND)

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 1
        assert (await store.job(job.id)).status is JobStatus.RETRYABLE

    async def test_each_node_has_a_lease_of_its_own_length(self, store: Store) -> None:
        store.heartbeat("short", lease=5 * SECOND)
        store.heartbeat("long", lease=50 * SECOND)
        await store.enqueue(new_job(), new_job())
        store.clock.advance(5 * SECOND)

        assert await store.claim(1, node_id="short") == []
        assert len(await store.claim(1, node_id="long")) == 1

    async def test_a_heartbeat_may_shorten_the_lease(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat(lease=LEASE)
        store.heartbeat(lease=SECOND)
        store.clock.advance(SECOND)

        assert await store.claim() == []

    async def test_a_node_that_heartbeats_before_anybody_noticed_keeps_its_jobs(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(2 * LEASE)

        heartbeat = store.heartbeat()

        assert heartbeat.rescued == 0
        assert await store.job(job.id) == job

    async def test_a_node_whose_lease_ran_out_may_begin_a_new_one(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)

        store.heartbeat()

        [again] = await store.claim()
        assert (again.id, again.claims) == (job.id, 2)

    async def test_retiring_a_node_that_never_was_is_harmless(self, store: Store) -> None:
        [job] = await store.executing()

        store.deregister("nobody")

        assert store.heartbeat().rescued == 0
        assert await store.job(job.id) == job

    async def test_retiring_changes_no_job_by_itself(self, store: Store) -> None:
        [job] = await store.executing()

        store.deregister()

        assert await store.job(job.id) == job

    async def test_what_a_retired_node_still_runs_is_rescued_by_the_next_heartbeat(self, store: Store) -> None:
        [job] = await store.executing()
        store.deregister()

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 1
        assert (await store.job(job.id)).status is JobStatus.RETRYABLE

    async def test_an_asked_cancel_is_told_at_every_heartbeat_until_it_is_done(self, store: Store) -> None:
        _, asked = await store.executing(new_job(), new_job())
        await store.backend.cancel(asked.id, "enough")

        heartbeats = [store.heartbeat(), store.heartbeat()]

        request = CancelRequest(asked.id, asked.claims, "enough")
        assert [list(heartbeat.cancels) for heartbeat in heartbeats] == [[request], [request]]

    async def test_an_asked_cancel_is_told_to_no_other_node(self, store: Store) -> None:
        [asked] = await store.executing()
        await store.backend.cancel(asked.id, "enough")

        assert list(store.heartbeat(OTHER_NODE).cancels) == []

    async def test_heartbeats_go_in_a_thread_of_its_own(self, store: Store) -> None:
        heartbeats: list[Heartbeat] = []

        def live() -> None:
            connection = store.backend.heartbeat_connection()
            heartbeats.append(connection.send(Node(NODE, "host:1", LEASE)))
            connection.close()

        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        await store.enqueue(new_job())

        assert [heartbeat.rescued for heartbeat in heartbeats] == [0]
        assert len(await store.claim()) == 1

    async def test_the_first_heartbeat_begins_the_lease_and_the_next_renews_it(self, store: Store) -> None:
        first = store.heartbeat()
        store.clock.advance(SECOND)

        assert first.began
        assert not store.heartbeat().began

    async def test_a_lease_that_ran_out_unnoticed_is_renewed_with_its_jobs(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE * 2)

        heartbeat = store.heartbeat()

        assert (heartbeat.began, heartbeat.rescued) == (False, 0)
        assert await store.job(job.id) == job

    async def test_a_lease_that_was_given_up_for_lost_begins_anew_without_its_jobs(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE * 2)
        store.heartbeat(OTHER_NODE)

        heartbeat = store.heartbeat()

        assert heartbeat.began
        assert (await store.job(job.id)).status is JobStatus.RETRYABLE

    async def test_a_node_whose_lease_ended_just_now_is_forgotten_with_its_jobs(self, store: Store) -> None:
        await store.executing()
        store.clock.advance(LEASE)

        assert store.heartbeat(OTHER_NODE).rescued == 1
        assert store.heartbeat().began

    async def test_a_node_without_jobs_is_forgotten_once_its_lease_has_run_out_though_others_run_some(
        self, store: Store
    ) -> None:
        store.heartbeat(OTHER_NODE)
        await store.executing()
        store.heartbeat()
        assert not store.heartbeat(OTHER_NODE).began
        store.clock.advance(LEASE)

        store.heartbeat()

        assert store.heartbeat(OTHER_NODE).began

    async def test_a_heartbeat_that_may_not_rescue_leaves_all_as_it_is(self, store: Store) -> None:
        [job] = await store.executing()
        [expiring] = await store.enqueue(new_job(expires_in=LEASE))
        store.clock.advance(LEASE * 2)

        heartbeat = store.heartbeat(OTHER_NODE, rescues=False)
        assert (heartbeat.rescued, heartbeat.expired) == (0, 0)
        assert await store.job(job.id) == job
        assert (await store.job(expiring)).status is JobStatus.SCHEDULED
        heartbeat = store.heartbeat(OTHER_NODE)
        assert (heartbeat.rescued, heartbeat.expired) == (1, 1)
