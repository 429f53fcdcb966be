"""The second process of the bare pickup figure: it listens, and at each notification claims as a worker does."""

import asyncio
import sys
from time import monotonic_ns

import psycopg

from benchmarks.ours import say
from benchmarks.postgres_bare import CHANNEL, NODE, text_of


async def main(url: str) -> None:
    claim = text_of("claim_jobs").encode()
    wanted = {"node": NODE, "executors": ["stamp"], "slots": [100], "limit": 100}
    wanted |= {"promoted": False, "epoch": 0, "now": None}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        say("ready")
        while True:
            async for _ in connection.notifies(stop_after=1):
                pass
            for job in await (await connection.execute(claim, wanted)).fetchall():
                if job[2] is not None:
                    say([int(job[4]), monotonic_ns()])


asyncio.run(main(sys.argv[1]))
