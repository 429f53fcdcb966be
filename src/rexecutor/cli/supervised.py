"""One worker process of a supervisor: it obeys the supervisor through a pipe, and reports to it."""

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import current_process
from multiprocessing.connection import Connection
from typing import Final

from rexecutor.app.signals import tell
from rexecutor.cli.failure import AS_JSON, DEBUGGING, FailedError, MisusedError, described, report
from rexecutor.cli.probes import Report
from rexecutor.cli.run_worker import run
from rexecutor.cli.worker_options import LogFormat, WorkerOptions
from rexecutor.errors import RexecutorError
from rexecutor.telemetry.log import log_event
from rexecutor.telemetry.process_events import SupervisorLost

REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports."""
FIRST_REPORT_INTERVAL: Final = 0.05
"""Seconds between two reports until the process is ready, for which the supervisor waits."""


def run_supervised(options: WorkerOptions, supervisor: Connection) -> None:
    """Run jobs until the supervisor tells it to stop or has ended, and exit the process with its status.

    A SIGHUP, which a closed terminal sends to all processes, is left to the supervisor.
    """
    signal.signal(signal.SIGHUP, _ignore)
    sys.exit(_status_of(options, supervisor))


def _status_of(options: WorkerOptions, supervisor: Connection) -> int:
    DEBUGGING.set(options.is_debugging)
    AS_JSON.set(options.log_format is LogFormat.JSON)
    try:
        run(options, is_one_of_several=True, begun=lambda source: _report_to(supervisor, source))
    except MisusedError as error:
        report(f"{current_process().name}: {error}", error)
        return 2
    except (RexecutorError, FailedError, OSError) as error:
        report(f"{current_process().name}: {error}", error)
        return 1
    except Exception as error:  # noqa: BLE001 - the end of the program: a traceback helps only those who ask for one
        report(f"{current_process().name}: {described(error)}", error)
        return 1
    return 0


def _report_to(supervisor: Connection, source: Callable[[], Report]) -> Callable[[], object]:
    """Keep in touch with the supervisor in a thread. Return a function that reports at once."""
    turn = threading.Lock()

    def send() -> Report:
        with turn:  # reports arrive in the order in which they are made
            said = source()
            with suppress(OSError):  # the thread notices that the supervisor has ended
                supervisor.send(said)
            return said

    threading.Thread(target=_keep_in_touch, args=(supervisor, send), name="rexecutor supervised", daemon=True).start()
    return send


def _keep_in_touch(supervisor: Connection, send: Callable[[], Report]) -> None:
    """Obey the supervisor, and report to it every half second. If it has ended, shut down."""
    interval = FIRST_REPORT_INTERVAL
    try:
        while True:
            if supervisor.poll(interval):
                tell(supervisor.recv())
            if send().is_ready:
                interval = REPORT_INTERVAL
    except (EOFError, OSError):
        log_event(SupervisorLost())
        tell(1)


def _ignore(_: int, __: object) -> None:
    """Do nothing. Unlike SIG_IGN, this is not passed on to programs that jobs start."""
