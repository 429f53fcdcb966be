"""The job, and where it is stored. Both the script and the worker import this."""

import os
import time
from datetime import timedelta
from pathlib import Path

from rexecutor import Rexecutor, SQLiteBackend, job

LEASE = timedelta(
    seconds=float(os.environ.get("LEASE", "30"))
)  # how long until the jobs of a dead worker run elsewhere
WORK = float(os.environ.get("WORK", "0.1"))  # seconds that the work takes


@job(blocking=True, max_attempts=3)
def count_words(path: str) -> int:
    """Count the words of a file, in a thread of the worker."""
    time.sleep(WORK)
    return len(Path(path).read_text(encoding="utf-8").split())


rexecutor = Rexecutor(SQLiteBackend("jobs.db"), executors=[count_words], lease=LEASE)
