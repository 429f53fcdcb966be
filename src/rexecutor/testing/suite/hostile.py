"""Input that breaks naive stores: strange text, large text, and numbers too large for a database."""

import json
from typing import Final

from rexecutor.errors import BackendError, JobNotFoundError
from rexecutor.model.job import storable
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.where import Everything, ExecutorIn, IdIn, Not
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, Store, cancelled, expect, failed, new_job

TEXTS: Final = (
    "",
    " ",
    "'",
    '"',
    "''\"\"``",
    "\\",
    "\\\\u0000 \\u0000 \\x00",
    "100 % of_it",
    "%s %(name)s {name} ${name} $1 ?1 :name @name",
    "'); drop table jobs; --",
    "' or '1' = '1",
    "null",
    '{"a": "b\\"c\'d"}',
    "[]",
    "line\nbreak\r\nand\ttab",
    "\x01\x1f\x7f\x80\x9f",
    "žluťoučký kůň, Ελληνικά, 日本語, עברית",
    "e\u0301 and \u00e9 are not made one",
    "👩‍👩‍👧‍👦 🐎",
    "\u2028\u2029\u200b\ufeff\ufffe\uffff",
    "\U00010000\U0010ffff",
    "x" * 100_000,
    "ž" * 70_000,
)
"""Texts that every store must return unchanged."""

_NUMBERS: Final = (0, -1, -(2**63), 2**31, 2**63 - 1, 2**63, 2**64, 2**200)
"""Ids that no job has."""


