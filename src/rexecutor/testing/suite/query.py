"""Queries: every kind of expression, and pages."""

from collections import Counter

from rexecutor.backend.messages import PAGE, Count
from rexecutor.model import rules
from rexecutor.model.outcomes import Complete, Snooze
from rexecutor.model.status import JobStatus
from rexecutor.model.where import MAX_LEVELS, MAX_PARTS, And, Everything, ExecutorIn, IdIn, Not, Or, StatusIn, Where
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, Store, cancelled, failed, new_job

_A = ExecutorIn(frozenset({ALPHA}))
_B = ExecutorIn(frozenset({BETA}))
_DONE = StatusIn(frozenset({JobStatus.COMPLETE}))
_WAITING = StatusIn(frozenset({JobStatus.SCHEDULED, JobStatus.RETRYABLE}))
_FIRST = IdIn(frozenset({1, 2, 3}))

_EXPRESSIONS: tuple[Where, ...] = (
    Everything(),
    Not(Everything()),
    _A,
    _B,
    _DONE,
    _WAITING,
    _FIRST,
    ExecutorIn(frozenset()),
    ExecutorIn(frozenset({ALPHA, BETA})),
    ExecutorIn(frozenset({"nobody"})),
    StatusIn(frozenset()),
    StatusIn(frozenset(JobStatus)),
    IdIn(frozenset()),
    And(()),
    Or(()),
    Not(And(())),
    Not(Or(())),
    Not(_A),
    Not(Not(_A)),
    And((_A,)),
    Or((_A,)),
    And((_A, _DONE)),
    Or((_A, _DONE)),
    And((_A, Or((_DONE, _WAITING)))),
    Or((And((_A, _DONE)), And((_B, _WAITING)))),
    And((Or((_A, _DONE)), _FIRST)),
    Or((_A, And((_B, _DONE)))),
    Not(And((_A, _DONE))),
    Not(Or((_A, _DONE))),
    And((Not(_A), Not(_DONE))),
    Or((Not(_A), Not(_DONE), _FIRST)),
    And((Not(Or((_A, Not(_FIRST)))), Or((_DONE, Not(_WAITING))))),
    And((Everything(), Or((Not(Everything()), _B)))),
)


