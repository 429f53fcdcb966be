"""S38: single connections fall silent under load, with a statement under way: open for ever, and nothing comes."""

import asyncio
import math
import random
from collections.abc import Sequence
from time import monotonic

from rexecutor import UniquenessCriteria
from rexecutor.backend.base import Backend
from rexecutor.model.rules import LOST_DETAILS
from tests.faults.history import Line
from tests.faults.holes import Hole, Holes
from tests.faults.loads import MARGIN, PROGRAM, Pace, counted, judge_ticks, options, rest
from tests.faults.operations import (
    WAITING,
    Operation,
    done_between,
    longest,
    longest_gap,
    longest_without,
    of_kind,
    outcomes,
)
from tests.faults.programs.loaded import (
    CALLERS_SECONDS,
    KEYS,
    NAP,
    NAP_SECONDS,
    PATIENT,
    PLAIN,
    QUERY,
    SYNC,
    SYNC_UNIQUE,
    UNIQUE,
    WAIT,
    Loaded,
)
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at
from tests.faults.workers import Member, started, until, worker_processes

ROLES = {
    "joined": rb"by-plain.*by-plain",
    "plain": rb"by-plain",
    "unique": rb"by-unique(?!-sync)",
    "sync": rb"by-sync",
    "sync unique": rb"by-unique-sync",
    "query": rb"by-query",
    "tick": rb"by-tick",
    "claim": rb"loaded.{1,9}ticking",
    "settle": rb"(\{|\x00{3}\x08)complete",
    "heart": LOST_DETAILS.encode(),
    "listener": rb"~[0-9a-f]{8}|SELECT current_setting\('transaction_read_only'\)\x00",
    "any": rb"",
}
"""What the connection that falls silent is used for, by what is sent on it. In a round without roles, all do."""
FULL: Sequence[Sequence[str]] = (
    *(
        ["joined"],
        ["sync"],
        ["tick"],
        ["heart"],
        ["listener"],
        ["unique"],
        ["query"],
        ["sync unique"],
        ["claim"],
        ["settle"],
    ),
    *(["any"], ["joined", "any", "any"], ["plain", "sync", "tick"], ["any"] * 3, []),
)
SHORT: Sequence[Sequence[str]] = (["joined"], ["unique", "sync unique", "query", "tick", "heart", "listener"])
MOST_GAP = 5.0
"""Seconds within which the next enqueue is stored, on another connection; less than the bound, whatever that is."""
FAILS = "failed and will be retried"


async def run(ground: Ground) -> Report:
    """Make holes of a process's connections, role by role, while it asks for everything at once."""
    pace = Pace.of(ground)
    url, _, schema = ground.store.partition("#")
    chance = random.Random(ground.seed)
    with Proxy(url) as proxy:
        holes = Holes(proxy, chance, ROLES)
        async with worker_processes(ground, PROGRAM) as workers, backend_at(ground.store) as backend:
            store = f"{proxy.url} connect_timeout=2#{schema}"
            member = await workers.joined(*options(ground, pace), store=store)
            await asyncio.sleep(1)
            rounds = [await one_round(holes, roles, pace) for roles in (FULL if ground.is_full else SHORT)]
            calls, rested = await rest(ground, pace)
            locked = await locked_keys(backend)
            lines, report = await counted(ground, backend)
    report.figures = {"rounds": len(rounds), "holes": len(holes.all), "bound_s": pace.bound}
    if ground.is_full:
        judge_all_silent(report, calls, rounds.pop(), pace)
    judge_calls(report, calls, rounds, pace)
    judge_work(report, lines, rounds, pace)
    judge_ticks(report, ground.store, rested)
    judge_log(report, member, holes.all, pace)
    report.figures["keys_that_stay_locked"] = locked
    report.expect(f"{locked} keys stay locked", locked == 0)
    report.expect(f"not hit: {holes.wanted}", not holes.wanted)
    report.expect("jobs ran", any(line.what == "end" for line in lines))
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def one_round(holes: Holes, roles: Sequence[str], pace: Pace) -> tuple[float, float]:
    """Make a hole for each role; return when the first came, and when the round ended: well after the bound."""
    begun, before = monotonic(), len(holes.all)
    if roles:
        holes.dig(roles)
    else:
        holes.dig_all()
    await until(lambda: not holes.wanted, pace.bound)
    first = holes.all[before].at if len(holes.all) > before else begun
    await asyncio.sleep(first + pace.bound + 2 * MARGIN - monotonic())
    return first, monotonic()


