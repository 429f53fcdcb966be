"""Runs the jobs of a `Rexecutor` in this process until a signal, and ends the process."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from rexecutor.app.rexecutor import Rexecutor
from rexecutor.app.signals import WATCHED
from rexecutor.cli.failure import MisusedError
from rexecutor.cli.load import StoppedError, find_target, opened_rexecutor
from rexecutor.cli.logs import set_up_logging
from rexecutor.cli.metrics import exposed_metrics, measured
from rexecutor.cli.probes import STARTING, Report, answered_probes, report_of
from rexecutor.cli.worker_options import EventLoop, WorkerOptions
from rexecutor.errors import ConfigurationError
from rexecutor.telemetry.events import ProcessLeft
from rexecutor.telemetry.log import log_event
from rexecutor.telemetry.process_events import ProbesAnswered

EXIT_TIMEOUT: Final = 3.0
"""Seconds that Python may take to clean up and exit after the last job has ended."""
STUCK_EXIT_TIMEOUT: Final = 0.2
"""Seconds until the exit if a task has swallowed cancellation more than once: cancelling it again will not help."""


def run(
    options: WorkerOptions,
    *,
    is_one_of_several: bool = False,
    begun: Callable[[Callable[[], Report]], Callable[[], object]] = lambda report: report,
) -> None:
    """Run jobs until SIGTERM or SIGINT, then let them finish.

    Args:
        options: What the command was asked to do.
        is_one_of_several: Whether each log line has to name the process.
        begun: Called before the application is imported, with a function that returns how this process is doing. What
            it returns is called when the lease is known and no job has started.

    Raises:
        MisusedError: The target names no `Rexecutor`, or an option does not fit it.
        FailedError: The target cannot be imported or made.
        RexecutorError: The `Rexecutor` cannot be started, or has ended unexpectedly.
    """
    made: list[Rexecutor] = []

    def report() -> Report:
        return report_of(made[0].health(), made[0].lease) if made else STARTING

    async def run_jobs() -> None:
        async with opened_rexecutor(options.target, found) as rexecutor:
            set_up_logging(options.log_level, options.log_format, is_one_of_several=is_one_of_several)
            _adapt(rexecutor, options)
            made.append(rexecutor)
            report_now()
            if url is not None:
                log_event(ProbesAnswered(url))
            await rexecutor.run_until_signal(grace=timedelta(seconds=options.grace))
        probes.close()
        _leave_soon()

    with ExitStack() as probes:
        if options.is_measured:
            probes.enter_context(measured())
        url = probes.enter_context(
            answered_probes(
                report,
                file=options.health_file,
                host=options.health_host,
                port=options.health_port,
                metrics=exposed_metrics() if options.is_measured else None,
            )
        )
        report_now = begun(report)
        found = find_target(options.target)
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner, suppress(StoppedError):
            runner.run(run_jobs())


def _adapt(rexecutor: Rexecutor, options: WorkerOptions) -> None:
    """Change what the application has set to what the options ask for."""
    try:
        if options.executors:
            rexecutor.with_only_executors(*options.executors)
    except ConfigurationError as error:
        raise MisusedError(f"--executors: {str(error).partition(': ')[2]}") from error
    if options.concurrency is not None:
        rexecutor.with_max_concurrency(options.concurrency)


def _loop_factory(loop: EventLoop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop; None for asyncio's own.

    Raises:
        MisusedError: uvloop is asked for, but is not installed.
    """
    if loop is EventLoop.ASYNCIO:
        return None
    if find_spec("uvloop") is None:
        if loop is EventLoop.AUTO:
            return None
        raise MisusedError("--loop uvloop: it is not installed: pip install 'rexecutor[uvloop]'")
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop  # it may not be installed
    return factory


def _leave_soon() -> None:
    """Exit the process after a few seconds, even if tasks or threads of jobs still run.

    Python would wait for ever for a task that ignores its cancellation and for a thread that a cancelled job has left
    behind. Their jobs have been given back by now. Signals are ignored from here on: the process is ending already,
    and a signal must not kill one that ends well.
    """
    for number in WATCHED:
        signal.signal(number, signal.SIG_IGN)
    is_stuck = any(task.cancelling() > 1 for task in asyncio.all_tasks())

    def leave() -> None:
        log_event(ProcessLeft())
        os._exit(0)

    timer = threading.Timer(STUCK_EXIT_TIMEOUT if is_stuck else EXIT_TIMEOUT, leave)
    timer.daemon = True
    timer.start()
