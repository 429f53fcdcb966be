"""Writes log lines, and the error that ends a worker, as JSON."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
"""Attributes of every record. All others were given in `extra`."""


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON: `time`, `level`, `logger`, `message`, `process`, `pid`, and its `extra`.

    A traceback is in `exception`. A value of `extra` that JSON does not have is written as its `str`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
            "pid": record.process,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)


def error_line(message: str, error: BaseException | None) -> str:
    """Return an error that ends the process as a line of JSON, with the traceback if the exception is given."""
    raised = None if error is None else (type(error), error, error.__traceback__)
    return JsonFormatter().format(logging.LogRecord("rexecutor", logging.ERROR, "", 0, message, (), raised))
