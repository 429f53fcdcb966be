"""One worker with many executors: `python -m tests.faults.programs.many_executors STORE HISTORY EXECUTORS`.

Once it runs it says how many seconds that took; to each line it says what it has asked of the store so far.
"""

import asyncio
import sys
from pathlib import Path
from time import perf_counter

from rexecutor import Rexecutor
from tests.faults.children import say
from tests.faults.history import History
from tests.faults.programs.idlers import Awaited
from tests.faults.statement_counts import counted
from tests.faults.stores import backend_at


def numbered(number: int) -> type[Awaited]:
    """Return an executor with a name of its own."""

    class Numbered(Awaited):
        name = f"number_{number}"

    return Numbered


async def main(store: str, history: str, executors: int) -> None:
    """Work until the standard input ends."""
    file = History(Path(history))
    kinds = [numbered(number) for number in range(executors)]
    with counted() as counts:
        async with backend_at(store) as backend:
            began = perf_counter()
            node = Rexecutor(backend)
            for kind in kinds:
                node.with_executor(kind(file))
            async with node:
                say(perf_counter() - began)
                while await asyncio.to_thread(sys.stdin.readline):
                    say(counts)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
