"""A worker with a child process that hangs: `python -m tests.engine.orphan_program NOTES`. Killed by its test."""

import asyncio
import sys
from pathlib import Path

from rexecutor import InMemoryBackend, Rexecutor
from tests.engine.in_children import InChild


async def main() -> None:
    async with Rexecutor(InMemoryBackend()).with_executor(InChild(Path(sys.argv[1]))) as rexecutor:
        await InChild.builder().with_data("hang").enqueue(backend=rexecutor.backend)
        await rexecutor.run_until_signal()


if __name__ == "__main__":
    asyncio.run(main())
