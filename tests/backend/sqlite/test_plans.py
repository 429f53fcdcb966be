"""SQLite's plans: what runs under the write lock walks its index, however many jobs there are."""

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import JobStatus, Replace, SQLiteBackend, UniquenessCriteria
from rexecutor.backend import overview
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.where import compile_where
from rexecutor.backend.sqlite.dialect import DIALECT
from rexecutor.backend.sqlite.operations import SCRIPTS
from rexecutor.model import rules
from rexecutor.model.job import NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.stats import MINUTE, NO_COUNTS, OutcomeKind, StatRow
from rexecutor.model.status import WAITING
from rexecutor.model.where import Everything, ExecutorIn, KeyIs, StatusIn, Where
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import HOUR, new_job

PACKAGE = "rexecutor.backend.sqlite"
KEY = UniquenessCriteria.by_key("order 7")
BY_EXECUTOR = UniquenessCriteria.by_executor()

EXPECTED = {
    "by key": (KEY, "open_key"),
    "by key and executor": (KEY.and_executor(), "open_key"),
    "by key and window": (KEY.and_within(HOUR), "unique_key"),
    "by key, executor and window": (KEY.and_executor().and_within(HOUR), "unique_key"),
    "by key, whatever the status": (KEY.and_statuses(*JobStatus), "unique_key"),
    "by executor": (BY_EXECUTOR, "open"),
    "by executor, scheduled only": (BY_EXECUTOR.and_statuses(JobStatus.SCHEDULED), "open"),
    "by executor, window and open statuses": (
        BY_EXECUTOR.and_within(HOUR).and_statuses(JobStatus.SCHEDULED, JobStatus.EXECUTING),
        "open",
    ),
    "by executor and window": (BY_EXECUTOR.and_within(HOUR), "scheduled"),
    "by executor, whatever the status": (BY_EXECUTOR.and_statuses(*JobStatus), "scheduled"),
}


def job(executor: str = "alpha", *, key: object = None, delay: timedelta = timedelta(0)) -> NewJob:
    return new_job(executor, delay=delay, unique=None if key is None else UniquenessCriteria.by_key(key))


