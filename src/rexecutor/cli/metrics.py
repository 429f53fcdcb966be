"""`/metrics`: what the metrics of `rexecutor.prometheus` have counted, in one process or in all of a supervisor."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from rexecutor.cli.probes import Metrics

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder in which processes keep their metrics, so that they can be added up."""


def exposed_metrics() -> Metrics | None:
    """Return what shows the metrics of this process, or of all of them in a supervisor; None without the extra."""
    if not _is_installed():
        return None
    exposition: Metrics = _module().exposition
    return exposition


@contextmanager
def measured() -> Generator[None]:
    """Count the events of this process in the `with` block, if the extra is installed.

    The application may have subscribed the same metrics: each event counts once.
    """
    if not _is_installed():
        yield
        return
    subscribe: Callable[[object], Callable[[], None]] = import_module("rexecutor.telemetry.subscribers").subscribe
    end = subscribe(_module().PrometheusMetrics())
    try:
        yield
    finally:
        end()


@contextmanager
def added_up() -> Generator[Callable[[int], None]]:
    """Have the processes that are started in the `with` block keep their metrics in one folder.

    Gives what is to be called with the id of a process that has ended.
    """
    if not _is_installed():
        yield lambda _: None
        return
    if os.environ.get(_FOLDER):  # the operator's own, who also empties it
        yield _module().forget_process
        return
    folder = os.environ[_FOLDER] = tempfile.mkdtemp(prefix="rexecutor-metrics-")
    try:
        yield _module().forget_process
    finally:
        del os.environ[_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


def _is_installed() -> bool:
    return find_spec("prometheus_client") is not None and find_spec("rexecutor.prometheus") is not None


def _module() -> Any:
    return import_module("rexecutor.prometheus")  # loads prometheus_client, an extra
