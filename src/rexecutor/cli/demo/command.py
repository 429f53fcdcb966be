"""`rexecutor demo`: the command."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rexecutor.cli.failure import FailedError, MisusedError, note
from rexecutor.cli.output import write_json, write_line
from rexecutor.cli.store import AsJson

if TYPE_CHECKING:
    from collections.abc import Callable

    from rexecutor.cli.demo.corpus import Corpus
    from rexecutor.cli.demo.figures import Account
    from rexecutor.cli.demo.run import Plan


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            exists=True,
            file_okay=False,
            resolve_path=True,
            help="The Python files below it are the work; by default the standard library's.",
        ),
    ] = None,
    *,
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="How many worker processes.")] = 2,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The store, an SQLite file; a temporary one by default.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder: store, history, logs.")] = False,
    json: AsJson = False,
) -> None:
    """Put real files through worker processes, kill one half-way, and show that nothing is lost.

    One job a file reads, hashes and parses it. Some fail at first on purpose, and one always does.

    At the end every recorded result is held against a direct computation. The exit status is 1 if one is wrong,
    or if a job is lost.
    """
    plan_for = _planner(_corpus(folder), workers, url)
    place = Path(tempfile.mkdtemp(prefix="rexecutor-demo-"))
    try:
        _report(_run(plan_for(place), json=json), json=json)
    except Exception:
        keep = True
        raise
    finally:
        if keep:
            note(f"store, history and logs are kept in {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def _corpus(folder: Path | None) -> "Corpus":
    from rexecutor.cli.demo.corpus import files_below, installed_files  # not needed for --help

    corpus = installed_files() if folder is None else files_below(folder)
    if corpus.left_out:
        note(f"{corpus.left_out} files are left out: their names are no UTF-8")
    if not corpus.files:
        raise MisusedError(f"{str(folder)!r} holds no .py file; give a folder with some")
    note(f"{len(corpus.files)} Python files below {', '.join(map(str, corpus.folders))}")
    return corpus


def _planner(corpus: "Corpus", workers: int, url: str | None) -> "Callable[[Path], Plan]":
    from rexecutor.cli.demo.corpus import planned  # not needed for --help
    from rexecutor.cli.demo.run import Plan
    from rexecutor.errors import ConfigurationError
    from rexecutor.url import sqlite_path

    try:
        if url and sqlite_path(url) is None:
            raise MisusedError("the demo's processes share an SQLite file: give --url sqlite:///demo.db")
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error
    jobs = planned(corpus.files)
    return lambda place: Plan(jobs, workers, url or f"sqlite:///{place / 'jobs.db'}", place)


def _run(plan: "Plan", *, json: bool) -> "Account":
    import asyncio  # not needed for --help
    import signal

    from rexecutor.cli.demo.display import LiveBar, PlainLines
    from rexecutor.cli.demo.run import run_demo

    async def run() -> "Account":
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_demo(plan, LiveBar() if sys.stdout.isatty() and not json else PlainLines())

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise FailedError("the demo was told to stop") from None


def _report(account: "Account", *, json: bool) -> None:
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
