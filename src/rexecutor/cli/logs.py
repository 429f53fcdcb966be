"""Sets up logging for a worker, where the application has not done so."""

import logging
from typing import Final

from rexecutor.cli.failure import note
from rexecutor.cli.json_lines import JsonFormatter
from rexecutor.cli.worker_options import LogFormat, LogLevel

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TEXT_OF_SEVERAL: Final = "%(asctime)s %(levelname)s [%(processName)s] %(name)s: %(message)s"


def set_up_logging(level: LogLevel | None, form: LogFormat | None, *, is_one_of_several: bool = False) -> None:
    """Log to stderr if the application has not configured logging. Call it once the application is fully loaded.

    If no logger has a handler, the lines of all loggers are shown, but of other loggers no debug lines: libraries log
    secrets there. If the application has configured only some loggers, only the one of rexecutor gets a handler.

    Args:
        level: Level of the logger `rexecutor`, whoever has configured it; None for what it is, or info.
        form: How lines are written, unless the application has configured that; None for text.
        is_one_of_several: Whether each line has to name the process that wrote it.
    """
    root, ours = logging.getLogger(), logging.getLogger("rexecutor")
    if not ours.hasHandlers():
        shown = (level or LogLevel.INFO).upper()
        handler = logging.StreamHandler()
        text = _TEXT_OF_SEVERAL if is_one_of_several else _TEXT
        handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else logging.Formatter(text))
        if any(_writes(logger) for logger in root.manager.loggerDict.values()):
            ours.addHandler(handler)
            ours.setLevel(shown)
        else:
            root.addHandler(handler)
            root.setLevel(shown)  # turns the name of the level into its number
            root.setLevel(max(root.level, logging.INFO))
    elif form is not None:
        note("--log-format does nothing here: the application has configured logging itself")
    if level is not None:
        ours.setLevel(level.upper())


def _writes(logger: object) -> bool:
    """Return whether the logger has a handler other than the `NullHandler` that libraries add."""
    return isinstance(logger, logging.Logger) and any(
        not isinstance(handler, logging.NullHandler) for handler in logger.handlers
    )
