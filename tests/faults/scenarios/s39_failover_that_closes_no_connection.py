"""S39: a failover that closes no connection: the server becomes read-only, and its name leads to the new primary."""

import asyncio
import math
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic

from demo.postgres_server import PostgresServer
from rexecutor import RexecutorError, UniquenessCriteria
from rexecutor.backend.base import Backend
from tests.faults.loads import PROGRAM, Pace, counted, judge_ticks, options, rest
from tests.faults.log_lines import kept_lines
from tests.faults.operations import OK, Operation, done_between, of_kind, outcomes, read_operations
from tests.faults.programs.loaded import PLAIN, SYNC, SYNC_UNIQUE, UNIQUE, Loaded
from tests.faults.proxy import Proxy
from tests.faults.replicas import connections, fail_over, replica_of
from tests.faults.rows import rows_of
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at, server_of
from tests.faults.workers import FENCED, started, until, worker_processes
from tests.pgbouncer import PgBouncer, installed

KINDS = (PLAIN, UNIQUE, SYNC, SYNC_UNIQUE)
MOST_SECONDS = 10.0
"""Within which the first of each kind is stored, and the first job ends, on the new primary."""
MOST_LEFT_SECONDS = 20.0
"""Within which no connection is left on the old server."""
HEARD = 0.3
"""Seconds within which a job starts that the node is told of; otherwise it polls once a second."""


@dataclass(frozen=True, slots=True)
class Failover:
    """One, and what came of it."""

    at: float
    """When the new primary had the name, in the machine's monotonic seconds."""
    ended: float
    """Until when it was observed."""
    first_job: float
    """Seconds until a job that was enqueued on the new primary had run, and its end was recorded there."""
    left: float
    """Seconds until no connection was left on the old server."""


async def run(ground: Ground) -> Report:
    """Fail over once, or again and again in a full run, behind a proxy and behind PgBouncer in session mode."""
    ways = [PgBouncer, Proxy] if installed() else [Proxy]
    report = Report(figures={})
    server = server_of(ground.store)
    async with AsyncExitStack() as stack:
        for way in ways if ground.is_full else ways[:1]:
            folder = ground.folder / way.__name__
            folder.mkdir()
            here = Ground(f"{server.url}#rexecutor", folder, ground.seed, ground.is_full)
            server = await behind(way, here, server, stack, report)
        report.figures["after_a_restart"] = await after_restart(server)
    for kind, what in report.figures["after_a_restart"].items():
        report.expect(f"after a restart of the server the first {kind} enqueue: {what}", what == OK)
    return report


async def behind(
    way: type[Proxy | PgBouncer], ground: Ground, server: PostgresServer, stack: AsyncExitStack, report: Report
) -> PostgresServer:
    """Fail over while a process works by a name that leads to the primary; return the last primary."""
    pace, chance = Pace.of(ground), random.Random(ground.seed)
    failovers: list[Failover] = []
    with way(server.url) as name:
        async with worker_processes(ground, PROGRAM) as workers:
            member = await workers.joined(*options(ground, pace), store=f"{name.url}#rexecutor")
            for _ in range(ground.size(2, 1)):
                old, server = server, stack.enter_context(replica_of(server))
                await asyncio.sleep(1)
                order = chance.random() < 0.5
                at = await asyncio.to_thread(fail_over, old, server, name.lead_to, name_first=order)
                failovers.append(await observed(ground, old, server, at))
            calls, rested = await rest(ground, pace)
            async with backend_at(f"{server.url}#rexecutor") as backend:
                heard = await delays(ground, backend)
                _, found = await counted(ground, backend)
    figures = judge(found, ground, calls, failovers)
    figures["heard_p50_s"] = round(median(heard), 3) if heard else math.inf
    figures["leases_lost"] = len(member.said(FENCED))
    judge_ticks(found, f"{server.url}#rexecutor", rested)
    found.expect("a job that is heard of starts at once", figures["heard_p50_s"] <= HEARD)
    found.expect("its lease is not lost", figures["leases_lost"] == 0)
    found.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    for field in ("enqueued", "acknowledged", "executed", "lost", "unexpected", "duplicate_starts", "overlapping"):
        setattr(report, field, (getattr(report, field) or 0) + getattr(found, field))
    report.recovery_s = max(report.recovery_s or 0.0, found.recovery_s or 0.0)
    report.figures[way.__name__] = figures | found.figures
    report.wrong += [f"behind {way.__name__}: {what}" for what in found.wrong]
    return server


