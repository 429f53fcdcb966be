"""What is measured: each system with its packages, its settings and what it can do."""

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Store: TypeAlias = Literal["memory", "sqlite", "postgres", "redis"]
UVLOOP: Final = "uvloop==0.23.0"
OURS: Final = (
    "cronsim==2.8",
    "msgspec==0.22.0",
    "psycopg[binary]==3.3.9",
    "psycopg-pool==3.3.3",
    "typing_extensions==4.16.0",
    UVLOOP,
)
PGQUEUER: Final = ("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0", UVLOOP)


@dataclass(frozen=True)
class System:
    """A system on a store, and how it is run."""

    name: str
    store: Store
    adapter: str
    """The module in `benchmarks.adapters`."""
    requirements: tuple[str, ...] = ()
    """Packages of its environment, pinned; none: it runs in the driver's own."""
    settings: str = ""
    """The settings that differ from the defaults, for the reader of a table."""
    options: dict[str, object] = field(default_factory=dict[str, object])
    """What the adapter is given."""
    rate: int = 10_000
    """About how many jobs a second one worker drains: decides how many jobs a drain has."""
    lacks: frozenset[str] = frozenset()
    """Abilities that it lacks: `bulk`, `pickup`, `slots`, `fail`, `unique`, `many` (a store of a million jobs)."""
    ours: bool = False
    bare: bool = False

    @property
    def environment(self) -> str:
        """Name of its environment."""
        return "ours" if self.ours or self.bare else self.adapter.removeprefix("peer_")

    @property
    def reference(self) -> str:
        """Name of our system that this one is compared with."""
        return {"sqlite": "ours-sqlite", "memory": "ours-memory"}.get(self.store, "ours-postgres")


