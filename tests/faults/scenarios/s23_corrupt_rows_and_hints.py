"""S23: rows that only a hand can write, and hints that mean nothing."""

import asyncio
import random
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from rexecutor import Backend, RexecutorError
from rexecutor.backend.messages import Node
from rexecutor.backend.postgres.statements import channel_of
from rexecutor.model.job import JobId
from rexecutor.model.where import Everything
from tests.faults.child_processes import Child, Children, child_processes
from tests.faults.malformed import malformed
from tests.faults.manual_sql import ManualSql, Refused
from tests.faults.programs.typed_worker import Text
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

PATIENCE = 3.0
"""Seconds that a good job may take beside a malformed one."""


async def run(ground: Ground) -> Report:
    """Corrupt one row after the other, then all at once, then send hints of nonsense; good jobs must go on."""
    report = Report(enqueued=0, executed=0, figures={"corrupted": 0, "refused_by_the_store": 0})
    chance = random.Random(ground.seed)
    delays: list[float] = []
    async with child_processes(ground.folder) as programs, backend_at(ground.store) as backend:
        worker = await start(ground, programs)
        with ManualSql(ground.store) as manual_sql:
            manual_sql.bypass_constraints()
            kinds = malformed(is_postgres=manual_sql.is_postgres)
            for _ in range(ground.size(5, 1)):
                for what in chance.sample(sorted(kinds), len(kinds)):
                    if (job_id := corrupt(report, manual_sql, kinds[what])) is not None:
                        is_well = await neighbour(report, backend, manual_sql, what, delays)
                        await look(report, f"{what}: cancel", lambda job_id=job_id: backend.cancel(job_id, "enough"))
                        manual_sql.run("DELETE FROM {jobs}")
                        if not is_well:  # otherwise all after it would be blamed as well
                            await worker.end(signal.SIGKILL)
                            worker = await start(ground, programs)
            for text in kinds.values():
                corrupt(report, manual_sql, text)
            if not await neighbour(report, backend, manual_sql, "all of them", delays):
                await worker.end(signal.SIGKILL)
                worker = await start(ground, programs)
            manual_sql.run("DELETE FROM {jobs}")
            await babble(report, ground, backend, manual_sql, chance, delays)
        await leave(report, worker)
    report.wrong = list(dict.fromkeys(report.wrong))
    report.figures["neighbours_delay_max_s"] = round(max(delays, default=0.0), 3)
    return report


async def start(ground: Ground, programs: Children) -> Child:
    """Start a worker."""
    worker = await programs.start("-m", "tests.faults.programs.typed_worker", ground.store, str(ground.history))
    await worker.says("up")
    return worker


def corrupt(report: Report, manual_sql: ManualSql, change: str) -> JobId | None:
    """Insert a row that is corrupt in this way, and return its id; None if the store refuses it."""
    job_id = manual_sql.put("text", '"corrupt"', max_attempts=2)
    try:
        manual_sql.run(f"UPDATE {{jobs}} SET {change} WHERE id = {job_id}")
    except Refused:
        manual_sql.run(f"DELETE FROM {{jobs}} WHERE id = {job_id}")
        report.figures["refused_by_the_store"] += 1
        return None
    report.figures["corrupted"] += 1
    return job_id


async def neighbour(report: Report, backend: Backend, manual_sql: ManualSql, what: str, delays: list[float]) -> bool:
    """Enqueue a good job beside it, wait for its end, and look at all jobs, and return whether the job ran."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    report.enqueued = (report.enqueued or 0) + 1
    is_well = False
    try:
        handle = await Text.builder().with_data("good").enqueue(backend=backend)
        while not is_well and loop.time() < begun + PATIENCE:
            is_well = manual_sql.statuses([handle.id])[handle.id][0] == "complete"
            await asyncio.sleep(0 if is_well else 0.003)
        report.expect(f"{what}: a good job runs within {PATIENCE:.0f} s", is_well)
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        report.expect(f"{what}: a good job: {type(error).__name__}: {str(error)[:100]}", False)
    if is_well:
        report.executed = (report.executed or 0) + 1
        delays.append(loop.time() - begun)
    await look(report, f"{what}: query", lambda: backend.query(Everything()))
    await look(report, f"{what}: count", backend.count)
    await look(report, f"{what}: heartbeat", lambda: heartbeat(backend))
    return is_well


async def look(report: Report, what: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do what looks at all rows, which none of them may fail; a cancel of one may be refused, in our own words."""
    try:
        await act()
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        is_refusal = what.endswith("cancel") and isinstance(error, RexecutorError)
        report.expect(f"{what}: {type(error).__name__}: {str(error)[:100]}", is_refusal)