async def observed(ground: Ground, old: PostgresServer, new: PostgresServer, at: float) -> Failover:
    """Wait until all has moved to the new primary, but for a while; in a full run for 60 s in any case."""
    store, most = f"{new.url}#rexecutor", ground.size(60, 12)
    [[begun]] = await asyncio.to_thread(rows_of, store, "SELECT clock_timestamp()")
    jobs = f"SELECT count(*) FROM {{}}jobs WHERE inserted_at >= '{begun}' AND completed_at IS NOT NULL"
    first_job = left = math.inf
    while (passed := monotonic() - at) < most:
        if first_job == math.inf and (await asyncio.to_thread(rows_of, store, jobs))[0][0]:
            first_job = passed
        if left == math.inf and not await asyncio.to_thread(connections, old):
            left = passed
        calls = of_kind(read_operations(ground.folder / "operations"), *KINDS)
        kinds = {one.kind for one in done_between(calls, at, math.inf)}
        if max(first_job, left) < math.inf and kinds == set(KINDS) and not ground.is_full:
            break
        await asyncio.sleep(0.1)
    return Failover(at, monotonic(), first_job, left)


async def delays(ground: Ground, backend: Backend) -> list[float]:
    """Return how long some jobs took to start that are enqueued at another node, and nothing else is enqueued."""
    begun: dict[int, float] = {}
    for _ in range(5):
        handle = await Loaded.builder().with_data("by-hand").enqueue(backend=backend)
        begun[handle.id] = monotonic()
        await asyncio.sleep(0.13)
    await until(lambda: begun.keys() <= {line.job_id for line in started(ground.lines())}, 3)
    return [line.at - begun[line.job_id] for line in started(ground.lines()) if line.job_id in begun]


def judge(report: Report, ground: Ground, calls: list[Operation], failovers: list[Failover]) -> dict[str, object]:
    """Return how quickly calls, jobs and connections moved to the new primary, and what came of the calls meanwhile."""
    first: dict[str, float] = {}
    stored: dict[str, str] = {}
    report.enqueued = len(of_kind(calls, *KINDS, "patient plain", "patient unique"))
    for kind in KINDS:
        some = of_kind(calls, kind)
        times = [[one.ended - each.at for one in done_between(some, each.at, each.ended)] for each in failovers]
        first[kind] = round(max(min(one, default=math.inf) for one in times), 2)
        meanwhile = [one for each in failovers for one in some if each.at <= one.begun < each.ended]
        stored[kind] = f"{sum(one.outcome == OK for one in meanwhile)} of {len(meanwhile)}"
        report.expect(f"the first {kind} enqueue is stored after {first[kind]} s", first[kind] <= MOST_SECONDS)
    first_job = round(max(one.first_job for one in failovers), 2)
    left = round(max(one.left for one in failovers), 2)
    report.expect(f"the first job has run after {first_job} s", first_job <= MOST_SECONDS)
    report.expect(f"no connection is left after {left} s", left <= MOST_LEFT_SECONDS)
    report.recovery_s = max(first.values())
    return {
        "failovers": len(failovers),
        "observed_s": round(sum(one.ended - one.at for one in failovers), 1),
        "first_stored_s": first,
        "stored": stored,
        "first_job_s": first_job,
        "none_left_s": left,
        "failed_calls": outcomes(calls),
    }


async def after_restart(server: PostgresServer) -> dict[str, str]:
    """Return what comes of each kind's first enqueue after the server was restarted, on backends that were open."""
    store = f"{server.url}#rexecutor"
    found: dict[str, str] = {}
    with kept_lines():
        async with AsyncExitStack() as stack:
            backends = {kind: await stack.enter_async_context(backend_at(store)) for kind in KINDS}
            for kind, backend in backends.items():
                await enqueue(kind, backend)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            for kind, backend in backends.items():
                try:
                    await enqueue(kind, backend)
                    found[kind] = OK
                except RexecutorError as error:
                    found[kind] = f"{type(error).__name__}: {error}"
    return found


async def enqueue(kind: str, backend: Backend) -> None:
    """Enqueue one job in that way."""
    builder = Loaded.builder().with_data("by-hand")
    if kind in {UNIQUE, SYNC_UNIQUE}:
        builder = builder.unique(UniquenessCriteria.by_key(kind))
    if kind in {SYNC, SYNC_UNIQUE}:
        await asyncio.to_thread(builder.enqueue_sync, backend=backend)
    else:
        await builder.enqueue(backend=backend)


SCENARIO = Scenario(
    "S39",
    "a failover that closes no connection",
    ("Accepted", "Delivery", "Database outage"),
    run,
    kinds=["postgres"],
    owns_server=True,
)
