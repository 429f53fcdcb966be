"""The options of `rexecutor worker`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"


class EventLoop(StrEnum):
    """Which event loop runs the jobs."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of one run of the command."""

    target: str
    executors: tuple[str, ...]
    """Names of the executors whose jobs are run; empty for all."""
    concurrency: int | None
    processes: int | None
    """How many processes a supervisor runs; None to run the jobs in this process."""
    reload: bool
    """Whether processes start anew when the code changes."""
    grace: float
    log_level: LogLevel | None
    log_format: LogFormat | None
    loop: EventLoop
    health_file: Path | None
    health_host: str
    health_port: int | None
    is_measured: bool
    """Whether events are counted for `/metrics`."""
    is_debugging: bool
    """Whether the traceback of an error is printed."""
