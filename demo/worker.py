"""A worker process of the demo: `python -m demo.worker URL HISTORY`.

It also ends, at once, when its standard input does: then the demo has died, however it did. No worker stays behind.
"""

import asyncio
import os
import sys
import threading
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Final

from demo.history import History
from demo.work import ExamineFile
from rexecutor.app.connect import connect
from rexecutor.app.rexecutor import Rexecutor

LEASE: Final = timedelta(seconds=3)
"""Short, so that the rescue is seen."""
THREADS: Final = 8


def main(url: str, history_path: str) -> None:
    """Run the demo's jobs until told to stop."""
    warnings.simplefilter("ignore")  # the files' own doubtful escapes are not our subject
    history = History(Path(history_path))
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    executor = ExamineFile(history, os.getpid())
    rexecutor = Rexecutor(connect(url), max_concurrency=THREADS, lease=LEASE).with_executor(executor)
    asyncio.run(rexecutor.run_until_signal())
    history.close()


def _end_with_the_demo() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock no thread may hold when the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
