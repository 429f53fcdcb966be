"""A worker process of the demo: `python -m demo.worker URL HISTORY`.

It exits at once if its standard input is closed: then the demo has died, and no worker must stay behind.
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
"""Short, so that the rescue can be seen."""
THREADS: Final = 8


def main(url: str, history_path: str) -> None:
    """Run the demo's jobs until told to stop."""
    warnings.simplefilter("ignore")  # the files may contain invalid escape sequences, about which Python warns
    history = History(Path(history_path))
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    executor = ExamineFile(history, os.getpid())
    rexecutor = Rexecutor(connect(url), executors=[executor], max_concurrency=THREADS, lease=LEASE)
    asyncio.run(rexecutor.run_until_signal())
    history.close()


def _end_with_the_demo() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock must be free when the interpreter exits
        pass
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
