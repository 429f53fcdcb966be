"""S31: SQL where text is expected."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from demo.postgres_server import NEWEST, PostgresServer, binaries
from rexecutor import (
    Backend,
    ConfigurationError,
    DefinitionError,
    Executor,
    InvalidJobError,
    Job,
    JobStatus,
    PostgresBackend,
    Replace,
    RexecutorError,
    UniquenessCriteria,
    Where,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.jobs.schedules import cron_schedule
from rexecutor.model.job import ErrorKind, JobError, storable
from rexecutor.model.outcomes import Failed, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import CatchUp, Schedule
from rexecutor.model.where import ExecutorIn
from tests.faults.injections import PAYLOADS, hostile_texts, statements_given
from tests.faults.manual_sql import ManualSql
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import SETTINGS, backend_at, prepare

STATISTICS = "pg_stat_statements"
NODE = "attacked"
CLAIMS = "-- rexecutor: claim_"
"""How claims begin on PostgreSQL. After a slow claim, the next ones have another form."""
CHANCE = ("wal_checkpoint", "busy_timeout", CLAIMS, STATISTICS)
"""What stands in statements that depend on the size of the log or on speed alone, or are this scenario's own."""


class Attacked(Executor[Any, Any, Any]):
    name = "attacked"

    async def execute(self, job: Job[Any, Any, Any]) -> None: ...


async def run(ground: Ground) -> Report:
    """Do everything with a harmless text; then with hostile ones, which must not lead to one statement more."""
    report = Report(figures={"texts": 0, "refused": 0})
    with server_with_statistics("#" in ground.store) as url:
        store = ground.store if url is None else f"{url}#rexecutor"
        if url is not None:
            await prepare(store)
        with ManualSql(store) as manual_sql, statements_given() as given:
            manual_sql.run("CREATE TABLE canary (secret text)")
            manual_sql.run("INSERT INTO canary VALUES ('alive')")
            async with backend_at(store) as backend:
                for text in ("harmless", "b", "Harmless.2"):
                    await attack(report, backend, text)
                harmless, known = set(given), texts_at_server(manual_sql, url)
                for text in [*PAYLOADS, *hostile_texts(ground.size(2_000, 30), ground.seed)]:
                    await attack(report, backend, text)
                await Attacked.builder().with_data("the last").enqueue(backend=backend)
            more = {text for text in given - harmless if not any(word in text for word in CHANCE)}
            report.figures["statements"] = len(given)
            report.expect(f"{len(more)} statements more: {sorted(more)[:3]}"[:500], not more)
            report.figures["statements_at_the_server"] = texts_at_server(manual_sql, url)
            report.expect("the server saw none but those", report.figures["statements_at_the_server"] == known)
            report.expect("the canary is alive", manual_sql.run("SELECT secret FROM canary") == [("alive",)])
            report.expect("the jobs are there", manual_sql.run("SELECT count(*) FROM {jobs}")[0][0] > 0)
            manual_sql.run("DROP TABLE canary")
    return report


async def attack(report: Report, backend: Backend, text: str) -> None:
    """Put the text everywhere; note whatever is not as if it were harmless."""
    report.figures["texts"] += 1
    try:
        await attack_jobs(report, backend, text)
        await attack_port(report, backend, text)
    except (InvalidJobError, ConfigurationError):
        report.figures["refused"] += 1
        report.expect(f"{text[:50]!r} is refused", not is_harmless(text))
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        report.expect(f"{text[:50]!r}: {type(error).__name__}: {str(error)[:200]}", False)
    attack_names(report, text)


def is_harmless(text: str) -> bool:
    """Whether every store may hold it."""
    return bool(text) and "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


async def attack_jobs(report: Report, backend: Backend, text: str) -> None:
    """Enqueue, find, change, cancel and rerun a job that holds the text wherever it may."""
    key = UniquenessCriteria.by_key({text: text}).on_conflict(Replace.data().and_metadata())
    builder = Attacked.builder().with_data({text: [text]}).with_metadata(text).with_tags(text[:128], "tag").unique(key)
    [handle] = await enqueue_many([builder], backend=backend)
    [again] = await enqueue_many([builder], backend=backend)
    job = await handle.fetch()
    kept = (job.data, job.metadata, job.tags)
    report.expect(
        f"{text[:50]!r} comes back", kept == ({text: [text]}, text, tuple(dict.fromkeys((text[:128], "tag"))))
    )
    report.expect(f"{text[:50]!r} is one key", again.id == handle.id)
    described = Where.data_equals({text: [text]}) & Where.metadata_equals(text) & Where.tagged_by_all_of(text[:128])
    found = await Attacked.query_jobs(described & Where.tagged_by_one_of(text[:128]), backend=backend)
    report.expect(f"{text[:50]!r} is found", [one.id for one in found] == [handle.id])
    none = await Attacked.query_jobs(described & ~Where.data_equals({text: [text]}), backend=backend)
    report.expect(f"{text[:50]!r} is found by nothing else", none == [])
    await Attacked.update_job(replace(found[0], priority=7, metadata=[text]), backend=backend)
    await handle.cancel(text)
    reason = (await handle.fetch()).errors[-1].details
    report.expect(f"{text[:50]!r} is a reason", reason == storable(text, backend.limits.error_text))
    await handle.rerun()


