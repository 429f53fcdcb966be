"""`rexecutor worker`: run the jobs of a `Rexecutor` that a module defines."""

from pathlib import Path
from typing import Annotated, Final

import typer

from rexecutor.cli.failure import AS_JSON, DEBUGGING, MisusedError, note
from rexecutor.cli.worker_options import EventLoop, LogFormat, LogLevel, WorkerOptions

_LOCAL: Final = "127.0.0.1"


def worker(  # noqa: PLR0913 - one for each option
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
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1_000,
            envvar="REXECUTOR_PROCESSES",
            help="Run this many worker processes, and start them again when they end. SIGHUP replaces them one by one.",
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            envvar="REXECUTOR_RELOAD",
            help="For development: start anew when a Python file in the working directory changes.",
        ),
    ] = False,
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
    health_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            envvar="REXECUTOR_HEALTH_FILE",
            help="Write this file every second as long as the worker is healthy, and remove it otherwise.",
        ),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65_535,
            envvar="REXECUTOR_HEALTH_PORT",
            help="Answer /healthz, /readyz and /metrics on this port; 0 for any that is free.",
        ),
    ] = None,
    health_host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            envvar="REXECUTOR_HEALTH_HOST",
            help="The address of that port. Kubernetes needs 0.0.0.0 or ::.",
        ),
    ] = _LOCAL,
    loop: Annotated[
        EventLoop,
        typer.Option(
            metavar="LOOP",
            envvar="REXECUTOR_LOOP",
            help="The event loop: asyncio, uvloop, or auto for uvloop if it is installed.",
        ),
    ] = EventLoop.AUTO,
) -> int:
    """Run jobs until SIGTERM or SIGINT, then let them finish. A second signal cancels them, a third exits at once."""
    if health_port is None and health_host != _LOCAL:
        note("--health-host does nothing without --health-port")
    options = WorkerOptions(
        target=target,
        executors=_names(executors),
        concurrency=concurrency,
        processes=processes,
        reload=reload,
        grace=grace,
        log_level=log_level,
        log_format=log_format,
        loop=loop,
        health_file=health_file,
        health_host=health_host,
        health_port=health_port,
        is_measured=health_port is not None,
        is_debugging=DEBUGGING.get(),
    )
    AS_JSON.set(log_format is LogFormat.JSON)
    if processes is None and not reload:
        from rexecutor.cli.run_worker import run  # loads the engine

        run(options)
        return 0
    from rexecutor.cli.supervisor import supervise  # as above

    return supervise(options)


def _names(text: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise MisusedError("--executors names no executor; give names such as email_job,report_job")
    return names
