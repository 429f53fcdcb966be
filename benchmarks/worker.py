"""The second process of the figures of pickup and result: `python -m benchmarks.worker URL`."""

import asyncio
import sys

from benchmarks.ours import Answer, Stamp, say
from rexecutor import Rexecutor, connect


async def main(url: str) -> None:
    async with Rexecutor(connect(url)).with_executor(Stamp).with_executor(Answer) as rexecutor:
        say("ready")
        await rexecutor.run_until_signal()


asyncio.run(main(sys.argv[1]))
