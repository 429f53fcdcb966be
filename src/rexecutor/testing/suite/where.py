"""Expressions: what each constructor of `Where` finds. All stores compare values alike."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from rexecutor.errors import ConfigurationError
from rexecutor.model.codec import canonical
from rexecutor.model.outcomes import Failed
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import And, DataAt, DataEquals, Everything, ExecutorIn, KeyIs, Not, Or, Where
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.hostile import TEXTS
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    MICROSECOND,
    SECOND,
    Store,
    cancelled,
    expect,
    failed,
    job_error,
    new_job,
)

_DATA: Final = (
    *("null", "true", "false", "1", "1.0", "1e0", "10e-1", "0", "-0.0", '"1"', '"true"', '""', "[]", "{}", "[[]]"),
    *("[1]", "[true]", "[1,null]", "[null,1]", '{"a":1}', '{"a":true}', '{"a":null}', '{"a":{"b":[1.0,null]}}'),
    *('{"a":1,"b":[1.0,null]}', '{ "b" : [ 1 , null ] , "a" : 1e0 }', '{"a":1,"b":[1.5,null]}', '{"A":1}'),
    *("9007199254740993", "9007199254740992", "9" * 400, "9" * 399 + "8", "1e400", "1e-400", "0.1", "0.10"),
    *('"\\u00e9"', '"é"', '"e\\u0301"', '"\\/"', '"/"', '"\\ud83d\\ude00"', '"😀"', '{"é":1}', '{"\\u00e9":1.0}'),
    "[" * 100 + "1.0" + "]" * 100,
    "[" * 100 + "1" + "]" * 100,
    "[" * 99 + "1" + "]" * 99,
)
_SAME: Final = (
    {"1", "1.0", "1e0", "10e-1"},
    {"0", "-0.0"},
    {"0.1", "0.10"},
    {'{"a":1,"b":[1.0,null]}', '{ "b" : [ 1 , null ] , "a" : 1e0 }'},
    {'"\\u00e9"', '"é"'},
    {'"\\/"', '"/"'},
    {'"\\ud83d\\ude00"', '"😀"'},
    {'{"é":1}', '{"\\u00e9":1.0}'},
    {"[" * 100 + "1.0" + "]" * 100, "[" * 100 + "1" + "]" * 100},
)
"""Sets of those JSON texts that mean the same value."""
_TAGS: Final = ("a", "A", "a'b", 'a"b', "100 %", "a_b", "axb", "%", "_", "\\", "a,b", '["a"]', "ž", "1", "null", " a")


def _executor(name: str) -> Where:
    return ExecutorIn(frozenset({name}))


class WhereCases(Cases):
    """An expression finds the same jobs on every store."""

    async def test_data_are_found_that_mean_the_same_and_no_others(self, store: Store) -> None:
        await store.enqueue(*(new_job(data=text) for text in _DATA))
        jobs = await store.jobs()

        for text in _DATA:
            where = DataEquals(canonical(text))
            found = await store.jobs(where)
            expected = next((group for group in _SAME if text in group), {text})
            assert {job.data for job in found} == expected
            assert await store.jobs(~where) == [job for job in jobs if job not in found]

    async def test_equal_data_are_found_however_they_are_written(self, store: Store) -> None:
        cases: tuple[tuple[Any, int], ...] = (
            ({"b": [1, None], "a": 1.0}, 2),
            ({"a": 1, "b": [None, 1]}, 0),
            (1, 4),
            (1.0, 4),
            (True, 1),
            ("1", 1),
            (None, 1),
            ({"a": {"b": [1, None]}}, 1),
            (9007199254740993, 1),
            (int("9" * 400), 1),
            (10**400, 1),
            ("é", 2),
            ("e\u0301", 1),
            ({"é": 1}, 2),
            ("😀", 2),
            ([], 1),
            ({}, 1),
        )
        await store.enqueue(*(new_job(data=text) for text in _DATA))

        for data, count in cases:
            assert len(await store.jobs(Where.data_equals(data))) == count, data

    async def test_deeply_nested_data_are_found(self, store: Store) -> None:
        await store.enqueue(*(new_job(data=text) for text in _DATA[-3:]))
        deep: Any = 1
        for _ in range(100):
            deep = [deep]

        assert len(await store.jobs(Where.data_equals(deep))) == 2
        assert len(await store.jobs(Where.data_equals(deep[0]))) == 1

    async def test_hostile_data_are_found_each_for_itself(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(data=json.dumps([text]), metadata=json.dumps(text)) for text in TEXTS))

        for job_id, text in zip(ids, TEXTS, strict=True):
            assert await store.ids(Where.data_equals([text])) == [job_id]
            assert await store.ids(Where.metadata_equals(text)) == [job_id]

    async def test_data_are_found_by_what_they_hold_at_a_path(self, store: Store) -> None:
        texts = (
            '{"user":{"id":7,"name":"Ann"},"lines":[{"sku":"a"},{"sku":"b","count":1.50}]}',
            '{"lines":{"1":{"sku":"b"}},"user":{"id":7.0}}',
            '{"user":{"id":null},"lines":[]}',
            '{"user":[7],"a.b":true,"":1}',
            '{"user":"id","a":{"b":false}}',
            "[[1,[2]],7]",
            '"user"',
            "null",
            "7",
        )
        cases: tuple[tuple[str | list[str | int], Any, set[int]], ...] = (
            ("user.id", 7, {0, 1}),
            ("user.id", 7.0, {0, 1}),
            ("user.id", "7", set()),
            ("user.id", None, {2}),
            ("user.name", "Ann", {0}),
            ("user", {"name": "Ann", "id": 7}, {0}),
            ("user.0", 7, {3}),
            ("user", "id", {4}),
            ("lines.1.sku", "b", {0, 1}),
            ("lines.1.count", 1.5, {0}),
            ("lines.2.sku", "b", set()),
            ("lines.-1.sku", "b", set()),
            ("lines.01.sku", "b", set()),
            ("lines.+1.sku", "b", set()),
            ("lines. 1.sku", "b", set()),
            ("lines.99999999999999999999", None, set()),
            ("lines", [], {2}),
            ("0.0", 1, {5}),
            (["0", "1", 0], 2, {5}),
            (["a.b"], True, {3}),
            ("a.b", False, {4}),
            ([""], 1, {3}),
            ("missing", None, set()),
            (["user\0"], 7, set()),
            (["\ud800"], 7, set()),
        )
        ids = await store.enqueue(*(new_job(data=text) for text in texts))

        for path, value, places in cases:
            where = Where.data_at(path, value)
            assert await store.ids(where) == [ids[place] for place in sorted(places)], path
            assert await store.ids(~where) == [job_id for place, job_id in enumerate(ids) if place not in places], path

    async def test_keys_that_look_like_numbers_of_elements_are_only_keys(self, store: Store) -> None:
        keys = ("-1", "+1", "01", " 1", "-0", "1.0", "1e0", "\uff11", "0x1", "1 ")
        ids = await store.enqueue(
            *(new_job(data=json.dumps({"a": {key: {"b": [key]}}})) for key in keys),
            new_job(data='{"a":[[1],{"b":[2]}]}'),
        )

        for job_id, key in zip(ids, keys, strict=False):
            assert await store.ids(Where.data_at(["a", key, "b", 0], key)) == [job_id], key
        assert await store.ids(Where.data_at("a.1.b.0", 2)) == ids[-1:]

    async def test_hostile_keys_and_values_are_found_each_for_itself(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(data=json.dumps({text: {"at": [text]}})) for text in TEXTS))

        for job_id, text in zip(ids, TEXTS, strict=True):
            assert await store.ids(Where.data_at([text, "at", 0], text)) == [job_id]

    async def test_the_values_at_a_path_are_compared_as_data_are(self, store: Store) -> None:
        await store.enqueue(*(new_job(data=f'{{"at":[{text}]}}') for text in _DATA if len(text) < 90))
        jobs = await store.jobs()

        for job in jobs:
            text = job.data.removeprefix('{"at":[').removesuffix("]}")
            where = DataAt(("at", "0"), canonical(text))
            expected = next((group for group in _SAME if text in group), {text})
            assert {found.data for found in await store.jobs(where)} == {f'{{"at":[{one}]}}' for one in expected}

    async def test_jobs_are_found_by_any_error_and_by_the_last_one(self, store: Store) -> None:
        both, first, cancel, none = await store.executing(*[new_job(max_attempts=5)] * 4)
        await store.settle(both, failed())
        await store.settle(first, failed())
        await store.settle(cancel, cancelled())
        [again] = [job for job in await store.claim(2) if job.id == both.id]
        await store.settle(again, Failed(replace(job_error(attempt=2), type_name="OSError"), HOUR))

        assert await store.ids(Where.error_equals("ValueError")) == [both.id, first.id, cancel.id]
        assert await store.ids(Where.error_equals("OSError")) == [both.id]
        assert await store.ids(Where.last_error_equals("OSError")) == [both.id]
        assert await store.ids(Where.last_error_equals("ValueError")) == [first.id, cancel.id]
        assert await store.ids(~Where.error_equals("ValueError")) == [none.id]
        assert await store.ids(~Where.last_error_equals("ValueError")) == [both.id, none.id]

    async def test_the_type_of_an_error_is_compared_to_the_letter(self, store: Store) -> None:
        names = [text for text in TEXTS if text]
        jobs = await store.executing(*[new_job()] * len(names))
        for job, name in zip(jobs, names, strict=True):
            error = replace(job_error('{"type_name": "other"}'), type_name=name)
            await store.settle(job, Failed(error, HOUR))

        for job, name in zip(jobs, names, strict=True):
            assert await store.ids(Where.error_equals(name)) == [job.id]
            assert await store.ids(Where.last_error_equals(name)) == [job.id]
        for name in ("other", "", "valueerror", "%", "type_name", "x\0", "\ud800"):
            if name not in names:
                for where in (Where.error_equals(name), Where.last_error_equals(name)):
                    assert await store.ids(where) == []
                    assert await store.ids(~where) == [job.id for job in jobs]

    async def test_jobs_are_found_by_when_they_were_enqueued(self, store: Store) -> None:
        ids: list[int] = []
        for step in (SECOND, MICROSECOND, MICROSECOND):
            store.clock.advance(step)
            ids += await store.enqueue(new_job(delay=HOUR))
        moment = store.now - MICROSECOND

        assert await store.ids(Where.inserted_at_before(moment)) == ids[:1]
        assert await store.ids(Where.inserted_at_after(moment)) == ids[2:]
        assert await store.ids(Where.inserted_at_older_than(MICROSECOND)) == ids[:1]
        assert await store.ids(Where.inserted_at_within_the_last(MICROSECOND)) == ids[1:]
        assert await store.ids(~Where.inserted_at_within_the_last(MICROSECOND)) == ids[:1]
        assert await store.ids(Where.inserted_at_within_the_last(timedelta(days=365_000))) == ids

    async def test_executors_are_found_by_their_names(self, store: Store) -> None:
        first, second, third = await store.enqueue(new_job(ALPHA), new_job(BETA), new_job("third"))

        assert await store.ids(Where.executor_equals(BETA)) == [second]
        assert await store.ids(Where.executor_in(ALPHA, "third", "nobody")) == [first, third]
        assert await store.ids(Where.executor_in()) == []
        with expect(ConfigurationError):
            Where.executor_in(["a"])  # pyright: ignore[reportArgumentType] - that is the test

    async def test_metadata_left_out_equals_none(self, store: Store) -> None:
        without, null, given = await store.enqueue(new_job(), new_job(metadata="null"), new_job(metadata='{"by":1.0}'))

        assert await store.ids(Where.metadata_equals(None)) == [without, null]
        assert await store.ids(~Where.metadata_equals(None)) == [given]
        assert await store.ids(Where.metadata_equals({"by": 1})) == [given]
        assert await store.ids(~Where.metadata_equals({"by": 1})) == [without, null]

    async def test_one_of_several_ids_is_found(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 4)

        assert await store.ids(Where.id_equals(ids[1])) == [ids[1]]
        assert await store.ids(Where.id_in(ids[3], ids[0])) == [ids[0], ids[3]]
        assert await store.ids(~Where.id_in(ids[3], ids[0])) == ids[1:3]

    async def test_no_values_find_nothing_and_no_parts_what_is_neutral(self, store: Store) -> None:
        ids = await store.enqueue(new_job(tags=("a",)), new_job())
        nothing = (Where.id_in(), Where.status_in(), Where.tagged_by_one_of(), Or(()), ExecutorIn(frozenset()))
        everything = (Where.tagged_by_all_of(), And(()), Everything())

        for where in nothing:
            assert await store.ids(where) == []
            assert await store.ids(~where) == ids
        for where in everything:
            assert await store.ids(where) == ids
            assert await store.ids(~where) == []

    async def test_each_status_is_found(self, store: Store) -> None:
        ids = {status: (await store.job_in(status, new_job(str(status)))).id for status in JobStatus}

        for status in JobStatus:
            assert await store.ids(Where.status_equals(status)) == [ids[status]]
            assert await store.ids(~Where.status_equals(status)) == [
                ids[other] for other in JobStatus if other != status
            ]
        some = (JobStatus.COMPLETE, JobStatus.SCHEDULED)
        assert await store.ids(Where.status_in(*some)) == [ids[JobStatus.SCHEDULED], ids[JobStatus.COMPLETE]]
        assert await store.ids(Where.status_in(*JobStatus)) == list(ids.values())

    async def test_tags_are_found_to_the_letter(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(tags=(tag, "common")) for tag in _TAGS), new_job())

        for job_id, tag in zip(ids, _TAGS, strict=False):
            assert await store.ids(Where.tagged_by_one_of(tag)) == [job_id]
            assert await store.ids(Where.tagged_by_all_of(tag)) == [job_id]
            assert await store.ids(Where.tagged_by_all_of("common", tag)) == [job_id]
        assert await store.ids(Where.tagged_by_one_of("common")) == ids[:-1]
        assert await store.ids(Where.tagged_by_one_of("", "A ", "commo", "common%")) == []

    async def test_hostile_tags_are_found_each_for_itself(self, store: Store) -> None:
        tags = sorted({text[:128] for text in TEXTS if text})
        ids = await store.enqueue(*(new_job(tags=(tag,)) for tag in tags))

        for job_id, tag in zip(ids, tags, strict=True):
            assert await store.ids(Where.tagged_by_one_of(tag)) == [job_id]
        assert await store.ids(Where.tagged_by_one_of(*tags)) == ids

    async def test_tags_and_names_that_no_job_can_have_are_found_nowhere(self, store: Store) -> None:
        ids = await store.enqueue(new_job("a", tags=("a", "b")))

        for text in ("a\0b", "a\0", "\0", "a\ud800", "\udfff"):
            for where in (
                Where.tagged_by_one_of(text),
                Where.tagged_by_all_of("a", text),
                _executor(text),
            ):
                assert await store.ids(where) == []
                assert await store.ids(~where) == ids
            assert await store.ids(Where.tagged_by_one_of("a", text)) == ids
            assert await store.ids(ExecutorIn(frozenset({"a", text}))) == ids

    async def test_one_or_all_of_the_tags_are_asked_for(self, store: Store) -> None:
        first, second, both, without = await store.enqueue(
            new_job(tags=("a", "x")), new_job(tags=("b",)), new_job(tags=("b", "a")), new_job()
        )

        assert await store.ids(Where.tagged_by_one_of("a", "b", "c")) == [first, second, both]
        assert await store.ids(Where.tagged_by_all_of("a", "b")) == [both]
        assert await store.ids(Where.tagged_by_all_of("a", "b", "c")) == []
        assert await store.ids(~Where.tagged_by_one_of("a")) == [second, without]
        assert await store.ids(~Where.tagged_by_all_of("a", "b")) == [first, second, without]

    async def test_moments_are_compared_to_the_microsecond(self, store: Store) -> None:
        moment = store.now + timedelta(seconds=1, microseconds=123_457)
        early, exact, late = await store.enqueue(
            *(new_job(scheduled_at=moment + by) for by in (-MICROSECOND, timedelta(0), MICROSECOND))
        )

        assert await store.ids(Where.scheduled_at_before(moment)) == [early]
        assert await store.ids(Where.scheduled_at_equals(moment)) == [exact]
        assert await store.ids(Where.scheduled_at_after(moment)) == [late]
        assert await store.ids(~Where.scheduled_at_equals(moment)) == [early, late]
        assert await store.ids(~Where.scheduled_at_before(moment)) == [exact, late]

    async def test_ages_count_from_the_stores_time(self, store: Store) -> None:
        ids = await store.enqueue(
            *(new_job(scheduled_at=store.now + by) for by in (-HOUR - MICROSECOND, -HOUR, timedelta(0), MICROSECOND))
        )

        assert await store.ids(Where.scheduled_at_older_than(HOUR)) == ids[:1]
        assert await store.ids(Where.scheduled_at_within_the_last(HOUR)) == ids[1:3]
        assert await store.ids(Where.scheduled_at_older_than(timedelta(0))) == ids[:2]
        store.clock.advance(MICROSECOND)
        assert await store.ids(Where.scheduled_at_older_than(HOUR)) == ids[:2]
        assert await store.ids(Where.scheduled_at_within_the_last(HOUR)) == ids[2:]
        assert await store.ids(~Where.scheduled_at_within_the_last(HOUR)) == ids[:2]

    async def test_the_longest_ages_are_returned(self, store: Store) -> None:
        ids = await store.enqueue(new_job(), new_job(delay=HOUR))
        ever = timedelta(days=365_000)

        assert await store.ids(Where.scheduled_at_older_than(ever)) == []
        assert await store.ids(Where.scheduled_at_within_the_last(ever)) == ids[:1]

    async def test_keys_are_found_and_their_negation_finds_jobs_without_one(self, store: Store) -> None:
        key = UniquenessCriteria.by_key("one")
        other = UniquenessCriteria.by_key("two")
        with_key, with_other, without = await store.enqueue(
            new_job(unique=key), new_job(unique=other), new_job(unique=None)
        )
        where = KeyIs(key.key or "")

        assert await store.ids(where) == [with_key]
        assert await store.ids(Not(where)) == [with_other, without]
        assert await store.ids(Not(Or((where, _executor(BETA))))) == [with_other, without]

    async def test_an_or_beside_an_and_reaches_no_further_than_its_parentheses(self, store: Store) -> None:
        mine, other = await store.enqueue(new_job(ALPHA, tags=("a",)), new_job(BETA, tags=("a",)))
        tagged, not_due = Where.tagged_by_one_of("a"), Where.scheduled_at_after(store.now)

        assert await store.ids(_executor(ALPHA) & (not_due | tagged)) == [mine]
        assert await store.ids((not_due | tagged) & _executor(ALPHA)) == [mine]
        assert await store.ids(_executor(ALPHA) & not_due | tagged) == [mine, other]
        assert await store.ids(~(_executor(ALPHA) | not_due)) == [other]
        assert await store.ids(~(_executor(ALPHA) & tagged) & tagged) == [other]
        assert await store.ids(~~_executor(ALPHA)) == [mine]