async def attack_port(report: Report, backend: Backend, text: str) -> None:
    """Give the text to the store itself, as the name of an executor, a duty, a node and a schedule, and as an error."""
    report.expect(f"{text[:50]!r} runs nothing", await backend.query(ExecutorIn(frozenset({text}))) == [])
    heartbeats = backend.heartbeat_connection()
    for name in (NODE, text):
        heartbeats.send(Node(name, text, timedelta(seconds=30)))
    report.expect(f"{text[:50]!r} claims nothing", not (await backend.claim(Demand({text: 9}, 9), text)).jobs)
    claim = await backend.claim(Demand({Attacked.name: 9}, 9), NODE)
    error = JobError(1, ErrorKind.EXCEPTION, storable(text, 256), storable(text, 8_192), datetime.now(UTC))
    outcome = Failed(error, timedelta(days=1))
    await backend.settle([Settlement(one.id, one.claims, outcome) for one in claim.jobs])
    for one in claim.jobs:
        await backend.cancel(one.id, "to be pruned")
    await backend.acquire_lock(text, NODE)
    await backend.release_lock(text, NODE)
    for what in (OlderThan(timedelta(0)), BeyondNewest(0)):
        for is_except in (False, True):
            spec = PruneSpec(JobStatus.CANCELLED, what, frozenset({text}), is_except=is_except)
            number = await backend.prune(spec, 1)
            report.expect(f"{text[:50]!r} prunes {number}", number == is_except * (what == OlderThan(timedelta(0))))
    await backend.tick([replace(schedule("id"), id=text)], up_since=None)
    report.expect(f"{text[:50]!r} is a schedule", text in {one.id for one in await backend.schedules()})
    heartbeats.deregister(text)
    heartbeats.close()


def schedule(schedule_id: str) -> Schedule:
    """Return a schedule of this id."""
    return cron_schedule(
        Attacked.builder().with_data(1),
        "0 0 1 1 *",
        limits=PostgresBackend("postgresql://nowhere").limits,
        timezone=ZoneInfo("UTC"),
        schedule_id=schedule_id,
        catch_up=CatchUp.SKIP,
        window=timedelta(seconds=60),
    )


def attack_names(report: Report, text: str) -> None:
    """What becomes part of a statement, or is a name, must be refused unless it is made of letters and the like."""
    is_name = re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", text) is not None
    is_schema = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", text) is not None
    for what, make, is_allowed in (
        ("executor", lambda: type("Named", (Attacked,), {"name": text}), is_name),
        ("schedule", lambda: schedule(text), is_name),
        ("schema", lambda: PostgresBackend("postgresql://nowhere", schema=text), is_schema),
    ):
        try:
            make()
        except (ConfigurationError, DefinitionError):
            continue
        except RexecutorError as error:
            report.expect(f"{what} {text[:50]!r}: {error}", False)
        report.expect(f"{text[:50]!r} is no name of a {what}", is_allowed)


@contextmanager
def server_with_statistics(is_postgres: bool) -> Generator[str | None]:
    """Yield the URL of a server that counts its statements; None if there is none."""
    for version in (NEWEST, "17", "16", "15", "14"):
        try:
            has_statistics = is_postgres and any(binaries(version).parent.rglob(f"{STATISTICS}.so"))
        except RexecutorError:
            continue
        if has_statistics:
            settings = (
                *SETTINGS,
                "fsync=off",
                "synchronous_commit=off",
                f"shared_preload_libraries={STATISTICS}",
                f"{STATISTICS}.max=10000",
            )
            with PostgresServer(version, settings) as server:
                with ManualSql(f"{server.url}#public") as manual_sql:
                    manual_sql.run(f"CREATE EXTENSION {STATISTICS}")
                yield server.url
            return
    yield None


def texts_at_server(manual_sql: ManualSql, url: str | None) -> int | None:
    """Return how many kinds of statements on our tables the server has seen; None if it does not count."""
    if url is None:
        return None
    ours = "query LIKE ? AND query NOT LIKE ? AND query NOT LIKE ?"
    text = f"SELECT count(DISTINCT query) FROM {STATISTICS} WHERE {ours}"
    return manual_sql.run(text, '%"rexecutor".%', "%migrations%", f"{CLAIMS}%")[0][0]


SCENARIO = Scenario("S31", "SQL where text is expected", ("Trust",), run)
