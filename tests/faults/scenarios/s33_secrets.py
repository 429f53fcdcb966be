"""S33: secrets, and where they must not be found."""

import asyncio
import re
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from demo.postgres_server import PostgresServer
from rexecutor import Backend, Rexecutor, RexecutorError, connect, enqueue_many
from tests.faults.child_processes import Child, Children, child_processes
from tests.faults.manual_sql import ManualSql
from tests.faults.programs.secretive import KINDS, MARK, Secretive
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

INFO = 20
AFTER_OUTAGE = timedelta(seconds=30)
APPLICATION = "tests.faults.programs.secretive:rexecutor"
COMMANDS = (
    ("--help",),
    ("worker", "--help"),
    ("jobs", "list", "--help"),
    ("stats", "--json"),
    ("jobs", "list", "--status", "discarded"),
    ("jobs", "show", "1"),
    ("cron", "list"),
    ("migrate", "--check"),
)
MISTAKES = (("stats",), ("jobs", "list"), ("migrate",), ("worker", APPLICATION))


@dataclass
class Secrets:
    """Texts that nobody else says, and the places where they were found."""

    seed: int
    found: Counter[str] = field(default_factory=Counter[str])
    looked_at: int = 0

    def __post_init__(self) -> None:
        self.dsn, self.payload = f"dsncanary{self.seed}", f"payloadcanary{self.seed}"
        self.metadata, self.environment = f"metadatacanary{self.seed}", f"environmentcanary{self.seed}"
        self.password = f"a/{self.dsn} @%:b"

    def look(self, where: str, text: str, *secrets: str) -> None:
        """Look for these; if none are given, for those that may stand nowhere at all."""
        self.looked_at += len(text)
        for secret in secrets or (self.dsn, self.environment):
            if secret in text:
                self.found[f"{secret.rstrip('0123456789')} in {where}"] += text.count(secret)


@dataclass(frozen=True)
class Place:
    """A store that asks for a password, if its kind can."""

    url: str
    """As the application has it."""
    wrong: Mapping[str, str]
    """URLs with the password that do not work, by what is wrong with them."""
    environment: Mapping[str, str]
    manual_sql: str
    """As `ManualSql` has it."""
    proxy: Proxy | None


async def run(ground: Ground) -> Report:
    """Let a worker live through success, failure and outage, and commands go wrong; then look at all that was said."""
    secrets = Secrets(ground.seed)
    report = Report(figures={})
    async with place(ground, secrets) as where, child_processes(ground.folder) as programs:
        arguments = ("-m", "rexecutor", "worker", APPLICATION, "--log-level", "debug")
        worker = await programs.start(*arguments, environment=where.environment)
        await worker.says("started: ")
        async with connect(where.url) as backend:
            look_at_words(secrets, backend)
        async with backend_at(where.manual_sql) as backend:
            ids = await work(backend, secrets, ground.size(200, 2))
            report.enqueued = report.acknowledged = len(ids)
            if where.proxy is not None:
                await interrupt(where.proxy, worker)
                await (await Secretive.builder().with_data("after").enqueue(backend=backend)).wait(AFTER_OUTAGE)
        await look_at_errors(secrets, where.wrong)
        look_at_commands(secrets, programs)
        await look_at_command_line(secrets, ground, programs, where)
        status = await worker.end()
        report.expect(f"the worker ends with {status}, 0 expected", status == 0)
        look_at_log(report, secrets, worker)
        look_at_rows(secrets, where)
    report.figures |= {"characters_looked_at": secrets.looked_at, "found": dict(secrets.found)}
    report.wrong += [f"{number} times {what}" for what, number in secrets.found.items()]
    return report


@asynccontextmanager
async def place(ground: Ground, secrets: Secrets) -> AsyncGenerator[Place]:
    """Yield the store: the file, or a server of its own behind a proxy."""
    if "#" not in ground.store:
        environment = {"REXECUTOR_URL": f"sqlite:///{ground.store}", "SECRET": secrets.environment}
        environment["WRONG_URL"] = f"sqlite:///{ground.folder}/none/jobs.db"
        yield Place(environment["REXECUTOR_URL"], {}, environment, ground.store, None)
        return
    settings = ("fsync=off", "max_connections=50")
    with PostgresServer(settings=settings) as server:
        with ManualSql(f"{server.url}#public") as manual_sql:
            manual_sql.run(f"CREATE ROLE guest LOGIN SUPERUSER PASSWORD '{secrets.password}'")
            rules = server.folder / "data" / "pg_hba.conf"
            rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            manual_sql.run("SELECT pg_reload_conf()")
        with Proxy(server.url) as proxy:
            yield await postgres_place(server, proxy, secrets)


async def postgres_place(server: PostgresServer, proxy: Proxy, secrets: Secrets) -> Place:
    """Return the server with its tables, and URLs that do not work."""
    password = quote(secrets.password, safe="")
    url = f"postgresql://guest:{password}@/postgres?host={proxy.folder}"
    wrong = {
        "password": url.replace(f":{password}@", f":{password}x@"),
        "host": f"postgresql://guest:{password}@127.0.0.1:1/postgres",
        "socket": f"postgresql://guest:{password}@/postgres?host=/nowhere/{'x' * 9}",
        "database": url.replace("/postgres?", "/nowhere?"),
        "port": f"postgresql://guest:{password}@127.0.0.1:none/postgres",
        "not encoded": f"postgresql://guest:{secrets.password}@127.0.0.1/postgres",
        "option": f"{url}&no_such=1",
        "scheme": url.replace("postgresql:", "mysql:"),
        "password as an option": f"postgresql://guest@127.0.0.1:1/postgres?password={password}",
    }
    async with connect(url) as backend:
        await backend.migrate()
    environment = {"REXECUTOR_URL": url, "WRONG_URL": wrong["password"], "SECRET": secrets.environment}
    return Place(url, wrong, environment, f"{server.url}#rexecutor", proxy)


