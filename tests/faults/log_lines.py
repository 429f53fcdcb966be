"""What a library says of itself while a scenario runs, kept rather than printed."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def kept_lines(level: int = logging.INFO, name: str = "rexecutor") -> Generator[list[logging.LogRecord]]:
    """Return a list that grows with each line of that logger, from that level on."""
    logger, keeper = logging.getLogger(name), _Keeper()
    before = logger.level, logger.propagate
    logger.addHandler(keeper)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield keeper.records
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(before[0])  # not by assignment: loggers cache which levels are enabled
        logger.propagate = before[1]
