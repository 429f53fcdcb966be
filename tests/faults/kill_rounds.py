"""SIGKILL at a random moment, round after round: `python -m tests.faults.kill_rounds --rounds 20 --jobs 5000`.

Prints a JSON line a round, and one of all rounds. Exits 1 when a job was lost or a claim started twice.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rexecutor import Executor, Job, JobStatus, enqueue_many
from tests.faults.processes import fleet
from tests.faults.stores import KINDS, backend_at, temporary_store


class Traced(Executor[str]):
    """What the workers run, as the enqueuing side knows it."""

    name = "traced"

    async def execute(self, job: Job[str]) -> None:
        raise AssertionError("never runs here")


async def kill_round(folder: Path, store: str, *, jobs: int, processes: int, lease: float, seed: int) -> dict[str, Any]:
    """Drain the jobs with some workers, kill one of them on the way and start another; answer what happened."""
    chance = random.Random(seed)
    async with fleet(folder, lease, store) as workers, backend_at(store) as backend:
        await enqueue_many([Traced.builder().with_data("5") for _ in range(jobs)], backend=backend)
        started = [await workers.start() for _ in range(processes)]
        kill_at = chance.randrange(jobs // 20, jobs * 3 // 4)
        await workers.until(lambda lines: len(lines) >= 2 * kill_at, 60)
        victim = chance.choice(started)
        victim.send_signal(signal.SIGKILL)
        loop = asyncio.get_running_loop()
        killed = loop.time()
        await victim.wait()
        await workers.start()
        async with asyncio.timeout(lease * 2 + 60):
            while [count.status for count in await backend.count()] != [JobStatus.COMPLETE]:
                await asyncio.sleep(0.05)
        counts = {count.status: count.jobs for count in await backend.count()}
        lines = workers.lines()
    starts = Counter((line.job_id, line.claims) for line in lines if line.what == "start")
    runs = Counter(line.job_id for line in lines if line.what == "start")
    again = [line.at - killed for line in lines if line.what == "start" and line.claims > 1]
    return {
        "enqueued": jobs,
        "lost": jobs - counts.get(JobStatus.COMPLETE, 0),
        "never_ran": jobs - len(runs),
        "duplicate_starts": sum(number - 1 for number in starts.values()),
        "runs_beyond_one": sum(runs.values()) - jobs,
        "recovery_s": round(max(again, default=0.0), 2),
        "killed_after": kill_at,
        "seed": seed,
    }


def main() -> int:
    """Run the rounds; answer the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=KINDS, default=KINDS[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for seed in range(options.seed, options.seed + options.rounds):
        with temporary_store(options.store) as (store, folder):
            result = asyncio.run(
                kill_round(
                    folder, store, jobs=options.jobs, processes=options.processes, lease=options.lease, seed=seed
                )
            )
        results.append(result)
        print(json.dumps(result), flush=True)
    total = {
        name: sum(result[name] for result in results)
        for name in ("enqueued", "lost", "never_ran", "duplicate_starts", "runs_beyond_one")
    }
    recoveries = sorted(result["recovery_s"] for result in results)
    recovery = {"recovery_p50_s": recoveries[len(recoveries) // 2], "recovery_max_s": recoveries[-1]}
    print(json.dumps({"store": options.store, "rounds": len(results), "lease_s": options.lease, **total, **recovery}))
    return 1 if total["lost"] or total["never_ran"] or total["duplicate_starts"] else 0


if __name__ == "__main__":
    sys.exit(main())