async def heartbeat(backend: Backend) -> None:
    """Beat once, as a node that comes and goes; so jobs of nodes that are lost are rescued now."""

    def step() -> None:
        heartbeats = backend.heartbeat_connection()
        try:
            heartbeats.send(Node("passing", "passing", timedelta(seconds=30)))
            heartbeats.deregister("passing")
        finally:
            heartbeats.close()

    await asyncio.to_thread(step)


async def babble(
    report: Report, ground: Ground, backend: Backend, manual_sql: ManualSql, chance: random.Random, delays: list[float]
) -> None:
    """Send the workers hints that mean nothing, while good jobs run."""
    number = ground.size(20_000, 500)
    say = notifications(manual_sql, chance) if manual_sql.is_postgres else datagrams(manual_sql, chance)
    for place in range(number):
        say()
        if place % (number // 10) == 0:
            await neighbour(report, backend, manual_sql, "hints of nonsense", delays)
    report.figures["hints_of_nonsense"] = number


def notifications(manual_sql: ManualSql, chance: random.Random) -> Callable[[], None]:
    """Return a function that sends on the schema's channel what no node sends."""
    payloads = (
        "",
        "~",
        "~x",
        "!",
        "*",
        "-",
        "'; DROP TABLE jobs; --",
        "x" * 7_999,
        "👩‍👩‍👧‍👦",
        "{",
        "null",
        "text\n",
        "\x01",
    )

    def say() -> None:
        manual_sql.run(
            "SELECT pg_notify(?, ?)", channel_of(manual_sql.schema), chance.choice(payloads) or str(chance.random())
        )

    return say


def datagrams(manual_sql: ManualSql, chance: random.Random) -> Callable[[], None]:
    """Return a function that rings doorbells, some of which do not exist, with other words than a node's."""
    addresses = [row[0] for row in manual_sql.run("SELECT doorbell FROM {nodes} WHERE doorbell IS NOT NULL")]
    for place, bell in enumerate(("", "@", "x" * 500, "/nowhere/bell", "@\0", "@nobody")):
        text = "INSERT INTO {nodes} (id, name, doorbell, started_at, lease_until) VALUES (?, 'x', ?, 0, ?)"
        manual_sql.run(text, f"bell {place}", bell, 2**62)
    payloads = (b"", b"rexecutor: cancel", b"\0" * 64, b"\xff" * 60_000, b"rexecutor", b"'; DROP TABLE", b"x")

    def say() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.setblocking(False)
            for address in addresses:
                with suppress(BlockingIOError, ConnectionRefusedError):  # its queue is full, or it has ended
                    bell.sendto(chance.choice(payloads), b"\0" + address.encode()[1:])

    return say


async def leave(report: Report, worker: Child) -> None:
    """The worker must be alive, and end when it is told to."""
    report.expect("the worker is alive", worker.is_alive)
    status = await worker.end()
    report.expect(f"the worker ends with {status}, 0 expected", status == 0)
    said = worker.said()
    report.figures["duty_failures"] = said.count("failed and will be retried")
    for word in ("never retrieved", "Traceback"):
        report.expect(f"the worker's log holds {word!r}", word not in said)


SCENARIO = Scenario("S23", "rows and hints that nobody can read", ("Poison",), run)
