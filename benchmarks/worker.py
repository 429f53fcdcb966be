"""The other process of the pickup figure: `python -m benchmarks.worker FILE`."""

import asyncio
import sys

from benchmarks.ours import Stamp
from rexecutor import Rexecutor, SQLiteBackend

asyncio.run(Rexecutor(SQLiteBackend(sys.argv[1])).with_executor(Stamp).run_until_signal())
