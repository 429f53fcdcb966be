"""The demo's command: its options, and where its store, its history and its logs are."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from demo.corpus import Corpus, files_below, installed_files, planned
from demo.display import LiveBar, PlainLines
from demo.figures import Account
from demo.postgres_server import PostgresServer
from demo.run import Plan, run_demo
from rexecutor.app.connect import connect
from rexecutor.cli.failure import FailedError, MisusedError, note
from rexecutor.cli.output import write_json, write_line
from rexecutor.cli.store import AsJson
from rexecutor.errors import ConfigurationError


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            exists=True,
            file_okay=False,
            resolve_path=True,
            help="The jobs examine the Python files below it; by default the standard library.",
        ),
    ] = None,
    *,
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="Number of worker processes.")] = 2,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The store: an SQLite file, or PostgreSQL; a temporary file by default."),
    ] = None,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Start a PostgreSQL server for the demo; each worker is a host.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the temporary folder: SQLite file, history, logs.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Examine real files in worker processes, kill one worker half-way, and show that nothing is lost.

    There is one job for each file, which reads, hashes and parses it. Some fail at first on purpose, and one always
    fails.

    At the end every recorded result is compared with a direct computation. The exit status is 1 if a result is wrong
    or a job is lost.
    """
    _check_store(url, postgres=postgres)
    corpus = _corpus(folder)
    place = Path(tempfile.mkdtemp(prefix="rexecutor-demo-"))
    try:
        store = _own_server() if postgres else nullcontext(url or f"sqlite:///{place / 'jobs.db'}")
        _report(_run(_planner(corpus, workers, place), store, json=json), json=json)
    except Exception:
        keep = True
        raise
    finally:
        if keep:
            note(f"{'' if postgres or url else 'store, '}history and logs are kept in {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def _corpus(folder: Path | None) -> Corpus:
    corpus = installed_files() if folder is None else files_below(folder)
    if corpus.left_out:
        note(f"{corpus.left_out} files are left out: their names are not UTF-8")
    if not corpus.files:
        raise MisusedError(f"{str(folder)!r} has no .py files; give a folder with some")
    note(f"{len(corpus.files)} Python files below {', '.join(map(str, corpus.folders))}")
    return corpus


def _check_store(url: str | None, *, postgres: bool) -> None:
    if postgres and url:
        raise MisusedError("--postgres starts a server of the demo's own; leave out --url")
    try:
        if url == "memory:":
            raise MisusedError("the demo's processes share a store: give --url sqlite:///demo.db or postgresql://…")
        connect("postgresql://" if postgres else url or "sqlite:///demo.db")
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error


def _planner(corpus: Corpus, workers: int, place: Path) -> Callable[[str], Plan]:
    jobs = planned(corpus.files)
    return lambda url: Plan(jobs, workers, url, place)


@asynccontextmanager
async def _own_server() -> AsyncGenerator[str]:
    """Start a PostgreSQL server with rexecutor's tables for the block, and yield its URL."""
    from rexecutor.backend.postgres import PostgresBackend  # an extra

    with PostgresServer(settings=["max_connections=500"]) as server:
        note(f"started a PostgreSQL server, process {server.pid}")
        async with PostgresBackend(server.url) as backend:
            await backend.migrate()
        yield server.url


def _run(plan_for: Callable[[str], Plan], store: AbstractAsyncContextManager[str], *, json: bool) -> Account:
    async def run() -> Account:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with store as url:
            return await run_demo(plan_for(url), LiveBar() if sys.stdout.isatty() and not json else PlainLines())

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise FailedError("the demo was told to stop") from None


def _report(account: Account, *, json: bool) -> None:
    figures = account.figures()
    if json:
        write_json(figures)
    else:
        for name, value in figures.items():
            write_line(f"{name}  {value}")
    faults = account.faults()
    if faults:
        raise FailedError("; ".join(faults))
    note(f"{account.checked()} results checked: all are right")