class HostileInputCases(Cases):
    """A store never changes, refuses or executes input that has passed the checks at the enqueue."""

    async def test_data_and_metadata_are_given_back_to_the_character(self, store: Store) -> None:
        encoded = [json.dumps(text, ensure_ascii=False) for text in TEXTS]

        ids = await store.enqueue(*(new_job(data=text, metadata=text) for text in encoded))

        jobs = [await store.job(job_id) for job_id in ids]
        assert [job.data for job in jobs] == encoded
        assert [job.metadata for job in jobs] == encoded

    async def test_escaped_json_stays_escaped(self, store: Store) -> None:
        encoded = [json.dumps({text: [text, {text: text}]}) for text in TEXTS]

        ids = await store.enqueue(*(new_job(data=text) for text in encoded))

        assert [(await store.job(job_id)).data for job_id in ids] == encoded

    async def test_numbers_in_json_keep_every_digit(self, store: Store) -> None:
        numbers = ["9" * 400, "1.0", "1", "-0.0", "1e400", "0.1000000000000000055511151231257827"]

        ids = await store.enqueue(*(new_job(data=number, metadata=number) for number in numbers))

        assert [(await store.job(job_id)).data for job_id in ids] == numbers
        assert [(await store.job(job_id)).metadata for job_id in ids] == numbers

    async def test_metadata_that_is_null_is_not_metadata_left_out(self, store: Store) -> None:
        without, null = await store.enqueue(new_job(), new_job(metadata="null"))

        assert (await store.job(without)).metadata is None
        assert (await store.job(null)).metadata == "null"

    async def test_a_mebibyte_of_data_is_given_back(self, store: Store) -> None:
        data = json.dumps("ž" * (store.backend.limits.data // 2 - 1), ensure_ascii=False)

        [job] = await store.executing(new_job(data=data))

        assert len(data.encode()) == store.backend.limits.data
        assert job.data == data

    async def test_tags_keep_their_text_and_their_order(self, store: Store) -> None:
        tags = (*(text[:128] for text in reversed(TEXTS) if text), "b", "a", "A", "a,b", '["a"]')

        [job] = await store.executing(new_job(tags=tags))

        assert job.tags == tags
        assert (await store.job(job.id)).tags == tags

    async def test_errors_keep_their_text(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * len(TEXTS))

        for job, text in zip(jobs, TEXTS, strict=True):
            await store.settle(job, failed(text, delay=HOUR))

        assert [job.errors[-1].details for job in await store.jobs()] == list(TEXTS)

    async def test_reasons_of_cancels_keep_their_text(self, store: Store) -> None:
        reasons = [text for text in TEXTS if len(text) <= store.backend.limits.error_text]
        jobs = await store.executing(*[new_job()] * len(reasons))

        for job, reason in zip(jobs, reasons, strict=True):
            await store.backend.cancel(job.id, reason)

        assert [request.reason for request in store.heartbeat().cancels] == reasons
        assert [job.cancel_reason for job in await store.jobs()] == reasons

    async def test_a_reason_that_no_store_takes_is_made_one_that_it_does(self, store: Store) -> None:
        waiting, running = await store.enqueue(new_job(delay=HOUR), new_job())
        await store.reclaim(running)
        reason = "a\0b\ud800" + "x" * store.backend.limits.error_text

        for job_id in (waiting, running):
            await store.backend.cancel(job_id, reason)

        expected = storable(reason, store.backend.limits.error_text)
        assert (await store.job(waiting)).errors[-1].details == expected
        assert (await store.job(running)).cancel_reason == expected

    async def test_text_survives_a_whole_life(self, store: Store) -> None:
        [job] = await store.executing(new_job(data=json.dumps(TEXTS), tags=TEXTS[1:9], max_attempts=9))
        for text in TEXTS[:5]:
            await store.settle(job, failed(text))
            job = await store.reclaim(job.id)
        await store.settle(job, cancelled(TEXTS[6]))

        ended = await store.job(job.id)

        assert ended.data == json.dumps(TEXTS)
        assert ended.tags == TEXTS[1:9]
        assert [error.details for error in ended.errors] == [*TEXTS[:5], TEXTS[6]]

    async def test_names_in_a_query_are_values_not_code(self, store: Store) -> None:
        ids = await store.enqueue(new_job(), new_job())

        for text in TEXTS:
            assert await store.ids(ExecutorIn(frozenset({text}))) == []
            assert await store.ids(Not(ExecutorIn(frozenset({text})))) == ids

    async def test_names_in_a_claim_are_values_not_code(self, store: Store) -> None:
        ids = await store.enqueue(new_job(), new_job())
        store.heartbeat()

        assert await store.claim(executors=TEXTS[:-2]) == []
        assert await store.ids(Everything()) == ids

    async def test_an_executor_name_may_be_as_long_and_strange_as_the_rule_allows(self, store: Store) -> None:
        names = ["a" * 128, "..", "-", "a:b", "A", "a", "0", "null"]
        await store.enqueue(*(new_job(name) for name in names))
        store.heartbeat()

        jobs = await store.claim(executors=names)

        assert [job.executor for job in jobs] == names
        assert [count.executor for count in await store.backend.count()] == sorted(names)

    async def test_ids_that_no_job_has_are_found_nowhere(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        for number in _NUMBERS:
            assert await store.ids(IdIn(frozenset({number}))) == []
            assert await store.ids(IdIn(frozenset({number, job_id}))) == [job_id]
            assert await store.ids(Not(IdIn(frozenset({number})))) == [job_id]

    async def test_a_page_after_an_id_that_no_job_has_is_returned(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        for number in _NUMBERS:
            expected = [job_id] if number < job_id else []
            page = await store.backend.query(Everything(), after=number)
            assert [job.id for job in page] == expected

    async def test_changes_of_ids_that_no_job_has_are_refused(self, store: Store) -> None:
        for number in _NUMBERS:
            with expect(JobNotFoundError):
                await store.backend.cancel(number, "enough")
            with expect(JobNotFoundError):
                await store.backend.rerun(number)
            assert await store.settle_all([Settlement(number, 1, Complete())]) == [number]
            assert await store.settle_all([Settlement(number, 1, Complete("1"))]) == [number]

    async def test_claims_beyond_all_numbers_are_refused(self, store: Store) -> None:
        [job] = await store.executing()

        for number in _NUMBERS:
            assert await store.settle_all([Settlement(job.id, number, Complete())]) == [job.id]
            assert await store.settle_all([Settlement(job.id, number, Complete("1"))]) == [job.id]

        assert await store.job(job.id) == job

    async def test_a_batch_with_a_job_that_the_store_refuses_leaves_nothing_behind(self, store: Store) -> None:
        batch = [new_job(data='"good"'), new_job(data='"\ud800"'), new_job(data='"good"')]

        try:
            await store.backend.enqueue(batch)
        except BackendError:
            assert await store.backend.count() == []
        [job_id] = await store.enqueue(new_job(data='"after"'))

        assert (await store.job(job_id)).data == '"after"'