@pytest.fixture(params=[1_500, 0], ids=["many jobs", "no jobs"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    jobs: int = request.param
    async with SQLiteBackend(tmp_path / "jobs.db") as made:
        ids = [answer.id for answer in await made.enqueue([job()] * jobs)]
        await finish(made, ids)
        await made.enqueue([job(key=number, delay=number * HOUR / 10) for number in range(jobs)])
        await made.enqueue([job("beta", delay=number * HOUR / 10) for number in range(jobs)])
        yield made


async def finish(backend: SQLiteBackend, ids: list[int]) -> None:
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("n", "n", HOUR))
    claim = await backend.claim(Demand({"alpha": len(ids) + 1}, len(ids) + 1), "n")
    assert len(claim.jobs) == min(len(ids), 1_000) or len(claim.jobs) == len(ids)
    await backend.settle([Settlement(one.id, one.claims, Complete()) for one in claim.jobs])
    heartbeats.close()


async def explain(backend: SQLiteBackend, text: str, parameters: Mapping[str, object]) -> str:
    def ask(connection: sqlite3.Connection) -> str:
        return " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters))

    return await backend._writer.run(ask)


async def plan(backend: SQLiteBackend, name: str, **parameters: object) -> str:
    return await explain(backend, statement(PACKAGE, name), parameters)


async def plan_of_conflicting(
    backend: SQLiteBackend, unique: UniquenessCriteria, statuses: frozenset[JobStatus]
) -> str:
    where = rules.conflicting(new_job(), unique, backend.clock.now()) & StatusIn(statuses)
    compiled = compile_where(where, DIALECT)
    text = statement(PACKAGE, "select_conflicting").replace("/* where */", compiled.text)
    return await explain(backend, text.replace("/* index */", SCRIPTS.index_for(unique, statuses)), compiled.parameters)


async def analyze(backend: SQLiteBackend) -> None:
    await backend._writer.run(lambda connection: connection.execute("ANALYZE") and None)


def walks(found: str, index: str) -> bool:
    uses = (f"USING INDEX rexecutor_{index} (", f"USING COVERING INDEX rexecutor_{index} (")
    return any(use in found for use in uses) and not any(reads_all(step) for step in found.split(" | "))


def reads_all(step: str) -> bool:
    """Whether a step of a plan reads all stored jobs, or all that wait. Those that run are few."""
    return step.startswith(("SCAN rexecutor_stored_jobs", "SCAN job", "SCAN rexecutor_queue", "SCAN waiting"))


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("name", EXPECTED)
async def test_what_stands_in_the_way_is_found_by_an_index(
    backend: SQLiteBackend, name: str, *, is_analyzed: bool
) -> None:
    unique, index = EXPECTED[name]
    if is_analyzed:
        await analyze(backend)

    found = await plan_of_conflicting(backend, unique, unique.statuses)
    to_replace = await plan_of_conflicting(backend, unique, Replace.priority().statuses)

    assert walks(found, f"jobs_{index}"), found
    assert walks(to_replace, "jobs_open_key" if index.endswith("key") else "jobs_open"), to_replace
    assert "TEMP B-TREE" not in found, found
    if unique.window is not None:
        assert "scheduled_at>? AND scheduled_at<?" in found, found


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_prune_walks_the_index_of_ended_jobs_and_sorts_nothing(
    backend: SQLiteBackend, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        await analyze(backend)
    for found in (
        await plan(backend, "select_ended", status="complete", executor="alpha", before=1, ended_at=0, id=0, limit=9),
        await plan(backend, "count_ended", status="complete", executor="alpha"),
        await plan(backend, "select_ended_executors", status="complete"),
    ):
        assert walks(found, "jobs_ended"), found
        assert "TEMP B-TREE" not in found, found
    deletes = await plan(backend, "delete_ended", status="complete", doomed="[[1, 2]]")
    assert "SEARCH rexecutor_stored_jobs USING INTEGER PRIMARY KEY" in deletes, deletes
    assert "SEARCH job USING INTEGER PRIMARY KEY" in deletes, deletes


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_the_claim_still_walks_its_own_index(backend: SQLiteBackend, *, is_analyzed: bool) -> None:
    if is_analyzed:
        await analyze(backend)

    for found in (
        await plan(backend, "select_due_jobs", executor="alpha", now=1, slots=10),
        await plan(backend, "select_due_executors"),
    ):
        assert walks(found, "queue_due"), found
        assert "TEMP B-TREE" not in found, found
    promotes = await plan(backend, "promote_jobs", now=1, limit=10)
    assert walks(promotes, "queue_later"), promotes


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_count_of_one_executors_jobs_reads_only_its_rows(backend: SQLiteBackend, *, is_analyzed: bool) -> None:
    if is_analyzed:
        await analyze(backend)
    alone = ExecutorIn(frozenset({"alpha"}))

    for where in (alone, alone & StatusIn(frozenset({JobStatus.COMPLETE}))):
        count = SCRIPTS.where("count_jobs", where, None)
        found = await explain(backend, count.text, count.parameters)

        assert "SEARCH job USING INDEX rexecutor_jobs_" in found, found
        assert "(executor=?" in found, found


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_the_jobs_that_run_are_found_among_all_others_by_what_runs(
    backend: SQLiteBackend, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        await analyze(backend)

    page = SCRIPTS.where("select_jobs", StatusIn(frozenset({JobStatus.EXECUTING})), None, after=0, limit=10)
    found = await explain(backend, page.text, page.parameters)

    assert "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)" in found, found
    assert "TEMP B-TREE" not in found, found


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize(
    "where",
    [Everything(), StatusIn(WAITING), ExecutorIn(frozenset({"alpha"}))],
    ids=["everything", "waiting", "by executor"],
)
async def test_the_newest_jobs_are_read_backwards_without_a_sort(
    backend: SQLiteBackend, where: Where, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        await analyze(backend)

    for name in ("select_newest_jobs", "select_newest_ids", "select_ids"):
        page = SCRIPTS.where(name, where, None, after=2**63 - 1, limit=10)
        found = await explain(backend, page.text, page.parameters)
        assert "TEMP B-TREE" not in found, found
        assert not reads_all(found.split(" | ")[0]), found


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        Everything(),
        ExecutorIn(frozenset({"alpha"})),
        StatusIn(WAITING),
        KeyIs("k"),
        StatusIn(frozenset({JobStatus.COMPLETE})),
    ],
    ids=["everything", "by executor", "waiting", "by key", "complete"],
)
async def test_jobs_to_change_are_found_by_their_ids_whatever_else_they_must_match(
    backend: SQLiteBackend, where: Where, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        await analyze(backend)

    chosen = SCRIPTS.where("select_chosen_jobs", where, None, ids="[1, 2, 3]")
    found = await explain(backend, chosen.text, chosen.parameters)

    assert "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)" in found, found


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_expired_jobs_are_found_by_their_index(backend: SQLiteBackend, *, is_analyzed: bool) -> None:
    if is_analyzed:
        await analyze(backend)

    found = await plan(backend, "select_expired", earliest=0, now=1, limit=10)

    assert walks(found, "queue_expiring"), found
    assert "SEARCH job USING INTEGER PRIMARY KEY" in found, found
    assert "TEMP B-TREE" not in found, found


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_the_load_walks_the_index_of_jobs_that_have_not_ended(
    backend: SQLiteBackend, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        await analyze(backend)

    names = await plan(backend, "select_waiting_executors")
    counts = await plan(backend, "count_waiting", executor="alpha", most=10, now=1)
    holders = await plan(backend, "select_holders", executor=None)

    assert walks(names, "jobs_open"), names
    assert "(executor>?)" in names, names
    assert walks(counts, "jobs_open"), counts
    assert "(executor=?)" in counts, counts
    assert "USING ROWID SEARCH ON TABLE rexecutor_running" in counts, counts
    assert "TEMP B-TREE" not in names + counts
    assert not any(map(reads_all, holders.split(" | "))), holders


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_the_history_is_read_and_written_by_its_key(backend: SQLiteBackend, *, is_analyzed: bool) -> None:
    moments = [backend.clock.now() - number * HOUR for number in range(100)]
    await backend.add_stats(
        [
            StatRow(moment, "alpha", OutcomeKind.COMPLETE, 1, NO_COUNTS, NO_COUNTS, span)
            for moment in moments
            for span in (MINUTE, HOUR)
        ]
    )
    if is_analyzed:
        await analyze(backend)
    key = {"minutes": 1, "moment": 1, "executor": "alpha", "outcome": "complete"}
    by_key = "SEARCH rexecutor_stats USING PRIMARY KEY (minutes=? AND moment"

    read = await plan(backend, "select_stats", since=1)
    one = await plan(backend, "select_stat", **key)
    put = await plan(backend, "put_stat", **key, attempts=1, waits="[]", runs="[]")
    minutes = await plan(backend, "take_minutes", before=1, limit=10)
    hours = await plan(backend, "delete_hours", before=1, limit=10)

    assert f"{by_key}>?)" in read, read
    assert f"{by_key}=? AND executor=? AND outcome=?)" in one, one
    assert "SCAN" not in put, put
    for found in (minutes, hours):
        assert f"{by_key}<?)" in found, found  # the oldest ones
        assert f"{by_key}=?" in found, found  # which are deleted
        assert "SCAN rexecutor_stats" not in found, found
        assert "TEMP B-TREE" not in found, found


async def test_a_load_reads_no_more_jobs_than_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MOST_COUNTED", 1_000)
    jobs = [job(executor, delay=delay) for executor in "abcd" for delay in (-HOUR, HOUR)]
    async with SQLiteBackend(tmp_path / "jobs.db") as backend:
        await backend.enqueue([job("few"), *jobs * 500])
        some = await steps(backend, None)
        await backend.enqueue(jobs * 1_000)

        more = await steps(backend, None)
        loads = await backend.load()

    assert [(load.waiting, load.counted_to) for load in loads] == [(250, 249)] * 4 + [(1, 200)]
    assert more <= some * 1.1 + 10


async def steps(backend: SQLiteBackend, work: NewJob | PruneSpec | None) -> int:
    """Count the virtual machine's steps of an enqueue, a prune or a load, by tens: the same on every machine."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    thread = backend._reader if work is None else backend._writer
    await thread.run(lambda connection: connection.set_progress_handler(count, 10))
    if work is None:
        await backend.load()
    elif isinstance(work, NewJob):
        await backend.enqueue([work])
    else:
        await backend.prune(work, 10)
    await thread.run(lambda connection: connection.set_progress_handler(None, 0))
    return counted


@pytest.mark.parametrize("unique", [KEY, BY_EXECUTOR, BY_EXECUTOR.and_within(HOUR)], ids=["key", "executor", "window"])
async def test_a_unique_enqueue_costs_the_same_beside_many_jobs(tmp_path: Path, unique: UniquenessCriteria) -> None:
    async with SQLiteBackend(tmp_path / "jobs.db") as backend:
        await backend.enqueue([new_job(unique=unique)])
        new = new_job(unique=unique.on_conflict(Replace.data()))
        alone = await steps(backend, new)
        await backend.enqueue(
            [job("beta")] * 5_000 + [job(delay=100 * HOUR)] * 5_000 + [job(delay=-100 * HOUR)] * 5_000
        )

        beside = await steps(backend, new)

    assert beside <= alone * 1.5 + 10


@pytest.mark.parametrize("what", [BeyondNewest(10_000), OlderThan(HOUR)], ids=["newest", "age"])
async def test_a_prune_that_finds_nothing_does_not_read_what_has_not_ended(
    tmp_path: Path, what: BeyondNewest | OlderThan
) -> None:
    async with SQLiteBackend(tmp_path / "jobs.db") as backend:
        await finish(backend, [answer.id for answer in await backend.enqueue([job()])])
        spec = PruneSpec(JobStatus.COMPLETE, what)
        alone = await steps(backend, spec)
        await backend.enqueue([job(), job("beta"), job("gamma")] * 5_000)

        beside = await steps(backend, spec)

    assert beside <= alone * 1.5 + 10


async def test_a_page_of_an_executors_jobs_is_read_in_the_order_of_ids_without_a_sort(backend: SQLiteBackend) -> None:
    where = ExecutorIn(frozenset({"alpha"})) & StatusIn(frozenset({JobStatus.SCHEDULED, JobStatus.RETRYABLE}))
    compiled = compile_where(where, DIALECT)
    text = statement("rexecutor.backend.sqlite", "select_jobs").replace("/* where */", compiled.text)

    def explain(connection: sqlite3.Connection) -> str:
        rows = connection.execute(
            f"EXPLAIN QUERY PLAN {text}", compiled.parameters | {"now": 0, "after": 0, "limit": 10}
        )
        return " ".join(str(row[3]) for row in rows)

    found = await backend._reader.run(explain)

    assert "TEMP B-TREE" not in found, found


@pytest.mark.parametrize("jobs", [0, 2_000])
async def test_what_a_worker_does_all_day_walks_an_index_and_sorts_nothing(tmp_path: Path, jobs: int) -> None:
    statements: list[str] = []
    due, later = [new_job(priority=n % 7) for n in range(jobs)], new_job(delay=timedelta(days=1))
    async with SQLiteBackend(tmp_path / "jobs.db", clock=FakeClock()) as backend:
        await backend.enqueue([*due, *[later] * jobs, new_job()])
        await backend._writer.run(lambda connection: connection.set_trace_callback(statements.append))

        with closing(backend.heartbeat_connection()) as heartbeats:
            heartbeats.send(Node("n", "n", HOUR))
        claim = await backend.claim(Demand({"alpha": 100}, 100), "n")
        await backend.settle([Settlement(one.id, one.claims, Complete()) for one in claim.jobs])

        await backend._writer.run(lambda connection: connection.set_trace_callback(None))
        assert len(claim.jobs) == min(jobs + 1, 100)
        tables = ("rexecutor_stored_jobs", "rexecutor_queue", "rexecutor_running")
        texts = [text for text in statements if any(table in text for table in tables)]
        assert len(texts) >= 8
        for text in texts:
            steps = (await explain(backend, text, {})).split(" | ")
            for step in steps:
                assert "TEMP B-TREE" not in step, (text, step)
                assert not reads_all(step) or "INDEX" in step, (text, step)