class QueryCases(Cases):
    """A query returns the jobs for which `rules.matches` is true, in order of id."""

    async def test_every_kind_of_expression_finds_what_the_rules_say(self, store: Store) -> None:
        await _fill(store)
        jobs = await store.jobs()

        for where in _EXPRESSIONS:
            assert await store.jobs(where) == [job for job in jobs if rules.matches(where, job, store.now)], where

    async def test_the_same_expressions_count_what_the_rules_say(self, store: Store) -> None:
        await _fill(store)
        jobs = await store.jobs()

        for where in _EXPRESSIONS:
            meant = Counter((job.executor, job.status) for job in jobs if rules.matches(where, job, store.now))
            counts = [Count(executor, status, meant[executor, status]) for executor, status in sorted(meant)]
            assert list(await store.backend.count(where)) == counts, where
        assert list(await store.backend.count()) == list(await store.backend.count(Everything()))

    async def test_ages_are_counted_on_the_stores_clock(self, store: Store) -> None:
        await store.enqueue(new_job(), new_job(delay=HOUR))

        due = Where.scheduled_at_within_the_last(HOUR)

        assert [count.jobs for count in await store.backend.count(due)] == [1]
        store.clock.advance(HOUR)
        assert [count.jobs for count in await store.backend.count(due)] == [2]

    async def test_all_jobs_are_returned_in_the_order_of_their_ids(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(priority=9 - number, delay=HOUR) for number in range(10)))

        assert await store.ids(Everything()) == ids

    async def test_each_status_finds_its_own_jobs(self, store: Store) -> None:
        await _fill(store)

        found = {status: await store.jobs(StatusIn(frozenset({status}))) for status in JobStatus}

        assert all(jobs for jobs in found.values())
        assert all(job.status is status for status, jobs in found.items() for job in jobs)

    async def test_executors_are_told_apart_by_case(self, store: Store) -> None:
        await store.enqueue(new_job("Email"), new_job("email"))

        assert [job.executor for job in await store.jobs(ExecutorIn(frozenset({"email"})))] == ["email"]

    async def test_no_more_than_the_limit_are_returned(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 5)

        assert [job.id for job in await store.backend.query(Everything(), limit=3)] == ids[:3]

    async def test_without_a_limit_one_page_is_returned(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * (PAGE + 1))

        assert [job.id for job in await store.backend.query(Everything())] == ids[:PAGE]

    async def test_a_page_begins_after_an_id(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 5)

        page = await store.backend.query(Everything(), limit=2, after=ids[1])

        assert [job.id for job in page] == ids[2:4]

    async def test_a_page_begins_after_an_id_that_is_not_there(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 3)

        assert [job.id for job in await store.backend.query(Everything(), after=ids[0] - 1)] == ids
        assert list(await store.backend.query(Everything(), after=ids[-1] + 100)) == []

    async def test_page_after_page_returns_every_job_once(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job((ALPHA, BETA)[number % 2]) for number in range(23)))
        found: list[int] = []
        while page := await store.backend.query(_A, limit=5, after=found[-1] if found else None):
            found += [job.id for job in page]

        assert found == ids[::2]

    async def test_the_newest_jobs_come_first_if_asked_for(self, store: Store) -> None:
        await _fill(store)
        jobs = await store.jobs()

        for where in _EXPRESSIONS:
            meant = [job for job in reversed(jobs) if rules.matches(where, job, store.now)]
            assert list(await store.backend.query(where, newest=True)) == meant, where
            assert list(await store.backend.query(where, newest=True, limit=3)) == meant[:3], where

    async def test_page_after_page_of_the_newest_jobs_returns_every_job_once(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job((ALPHA, BETA)[number % 2]) for number in range(23)))
        found: list[int] = []
        while page := await store.backend.query(_A, limit=5, after=found[-1] if found else None, newest=True):
            found += [job.id for job in page]

        assert found == ids[::2][::-1]

    async def test_a_page_of_the_newest_jobs_begins_below_an_id_that_need_not_be_there(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 3)
        backend = store.backend

        assert [job.id for job in await backend.query(Everything(), after=2**63, newest=True)] == ids[::-1]
        assert [job.id for job in await backend.query(Everything(), after=ids[-1] + 100, newest=True)] == ids[::-1]
        assert list(await backend.query(Everything(), after=ids[0], newest=True)) == []
        assert list(await backend.query(Everything(), after=-(2**64), newest=True)) == []
        assert [job.id for job in await backend.query(Everything(), after=-(2**64))] == ids
        assert list(await backend.query(Everything(), after=2**64)) == []

    async def test_ids_are_those_of_the_same_page_of_jobs(self, store: Store) -> None:
        await _fill(store)
        [*_, middle, _, _] = await store.jobs()

        for where in _EXPRESSIONS:
            for newest in (False, True):
                jobs = await store.backend.query(where, limit=4, after=middle.id, newest=newest)
                ids = await store.backend.query_ids(where, limit=4, after=middle.id, newest=newest)
                assert list(ids) == [job.id for job in jobs], where
            assert list(await store.backend.query_ids(where)) == await store.ids(where)

    async def test_thousands_of_ids_may_be_asked_for(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 10)

        assert await store.ids(IdIn(frozenset(range(ids[3], ids[3] + 50_000)))) == ids[3:]

    async def test_an_expression_as_wide_as_allowed_is_returned(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 6)
        each = [IdIn(frozenset({job_id})) for job_id in range(ids[2], ids[2] + MAX_PARTS)]

        assert await store.ids(Or(tuple(each))) == ids[2:]
        assert await store.ids(And(tuple(Not(one) for one in each[: MAX_PARTS // 2]))) == ids[:2]

    async def test_an_expression_as_deep_as_allowed_is_returned(self, store: Store) -> None:
        ids = await store.enqueue(new_job(ALPHA, tags=("t",)), new_job(BETA))
        tagged = Where.tagged_by_all_of("t", "t")

        for is_first in (True, False):
            for width in (1, 2, 7, 39, 60):
                assert await store.ids(_deep(tagged, width, is_first=is_first)) == ids[:1], (is_first, width)
                assert await store.ids(_deep(~tagged, width, is_first=is_first)) == ids[1:], (is_first, width)

    async def test_an_expression_with_all_its_depth_in_negations_is_returned(self, store: Store) -> None:
        ids = await store.enqueue(new_job(ALPHA), new_job(BETA))
        where: Where = _A
        while where.levels < MAX_LEVELS:
            where = Not(Or((_B, Not(where))))

        assert await store.ids(where) == ids[:1]


def _deep(inmost: Where, width: int, *, is_first: bool) -> Where:
    """Wrap `inmost` in `And` and `Or` by turns, as deep as allowed, with up to `width` neutral parts on each level."""
    where = inmost
    while where.levels < MAX_LEVELS and where.parts_in_all + width < MAX_PARTS:
        kind, neutral = (And, Everything()) if where.levels % 2 else (Or, Not(Everything()))
        others: tuple[Where, ...] = (neutral,) * (width if kind is And else max(width // 2, 1))
        where = kind((where, *others) if is_first else (*others, where))
    return where


async def _fill(store: Store) -> None:
    """Fill the store with jobs of two executors in every status, and one of a third executor."""
    for executor in (ALPHA, BETA):
        done, _, dropped, failing, snoozed, _ = [
            (await store.executing(new_job(executor, max_attempts=attempts)))[0] for attempts in (5, 5, 5, 1, 5, 5)
        ]
        await store.settle(done, Complete())
        await store.settle(dropped, cancelled())
        await store.settle(failing, failed())
        await store.settle(snoozed, Snooze(HOUR))
        [job] = await store.executing(new_job(executor))
        await store.settle(job, failed(delay=HOUR))
    await store.enqueue(new_job(ALPHA), new_job("third"))
