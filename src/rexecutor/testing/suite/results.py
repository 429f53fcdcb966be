"""Results: what a success leaves behind, and when it is gone."""

import json
from datetime import timedelta

from rexecutor.model.outcomes import Complete, Discarded, Expired, Interrupted, Outcome, Settlement, Snooze
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.hostile import TEXTS
from rexecutor.testing.suite.store import HOUR, LEASE, OTHER_NODE, Store, cancelled, failed, job_error, new_job


class ResultCases(Cases):
    """A result is stored with the success that it belongs to, and gone once the job is rerun."""

    async def test_a_result_is_stored_with_the_completion(self, store: Store) -> None:
        [job] = await store.executing()

        ended = await store.settle(job, Complete('{"rows": [1, 2.50]}'))

        assert (ended.status, ended.result) == (JobStatus.COMPLETE, '{"rows": [1, 2.50]}')

    async def test_a_success_without_a_result_has_none(self, store: Store) -> None:
        [job] = await store.executing()

        assert (await store.settle(job, Complete())).result is None

    async def test_results_are_given_back_to_the_character(self, store: Store) -> None:
        encoded = [json.dumps([text], ensure_ascii=plain) for text in TEXTS for plain in (True, False)]
        encoded += ["9" * 400, "-0.0", "1e400", "null", ' {"a" : 1, "a": 2} ', '"\\ud83d\\ude00"']
        jobs = await store.executing(*[new_job()] * len(encoded))

        refused = await store.settle_all(
            [Settlement(*job.claim_id, Complete(text)) for job, text in zip(jobs, encoded, strict=True)]
        )

        assert refused == []
        assert [job.result for job in await store.jobs()] == encoded

    async def test_a_result_of_the_largest_size_is_given_back(self, store: Store) -> None:
        result = json.dumps("ž" * (store.backend.limits.result // 2 - 1), ensure_ascii=False)
        [job] = await store.executing()

        ended = await store.settle(job, Complete(result))

        assert len(result.encode()) == store.backend.limits.result
        assert ended.result == result

    async def test_in_a_batch_each_job_gets_its_own_result(self, store: Store) -> None:
        outcomes: list[Outcome] = [Complete("1"), Complete(), failed(delay=HOUR), Complete('"x"'), cancelled()]
        jobs = await store.executing(*[new_job()] * len(outcomes))

        await store.settle_all([Settlement(*job.claim_id, each) for job, each in zip(jobs, outcomes, strict=True)])

        assert [job.result for job in await store.jobs()] == ["1", None, None, '"x"', None]

    async def test_each_job_of_a_batch_of_any_size_gets_its_own_result(self, store: Store) -> None:
        for size in (1, 7, 8, 9, 127, 128, 129, 300):
            jobs = await store.executing(*[new_job()] * size)

            refused = await store.settle_all([Settlement(*job.claim_id, Complete(str(job.id))) for job in jobs])

            assert refused == []
            assert [(await store.job(job.id)).result for job in jobs[::13]] == [str(job.id) for job in jobs[::13]]

    async def test_in_a_batch_with_a_lost_claim_the_others_get_their_results(self, store: Store) -> None:
        lost, plain, other = await store.executing(*[new_job()] * 3)
        await store.backend.settle([Settlement(*lost.claim_id, failed(delay=HOUR))])

        refused = await store.settle_all(
            [
                Settlement(*lost.claim_id, Complete("1")),
                Settlement(*plain.claim_id, Complete()),
                Settlement(*other.claim_id, Complete("3")),
            ]
        )

        assert refused == [lost.id]
        assert [job.result for job in await store.jobs()] == [None, None, "3"]

    async def test_of_two_results_of_one_claim_the_first_stays(self, store: Store) -> None:
        [job] = await store.executing()

        refused = await store.settle_all([Settlement(*job.claim_id, Complete(text)) for text in ("1", "2")])
        again = await store.settle_all([Settlement(*job.claim_id, Complete("3"))])

        assert (refused, again) == ([job.id], [job.id])
        assert (await store.job(job.id)).result == "1"

    async def test_a_late_result_of_a_node_taken_for_dead_is_refused(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        [again] = await store.claim(node_id=OTHER_NODE)

        late = await store.settle_all([Settlement(*job.claim_id, Complete('"late"'))])
        between = await store.job(job.id)
        ended = await store.settle(again, Complete('"second"'))

        assert late == [job.id]
        assert between.result is None
        assert ended.result == '"second"'

    async def test_nothing_but_a_success_leaves_a_result(self, store: Store) -> None:
        outcomes: list[Outcome] = [
            *(cancelled(), failed(delay=HOUR), Snooze(HOUR), Interrupted()),
            *(Discarded(job_error()), Expired()),
        ]
        jobs = await store.executing(*[new_job()] * len(outcomes))

        await store.settle_all([Settlement(*job.claim_id, each) for job, each in zip(jobs, outcomes, strict=True)])

        assert {job.result for job in await store.jobs()} == {None}

    async def test_a_rerun_clears_the_result_and_the_next_success_has_its_own(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, Complete('"first"'))

        await store.backend.rerun(job.id)
        rerun = await store.job(job.id)
        again = await store.reclaim(job.id)
        ended = await store.settle(again, Complete('"second"'))

        assert (rerun.result, again.result, ended.result) == (None, None, '"second"')

    async def test_a_rerun_whose_success_has_no_result_has_none(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, Complete('"first"'))
        await store.backend.rerun(job.id)

        ended = await store.settle(await store.reclaim(job.id), Complete())

        assert ended.result is None

    async def test_a_cancel_of_a_complete_job_leaves_its_result(self, store: Store) -> None:
        [job] = await store.executing()
        before = await store.settle(job, Complete("7"))

        await store.backend.cancel(job.id, "too late")

        assert await store.job(job.id) == before

    async def test_a_replacement_in_a_complete_job_leaves_its_result(self, store: Store) -> None:
        action = Replace.priority().and_scheduled_at().for_statuses(JobStatus.COMPLETE)
        unique = UniquenessCriteria.by_key("k").and_statuses(JobStatus.COMPLETE).on_conflict(action)
        job = await store.job_in(JobStatus.EXECUTING, new_job(unique=unique))
        await store.settle(job, Complete('{"large": "result"}'))

        answer = await store.add(new_job(priority=3, delay=timedelta(days=1), unique=unique))

        after = await store.job(job.id)
        assert (answer.id, answer.disposition) == (job.id, "replaced")
        assert (after.priority, after.result) == (3, '{"large": "result"}')
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 100) == 1
