"""S1: workers are killed while they work."""

import asyncio
import random
import signal

from rexecutor import JobStatus, enqueue_many
from tests.faults.answers import count_answers
from tests.faults.history import Line
from tests.faults.processes import fleet
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.worker import Traced

LEASE = 3.0
WORKERS = 4


async def run(ground: Ground) -> Report:
    """Kill one of four workers at a random moment, again and again, until all is done; start another each time.

    One more job kills its worker between its work and the settlement: its second run's result is the one.
    """
    jobs, kills = ground.size(100_000, 3_000), ground.size(100, 4)
    chance = random.Random(ground.seed)
    killed: list[tuple[int, float]] = []
    async with fleet(ground.folder, LEASE, ground.store) as workers, backend_at(ground.store) as backend:
        ids = [
            handle.id
            for _ in range(0, jobs, 1_000)
            for handle in await enqueue_many([Traced.builder().with_data("5")] * 1_000, backend=backend)
        ]
        working = [await workers.start() for _ in range(WORKERS)]
        for number in range(kills):
            moment = int(2 * jobs * (number + chance.random()) / (kills + 1))
            await workers.until(lambda lines, moment=moment: len(lines) > moment, 120)
            victim = working.pop(chance.randrange(WORKERS))
            victim.send_signal(signal.SIGKILL)
            killed.append((victim.pid, asyncio.get_running_loop().time()))
            await victim.wait()
            working.append(await workers.start())
        [doomed] = await enqueue_many([Traced.builder().with_data("die")], backend=backend)
        ended = [asyncio.ensure_future(one.wait()) for one in working]
        await asyncio.wait(ended, timeout=300, return_when=asyncio.FIRST_COMPLETED)
        killed += [(one.pid, asyncio.get_running_loop().time()) for one in working if one.returncode is not None]
        await workers.start()
        async with asyncio.timeout(300):
            while {count.status for count in await backend.count()} != {JobStatus.COMPLETE}:
                await asyncio.sleep(0.1)
        lines = workers.lines()
        report = Report(enqueued=jobs + 1, acknowledged=len(ids) + 1)
        count_runs(report, lines, dict(killed))
        await count_jobs(report, backend, [*ids, doomed.id], lines)
        answers = await count_answers(report, backend)
    done = [line.claims for line in lines if line.job_id == doomed.id and line.what == "end"]
    # Not always 1 and 2: a claim may be given back before the job has begun.
    grows = len(done) == 2 and done[0] < done[1]
    report.expect(f"the work was done under the claims {done}, two that grow expected", grows)
    report.expect("the result is that of the second run", answers[doomed.id].claims == done[-1])
    waits, again = recoveries(lines, killed)
    report.recovery_s = round(max(waits, default=0.0), 2)
    report.figures |= {
        "kills": len(killed),
        "lease_s": LEASE,
        "recovery_p50_s": round(sorted(waits)[len(waits) // 2], 2) if waits else 0.0,
        "recovered_again": len(again),
        "recovered_again_max_s": round(max(again, default=0.0), 2),
    }
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    report.expect("every job has run", report.executed == report.enqueued)
    report.expect("recovery within the lease and 6 s", report.recovery_s <= LEASE + 6)
    return report


def recoveries(lines: list[Line], killed: list[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """Return after how many seconds each job that a killed worker had begun was begun by another.

    Apart from the others those that had been lost before: they wait up to 9.9 s, and then for what fell due meanwhile.
    """
    starts = {(line.job_id, line.claims): line.at for line in lines if line.what == "start"}
    died = dict(killed)
    first: list[float] = []
    again: list[float] = []
    for line in lines:
        begun = starts.get((line.job_id, line.claims + 1))
        if line.what == "start" and line.pid in died and begun is not None:
            (first if line.claims == 1 else again).append(begun - died[line.pid])
    return first, again


SCENARIO = Scenario(
    "S1", "workers killed at work (SIGKILL)", ("Accepted", "Delivery", "Start", "Lease", "Results"), run
)