SYSTEMS: Final[dict[str, System]] = {
    system.name: system
    for system in (
        System("ours-memory", "memory", "ours", OURS, "100 slots", rate=50_000, ours=True),
        System("ours-sqlite", "sqlite", "ours", OURS, "100 slots, synchronous FULL", rate=40_000, ours=True),
        System("ours-postgres", "postgres", "ours", OURS, "100 slots", rate=30_000, ours=True),
        System(
            "bare-sqlite",
            "sqlite",
            "bare_sqlite",
            OURS,
            "sqlite3, two tables of its own, batches of 100",
            rate=60_000,
            lacks=frozenset({"pickup"}),
            bare=True,
        ),
        System(
            "bare-postgres",
            "postgres",
            "bare_postgres",
            OURS,
            "psycopg, two tables of its own, one connection, batches of 100, COPY",
            rate=30_000,
            bare=True,
        ),
        System(
            "pgqueuer",
            "postgres",
            "peer_pgqueuer",
            PGQUEUER,
            "asyncpg, batch_size=100, durable tables, autovac settings",
            rate=15_000,
        ),
        System(
            "pgqueuer-1000",
            "postgres",
            "peer_pgqueuer",
            PGQUEUER,
            "the same with batch_size=1000",
            options={"batch": 1_000},
            rate=15_000,
        ),
        System(
            "pgqueuer-25",
            "postgres",
            "peer_pgqueuer",
            PGQUEUER,
            "the same with batch_size=25, the largest that its documentation names",
            options={"batch": 25},
            rate=10_000,
        ),
        System(
            "procrastinate",
            "postgres",
            "peer_procrastinate",
            ("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "psycopg-pool==3.3.3", UVLOOP),
            "concurrency=100, jobs are kept",
            rate=1_000,
            lacks=frozenset({"unique", "many"}),
        ),
        System(
            "huey",
            "sqlite",
            "peer_huey",
            ("huey==3.5.4",),
            "WAL, fsync, 4 threads, results=False",
            rate=1_000,
            lacks=frozenset({"bulk", "slots", "unique", "many"}),
        ),
        System(
            "ardiq",
            "redis",
            "peer_ardiq",
            ("ardiq==1.2.0", UVLOOP),
            "concurrency=100",
            rate=10_000,
            lacks=frozenset({"unique", "many"}),
        ),
        System(
            "saq",
            "redis",
            "peer_saq",
            ("saq[hiredis]==0.26.4", "typing_extensions==4.16.0", UVLOOP),
            "concurrency=100, hiredis, up to 1,000 connections (redis-py's 100 run out)",
            rate=1_500,
            lacks=frozenset({"bulk", "unique", "many"}),
        ),
        System(
            "chancy",
            "postgres",
            "peer_chancy",
            ("chancy==0.26.0", "psycopg[binary]==3.3.9", UVLOOP),
            "asyncio executor, concurrency=100, eager_polling",
            rate=500,
            lacks=frozenset({"fail", "unique", "many"}),
        ),
        System(
            "oban",
            "postgres",
            "peer_oban",
            ("oban==0.7.0", "psycopg[binary]==3.3.9", UVLOOP),
            "limit 100, jobs are kept",
            rate=2_000,
            lacks=frozenset({"unique", "many"}),
        ),
        System(
            "awa",
            "postgres",
            "peer_awa",
            ("awa-pg==0.6.9", UVLOOP),
            "max_workers=100, enqueue_many_copy",
            rate=5_000,
            lacks=frozenset({"fail", "unique", "many"}),
        ),
        System(
            "dbos",
            "postgres",
            "peer_dbos",
            ("dbos==3.4.0", "psycopg[binary]==3.3.9"),
            "queue without limits, looked at every 100 ms",
            rate=300,
            lacks=frozenset({"bulk", "slots", "fail", "unique", "many"}),
        ),
        System(
            "taskito-sqlite",
            "sqlite",
            "peer_taskito",
            ("taskito==0.22.0",),
            (
                "async_concurrency=100, scheduler_batch_size=100, scheduler_poll_interval_ms=1; "
                "synchronous=NORMAL, which it does not let one change"
            ),
            rate=2_000,
            lacks=frozenset({"fail", "unique", "many"}),
        ),
        System(
            "taskito-postgres",
            "postgres",
            "peer_taskito",
            ("taskito==0.22.0",),
            "async_concurrency=100, scheduler_batch_size=100, scheduler_poll_interval_ms=1",
            rate=1_000,
            lacks=frozenset({"fail", "unique", "many"}),
        ),
        System(
            "docket",
            "redis",
            "peer_docket",
            ("pydocket==0.27.0", UVLOOP),
            "concurrency=100, up to 1,000 connections (redis-py's 100 run out)",
            rate=1_000,
            lacks=frozenset({"bulk", "fail", "unique", "many"}),
        ),
        System(
            "taskiq",
            "redis",
            "peer_taskiq",
            ("taskiq==0.13.0", "taskiq-redis==1.2.4", UVLOOP),
            "stream broker, 100 tasks at a time, max_prefetch=100",
            rate=3_000,
            lacks=frozenset({"bulk", "fail", "unique", "many"}),
        ),
        System(
            "dramatiq",
            "redis",
            "peer_dramatiq",
            ("dramatiq[redis]==2.2.1",),
            "one process, 8 threads",
            rate=2_000,
            lacks=frozenset({"bulk", "slots", "unique", "many"}),
        ),
        System(
            "celery",
            "redis",
            "peer_celery",
            ("celery[redis]==5.7.0",),
            "10 threads (prefork is slower), prefetch multiplier 128, results ignored",
            rate=1_500,
            lacks=frozenset({"bulk", "slots", "fail", "unique", "many"}),
        ),
        System(
            "arq",
            "redis",
            "peer_arq",
            ("arq==0.28.0", UVLOOP),
            "max_jobs=100, poll_delay=0.01, keep_result=0",
            rate=800,
            lacks=frozenset({"bulk", "fail", "unique", "many"}),
        ),
    )
}


def chosen(names: list[str]) -> list[System]:
    """Return the systems that these names or groups mean.

    Raises:
        KeyError: There is no such system or group.
    """
    found: dict[str, System] = {}
    for name in names:
        some = [system for system in SYSTEMS.values() if name in groups(system)]
        if not some:
            raise KeyError(name)
        found |= {system.name: system for system in some}
    return list(found.values())


def groups(system: System) -> set[str]:
    """Return the names by which a system is chosen."""
    kind = "ours" if system.ours else "bare" if system.bare else "peers"
    return {system.name, kind, "all", system.store}
