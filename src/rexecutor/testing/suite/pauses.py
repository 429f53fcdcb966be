"""Pauses: no claim takes a job of a paused executor, on any node, until the pause is over."""

from datetime import datetime, timedelta
from typing import Any

from rexecutor.backend.messages import EVERY_EXECUTOR, Demand, Pause
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    MICROSECOND,
    NODE,
    OTHER_NODE,
    SECOND,
    Store,
    expect,
    failed,
    new_job,
)
from rexecutor.testing.suite.synchronous import in_thread, skip_without


async def claimed(store: Store) -> list[str]:
    """Claim all that is due of both executors, as a live node; return the executors of these jobs, sorted."""
    store.heartbeat()
    return sorted(job.executor for job in await store.claim(executors=[ALPHA, BETA]))


class PauseCases(Cases):
    """A pause holds for every claim that begins after it is stored."""

    async def test_no_job_of_a_paused_executor_is_claimed(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA), new_job(BETA))

        await store.backend.pause(ALPHA, "why not")

        assert await claimed(store) == [BETA]
        assert await claimed(store) == []

    async def test_a_job_that_is_enqueued_during_the_pause_waits_too(self, store: Store) -> None:
        await store.backend.pause(ALPHA, "")

        [waiting, _] = await store.enqueue(new_job(ALPHA), new_job(BETA))

        assert await claimed(store) == [BETA]
        assert (await store.job(waiting)).status is JobStatus.SCHEDULED

    async def test_the_pause_holds_on_all_nodes(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat(NODE)
        store.heartbeat(OTHER_NODE)

        await store.backend.pause(ALPHA, "")

        assert await store.claim(node_id=NODE) == []
        assert await store.claim(node_id=OTHER_NODE) == []

    async def test_after_the_resume_the_jobs_are_claimed_in_their_order(self, store: Store) -> None:
        await store.backend.pause(ALPHA, "")
        ids = await store.enqueue(new_job(priority=1), new_job(priority=0))
        store.heartbeat()
        assert await store.claim() == []

        await store.backend.resume(ALPHA)

        assert [job.id for job in await store.claim()] == ids[::-1]

    async def test_a_resume_says_whether_there_was_a_pause(self, store: Store) -> None:
        await store.backend.pause(ALPHA, "")

        assert not await store.backend.resume(BETA)
        assert await store.backend.resume(ALPHA)
        assert not await store.backend.resume(ALPHA)

    async def test_a_pause_with_an_end_is_over_at_that_moment_and_not_a_microsecond_before(self, store: Store) -> None:
        await store.enqueue(new_job())
        await store.backend.pause(ALPHA, "for a while", lasting=HOUR)
        store.clock.advance(HOUR - MICROSECOND)

        within = await claimed(store)
        store.clock.advance(MICROSECOND)

        assert within == []
        assert await store.backend.pauses() == []
        assert await claimed(store) == [ALPHA]
        assert not await store.backend.resume(ALPHA)

    async def test_the_pauses_in_force_are_told_by_name(self, store: Store) -> None:
        await store.backend.pause(BETA, "the provider is down", lasting=HOUR)
        store.clock.advance(SECOND)
        await store.backend.pause(ALPHA, "")
        await store.backend.pause("gone", "", lasting=SECOND)
        await store.backend.pause("ended", "")
        await store.backend.resume("ended")

        store.clock.advance(SECOND)

        began = store.now - 2 * SECOND
        assert await store.backend.pauses() == [
            Pause(ALPHA, began + SECOND, None, ""),
            Pause(BETA, began, began + HOUR, "the provider is down"),
        ]

    async def test_a_pause_is_returned_as_it_is_stored(self, store: Store) -> None:
        pause = await store.backend.pause(ALPHA, "Ž'\"\\%", lasting=timedelta(days=400, microseconds=1))

        assert pause == Pause(ALPHA, store.now, store.now + timedelta(days=400, microseconds=1), "Ž'\"\\%")
        assert await store.backend.pauses() == [pause]

    async def test_a_second_pause_replaces_reason_and_end_but_not_the_beginning(self, store: Store) -> None:
        first = await store.backend.pause(ALPHA, "first", lasting=HOUR)
        store.clock.advance(SECOND)

        second = await store.backend.pause(ALPHA, "second", lasting=2 * HOUR)
        third = await store.backend.pause(ALPHA, "third")

        assert second == Pause(ALPHA, first.since, store.now + 2 * HOUR, "second")
        assert third == Pause(ALPHA, first.since, None, "third")
        assert await store.backend.pauses() == [third]

    async def test_a_pause_after_one_that_is_over_begins_anew(self, store: Store) -> None:
        await store.backend.pause(ALPHA, "first", lasting=SECOND)
        store.clock.advance(SECOND)

        again = await store.backend.pause(ALPHA, "second")

        assert again == Pause(ALPHA, store.now, None, "second")

    async def test_a_pause_of_every_executor_holds_for_all(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA), new_job(BETA))

        pause = await store.backend.pause(EVERY_EXECUTOR, "", lasting=HOUR)

        assert pause.executor == EVERY_EXECUTOR
        assert await claimed(store) == []
        store.clock.advance(HOUR)
        assert await claimed(store) == [ALPHA, BETA]

    async def test_a_pause_of_every_executor_and_that_of_one_end_by_themselves(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA), new_job(BETA))
        await store.backend.pause(EVERY_EXECUTOR, "")
        await store.backend.pause(ALPHA, "")

        assert await store.backend.resume(BETA) is False
        assert await claimed(store) == []
        assert await store.backend.resume(EVERY_EXECUTOR)
        assert await claimed(store) == [BETA]
        assert await store.backend.resume(ALPHA)
        assert await claimed(store) == [ALPHA]

    async def test_an_executor_may_be_named_like_what_a_store_writes(self, store: Store) -> None:
        names = ["executor:alpha", "flow:alpha", "executor:", ":", ALPHA]
        await store.enqueue(*map(new_job, names))
        await store.backend.pause("executor:alpha", "")
        await store.backend.pause("flow:alpha", "")
        await store.backend.pause("executor:", "")
        store.heartbeat()

        taken = [job.executor for job in await store.claim(executors=names)]

        assert taken == [":", ALPHA]
        assert [pause.executor for pause in await store.backend.pauses()] == sorted(names[:3])

    async def test_a_paused_executor_takes_nothing_of_what_is_asked_for_in_all(self, store: Store) -> None:
        await store.enqueue(*[new_job(ALPHA)] * 10, *[new_job(BETA)] * 10)
        await store.backend.pause(ALPHA, "")
        store.heartbeat()

        claim = await store.backend.claim(Demand({ALPHA: 10, BETA: 10}, 5), NODE)

        assert [job.executor for job in claim.jobs] == [BETA] * 5

    async def test_a_claim_still_tells_the_next_moment_and_no_past_one(self, store: Store) -> None:
        await store.enqueue(*[new_job(ALPHA, delay=SECOND)] * 20, new_job(BETA, delay=HOUR))
        await store.backend.pause(ALPHA, "")
        store.heartbeat()
        store.clock.advance(SECOND)

        claim = await store.ask(10, executors=[ALPHA, BETA])

        assert claim.jobs == []
        assert claim.next_due == store.now + HOUR - SECOND

    async def test_running_jobs_go_on(self, store: Store) -> None:
        done, failing = await store.executing(new_job(), new_job())

        await store.backend.pause(ALPHA, "")

        assert store.heartbeat().cancels == []
        assert (await store.settle(done, Complete())).status is JobStatus.COMPLETE
        assert (await store.settle(failing, failed())).status is JobStatus.RETRYABLE
        assert await store.claim() == []
        await store.backend.resume(ALPHA)
        assert [job.id for job in await store.claim()] == [failing.id]

    async def test_waiting_jobs_can_be_cancelled_and_expire(self, store: Store) -> None:
        cancelled, expiring = await store.enqueue(new_job(), new_job(expires_in=SECOND))
        await store.backend.pause(ALPHA, "")

        await store.backend.cancel(cancelled, "enough")
        store.clock.advance(SECOND)

        assert store.heartbeat().expired == 1
        assert (await store.job(cancelled)).status is JobStatus.CANCELLED
        assert (await store.job(expiring)).status is JobStatus.CANCELLED

    async def test_hundreds_of_executors_may_be_paused(self, store: Store) -> None:
        names = [f"executor-{number:03}" for number in range(200)]
        await store.enqueue(*map(new_job, names))
        for name in names[::2]:
            await store.backend.pause(name, "")
        store.heartbeat()

        jobs = await store.claim(1_000, executors=names)

        assert [job.executor for job in jobs] == names[1::2]
        assert [pause.executor for pause in await store.backend.pauses()] == names[::2]

    async def test_a_resume_wakes_who_waits_for_jobs(self, store: Store) -> None:
        await store.enqueue(new_job())
        await store.backend.pause(ALPHA, "")
        since = store.backend.change_count
        assert await claimed(store) == []
        await store.backend.resume(ALPHA)

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert await claimed(store) == [ALPHA]

    async def test_what_no_executor_can_be_named_is_refused(self, store: Store) -> None:
        names: list[Any] = ["", "ž", "a b", "**", "x" * 129, None, 7]
        for name in names:
            with expect(ConfigurationError):
                await store.backend.pause(name, "")
            with expect(ConfigurationError):
                await store.backend.resume(name)
        assert await store.backend.pauses() == []

    async def test_a_reason_that_is_no_text_and_a_time_that_is_none_are_refused(self, store: Store) -> None:
        reasons: list[Any] = [None, 7, b"why"]
        for reason in reasons:
            with expect(ConfigurationError):
                await store.backend.pause(ALPHA, reason)
        times: list[Any] = [timedelta(0), -SECOND, timedelta(days=365_001), 60, 1.5]
        for lasting in times:
            with expect(ConfigurationError):
                await store.backend.pause(ALPHA, "", lasting=lasting)
        assert await store.backend.pauses() == []

    async def test_a_reason_that_no_store_can_hold_is_cut_and_cleaned(self, store: Store) -> None:
        pause = await store.backend.pause(ALPHA, "\0\ud800" + "x" * 100_000)

        assert "\0" not in pause.reason
        assert len(pause.reason) <= store.backend.limits.error_text
        assert await store.backend.pauses() == [pause]

    async def test_the_longest_pause_can_be_stored(self, store: Store) -> None:
        pause = await store.backend.pause(ALPHA, "", lasting=timedelta(days=365_000))

        assert isinstance(pause.until, datetime)
        assert await store.backend.pauses() == [pause]

    async def test_synchronous_pauses_do_what_their_twins_do(self, store: Store) -> None:
        skip_without(store.backend, "put_pause_sync", "end_pause_sync")
        await store.enqueue(new_job(ALPHA), new_job(BETA))

        pause = await in_thread(lambda: store.backend.pause_sync(ALPHA, "why not", lasting=HOUR))

        assert pause == Pause(ALPHA, store.now, store.now + HOUR, "why not")
        assert await claimed(store) == [BETA]
        since = store.backend.change_count
        assert await in_thread(lambda: store.backend.resume_sync(ALPHA))
        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)
        assert await claimed(store) == [ALPHA]
        assert not await in_thread(lambda: store.backend.resume_sync(ALPHA))
        for bad in (lambda: store.backend.pause_sync("", ""), lambda: store.backend.resume_sync("")):
            with expect(ConfigurationError):
                await in_thread(bad)

    async def test_a_pause_of_one_backend_holds_for_the_other(self, store: Store) -> None:
        async with store.another_backend() as other:
            beside = store.beside(other)
            await store.enqueue(new_job(ALPHA), new_job(BETA))

            await store.backend.pause(ALPHA, "")

            assert await claimed(beside) == [BETA]
            assert await other.resume(ALPHA)
            assert await claimed(store) == [ALPHA]
            beside.close()

    async def test_a_pause_stays_when_the_store_is_opened_again(self, store: Store) -> None:
        again = store.another_backend()
        [job_id] = await store.enqueue(new_job())
        pause = await store.backend.pause(ALPHA, "why not")
        store.close()
        await store.backend.close()

        async with again:
            beside = store.beside(again)
            beside.heartbeat()
            jobs: list[JobRecord] = await beside.claim()
            beside.close()

            assert await again.pauses() == [pause]
            assert jobs == []
            assert (await beside.job(job_id)).status is JobStatus.SCHEDULED