async def work(backend: Backend, secrets: Secrets, rounds: int) -> list[int]:
    """Enqueue jobs of each kind, and wait for all of them."""
    builders = [kind.builder().with_data(secrets.payload).with_metadata(secrets.metadata) for kind in KINDS]
    handles = await enqueue_many(builders * rounds, backend=backend)
    async with asyncio.timeout(60):
        for handle in handles:
            await handle.wait()
    return [handle.id for handle in handles]


async def interrupt(proxy: Proxy, worker: Child) -> None:
    """Cut all connections, and let nobody in until the worker has said so."""
    proxy.refuses = True
    proxy.cut()
    await worker.says("failed and will be retried")
    await asyncio.sleep(1)
    proxy.refuses = False


def look_at_words(secrets: Secrets, backend: Backend) -> None:
    """Look at what things are when they are printed."""
    builder = Secretive.builder().with_data("x")
    app = Rexecutor(backend).with_executor(Secretive)
    for thing in (backend, app, builder, backend.heartbeat_connection(), backend.limits, app.executors):
        secrets.look(f"repr of {type(thing).__name__}", f"{thing!r} {thing!s} {thing}")


async def look_at_errors(secrets: Secrets, wrong: Mapping[str, str]) -> None:
    """Look at the tracebacks of stores that cannot be reached, and of jobs that cannot be stored."""
    for what, url in wrong.items():
        for is_sync in (False, True):
            try:
                backend = connect(url)
                if is_sync:
                    Secretive.builder().with_data("x").enqueue_sync(backend=backend)
                else:
                    await backend.open()
            except RexecutorError as error:
                secrets.look(f"the error of a wrong {what}", "".join(traceback.format_exception(error)))
                secrets.look(f"the error of a wrong {what}", f"{error!r} {error.args} {error.__cause__!r}")
            else:
                secrets.found[f"no error of a wrong {what}"] += 1


def look_at_commands(secrets: Secrets, programs: Children) -> None:
    """Look at what `ps` shows of the processes."""
    for child in programs.all:
        for task in [Path(f"/proc/{child.process.pid}"), *Path(f"/proc/{child.process.pid}/task").glob("*")]:
            for name in ("cmdline", "comm"):
                if (task / name).exists():
                    secrets.look("ps", (task / name).read_text(errors="replace"), secrets.dsn, secrets.payload)


async def look_at_command_line(secrets: Secrets, ground: Ground, programs: Children, where: Place) -> None:
    """Look at what commands print, those too whose URL is wrong, by the environment and by the option."""
    runs = [
        (command, where.environment)
        for command in COMMANDS[0 if ground.is_full else ground.seed % 3 :: ground.size(1, 3)]
    ]
    mistakes = list(where.wrong.items())
    chosen = mistakes if ground.is_full else mistakes[ground.seed % 3 :: 3]
    runs += [
        (command, {**where.environment, "REXECUTOR_URL": url})
        for place, (_, url) in enumerate(chosen)
        for command in (MISTAKES if ground.is_full else MISTAKES[place % len(MISTAKES) :][:1])
    ]
    for begin in range(0, len(runs), 4):
        some = runs[begin : begin + 4]
        started = [await programs.start("-m", "rexecutor", *words, environment=known) for words, known in some]
        look_at_commands(secrets, programs)
        for (words, _), child in zip(some, started, strict=True):
            async with asyncio.timeout(40):
                await child.process.wait()
            secrets.look(f"rexecutor {' '.join(words[:2])}", child.said())


def look_at_log(report: Report, secrets: Secrets, worker: Child) -> None:
    """Look at all that the worker has said; payloads may stand in what is said for debugging alone."""
    log = worker.said()
    secrets.look("the worker's log", log)
    levels = Counter[int]()
    for level, text in records_of(log):
        levels[level] += 1
        if level >= INFO:
            words = " ".join(text.split()[:2])
            line = text.partition("\nTraceback ")[0]  # what the application has raised is told in its own words
            secrets.look(f"a line of level {level}, {words}", line, secrets.payload, secrets.metadata)
    report.figures["lines_by_level"] = {str(level): number for level, number in sorted(levels.items())}
    report.expect("a look finds what is there", secrets.payload in log and secrets.metadata in log)
    report.expect("there are lines of failures", levels[30] > 0 and levels[40] > 0)


def records_of(log: str) -> Iterable[tuple[int, str]]:
    """Return each record with its level. Text without a level counts as the highest."""
    parts = re.split(rf"(?m)^{MARK}(\d+) ", log)
    yield 50, parts[0]
    yield from ((int(level), text) for level, text in zip(parts[1::2], parts[2::2], strict=True))


def look_at_rows(secrets: Secrets, where: Place) -> None:
    """Look at all tables, and at what the server tells of its clients."""
    with ManualSql(where.manual_sql) as manual_sql:
        for table in ("jobs", "nodes", "schedules", "duties"):
            secrets.look(f"the table {table}", repr(manual_sql.run(f"SELECT * FROM {{{table}}}")))
        secrets.look("the nodes", repr(manual_sql.run("SELECT * FROM {nodes}")), secrets.payload, secrets.metadata)
        if manual_sql.is_postgres:
            rows = manual_sql.run("SELECT query, application_name FROM pg_stat_activity")
            secrets.look("pg_stat_activity", repr(rows), secrets.dsn, secrets.payload, secrets.metadata)


SCENARIO = Scenario("S33", "secrets, and where they must not be found", ("Trust",), run)
