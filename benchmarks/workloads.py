"""What is measured of each system. Each workload returns its figures for one round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final, TypeAlias

from benchmarks.cell import BATCH, PLAIN, Cell, Setting
from benchmarks.process import Process, cpu_seconds, memory
from benchmarks.record import Record
from benchmarks.stores import PostgresStore

Figures: TypeAlias = Mapping[str, float | list[float]]
MANY: Final = 1_000_000
RATE: Final = 1_000
"""Jobs a second of the steady load."""
MINUTES: Final = 10
WARM_UP: Final = 5
LATE: Final = 11.0
"""Seconds after which PostgreSQL has counted the commits of a connection that is idle."""


@dataclass(frozen=True)
class Workload:
    """A workload, and which of its figures stands in the table."""

    name: str
    title: str
    run: Callable[[Cell], Figures]
    main: str = "jobs_per_s"
    others: tuple[str, ...] = ()
    """Further figures for the table."""
    needs: frozenset[str] = frozenset()
    """Abilities that a system must not lack."""
    stores: frozenset[str] = frozenset({"memory", "sqlite", "postgres", "redis"})
    only_ours: bool = False
    bare: bool = False
    """Whether the bare ceilings have it, too."""
    is_long: bool = False
    """Whether one round is enough."""
    share_of: str = ""
    """The workload whose main figure this one is compared with, for each system."""


def enqueue(how: str, full: int, producers: int = 1) -> Callable[[Cell], Figures]:
    """Measure enqueues by one process."""

    def run(cell: Cell) -> Figures:
        jobs = cell.scaled(full)
        control = cell.begin(jobs)
        control.ask("enqueue", how="one", producers=1, first=0, jobs=0)
        cell.store.settle()
        server = cell.store.cpu_seconds()
        answer = control.ask("enqueue", how=how, producers=min(producers, jobs), first=0, jobs=jobs, batch=BATCH)
        server = cell.store.cpu_seconds() - server
        left = control.ask("left")["left"]
        assert left == jobs, f"{left} of {jobs} jobs are in the store"
        return {"jobs_per_s": jobs / answer["seconds"], "server_us": 1e6 * server / jobs}

    return run


def fill(cell: Cell, control: Process, orders: range) -> float:
    """Enqueue jobs as fast as the system can. Return the seconds."""
    how, producers = ("one", 16) if "bulk" in cell.system.lacks else ("bulk", 1)
    parameters = {"how": how, "producers": producers, "first": orders.start, "jobs": len(orders), "batch": BATCH}
    return control.ask("enqueue", deadline=1_200, **parameters)["seconds"]


def work_off(cell: Cell, control: Process, orders: range, processes: int = 1, *, failures: int = 0) -> dict[str, float]:
    """Start workers on what is enqueued, wait until all outcomes are recorded, and check that each job ran once."""
    cell.store.settle()
    workers = cell.workers(processes)
    runs = cell.record()
    cpu = sum(cpu_seconds(worker.pid) for worker in workers)
    server = cell.store.cpu_seconds()
    for worker in workers:
        worker.tell("work")
    for worker in workers:
        worker.answer()
    jobs = len(orders) + failures
    cell.wait_runs(runs, jobs, *workers)
    cpu = sum(cpu_seconds(worker.pid) for worker in workers) - cpu
    server = cell.store.cpu_seconds() - server
    mebibytes = max(memory(worker.pid) for worker in workers)
    moments = sorted(moment for moment in runs.moments(orders) if moment)
    first, last = moments[0], moments[-1]
    figures = {
        "ran_per_s": jobs / ((last - first) / 1e9),
        "worker_us": 1e6 * cpu / jobs,
        "server_us": 1e6 * server / jobs,
        "worker_mib": mebibytes,
    }
    settled = control.ask("settled")["moment"]
    runs.check(orders, twice=failures)
    return figures | {
        "jobs_per_s": jobs / ((max(settled, last) - first) / 1e9),
        "settle_lag_ms": (settled - last) / 1e6,
    }


def drain(processes: int = 1, setting: Setting = PLAIN, *, full: int | None = None) -> Callable[[Cell], Figures]:
    """Measure how fast workers run what is enqueued."""

    def run(cell: Cell) -> Figures:
        jobs = cell.drained if full is None else cell.scaled(full)
        control = cell.begin(jobs, setting)
        seconds = fill(cell, control, range(jobs))
        failures = -(-jobs // setting.fail_every) if setting.fail_every else 0
        figures = work_off(cell, control, range(jobs), processes, failures=failures)
        figures["enqueued_per_s"] = jobs / seconds
        if setting.pause:
            figures["share_of_ideal"] = figures["ran_per_s"] * setting.pause / setting.slots / processes
        return figures

    return run


def waiting(cell: Cell) -> Figures:
    """Measure a drain of the first jobs of a million."""
    many = cell.scaled(MANY)
    name = template_of(cell, "waiting")
    if not cell.store.has(name):
        fill(cell, cell.begin(many), range(many))
        cell.keep(name)
    cell.begin(many, template=name)
    return work_off_first(cell, range(many), cell.drained)


def future(cell: Cell) -> Figures:
    """Measure a drain of jobs beside a million of a more urgent priority that are due tomorrow."""
    many, jobs = cell.scaled(MANY), cell.drained
    name = template_of(cell, "future")
    if not cell.store.has(name):
        fill(cell, cell.begin(many, Setting(options={"kind": "future"})), range(many))
        cell.keep(name)
    orders = range(many, many + jobs)
    control = cell.begin(orders.stop, Setting(options={"kind": "less urgent"}), template=name)
    fill(cell, control, orders)
    return work_off_first(cell, orders, jobs)


def template_of(cell: Cell, name: str) -> str:
    """Return the name of a kept store of a system."""
    return f"{cell.system.name}_{name}".replace("-", "_")


def work_off_first(cell: Cell, orders: range, jobs: int) -> Figures:
    """Start a worker and measure until it has run this many of the jobs."""
    cell.store.settle()
    (worker,) = cell.workers()
    runs = cell.record()
    cpu, server = cpu_seconds(worker.pid), cell.store.cpu_seconds()
    worker.ask("work")
    cell.wait_runs(runs, jobs, worker)
    cpu, server = cpu_seconds(worker.pid) - cpu, cell.store.cpu_seconds() - server
    mebibytes = memory(worker.pid)
    moments = sorted(moment for moment in runs.moments(orders) if moment)
    worker.stop()
    runs.check(range(0))
    seconds = (moments[jobs - 1] - moments[0]) / 1e9
    return {
        "ran_per_s": jobs / seconds,
        "worker_us": 1e6 * cpu / jobs,
        "server_us": 1e6 * server / jobs,
        "worker_mib": mebibytes,
    }


def finished(setting: Setting = PLAIN, full: int = MANY) -> Callable[[Cell], Figures]:
    """Measure a drain beside a million jobs that have ended."""

    def run(cell: Cell) -> Figures:
        many, jobs = cell.scaled(full), cell.drained
        name = template_of(cell, f"finished_{full}")
        if not cell.store.has(name):
            control = cell.begin(many)
            fill(cell, control, range(many))
            work_off(cell, control, range(many))
            cell.keep(name)
        control = cell.begin(many + jobs, setting, template=name)
        orders = range(many, many + jobs)
        fill(cell, control, orders)
        figures = work_off(cell, control, orders)
        if setting.options.get("prune"):
            deadline = monotonic() + 60
            while (kept := control.ask("special", what="count")["answer"]) and monotonic() < deadline:
                sleep(0.1)
            figures["pruned"] = many + jobs - kept
        return figures

    return run


def percentile(sorted_values: list[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def latencies(cell: Cell, orders: range) -> list[float]:
    """Return how long after its call each job ran, in milliseconds, in the order of the calls."""
    calls, runs = cell.record("calls").moments(orders), cell.record().moments(orders)
    pairs = sorted(zip(calls, runs, strict=True))
    assert all(call and ran for call, ran in pairs), "a job did not run"
    return [(ran - call) / 1e6 for call, ran in pairs]


def summary(values: list[float]) -> dict[str, float]:
    """Return the usual percentiles."""
    ordered = sorted(values)
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
    return {name: percentile(ordered, share) for name, share in shares.items()} | {"max_ms": ordered[-1]}


def start_idle(cell: Cell, control: Process, processes: int = 1, **options: object) -> tuple[list[Process], Record]:
    """Start workers and wait until they have run some jobs and wait for more."""
    workers = cell.workers(processes, **options)
    for worker in workers:
        worker.ask("work")
    runs = cell.record()
    control.ask("enqueue", how="one", producers=1, first=0, jobs=WARM_UP)
    cell.wait_runs(runs, WARM_UP, *workers)
    sleep(0.3)
    return workers, runs


def pickup_idle(cell: Cell) -> Figures:
    """Measure from the call of an enqueue until an idle worker has the job."""
    jobs = cell.scaled(300, 20)
    control = cell.begin(WARM_UP + jobs)
    workers, runs = start_idle(cell, control)
    control.ask("pickup", first=WARM_UP, jobs=jobs, gap=0.025)
    cell.wait_runs(runs, WARM_UP + jobs, *workers)
    runs.check(range(WARM_UP + jobs))
    return summary(latencies(cell, range(WARM_UP, WARM_UP + jobs)))


def pickup_half(cell: Cell) -> Figures:
    """Measure pickups at half of the load that the system bears when one process enqueues and one works."""
    trial, seconds = cell.scaled(10_000, 500), 5 * min(1.0, max(0.1, cell.scale))
    most = trial + int(10_000 * seconds)
    control = cell.begin(WARM_UP + most)
    workers, runs = start_idle(cell, control)
    control.ask("load", first=WARM_UP, jobs=trial, rate=1e9)
    cell.wait_runs(runs, WARM_UP + trial, *workers)
    orders = range(WARM_UP, WARM_UP + trial)
    bearable = trial / ((max(runs.moments(orders)) - min(cell.record("calls").moments(orders))) / 1e9)
    sleep(0.5)
    rate = min(10_000.0, bearable / 2)
    orders = range(orders.stop, orders.stop + max(50, int(rate * seconds)))
    control.ask("load", first=orders.start, jobs=len(orders), rate=rate)
    cell.wait_runs(runs, orders.stop, *workers)
    runs.check(range(orders.stop))
    return summary(latencies(cell, orders)) | {"bearable_per_s": bearable, "rate_per_s": rate}


def steady(*, is_pinned: bool = False) -> Callable[[Cell], Figures]:
    """Measure latencies under a load of 1,000 jobs a second for ten minutes, in ten parts, and what it costs."""

    def run(cell: Cell) -> Figures:
        part = max(int(RATE * 60 * cell.scale), 100)
        jobs = part * MINUTES
        control = cell.begin(WARM_UP + jobs)
        workers, runs = start_idle(cell, control)
        store = cell.store if isinstance(cell.store, PostgresStore) else None
        before = store.counters() if store else {}
        server, cpu = cell.store.cpu_seconds(), cpu_seconds(workers[0].pid)
        orders = range(WARM_UP, WARM_UP + jobs)
        dead: list[float] = []
        if store and is_pinned:
            with store.pinned_horizon():
                control.ask("load", deadline=1_200, first=WARM_UP, jobs=jobs, rate=RATE)
                cell.wait_runs(runs, orders.stop, *workers)
                dead.append(store.counters()["dead"])
        else:
            for first in range(orders.start, orders.stop, part):
                control.ask("load", deadline=300, first=first, jobs=part, rate=RATE)
                if store:
                    dead.append(store.counters()["dead"])
            cell.wait_runs(runs, orders.stop, *workers)
        control.ask("settled")
        server, cpu = cell.store.cpu_seconds() - server, cpu_seconds(workers[0].pid) - cpu
        runs.check(range(orders.stop))
        values = latencies(cell, orders)
        parts = [summary(values[first : first + part]) for first in range(0, jobs, part)]
        calls = cell.record("calls").moments(orders)
        figures: dict[str, float | list[float]] = {
            **summary(values),
            "rate_per_s": jobs / ((max(calls) - min(calls)) / 1e9),
            "p50_ms_parts": [one["p50_ms"] for one in parts],
            "p99_ms_parts": [one["p99_ms"] for one in parts],
            "last_to_first_p99": parts[-1]["p99_ms"] / parts[0]["p99_ms"],
            "worker_us": 1e6 * cpu / jobs,
            "server_us": 1e6 * server / jobs,
        }
        if store:
            sleep(LATE)
            after = store.counters()
            per_job = {name: (after[name] - before[name]) / jobs for name in ("commits", "wal", "rows")}
            figures |= {f"{name}_per_job": value for name, value in per_job.items()}
            figures |= {"dead_rows": max(dead), "dead_rows_parts": dead}
        return figures

    return run


def idle(cell: Cell) -> Figures:
    """Measure what an idle worker costs."""
    seconds = max(2.0, 20 * min(1.0, cell.scale))
    control = cell.begin(WARM_UP)
    workers, _ = start_idle(cell, control)
    store = cell.store if isinstance(cell.store, PostgresStore) else None
    sleep(LATE)
    before, cpu = store.counters() if store else {}, cpu_seconds(workers[0].pid)
    sleep(seconds)
    figures = {
        "worker_ms_per_s": 1e3 * (cpu_seconds(workers[0].pid) - cpu) / seconds,
        "worker_mib": memory(workers[0].pid),
    }
    if store:  # one commit is that of the first look at the counters
        figures["commits_per_s"] = max(0.0, store.counters()["commits"] - before["commits"] - 1) / seconds
    return figures


def nodes(number: int) -> Callable[[Cell], Figures]:
    """Measure what idle nodes cost, and how fast one of them has a job. At most ten share a process."""

    def run(cell: Cell) -> Figures:
        seconds, jobs = max(2.0, 20 * min(1.0, cell.scale)), cell.scaled(200, 20)
        control = cell.begin(WARM_UP + jobs)
        processes = -(-number // 10)
        workers, runs = start_idle(cell, control, processes, nodes=number // processes)
        sleep(LATE)
        assert isinstance(cell.store, PostgresStore)
        before, server = cell.store.counters(), cell.store.cpu_seconds()
        sleep(seconds)
        idle_server, after = cell.store.cpu_seconds() - server, cell.store.counters()
        server = cell.store.cpu_seconds()
        control.ask("pickup", first=WARM_UP, jobs=jobs, gap=0.05)
        cell.wait_runs(runs, WARM_UP + jobs, *workers)
        runs.check(range(WARM_UP + jobs))
        return {
            **summary(latencies(cell, range(WARM_UP, WARM_UP + jobs))),
            "server_ms_per_job": 1e3 * (cell.store.cpu_seconds() - server) / jobs,
            "server_ms_per_s": 1e3 * idle_server / seconds,
            "commits_per_s": max(0.0, after["commits"] - before["commits"] - 1) / seconds,
            "connections": after["connections"] - 1,  # without the producer's
        }

    return run


def unique(cell: Cell) -> Figures:
    """Measure enqueues of unique jobs, first of new ones and then of the same again."""
    jobs = cell.scaled(2_000)
    control = cell.begin(jobs, Setting(options={"kind": "unique"}))
    cell.store.settle()
    figures: dict[str, float] = {}
    for name, producers in (("jobs_per_s", 1), ("again_per_s", 1), ("again_16_per_s", 16)):
        seconds = control.ask("enqueue", how="unique", producers=producers, first=0, jobs=jobs)["seconds"]
        figures[name] = jobs / seconds
    assert control.ask("left")["left"] == jobs
    return figures


def result(cell: Cell) -> Figures:
    """Measure from the call of an enqueue until its result is back, with an idle worker in another process."""
    jobs = cell.scaled(300, 20)
    control = cell.begin(WARM_UP + jobs, Setting(options={"kind": "returning"}))
    start_idle(cell, control)
    seconds: list[float] = control.ask("special", what=f"results {WARM_UP} {jobs}")["answer"]
    return summary([1e3 * one for one in seconds])


def looks(cell: Cell) -> Figures:
    """Count the queries that one change causes while many results are awaited."""
    control = cell.begin(1)
    few, many = (control.ask("special", what=f"looks {waits} {min(waits, 20)}")["answer"] for waits in (1, 1_000))
    return {"looks": many, "looks_of_one": few}


_DRAIN_MORE: Final = ("worker_us", "server_us", "worker_mib")
_SLOTS: Final = frozenset({"slots"})
_MANY: Final = frozenset({"many", "bulk"})
_SERVED: Final = frozenset({"postgres"})
WORKLOADS: Final[dict[str, Workload]] = {
    workload.name: workload
    for workload in (
        Workload("enqueue", "Enqueue, each awaited before the next", enqueue("one", 2_000), bare=True),
        Workload("enqueue_16", "Enqueue by 16 producers of one process", enqueue("one", 8_000, 16)),
        Workload("enqueue_500", "Enqueue, 500 at once", enqueue("one", 10_000, 500)),
        Workload(
            "enqueue_bulk",
            "Enqueue 10,000 by the bulk call",
            enqueue("bulk", 10_000),
            needs=frozenset({"bulk"}),
            bare=True,
        ),
        Workload("drain_1", "Drain by one worker process", drain(1), others=_DRAIN_MORE, bare=True),
        Workload("drain_2", "Drain by two worker processes", drain(2), others=_DRAIN_MORE),
        Workload("drain_4", "Drain by four worker processes", drain(4), others=_DRAIN_MORE),
        Workload(
            "pickup_idle",
            "Pickup by an idle worker",
            pickup_idle,
            "p50_ms",
            ("p95_ms", "p99_ms"),
            needs=frozenset({"pickup"}),
            bare=True,
        ),
        Workload(
            "pickup_half",
            "Pickup at half of the bearable load",
            pickup_half,
            "p50_ms",
            ("p95_ms", "p99_ms", "rate_per_s"),
        ),
        Workload(
            "steady",
            "1,000 jobs a second for ten minutes",
            steady(),
            "p50_ms",
            ("p99_ms", "p999_ms", "last_to_first_p99", "dead_rows", "wal_per_job", "commits_per_job"),
            is_long=True,
        ),
        Workload(
            "pinned",
            "1,000 jobs a second for ten minutes beside an open transaction",
            steady(is_pinned=True),
            "p99_ms",
            ("p50_ms", "last_to_first_p99", "dead_rows"),
            stores=_SERVED,
            is_long=True,
        ),
        Workload(
            "waiting",
            "Drain of the first of 1 M waiting jobs",
            waiting,
            "ran_per_s",
            others=_DRAIN_MORE,
            needs=_MANY,
            stores=frozenset({"sqlite", "postgres"}),
            share_of="drain_1",
        ),
        Workload(
            "finished",
            "Drain beside 1 M finished jobs",
            finished(),
            "ran_per_s",  # to find that all are settled, the harness counts the million
            others=_DRAIN_MORE,
            needs=_MANY,
            stores=frozenset({"sqlite", "postgres"}),
            share_of="drain_1",
        ),
        Workload(
            "future",
            "Drain beside 1 M future jobs of a more urgent priority",
            future,
            "ran_per_s",
            others=_DRAIN_MORE,
            needs=_MANY,
            stores=frozenset({"sqlite", "postgres"}),
            only_ours=True,
            share_of="drain_1",
        ),
        Workload(
            "executors",
            "Drain by a worker of 200 executors, one busy",
            drain(1, Setting(options={"others": 199})),
            others=_DRAIN_MORE,
            only_ours=True,
            share_of="drain_1",
        ),
        Workload(
            "payload",
            "Drain of jobs with 10 KiB of data",
            drain(1, Setting(padding=10_240), full=10_000),
            others=("enqueued_per_s", *_DRAIN_MORE),
        ),
        Workload(
            "jobs_1ms",
            "Jobs of 1 ms, 100 slots",
            drain(1, Setting(pause=0.001), full=30_000),
            others=("share_of_ideal",),
            needs=_SLOTS,
        ),
        Workload(
            "jobs_1ms_10",
            "Jobs of 1 ms, 10 slots",
            drain(1, Setting(pause=0.001, slots=10), full=10_000),
            others=("share_of_ideal",),
            needs=_SLOTS,
        ),
        Workload(
            "jobs_50ms",
            "Jobs of 50 ms, 100 slots",
            drain(1, Setting(pause=0.05), full=4_000),
            others=("share_of_ideal",),
            needs=_SLOTS,
        ),
        Workload(
            "failing",
            "Drain with 1 % of the jobs failing once",
            drain(1, Setting(fail_every=100)),
            others=_DRAIN_MORE,
            needs=frozenset({"fail"}),
            share_of="drain_1",
        ),
        Workload(
            "unique",
            "Enqueue of unique jobs, each awaited before the next",
            unique,
            others=("again_per_s", "again_16_per_s"),
            needs=frozenset({"unique"}),
        ),
        Workload(
            "prune",
            "Drain while 200,000 finished jobs are pruned",
            finished(Setting(options={"prune": True}), 200_000),
            others=("pruned", *_DRAIN_MORE),
            stores=frozenset({"sqlite", "postgres"}),
            only_ours=True,
            share_of="drain_1",
        ),
        Workload(
            "returning",
            "Drain of jobs that return a struct of 200 bytes",
            drain(1, Setting(options={"kind": "returning"})),
            others=_DRAIN_MORE,
            only_ours=True,
            share_of="drain_1",
        ),
        Workload("result", "Enqueue until the result is back", result, "p50_ms", ("p99_ms",), only_ours=True),
        Workload(
            "looks",
            "Queries that one change causes while 1,000 results are awaited",
            looks,
            "looks",
            ("looks_of_one",),
            stores=_SERVED,
            only_ours=True,
        ),
        *(
            Workload(
                f"nodes_{number}",
                f"Pickup with {number} idle {'node' if number == 1 else 'nodes'}",
                nodes(number),
                "p50_ms",
                ("p99_ms", "server_ms_per_job", "server_ms_per_s", "commits_per_s", "connections"),
                stores=frozenset({"postgres"}),
                only_ours=True,
            )
            for number in (1, 10, 50)
        ),
        Workload("idle", "An idle worker", idle, "worker_ms_per_s", ("worker_mib", "commits_per_s")),
    )
}
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "quick": ("enqueue", "enqueue_bulk", "drain_1", "pickup_idle"),
    "core": (
        *("enqueue", "enqueue_16", "enqueue_500", "enqueue_bulk", "drain_1", "drain_2", "drain_4"),
        *("pickup_idle", "pickup_half"),
    ),
    "all": tuple(WORKLOADS),
}