async def locked_keys(backend: Backend) -> int:
    """Return how many keys of the unique enqueues cannot be enqueued from elsewhere."""

    async def is_locked(key: int) -> bool:
        builder = Loaded.builder().with_data("by-hand").unique(UniquenessCriteria.by_key(key))
        try:
            async with asyncio.timeout(CALLERS_SECONDS):
                await builder.enqueue(backend=backend)
        except TimeoutError:
            return True
        return False

    return sum([await is_locked(key) for key in range(2 * KEYS)])


def judge_calls(report: Report, calls: list[Operation], rounds: list[tuple[float, float]], pace: Pace) -> None:
    """Fill in how long calls took, and how many enqueues were stored while connections were silent."""
    report.enqueued = len(of_kind(calls, PLAIN, UNIQUE, SYNC, SYNC_UNIQUE, *PATIENT[:2]))
    stored = {kind: of_kind(calls, kind) for kind in (PLAIN, UNIQUE, SYNC)}
    report.figures["stored_while_silent"] = {
        kind: sum(len(done_between(some, *each)) for each in rounds) for kind, some in stored.items()
    }
    gaps = {kind: round(max(longest_gap(some, *each) for each in rounds), 2) for kind, some in stored.items()}
    report.recovery_s = gaps[PLAIN]
    report.figures |= {"longest_s_without_stored": gaps, "longest_call_s": longest(calls)}
    report.figures["still_waiting"] = sum(one.outcome == WAITING for one in calls)
    report.figures["failed_calls"] = outcomes(calls)
    lag = report.figures["lag_s"] = round(max(one.seconds for one in of_kind(calls, NAP)) - NAP_SECONDS, 2)
    most_gap = min(MOST_GAP, pace.bound - MARGIN / 2) + lag
    for kind, most in ((PLAIN, most_gap), (UNIQUE, most_gap), (SYNC, pace.bound + MARGIN + lag)):
        report.expect(f"no {kind} enqueue stored for {gaps[kind]} s, {most} at most expected", gaps[kind] <= most)
    bounds: dict[str, float] = dict.fromkeys((PLAIN, UNIQUE, QUERY, WAIT), CALLERS_SECONDS)
    bounds |= dict.fromkeys((SYNC, SYNC_UNIQUE, *PATIENT), pace.bound)
    for kind, bound in bounds.items():
        seconds, most = report.figures["longest_call_s"][kind], bound + MARGIN + lag
        report.expect(f"{kind}: a call took {seconds} s, {most} at most expected", seconds <= most)


def judge_work(report: Report, lines: list[Line], rounds: list[tuple[float, float]], pace: Pace) -> None:
    """Fill in how long no job began, and expect that some do within the bound, which a lost claim may take."""
    starts = [line.at for line in started(lines)]
    gap = report.figures["longest_s_without_start"] = round(max(longest_without(starts, *each) for each in rounds), 2)
    most = pace.bound + MARGIN + report.figures["lag_s"]
    report.expect(f"no job started for {gap} s, {most} at most expected", gap <= most)


def judge_all_silent(report: Report, calls: list[Operation], its_round: tuple[float, float], pace: Pace) -> None:
    """Fill in how long no plain enqueue was stored when every open connection fell silent."""
    gap = round(longest_gap(of_kind(calls, PLAIN), *its_round), 2)
    report.figures["longest_s_when_all_are_silent"] = gap
    report.expect(f"all silent: no plain enqueue stored for {gap} s", gap <= pace.bound + MARGIN)


def judge_log(report: Report, member: Member, holes: list[Hole], pace: Pace) -> None:
    """Expect a line of each duty whose connection fell silent, not later than its statement may take."""
    said = {
        "tick": ("cron", pace.bound),
        "heart": ("heartbeat", pace.lease / 2),
        "listener": ("listening", 15 / pace.hastened),
    }
    for hole in holes:
        if hole.role in said:
            duty, seconds = said[hole.role]
            lines = [at for at, text in member.said(FAILS) if duty in text and at > hole.at]
            after = min(lines, default=math.inf) - hole.at
            report.expect(
                f"{duty}: no line within {seconds} s, but after {after:.1f} s",
                after <= seconds + MARGIN + report.figures["lag_s"],
            )


SCENARIO = Scenario(
    "S38",
    "single connections fall silent under load",
    ("Accepted", "Delivery", "Cron", "Database outage"),
    run,
    kinds=["postgres"],
    owns_server=True,
)
