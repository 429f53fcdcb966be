"""`rexecutor worker`: run the jobs of a `Rexecutor` that a module defines."""

from typing import Annotated

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.worker_options import EventLoop, LogFormat, LogLevel, WorkerOptions


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:REXECUTOR",
            envvar="REXECUTOR_APP",
            help="The module, and in it a Rexecutor, or a function or context manager without arguments that makes"
            " one, asynchronous or not.",
        ),
    ],
    *,
    executors: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME", envvar="REXECUTOR_EXECUTORS", help="Run only the jobs of these executors. [all]"
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            envvar="REXECUTOR_CONCURRENCY",
            help="How many jobs run at a time, whatever max_concurrency the Rexecutor has.",
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=86_400,
            envvar="REXECUTOR_GRACE",
            help="How long running jobs may go on after the first signal.",
        ),
    ] = 25,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            metavar="LEVEL",
            envvar="REXECUTOR_LOG_LEVEL",
            help=f"Level of the logger rexecutor: {', '.join(LogLevel)}. By default what the application has"
            " configured, or info on stderr if it has configured no logging.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            metavar="FORMAT",
            envvar="REXECUTOR_LOG_FORMAT",
            help="text or json: how log lines are written if the application has configured no logging.",
        ),
    ] = None,
    loop: Annotated[
        EventLoop,
        typer.Option(
            metavar="LOOP",
            envvar="REXECUTOR_LOOP",
            help="The event loop: asyncio, uvloop, or auto for uvloop if it is installed.",
        ),
    ] = EventLoop.AUTO,
) -> None:
    """Run jobs until SIGTERM or SIGINT, then let them finish. A second signal cancels them, a third exits at once."""
    from rexecutor.cli.run_worker import run  # loads the engine

    run(
        WorkerOptions(
            target=target,
            executors=_names(executors),
            concurrency=concurrency,
            grace=grace,
            log_level=log_level,
            log_format=log_format,
            loop=loop,
        )
    )


def _names(text: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise MisusedError("--executors names no executor; give names such as email_job,report_job")
    return names
